"""2D people of any detector in files: COCO results, OpenPose JSON and npz (docs/lift.md)."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data.letterbox import IMAGE_SUFFIXES
from mpose3d.data.mupots import size_by_name
from mpose3d.files import open_npz, reading
from mpose3d.skeleton import COCO_17, MIDPOINTS, MUPOTS_17, SKELETON, Layout, find_layout

# What so many joints are where nothing else is said; 17 are COCO's in a COCO file, and ambiguous in an npz.
_BY_COUNT = {15: "mpose3d", 18: "openpose18", 25: "openpose25"}
_COCO_BY_COUNT = _BY_COUNT | {17: "coco17"}
_OPENPOSE_BY_COUNT = _BY_COUNT | {15: "mpi15"}

_OPENPOSE_SUFFIX = "_keypoints"

# px; nothing that lies further away was seen in a picture
_FARTHEST = 1e6


class PictureKeypoints(NamedTuple):
    """2D people of one picture in the order of their file, joints of `SKELETON`.

    Args:
        name: of the picture, without suffix.
        size: (width, height) of the picture; None as long as nobody said.
        px: (P, 15, 2) pixels of the picture; 0 where a joint is missing.
        visible: (P, 15) whether the file has the joint.
        score: (P,) the file's own score of each person, else the mean confidence of the joints seen.
    """

    name: str
    size: tuple[int, int] | None
    px: Float[Tensor, "p 15 2"]
    visible: Bool[Tensor, "p 15"]
    score: Float[Tensor, " p"]


def read_keypoints(path: Path | str, layout: str | None = None, threshold: float = 0.0) -> list[PictureKeypoints]:
    """2D people of the pictures in `path`, which is one of

    - COCO results: a list of {"image_id", "category_id", "keypoints": [x, y, confidence] x 17, "score"};
    - OpenPose JSON: {"people": [{"pose_keypoints_2d": [x, y, confidence] x 25 | 18 | 15}]}, or a folder of
      NAME_keypoints.json;
    - npz with NAME/px (P, J, 2|3), the third number being the confidence; other keys are left alone.

    A joint is missing where its confidence is 0 or below `threshold`, where a number of it is not finite, and at
    exactly (0, 0), which is how all of these formats write an absent joint, or (-1, -1), as some detectors do.

    Args:
        path: file or folder.
        layout: joints, a key of `LAYOUTS`; None goes by the format and the number of joints.
        threshold: least confidence.

    Raises:
        FileNotFoundError: no such file, or a folder without any.
        ValueError: another format, another number of joints, or one that several layouts have.
    """
    path = Path(path)
    of = None if layout is None else find_layout(layout)
    if path.is_dir():
        return _read_openpose_folder(path, of, threshold)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder of keypoints")
    if path.suffix.lower() == ".npz":
        return _read_npz(path, of, threshold)
    content = _read_json(path)
    if isinstance(content, list):
        return _read_coco(content, path, of, threshold)
    return [_read_openpose(content, path, of, threshold)]


def with_sizes(
    pictures: Sequence[PictureKeypoints], size: tuple[int, int] | None = None, images: Path | str | None = None
) -> list[PictureKeypoints]:
    """The pictures with their sizes, and checked against them.

    Args:
        pictures: as `read_keypoints` gives them.
        size: (width, height) of all of them.
        images: JSON that has COCO's "images" ({"id", "file_name", "width", "height"}), which are found by id or by file
            name, and take the file name (without suffix, and without folder where that leaves no two alike) as their
            own.

    Without either, pictures named TSn_img_NNNNNN have the official size of their MuPoTS-3D sequence.

    Raises:
        FileNotFoundError: no file `images`.
        ValueError: sizes unknown, given twice, not positive, or at odds with the joints.
    """
    if size is not None and images is not None:
        raise ValueError("the size of the pictures is given twice: leave out --size or --images")
    if size is not None:
        if len(size) != 2 or min(size) <= 0:
            raise ValueError(f"--size is width and height in pixels, not {' '.join(map(str, size))}")
        sized = [picture._replace(size=tuple(size)) for picture in pictures]
    elif images is not None:
        by_id, by_name = _read_images(Path(images))
        known = by_name | by_id
        names = [picture.name for picture in pictures]
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"{images}: no image {missing[0]!r}, and so for {len(missing)} of {len(pictures)} pictures"
            )
        tables = [table for table in (by_id, by_name) if all(name in table for name in names)] or [known]
        table = tables[0]
        if any(other[name] != table[name] for other in tables for name in names):
            raise ValueError(f"{images}: pictures named as ids and as file names of other images: rename the files")
        found = [(picture, *table[picture.name]) for picture in pictures]
        sized = [picture._replace(name=name, size=size) for picture, name, size in found]
        _check_names(sized, images)
    else:
        sized = [picture._replace(size=size_by_name(picture.name)) for picture in pictures]
        unknown = next((picture.name for picture in sized if picture.size is None), None)
        if unknown is not None:
            raise ValueError(
                f"the size of picture {unknown!r} is not known: give --size WIDTH HEIGHT for all, or --images FILE, "
                "a COCO JSON of the images"
            )
    _check_pixels(sized)
    return sized


def _check_names(pictures: Iterable[PictureKeypoints], path: Path | str) -> None:
    for name, count in Counter(picture.name for picture in pictures).items():
        if count > 1:
            raise ValueError(f"{path}: {count} images are named {name}, without folder and suffix")


def _check_pixels(pictures: Iterable[PictureKeypoints]) -> None:
    """Coordinates in another unit, or of pictures of another size, would give people of any shape anywhere."""
    seen = [(picture, picture.px[picture.visible]) for picture in pictures if picture.visible.any()]
    if not seen:
        return
    farthest, name = max((float(px.abs().max()), picture.name) for picture, px in seen)
    if farthest > _FARTHEST:
        raise ValueError(f"picture {name}: a joint at {farthest:.3g} px, which is no pixel")
    if farthest <= 2:
        raise ValueError("all joints lie within 2 pixels of the corner: coordinates must be pixels, not fractions")
    outside = sum(int(((px < -0.5) | (px > px.new_tensor(p.size) - 0.5)).any(dim=-1).sum()) for p, px in seen)
    total = sum(len(px) for _, px in seen)
    if 2 * outside > total:
        width, height = seen[0][0].size
        raise ValueError(
            f"{outside} of {total} joints lie outside their pictures: is the size right ({seen[0][0].name}: "
            f"{width} x {height})?"
        )


_Images = dict[str, tuple[str, tuple[int, int]]]


def _read_images(path: Path) -> tuple[_Images, _Images]:
    """By COCO's id, and by the file name without suffix, with its folder and without: (name, (width, height)).

    The name is that without folder, unless several images have the same.
    """
    with reading(path, "a COCO JSON of images"):
        entries = [
            (str(image["id"]), _without_suffix(image["file_name"]), (int(image["width"]), int(image["height"])))
            for image in json.loads(path.read_text())["images"]
        ]
    bare = Counter(Path(given).name for _, given, _ in entries)
    by_id, by_name = {}, {}
    for number, given, size in entries:
        if given in by_name:
            raise ValueError(f"{path}: two images of one file name, {given}")
        if min(size) <= 0:
            raise ValueError(f"{path}: an image of no size, {given}")
        if number in by_id:
            raise ValueError(f"{path}: two images of one id, {number}")
        name = given if bare[Path(given).name] > 1 else Path(given).name
        by_id[number] = by_name[given] = by_name[name] = (name, size)
    return by_id, by_name


def _read_coco(content: list, path: Path, layout: Layout | None, threshold: float) -> list[PictureKeypoints]:
    people: dict[str, list[dict]] = defaultdict(list)
    with reading(path, "a list of COCO results"):
        for person in content:
            people[str(person["image_id"])].append(person)
        arrays = {name: _people([person["keypoints"] for person in group]) for name, group in people.items()}
        scores = {name: [float(person.get("score", math.nan)) for person in group] for name, group in people.items()}
    pictures = [
        _picture(_without_suffix(name), array, f"{path}: image {name}", layout, _COCO_BY_COUNT, threshold, scores[name])
        for name, array in arrays.items()
    ]
    _check_names(pictures, path)
    return pictures


def _without_suffix(name: str) -> str:
    """Detectors that know no ids write the name of the image's file."""
    return str(Path(name).with_suffix("")) if Path(name).suffix.lower() in IMAGE_SUFFIXES else name


