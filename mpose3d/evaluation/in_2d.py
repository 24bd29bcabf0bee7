"""`mpose3d evaluate coco` and `evaluate 2d`: people in the plane of the picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data import mupots
from mpose3d.data.coco_json import read_annotations, read_results
from mpose3d.data.predictions import PicturePeople, read_picture_people
from mpose3d.inference import infer
from mpose3d.metrics.coco import oks_average_precision
from mpose3d.metrics.matching import assign_people
from mpose3d.metrics.modules import MPJPE, PCK2D, BoxIoU
from mpose3d.networks.pose_estimator import PoseEstimator2D
from mpose3d.places import output_places
from mpose3d.skeleton import COCO_17, MUPOTS_17, SKELETON
from mpose3d.visualise.tables import print_table, write_table


def evaluate_coco(annotations: Path, predictions: Path, out: Path | None = None) -> None:
    """COCO keypoints: average precision by object keypoint similarity.

    Args:
        annotations: person_keypoints_*.json.
        predictions: COCO results JSON.
        out: folder for coco.csv and coco.json.
    """
    truth = read_annotations(annotations)
    figures = oks_average_precision(truth, read_results(predictions, truth))
    print_table("COCO keypoints, OKS (0 to 1)", [figures], list(figures), [], digits=3)
    write_table(out, "coco", [figures], figures)


def compare_2d(
    annotations: Path,
    predictions: Path,
    photographs: Path | None = None,
    teacher: PoseEstimator2D | None = None,
    weights: str | None = None,
    out: Path | None = None,
) -> None:
    """Teacher against student in 2D: box IoU, 2D-MPJPE and 2D-PCK at 25 px over the joints that both have.

    Args:
        annotations: MuPoTS-3D folder, or COCO person_keypoints_*.json.
        predictions: folder that `mpose3d infer --teacher_people true` wrote.
        photographs: folder to read first, into `predictions`; of MuPoTS-3D the one with the folders TSn.
        teacher, weights: of `infer`, for the photographs.
        out: folder for 2d.csv and 2d.json.
    """
    annotated = list(_annotated_pictures(Path(annotations)))
    if photographs:
        read = {f"{place}.json" for _, place in output_places([Path(photographs)], Path(predictions))}
        annotated = [picture for picture in annotated if picture[0] in read]
        if not annotated:
            raise FileNotFoundError(
                f"{photographs}: no photograph that {annotations} has, by its folder and name; of MuPoTS-3D give the "
                "folder above TSn"
            )
        extra = {"teacher_people": True, "overlay": False, "page": False}
        infer([str(photographs)], out=str(predictions), teacher=teacher, weights=weights, **extra)
    pictures = list(_common_pictures(annotated, predictions))
    if not pictures:
        raise FileNotFoundError(
            f"{predictions}: no picture of {annotations} has both NAME.json and NAME.teacher.json, which "
            "`mpose3d infer --teacher_people true` writes"
        )
    # the teacher's layout decides: a joint that it never gives is not shared
    shared = torch.cat([picture.teacher.visible for picture in pictures]).any(dim=0)

    truth = torch.cat([picture.points for picture in pictures])
    visible = torch.cat([picture.visible for picture in pictures]) & shared
    methods = {}
    for name in ("teacher", "student"):
        assigned = [_assign(p.points, p.visible & shared, getattr(p, name)) for p in pictures]
        methods[name] = tuple(map(torch.cat, zip(*assigned, strict=True)))
    both_found = methods["teacher"][2] & methods["student"][2]
    both_visible = visible & methods["teacher"][1] & methods["student"][1]
    annotated = visible.any(dim=-1)
    rows = []
    for name, (px, given, found) in methods.items():
        iou, mpjpe, pck = BoxIoU(), MPJPE(), PCK2D()
        iou.update(px[both_found], truth[both_found], both_visible[both_found])
        mpjpe.update(px[both_found], truth[both_found], both_visible[both_found])
        # a joint or a person that is absent is a miss
        pck.update(torch.where(given[..., None], px, torch.inf), truth, visible)
        rows.append(
            {
                "method": name,
                "annotated": int(annotated.sum()),
                "found": int((found & annotated).sum()),
                "iou": iou.compute().item(),
                "mpjpe_2d": mpjpe.compute().item(),
                "pck_2d": pck.compute().item(),
            }
        )
    names = [joint for joint, is_shared in zip(SKELETON.names, shared.tolist(), strict=True) if is_shared]
    notes = [
        f"{len(pictures)} pictures; joints: {', '.join(names)}.",
        "IoU and 2D-MPJPE (px): people and joints that both gave. 2D-PCK (percent): all annotated, absent is a miss.",
    ]
    print_table("Teacher against student in 2D", rows, list(rows[0]), notes)
    content = {
        "pictures": len(pictures),
        "joints": names,
        **{r["method"]: {key: value for key, value in r.items() if key != "method"} for r in rows},
    }
    write_table(out, "2d", rows, content)


#: path of a picture's prediction below its folder, size, joints (P, 15, 2), visible (P, 15)
_Annotated = tuple[str, tuple[int, int], Tensor, Tensor]


class _Picture(NamedTuple):
    """The annotated people of a picture, and those that teacher and student give.

    Joints are those of `SKELETON`, in pixels of the annotated picture.
    """

    points: Float[Tensor, "p 15 2"]
    visible: Bool[Tensor, "p 15"]
    teacher: PicturePeople
    student: PicturePeople


def _common_pictures(annotated: Iterable[_Annotated], predictions: Path) -> Iterable[_Picture]:
    """Those of the annotated pictures that teacher and student have read."""
    for name, size, points, visible in annotated:
        student = Path(predictions) / name
        files = [student.with_suffix(".teacher.json"), student]
        if all(file.is_file() for file in files):
            yield _Picture(points, visible, *(read_picture_people(file, size) for file in files))


def _annotated_pictures(annotations: Path) -> Iterable[_Annotated]:
    """Every picture with its people.

    COCO's pictures are found by their names, and by their folders too where several have the same name.
    """
    if annotations.is_dir():
        for folder in mupots.find_sequences(annotations):
            sequence = mupots.read_sequence(folder)
            points, visible = MUPOTS_17.to_skeleton(sequence.annot2)
            for frame, valid in enumerate(sequence.valid):
                size = mupots.official_size(folder.name)
                yield f"{folder.name}/img_{frame:06d}.json", size, points[frame, valid], visible[frame, valid]
        return
    content = read_annotations(annotations)
    of_image: dict[int, list] = defaultdict(list)
    for person in content["annotations"]:
        of_image[person["image_id"]].append(person["keypoints"])
    names = Counter(Path(image["file_name"]).stem for image in content["images"])
    for image in content["images"]:
        place = Path(image["file_name"]).with_suffix(".json")
        keypoints = torch.tensor(of_image[image["id"]], dtype=torch.float64).reshape(-1, len(COCO_17), 3)
        keypoints = keypoints[(keypoints[..., 2] > 0).any(dim=1)]
        points, visible = COCO_17.to_skeleton(keypoints[..., :2], keypoints[..., 2] > 0)
        name = str(place) if names[place.stem] > 1 else place.name
        yield name, (image["width"], image["height"]), points, visible


def _assign(points: Tensor, visible: Tensor, people: PicturePeople) -> tuple[Tensor, Tensor, Tensor]:
    """(px (P, 15, 2), given (P, 15), found (P,)) of the people assigned to the annotated ones."""
    matching = assign_people(points, visible, people.px, people.visible)
    found = matching >= 0
    px, given = torch.zeros_like(points), torch.zeros_like(visible)
    px[found], given[found] = people.px[matching[found]], people.visible[matching[found]]
    return px, given, found
