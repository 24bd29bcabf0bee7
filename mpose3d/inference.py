"""Photographs in, 3D people out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.progress import Progress

from mpose3d import assets
from mpose3d.data.images import Source, is_video, open_source
from mpose3d.data.letterbox import Picture, letterbox
from mpose3d.lifting import read_lifter
from mpose3d.networks.backends import Backend, Precision, known_device
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.movenet import MoveNet
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.pose_estimator import PoseEstimator2D
from mpose3d.networks.teacher import MobilenetThin
from mpose3d.people import check_focal_ratio, check_score, write_people
from mpose3d.places import frames_in, output_places, spare_files, spare_teacher_people
from mpose3d.readers import SEEN_REFINE, KeypointReader, MapReader, PeopleReader
from mpose3d.representations.neural import MAX_PEOPLE

Pathway = Literal["image", "hmpaf", "keypoints"]

#: side in pixels of a teacher's input by maps, unless another is asked for: what OpenPose and its kin were trained at
MAPS_SIZE = 368

#: the default teacher reads an image at these multiples of its input's size (docs/results.md)
SCALES = (1.0, 0.5, 1.5, 0.4)


def infer(
    paths: list[str],
    *,
    out: str,
    weights: str | None = None,
    teacher: PoseEstimator2D | None = None,
    pathway: Pathway = "keypoints",
    teacher_size: int | None = None,
    max_people: int = MAX_PEOPLE,
    threshold: float | None = None,
    turned: bool | None = None,
    scales: list[float] | None = None,
    focal_ratio: float | None = None,
    refine: int | None = None,
    chooser: str | None = None,
    video_step: int = 1,
    overlay: bool = True,
    page: bool = True,
    teacher_people: bool = False,
    device: str = "cpu",
    backend: Backend = "eager",
    precision: Precision = "float32",
) -> int:
    """Photographs and videos, or folders of them -> 3D people: a JSON, a picture and a page for each.

    What cannot be read is listed at the end, and the others are done all the same. Frames of a video are read one by
    one, as photographs, into a folder with its name; nobody is followed from frame to frame.

    Args:
        paths: photographs, videos and folders, which are searched recursively. Of several folders, each keeps its name
            under `out`.
        out: folder to write to.
        weights: `network.safetensors` of a stage; by default the weights that ship with the package.
        teacher: the 2D network; by default MoveNet by "keypoints" and mobilenet_thin by the others, fetched on first
            use.
        pathway: "keypoints", "hmpaf" or "image", see docs/flow.md.
        teacher_size: side of the teacher's input in pixels: more finds smaller people; by default 512 for MoveNet and
            544 for others by "keypoints", 368 by "hmpaf", and the network's by "image".
        max_people: most people in a photograph.
        threshold: least score of a person. By "keypoints" it is that of the 2D people, by default the teacher's own,
            0.15 for MoveNet; by the others the probability of a root, by default 0.3.
        turned: by "keypoints", look at the photograph from all four sides, at four times the cost: finds people who lie
            or stand on their hands. By default not for MoveNet, which finds them anyhow.
        scales: the default teacher reads the photograph at these multiples of `teacher_size` and averages the joints
            (`MoveNet`), by default 1, 0.5, 1.5 and 0.4; `--scales "[1]"` is a quarter of the work. Another teacher has
            its own `--teacher.scales`, or none.
        focal_ratio: by "keypoints", focal length over the longer side of the picture, where it is known; by default
            what the photograph's EXIF says (35 mm equivalent), or else 0.8. People are as far away as it is long.
        refine: by "keypoints", steps by which each person is fitted to the joints seen after the network has read them,
            by default 1.
        chooser: by "keypoints", `network.safetensors` of the stage `chooser` that was trained with the teacher: chooses
            each person's joints again among the peaks of its maps.
        video_step: read one frame in so many of a video.
        overlay: draw the people over the photograph beside a 3D view (NAME.png).
        page: write a page in which the 3D people can be turned (NAME.html); of photographs, not of frames.
        teacher_people: write the teacher's own 2D people too (NAME.teacher.json), for `evaluate 2d`.
        device: where to run, "cpu" or "cuda".
        backend: how to run, "eager", "compile", "cudagraph" or "onnxruntime", see docs/performance.md.
        precision: of the convolutions, "float32", "bfloat16" or "float16".

    Returns:
        Exit status: 0, or 1 if something could not be read.
    """
    if scales is not None and (teacher is not None or pathway != "keypoints"):
        raise ValueError("--scales is for the default teacher of the pathway keypoints: leave it out, or --teacher")
    if pathway != "keypoints" and (turned or any(given is not None for given in (focal_ratio, refine, chooser))):
        raise ValueError(
            f"turned, focal_ratio, refine and chooser are of the pathway 'keypoints', {pathway!r} has no use for them"
        )
    if focal_ratio is not None:
        check_focal_ratio(focal_ratio)
    if Path(out).is_file():
        raise ValueError(f"--out {out} is a file, people are written to a folder")
    if threshold is not None:
        check_score(threshold)
    if video_step < 1:
        raise ValueError(f"--video_step is at least 1, not {video_step}")
    places = output_places([Path(path) for path in paths], Path(out))
    if teacher_people:
        spare_teacher_people(places)
    written = {".json": True, ".png": overlay, ".html": page, ".teacher.json": teacher_people}
    spare_files(places, Path(out), [suffix for suffix, wanted in written.items() if wanted])
    Path(out).mkdir(parents=True, exist_ok=True)
    network = read_network(pathway, weights)
    teacher = teacher or default_teacher(pathway, max_people, SCALES if scales is None else scales)
    teacher_size = default_size(pathway, teacher) if teacher_size is None else teacher_size
    where = known_device(device)
    teacher, network = teacher.to(where), network.to(where)
    how = {"max_people": max_people, "threshold": threshold, "backend": backend, "precision": precision}
    reader: PeopleReader
    if pathway == "keypoints":
        reader = KeypointReader(
            teacher,
            network,
            teacher_size,
            turned=teacher.upright_only if turned is None else turned,
            refine=SEEN_REFINE if refine is None else refine,
            chooser=None if chooser is None else PeakChooser.from_file(chooser).to(where),
            **how,
        )
    else:
        reader = MapReader(teacher, network, pathway, teacher_size, **how)

    def read(source: Source, number: int, picture: Picture, place: Path) -> None:
        """Picture `number` of a source -> its people, written to `place`."""
        image, box = letterbox(picture, reader.side)
        people = reader.read(image, box, focal_ratio or picture.focal_ratio)
        extra = {".teacher.json": json.dumps(reader.read_teacher(image, box))} if teacher_people else {}
        video = is_video(source.path)
        at = place / f"{number * video_step:06d}" if video else place
        shown = picture if overlay else None, picture if page and not video else None
        write_people(people, source.path.name, at, *shown, extra)

    failed, remarks = [], []
    with Progress() as progress:
        task = progress.add_task("pictures", total=len(places))
        for path, place in places:
            try:
                source = open_source(path, video_step)
                progress.update(task, total=progress.tasks[task].total + source.frames - 1)
                for number, picture in enumerate(source.pictures()):
                    read(source, number, picture, Path(out) / place)
                    progress.advance(task)
                remarks += _remarks(source, number + 1, Path(out) / place)
            except (ValueError, OSError) as error:
                failed.append(str(error) if path.name in str(error) else f"{path}: {error}")
                progress.advance(task)
    what = "photographs and videos" if any(is_video(path) for path, _ in places) else "photographs"
    print(f"{len(places) - len(failed)} of {len(places)} {what} read, people written to {out}")
    for reason in failed:
        print(f"not read: {reason}", file=sys.stderr)
    for remark in remarks:
        print(remark, file=sys.stderr)
    return 1 if failed else 0


def _remarks(source: Source, read: int, place: Path) -> list[str]:
    """What a user should know of a source of which so many frames were read and written to `place`."""
    remarks = []
    if read < source.frames:
        remarks.append(f"{source.path}: only {read} of the {source.frames} frames that its header tells of")
    others = len(frames_in(place)) - read if is_video(source.path) else 0
    if others:
        remarks.append(f"{place}: {others} frames of another run are there, too")
    return remarks


def read_network(pathway: Pathway, weights: str | None = None) -> CrossModalNetwork | KeypointLifter:
    """What reads people by `pathway`; `weights` are its file, by default those that ship."""
    if pathway == "image":
        return CrossModalNetwork.from_file(weights or assets.weights_file("image"))
    return read_lifter("keypoints" if pathway == "keypoints" else "maps", weights)


def default_teacher(
    pathway: Pathway, max_people: int = MAX_PEOPLE, scales: Sequence[float] = SCALES
) -> PoseEstimator2D:
    """The 2D network where none is named: its weights are fetched on first use (`assets.teacher_file`)."""
    if pathway == "image":
        raise ValueError(
            "--pathway image reads the very teacher that its network was trained with: name it, for the weights that "
            "ship --teacher LightweightOpenPose --teacher.weights FILE --teacher_size 224"
        )
    if pathway == "keypoints":
        # its places go by centres: with few of them, who is best by the joints might not be among them
        return MoveNet(str(assets.teacher_file("movenet")), max(MAX_PEOPLE, max_people), scales)
    return MobilenetThin(str(assets.teacher_file("mobilenet_thin")))


def default_size(pathway: Pathway, teacher: PoseEstimator2D) -> int | None:
    """Side in pixels of the teacher's input; None is that of H."""
    return {"keypoints": teacher.side, "hmpaf": MAPS_SIZE, "image": None}[pathway]