def _read_openpose_folder(folder: Path, layout: Layout | None, threshold: float) -> list[PictureKeypoints]:
    files = sorted(folder.glob(f"*{_OPENPOSE_SUFFIX}.json"))
    if not files:
        raise FileNotFoundError(f"{folder}: no NAME{_OPENPOSE_SUFFIX}.json of OpenPose in this folder")
    return [_read_openpose(_read_json(file), file, layout, threshold) for file in files]


def _read_openpose(content: Any, path: Path, layout: Layout | None, threshold: float) -> PictureKeypoints:
    with reading(path, "OpenPose JSON, nor a list of COCO results"):
        array = _people([person["pose_keypoints_2d"] for person in content["people"]])
    name = path.stem.removesuffix(_OPENPOSE_SUFFIX)
    return _picture(name, array, str(path), layout, _OPENPOSE_BY_COUNT, threshold)


def _read_npz(path: Path, layout: Layout | None, threshold: float) -> list[PictureKeypoints]:
    with open_npz(path, "an npz of keypoints") as content:
        keys = [key for key in content.files if re.fullmatch(r".+/px", key)]
        arrays = {key.removesuffix("/px"): content[key].astype(np.float64) for key in keys}
    if not arrays:
        raise ValueError(f"{path}: no key like TS1_img_000000/px in this npz")
    return [_picture(name, array, f"{path}: {name}/px", layout, _BY_COUNT, threshold) for name, array in arrays.items()]


