"""Predictions in files against annotations: printed tables, and the same numbers as CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data import mupots, threedpw
from mpose3d.data.lsp14 import regress_lsp14
from mpose3d.data.mocap import read_motion_capture
from mpose3d.data.predictions import (
    PicturePeople,
    read_mupots_people,
    read_picture_people,
    read_threedpw_people,
)
from mpose3d.geometry.camera import Camera
from mpose3d.inference import infer
from mpose3d.lifting import Through, lift_people, read_lifter
from mpose3d.metrics.coco import oks_average_precision, read_annotations
from mpose3d.metrics.matching import assign_people
from mpose3d.metrics.modules import MPJPE, MRPE, PCK2D, PMPJPE, BoxIoU
from mpose3d.metrics.mupots import GROUPS, Mode, Mupots3D, MupotsScore, SequenceScore
from mpose3d.metrics.threedpw import Challenge, FourteenJoints, scored_frames
from mpose3d.networks.keypoint_lifter import REFINE, enough_joints
from mpose3d.networks.movenet import MoveNet
from mpose3d.networks.teacher import Teacher
from mpose3d.poses.artificial import MotionCapturePoses
from mpose3d.poses.scenes import SceneSampler
from mpose3d.skeleton import COCO_17, COCO_18, LSP_14, MUPOTS_17, SKELETON, SMPL_24
from mpose3d.visualise.tables import print_table, write_table

# Scenes of motion capture are seen by the fixed camera, in square pictures of this many pixels, ...
_SCENE_SIZE = 1000
# ... from all sides; leaning to any side, which is how cameras above, below and askew see upright people; a fifth of
# the people turned anyhow, lying and upside down; from an eighth of the picture's height to larger than it
_VIEWPOINTS = {"tilt": 20.0, "free_rotation": 0.2, "height": (0.125, 1.2)}
# part of what a seed means: another number gives other scenes
_SCENES_AT_ONCE = 100


def evaluate_mupots(
    annotations: Path,
    predictions: Path,
    mode: Mode = "all",
    sequences: list[str] | None = None,
    out: Path | None = None,
) -> None:
    """MuPoTS-3D by its official protocol: 3DPCK, AUC and MPJPE.

    Args:
        annotations: folder of TS*/annot.mat, or the one above it.
        predictions: npz keyed TSn_img_NNNNNN/px and /mm, or the folder that `mpose3d infer` wrote.
        mode: all people annotated, or only those matched by a prediction.
        sequences: names such as TS1; default: all in the folder of annotations.
        out: folder for mupots_<mode>.csv and mupots_<mode>.json.
    """
    score, frames = score_mupots(annotations, predictions, mode, sequences)
    rows = [
        {"sequence": name, "frames": frames[name][0], "annotated": s.annotated, "found": s.found, **_mupots_figures(s)}
        for name, s in score.sequences.items()
    ]
    people = {key: sum(row[key] for row in rows) for key in ("annotated", "found")}
    predicted, total = (sum(column) for column in zip(*frames.values(), strict=True))
    rows.append({"sequence": "mean", "frames": predicted, **people, **score.mean._asdict()})
    joints = max(len(sequence.joints) for sequence in score.sequences.values())
    notes = [f"{predicted} of {total} annotated frames were predicted and are scored."]
    if joints == len(SKELETON):
        notes.append("15 joints: the neck hangs on the pelvis, and MPJPE is over 15 joints (official: 17).")
    if mode == "all":
        notes.append("MPJPE counts a person who was not found with about 173 m, as the official evaluator does.")
    shown = [
        "sequence",
        "frames",
        "annotated",
        "found",
        "pck",
        "auc",
        "mpjpe",
        "pmpjpe",
        *(f"pck_{group}" for group in GROUPS),
    ]
    print_table(f"MuPoTS-3D, {mode} people, root-relative (percent, percent, mm)", rows, shown, notes)
    content = {
        "sequences": {
            name: {
                **s._asdict(),
                "groups": {group: part._asdict() for group, part in s.groups.items()},
                "frames": dict(zip(("predicted", "annotated"), frames[name], strict=True)),
            }
            for name, s in score.sequences.items()
        },
        "mean": score.mean._asdict(),
        "people": people,
        "frames": {"predicted": predicted, "annotated": total},
    }
    write_table(out, f"mupots_{mode}", rows, content)


def score_mupots(
    annotations: Path, predictions: Path, mode: Mode = "all", sequences: Sequence[str] | None = None
) -> tuple[MupotsScore, dict[str, tuple[int, int]]]:
    """The score, and (predicted, annotated) frames of each sequence; arguments and errors as `evaluate_mupots`.

    Only predicted frames are scored, see `read_mupots_people`.

    Raises:
        FileNotFoundError: annotations or predictions of a sequence are absent.
        ValueError: files that are broken, of another format, or hold NaN.
    """
    folders = {folder.name: folder for folder in mupots.find_sequences(annotations)}
    chosen = _choose(sequences, folders, annotations)
    metric = Mupots3D(tuple(chosen), mode)
    truth = {name: mupots.read_sequence(folder) for name, folder in chosen.items()}
    people = read_mupots_people(predictions, {name: len(sequence.valid) for name, sequence in truth.items()})
    for name, sequence in truth.items():
        px, mm, present, predicted = people[name]
        metric.update(
            name,
            sequence.annot2[predicted],
            sequence.univ_annot3[predicted],
            sequence.valid[predicted],
            px[predicted],
            mm[predicted],
            present[predicted],
        )
    frames = {name: (int(people[name].predicted.sum()), len(truth[name].valid)) for name in truth}
    return metric.compute(), frames


def _mupots_figures(score: SequenceScore) -> dict[str, float]:
    return {
        **{key: getattr(score, key) for key in ("pck", "auc", "mpjpe", "pmpjpe")},
        **{f"{key}_{group}": getattr(part, key) for key in ("pck", "auc") for group, part in score.groups.items()},
        **{f"mpjpe_{joint}": error for joint, error in score.joints.items()},
    }


def evaluate_3dpw(
    annotations: Path,
    predictions: Path,
    protocol: Literal["challenge", "lsp14"] = "challenge",
    split: str = "test",
    sequences: list[str] | None = None,
    body_models: Path | None = None,
    out: Path | None = None,
) -> None:
    """3DPW by the protocol of its challenge (24 joints), or by the 14-joint one of its test split.

    Args:
        annotations: folder that holds sequenceFiles/.
        predictions: folder of an official submission, npz keyed SEQUENCE/mm (people, frames, 24|14, 3), or (14 joints
            only) the folder that `mpose3d infer` wrote, SEQUENCE/image_NNNNN.json.
        protocol: challenge: MPJPE, PMPJPE, PCK at 50 mm, AUC over 0-200 mm; lsp14: MPJPE, PMPJPE.
        split: train, validation or test.
        sequences: names; default: all of the split.
        body_models: folder of SMPL model files; the challenge falls back on the jointPositions of the annotation.
        out: folder for 3dpw_<protocol>.csv and .json.
    """
    files = {path.stem: path for path in threedpw.find_sequences(annotations, split)}
    rows = []
    metric_class = {"challenge": Challenge, "lsp14": FourteenJoints}[protocol]
    overall = metric_class()
    for name, file in _choose(sequences, files, annotations).items():
        sequence = threedpw.read_sequence(file)
        scored = scored_frames(sequence.poses2d, sequence.campose_valid)
        poses, found = _threedpw_people(predictions, sequence, protocol, split)
        target = sequence.to_camera(_threedpw_target(sequence, protocol, body_models))
        metric, counted = metric_class(), scored & found
        for each in (metric, overall):
            each.update(poses[counted], target[counted])
        people = {"annotated": int(scored.sum()), "found": int(counted.sum())}
        rows.append({"sequence": name, **people, **metric.compute()._asdict()})
    total = {key: sum(row[key] for row in rows) for key in ("annotated", "found")}
    rows.append({"sequence": "all poses", **total, **overall.compute()._asdict()})
    notes = ["Frames without 2D detection or aligned camera are dropped; people not found are not scored."]
    if protocol == "challenge" and body_models is None:
        notes.append(
            "Targets are the annotation's jointPositions; --body_models DIR takes the joints of the SMPL mesh."
        )
    print_table(f"3DPW {split}, {protocol}", rows, list(rows[0]), notes)
    content = {
        "sequences": {row["sequence"]: _without(row, "sequence") for row in rows[:-1]},
        "all": overall.compute()._asdict(),
        "people": total,
    }
    write_table(out, f"3dpw_{protocol}", rows, content)


def _threedpw_target(
    sequence: threedpw.ThreeDPWSequence, protocol: str, body_models: Path | None
) -> Float[Tensor, "f p J 3"]:
    if protocol == "lsp14":
        return regress_lsp14(sequence, body_models)
    return sequence.joint_positions if body_models is None else sequence.smpl_joint_positions(body_models)


def _threedpw_people(
    path: Path, sequence: threedpw.ThreeDPWSequence, protocol: str, split: str
) -> tuple[Float[Tensor, "f p J 3"], Bool[Tensor, "f p"]]:
    """Poses in the order of the annotated people, and who was found."""
    frames, people = sequence.campose_valid.shape
    wanted = len(SMPL_24 if protocol == "challenge" else LSP_14)
    path = Path(path)
    if path.is_dir() and not (path / split).is_dir():
        if protocol == "challenge":
            raise ValueError(f"{path}: the 15 joints of `infer` are not the 24 of the challenge; use --protocol lsp14")
        return _assigned_lsp14(path / sequence.name, sequence)
    poses = read_threedpw_people(path, sequence.name, split, people, frames)
    if poses.shape[2] != wanted:
        raise ValueError(f"{path}: {poses.shape[2]} joints, the protocol {protocol} scores {wanted}")
    return poses, torch.ones(frames, people, dtype=torch.bool)


def _assigned_lsp14(
    folder: Path, sequence: threedpw.ThreeDPWSequence
) -> tuple[Float[Tensor, "f p 14 3"], Bool[Tensor, "f p"]]:
    """People of `infer` files, assigned to the annotated ones by 2D joints."""
    frames, people = sequence.campose_valid.shape
    poses = torch.zeros(frames, people, len(LSP_14), 3, dtype=torch.float64)
    found = torch.zeros(frames, people, dtype=torch.bool)
    # 3DPW's principal point is the middle of the picture
    size = tuple(round(2 * side) for side in sequence.cam_intrinsics[:2, 2].tolist())
    annotated, visible = COCO_18.to_skeleton(sequence.poses2d[..., :2], sequence.poses2d[..., 2] > 0)
    files = sorted(path for path in folder.glob("image_*.json") if not path.name.endswith(".teacher.json"))
    if not files:
        raise FileNotFoundError(f"{folder}: no image_*.json, yet the annotation of {sequence.name} is given")
    for file in files:
        frame = int(file.stem.removeprefix("image_"))
        if frame >= frames:
            raise ValueError(f"{file}: {sequence.name} has {frames} frames")
        picture = read_picture_people(file)
        if picture.mm is None:
            raise ValueError(f"{file}: somebody has no joints_mm")
        matching = assign_people(annotated[frame], visible[frame], picture.scaled_px(size), picture.visible)
        found[frame] = matching >= 0
        poses[frame, found[frame]] = LSP_14.from_skeleton(picture.mm[matching[found[frame]]])[0]
    return poses, found


def evaluate_coco(annotations: Path, predictions: Path, out: Path | None = None) -> None:
    """COCO keypoints: average precision by object keypoint similarity.

    Args:
        annotations: person_keypoints_*.json.
        predictions: COCO results JSON.
        out: folder for coco.csv and coco.json.
    """
    figures = oks_average_precision(annotations, predictions)
    print_table("COCO keypoints, OKS (0 to 1)", [figures], list(figures), [], digits=3)
    write_table(out, "coco", [figures], figures)


def compare_2d(
    annotations: Path,
    predictions: Path,
    photographs: list[Path] | None = None,
    teacher: Teacher | MoveNet | None = None,
    weights: str | None = None,
    out: Path | None = None,
) -> None:
    """Teacher against student in 2D: box IoU, 2D-MPJPE and 2D-PCK at 25 px over the joints that both have.

    Args:
        annotations: MuPoTS-3D folder, or COCO person_keypoints_*.json.
        predictions: folder that `mpose3d infer --teacher_people true` wrote.
        photographs: folders to read first, into `predictions`.
        teacher, weights: of `infer`, for the photographs.
        out: folder for 2d.csv and 2d.json.
    """
    if photographs:
        paths = [str(path) for path in photographs]
        extra = {"teacher_people": True, "overlay": False, "page": False}
        infer(paths, out=str(predictions), teacher=teacher, weights=weights, **extra)
    pictures = list(_common_pictures(annotations, predictions))
    if not pictures:
        raise FileNotFoundError(
            f"{predictions}: no picture of {annotations} has both NAME.json and NAME.teacher.json, which "
            "`mpose3d infer --teacher_people true` writes"
        )
    seen = [people.visible.any(dim=0) for _, _, people, _ in pictures]
    # the teacher's layout decides: a joint that it never gives is not shared
    shared = torch.stack(seen).any(dim=0)

    truth, visible = torch.cat([p for p, *_ in pictures]), torch.cat([v for _, v, *_ in pictures]) & shared
    methods = {}
    for name, at in (("teacher", 2), ("student", 3)):
        assigned = [_assign(picture[0], picture[1] & shared, picture[at]) for picture in pictures]
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
    content = {"pictures": len(pictures), "joints": names, **{r["method"]: _without(r, "method") for r in rows}}
    write_table(out, "2d", rows, content)


def evaluate_scenes(
    mocap: Path,
    scenes: int = 200,
    seed: int = 0,
    people: tuple[int, int] = (1, 4),
    through: Through = "keypoints",
    weights: str | None = None,
    layout: str = "mupots",
    body_models: Path | None = None,
    refine: int = REFINE,
    device: str = "cpu",
    out: Path | None = None,
) -> None:
    """Scenes made of motion capture: their 2D people are lifted, and compared with the truth.

    Poses are frames as they are, with the skeleton's bones (stature 1.7 m); joints outside the picture are missing.

    Args:
        mocap: motion capture that `read_motion_capture` takes (docs/data.md): npz, BVH, C3D, AMC, or a folder of them.
        scenes: how many.
        seed: the same seed gives the same scenes.
        people: fewest and most people in a scene.
        through: as in `mpose3d lift`.
        weights: the network; default: those that ship.
        layout: joints of plain arrays in npz files.
        body_models: folder of SMPL model files, for AMASS.
        refine: as in `mpose3d lift`.
        device: where to run the network, "cpu" or "cuda".
        out: folder for scenes.csv and scenes.json.
    """
    if scenes < 1:
        raise ValueError(f"--scenes is how many scenes to make, not {scenes}")
    poses = torch.cat(list(read_motion_capture(mocap, layout, body_models).values()))
    camera = Camera.for_image(_SCENE_SIZE, _SCENE_SIZE)
    sampler = SceneSampler(
        MotionCapturePoses(poses, mirror=False), camera, _SCENE_SIZE, people=tuple(people), **_VIEWPOINTS
    )
    network = read_lifter(through, weights).to(device)
    generator = torch.Generator().manual_seed(seed)
    metrics = {"mpjpe": MPJPE(SKELETON.root), "pmpjpe": PMPJPE(), "root_error": MRPE(SKELETON.root)}
    found, annotated = 0, 0
    for start in range(0, scenes, _SCENES_AT_ONCE):
        sample = sampler.sample(min(_SCENES_AT_ONCE, scenes - start), generator)
        scene, person = (sample.valid & enough_joints(sample.drawn)).nonzero(as_tuple=True)
        truth, drawn = sample.joints[scene, person], sample.drawn[scene, person]
        lifted = lift_people(network, camera.project(truth), drawn, scene, [camera] * len(sample.valid), refine)
        for metric in metrics.values():
            metric.update(lifted.joints.cpu(), truth)
        found, annotated = found + len(truth), annotated + int(sample.valid.sum())
    figures = {name: metric.compute().item() for name, metric in metrics.items()}
    figures |= {"found": found, "annotated": annotated}
    notes = [
        f"{scenes} scenes of {people[0]} to {people[1]} people (seed {seed}) from {len(poses)} frames of {mocap}.",
        "Found: people with enough joints in the picture to be lifted; all 15 joints of theirs are scored.",
    ]
    print_table(f"Scenes of motion capture, lifted through {through} (mm)", [figures], list(figures), notes)
    write_table(out, "scenes", [figures], figures)


_Picture = tuple[Tensor, Tensor, PicturePeople, PicturePeople]


def _common_pictures(annotations: Path, predictions: Path) -> Iterable[_Picture]:
    """(joints (P, 15, 2) px, visible (P, 15), teacher's people, student's people) of every picture read by both.

    All in pixels of the annotated picture, in the joints of `SKELETON`.
    """
    for name, size, points, visible in _annotated_pictures(Path(annotations)):
        student = Path(predictions) / name
        files = [student.with_suffix(".teacher.json"), student]
        if all(file.is_file() for file in files):
            people = (read_picture_people(file) for file in files)
            scaled = (p._replace(px=p.scaled_px(size), size=size) for p in people)
            yield points, visible, *scaled


def _annotated_pictures(annotations: Path) -> Iterable[tuple[str, tuple[int, int], Tensor, Tensor]]:
    """(path of the prediction below its folder, size, joints (P, 15, 2), visible (P, 15)) of every picture."""
    if annotations.is_dir():
        for folder in mupots.find_sequences(annotations):
            sequence = mupots.read_sequence(folder)
            points, visible = MUPOTS_17.to_skeleton(sequence.annot2)
            for frame, valid in enumerate(sequence.valid):
                size = mupots.official_size(folder.name)
                yield f"{folder.name}/img_{frame:06d}.json", size, points[frame, valid], visible[frame, valid]
        return
    content = read_annotations(annotations)
    for image in content["images"]:
        people = [person["keypoints"] for person in content["annotations"] if person["image_id"] == image["id"]]
        keypoints = torch.tensor(people, dtype=torch.float64).reshape(-1, len(COCO_17), 3)
        keypoints = keypoints[(keypoints[..., 2] > 0).any(dim=1)]
        points, visible = COCO_17.to_skeleton(keypoints[..., :2], keypoints[..., 2] > 0)
        yield f"{Path(image['file_name']).stem}.json", (image["width"], image["height"]), points, visible


def _assign(points: Tensor, visible: Tensor, people: PicturePeople) -> tuple[Tensor, Tensor, Tensor]:
    """(px (P, 15, 2), given (P, 15), found (P,)) of the people assigned to the annotated ones."""
    matching = assign_people(points, visible, people.px, people.visible)
    found = matching >= 0
    px, given = torch.zeros_like(points), torch.zeros_like(visible)
    px[found], given[found] = people.px[matching[found]], people.visible[matching[found]]
    return px, given, found


def _choose(wanted: Sequence[str] | None, available: dict[str, Path], root: Path) -> dict[str, Path]:
    if wanted is None:
        return available
    missing = [name for name in wanted if name not in available]
    if missing:
        raise FileNotFoundError(f"{root}: no annotation of {', '.join(missing)}, only of {', '.join(available)}")
    return {name: available[name] for name in wanted}


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}
