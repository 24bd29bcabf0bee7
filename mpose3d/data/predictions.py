"""Predicted people in files: the JSON that `mpose3d infer` writes, and npz files for benchmarks."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data.arrays_pickle import read_arrays_pickle
from mpose3d.data.letterbox import same_proportions
from mpose3d.data.mupots import official_size
from mpose3d.files import open_npz, reading
from mpose3d.skeleton import LSP_14, MUPOTS_17, SKELETON, SMPL_24

# A neck this close (mm, median) to the midpoint of the shoulders is ours; that of MuPoTS-3D lies 59 mm above it.
_OUR_NECK = 10.0

_NPZ_KEY = re.compile(r"(TS\d+)_img_(\d+)/(px|mm)")


class PicturePeople(NamedTuple):
    """People of one picture, joints of `SKELETON`; `px` in pixels of the annotated picture.

    Absent joints have `visible` False and any `px`. `mm` is in camera space; None where the file has none.
    """

    px: Float[Tensor, "p 15 2"]
    visible: Bool[Tensor, "p 15"]
    mm: Float[Tensor, "p 15 3"] | None


class SequencePeople(NamedTuple):
    """People of a sequence of F frames, padded to Q; joints of `MUPOTS_17` or its first 15, official pixels."""

    px: Float[Tensor, "f q J 2"]
    mm: Float[Tensor, "f q J 3"]
    present: Bool[Tensor, "f q"]
    predicted: Bool[Tensor, " f"]


def read_picture_people(path: Path | str, annotated_size: tuple[int, int]) -> PicturePeople:
    """One JSON file of `mpose3d infer` (docs/evaluation.md); a joint that is null in `joints_px` is absent.

    Args:
        path: the file.
        annotated_size: (width, height) of the annotated picture. `infer` may have read a copy of another size.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another format, another number of joints, NaN, a picture of other proportions.
    """
    path = Path(path)
    with reading(path, "the JSON of `mpose3d infer`"):
        content = json.loads(path.read_text())
        size, people = content["size"], content["people"]
        names = content.get("skeleton", {}).get("names", list(SKELETON.names))
        width, height = (int(side) for side in size)
        with_mm = all("joints_mm" in person for person in people)
        joints_px = [[joint or (0.0, 0.0) for joint in person["joints_px"]] for person in people]
        visible = [[joint is not None for joint in person["joints_px"]] for person in people]
        px = np.array(joints_px, dtype=np.float64)
        mm = np.array([person["joints_mm"] for person in people] if with_mm else [], dtype=np.float64)
    joints = len(SKELETON)
    if list(names) != list(SKELETON.names):
        raise ValueError(f"{path}: joints {names}, expected {list(SKELETON.names)}")
    # an empty list has no joints to count
    if people and px.shape[1:] != (joints, 2):
        raise ValueError(f"{path}: joints_px of shape {px.shape[1:]}, expected ({joints}, 2)")
    if people and with_mm and mm.shape[1:] != (joints, 3):
        raise ValueError(f"{path}: joints_mm of shape {mm.shape[1:]}, expected ({joints}, 3)")
    if min(width, height) <= 0:
        raise ValueError(f"{path}: size is {size}, expected [width, height] in pixels")
    if not same_proportions((width, height), annotated_size):
        annotated = " x ".join(map(str, annotated_size))
        raise ValueError(f"{path}: a picture of {width} x {height} is no copy of the annotated one, {annotated}")
    if not (np.isfinite(px).all() and np.isfinite(mm).all()):
        raise ValueError(f"{path}: holds NaN or infinite joints")
    px = (px.reshape(-1, joints, 2) + 0.5) * (np.array(annotated_size) / (width, height)) - 0.5
    return PicturePeople(
        torch.from_numpy(px),
        torch.tensor(visible, dtype=torch.bool).reshape(-1, joints),
        torch.from_numpy(mm.reshape(-1, joints, 3)) if with_mm else None,
    )


def read_frames(folder: Path, like: str, annotated_size: tuple[int, int]) -> Iterator[tuple[int, Path, PicturePeople]]:
    """(frame, file, people) of each JSON file that `mpose3d infer` wrote for the pictures of a sequence, by name.

    Files of the teacher's own people (NAME.teacher.json) are skipped.

    Args:
        folder: holds the files.
        like: the name of frame 0, without suffix: "img_000000".
        annotated_size: (width, height) of the annotated pictures.

    Raises:
        ValueError: a file name without a number, a person without `joints_mm`, or an error of `read_picture_people`.
    """
    prefix = like.rstrip("0")
    for path in sorted(folder.glob(f"{prefix}*.json")):
        if path.name.endswith(".teacher.json"):
            continue
        number = path.stem.removeprefix(prefix)
        if not number.isdecimal():
            raise ValueError(f"{path}: expected a name like {like}.json")
        people = read_picture_people(path, annotated_size)
        if people.mm is None:
            raise ValueError(f"{path}: somebody has no joints_mm")
        yield int(number), path, people


def read_mupots_people(path: Path | str, frames: Mapping[str, int]) -> dict[str, SequencePeople]:
    """Predictions for the sequences in `frames`, which says how many frames each has.

    `path` is an npz keyed `TSn_img_NNNNNN/px` (P, 17|15, 2) in pixels of the official picture and
    `TSn_img_NNNNNN/mm` (P, 17|15, 3), or a folder of `TSn/img_NNNNNN.json` as `mpose3d infer` writes it, whose pixels
    are scaled to the official picture. A frame without a key or file was not predicted; one without people was, and
    nobody was found.

    The neck of `SKELETON` is brought to that of MuPoTS-3D. Files of `infer` have the former; an npz of 15 joints has
    it where its necks are the midpoints of the shoulders.

    Raises:
        FileNotFoundError: no such file, or nothing in it for one of the sequences.
        ValueError: other keys, shapes or joints, NaN, or frames beyond the end of a sequence.
    """
    path = Path(path)
    if path.is_dir():
        people = {name: _read_mupots_folder(path / name, name) for name in frames}
    elif path.is_file():
        people = _read_mupots_npz(path)
    else:
        raise FileNotFoundError(f"{path}: no such file or folder of predictions")

    missing = [name for name in frames if not people.get(name)]
    if missing:
        raise FileNotFoundError(f"{path}: nothing predicted for {', '.join(missing)}, whose annotations are given")
    for name, count in frames.items():
        beyond = [frame for frame in people[name] if frame >= count]
        if beyond:
            raise ValueError(f"{path}: {name} has {count} frames, yet frame {beyond[0]} is predicted")
    return {name: _pad(people[name], count) for name, count in frames.items()}


_Frames = dict[int, tuple[Tensor, Tensor]]


def _read_mupots_folder(folder: Path, name: str) -> _Frames:
    return {
        frame: (_with_mupots_neck(people.px, people.visible), _with_mupots_neck(people.mm))
        for frame, _, people in read_frames(folder, "img_000000", official_size(name))
    }


def _read_mupots_npz(path: Path) -> dict[str, _Frames]:
    arrays: dict[tuple[str, int], dict[str, Tensor]] = defaultdict(dict)
    with open_npz(path, "an npz of predictions") as content:
        for key in content.files:
            match = _NPZ_KEY.fullmatch(key)
            if match is None:
                raise ValueError(f"key {key!r}, expected keys like TS1_img_000000/px and TS1_img_000000/mm")
            arrays[match[1], int(match[2])][match[3]] = torch.from_numpy(content[key].astype(np.float64))

    joints = {array.shape[1] for pair in arrays.values() for array in pair.values() if array.ndim == 3}
    if len(joints) > 1 or not joints <= {len(MUPOTS_17), len(SKELETON)}:
        raise ValueError(f"{path}: people of {sorted(joints)} joints, expected {len(MUPOTS_17)} or {len(SKELETON)}")
    count = joints.pop() if joints else len(MUPOTS_17)
    people: dict[str, _Frames] = defaultdict(dict)
    for (name, frame), pair in arrays.items():
        label = f"{path}: {name}_img_{frame:06d}"
        if pair.keys() != {"px", "mm"}:
            raise ValueError(f"{label} has only {', '.join(pair)}, expected px and mm")
        for kind, size in (("px", 2), ("mm", 3)):
            if pair[kind].numel() == 0:
                pair[kind] = pair[kind].new_zeros(0, count, size)
            if pair[kind].ndim != 3 or pair[kind].shape[1:] != (count, size):
                raise ValueError(f"{label}/{kind} has shape {tuple(pair[kind].shape)}, expected (P, {count}, {size})")
            if not pair[kind].isfinite().all():
                raise ValueError(f"{label}/{kind} holds NaN or infinity")
        if len(pair["px"]) != len(pair["mm"]):
            raise ValueError(f"{label} has {len(pair['px'])} people in px and {len(pair['mm'])} in mm")
        people[name][frame] = (pair["px"], pair["mm"])
    if count == len(SKELETON) and _has_our_neck([mm for frames in people.values() for _, mm in frames.values()]):
        for frames in people.values():
            for frame, pair in frames.items():
                frames[frame] = tuple(map(_with_mupots_neck, pair))
    return people


def _has_our_neck(people: list[Tensor]) -> bool:
    mm = torch.cat(people)
    middle = mm[:, SKELETON.indices("r_shoulder", "l_shoulder")].mean(dim=1)
    return len(mm) > 0 and (mm[:, SKELETON.index("neck")] - middle).norm(dim=-1).median() < _OUR_NECK


def _with_mupots_neck(
    points: Float[Tensor, "p 15 D"], visible: Bool[Tensor, "p 15"] | None = None
) -> Float[Tensor, "p 15 D"]:
    """`MUPOTS_17` starts with the 15 joints of `SKELETON`; only the neck is defined otherwise. Absent joints are 0."""
    return MUPOTS_17.from_skeleton(points, visible)[0][:, : len(SKELETON)]


def read_threedpw_people(
    path: Path | str, sequence: str, split: str, people: int, frames: int
) -> Float[Tensor, "f p J 3"]:
    """Poses of the annotated people of a 3DPW sequence, mm in camera space, of 24 (`SMPL_24`) or 14 (`LSP_14`) joints.

    `path` is a folder of the official submission, `<split>/<sequence>.pkl` with `jointPositions` (P, F, 24, 3) in
    metres, or an npz keyed `<sequence>/mm` (P, F, 24|14, 3). Both say who is who by the order of the people.

    Raises:
        FileNotFoundError: no such file, or nothing in it for the sequence.
        ValueError: another format, other people, frames or joints, NaN; or a pickle of anything but arrays.
    """
    path = Path(path)
    if path.is_dir():
        label = path / split / f"{sequence}.pkl"
        content = read_arrays_pickle(label)
        if not isinstance(content, dict) or "jointPositions" not in content:
            raise ValueError(f"{label}: no jointPositions, expected those of an official submission")
        array, unit = content["jointPositions"], 1000.0
    elif path.is_file():
        label, unit = f"{path}: {sequence}/mm", 1.0
        with open_npz(path, "an npz of predictions") as content:
            if f"{sequence}/mm" not in content:
                raise FileNotFoundError(f"{path}: no {sequence}/mm, yet its annotation is given")
            array = content[f"{sequence}/mm"]
    else:
        raise FileNotFoundError(f"{path}: no such file or folder of predictions")
    try:
        poses = unit * np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{label}: not an array of poses ({error})") from error
    if poses.shape not in {(people, frames, len(layout), 3) for layout in (SMPL_24, LSP_14)}:
        raise ValueError(f"{label}: shape {poses.shape}, expected ({people}, {frames}, 24|14, 3)")
    if not np.isfinite(poses).all():
        raise ValueError(f"{label}: holds NaN or infinity")
    return torch.from_numpy(poses).transpose(0, 1)


def _pad(frames: _Frames, count: int) -> SequencePeople:
    joints = next(iter(frames.values()))[0].shape[1]
    most = max(len(px) for px, _ in frames.values())
    px, mm = torch.zeros(count, most, joints, 2).double(), torch.zeros(count, most, joints, 3).double()
    present = torch.zeros(count, most, dtype=torch.bool)
    predicted = torch.zeros(count, dtype=torch.bool)
    for frame, (frame_px, frame_mm) in frames.items():
        px[frame, : len(frame_px)], mm[frame, : len(frame_mm)] = frame_px, frame_mm
        present[frame, : len(frame_px)] = True
        predicted[frame] = True
    return SequencePeople(px, mm, present, predicted)