def _read_json(path: Path) -> Any:
    with reading(path, "a JSON file, nor an .npz"):
        return json.loads(path.read_text())


def _people(flat: list[list[float]]) -> np.ndarray:
    """Flat lists of x, y, confidence, one per person -> (P, J, 3); NaN for a person whose list is empty."""
    length = max(map(len, flat), default=0)
    if any(len(person) not in (0, length) for person in flat) or length % 3:
        raise ValueError(f"keypoints of {sorted({len(person) for person in flat})} numbers, expected 3 for each joint")
    people = np.full((len(flat), length // 3, 3), np.nan)
    for person, numbers in zip(people, flat, strict=True):
        if numbers:
            person[:] = np.asarray(numbers, dtype=np.float64).reshape(-1, 3)
    return people


def _picture(
    name: str,
    array: np.ndarray,
    label: str,
    layout: Layout | None,
    by_count: Mapping[int, str],
    threshold: float,
    scores: Sequence[float] | None = None,
) -> PictureKeypoints:
    """People (P, J, 2|3) of one picture, in the joints of the file -> in those of `SKELETON`."""
    if array.size == 0:
        px, visible = torch.zeros(len(array), len(SKELETON), 2).double(), torch.zeros(len(array), len(SKELETON)).bool()
        return PictureKeypoints(name, None, px, visible, torch.zeros(len(array)).double())
    if array.ndim != 3 or array.shape[2] not in (2, 3):
        raise ValueError(f"{label} has shape {array.shape}, expected (people, joints, 2 or 3)")
    array, of = _in_layout(array, label, layout, by_count)

    numbers = torch.from_numpy(array)
    points = numbers[..., :2]
    confidence = numbers[..., 2] if array.shape[2] == 3 else torch.ones_like(points[..., 0])
    there = numbers.isfinite().all(-1) & (points != 0).any(-1) & (points != -1).any(-1)
    seen = there & (confidence > 0) & (confidence >= threshold)
    px, visible = of.to_skeleton(points, seen, estimate=True)
    for middle, sides in MIDPOINTS.items():
        known = ~visible[:, middle] & visible[:, sides].all(-1)
        px[known, middle] = px[known][:, sides].mean(1)
        visible[:, middle] |= known

    score = torch.where(seen, confidence, 0).sum(-1) / seen.sum(-1).clamp_min(1)
    if scores is not None:
        given = torch.tensor(scores, dtype=score.dtype)
        score = torch.where(given.isfinite(), given, score)
    return PictureKeypoints(name, None, px, visible, score)


def _in_layout(
    array: np.ndarray, label: str, layout: Layout | None, by_count: Mapping[int, str]
) -> tuple[np.ndarray, Layout]:
    """The array, completed where it has only the first 15 joints of MuPoTS-3D, and its layout."""
    joints = array.shape[1]
    if layout is None and joints == len(COCO_17) and joints not in by_count:
        raise ValueError(f"{label}: 17 joints are {COCO_17.name} or {MUPOTS_17.name}: say which with --layout")
    if layout is None and joints not in by_count:
        known = ", ".join(f"{count} ({name})" for count, name in sorted(by_count.items()))
        raise ValueError(f"{label}: people of {joints} joints, expected {known}, or another --layout")
    of = find_layout(by_count[joints]) if layout is None else layout
    if of is MUPOTS_17 and joints == len(SKELETON):
        missing = np.full((len(array), len(of) - joints, array.shape[2]), np.nan)
        return np.concatenate([array, missing], axis=1), of
    if joints != len(of):
        raise ValueError(f"{label}: people of {joints} joints, and the layout {of.name} has {len(of)}")
    return array, of
