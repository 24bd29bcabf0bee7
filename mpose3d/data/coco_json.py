"""COCO's JSON of people: keypoint annotations and results, checked."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mpose3d.files import reading
from mpose3d.skeleton import COCO_17

_IMAGE = {"file_name", "width", "height"}
_PERSON = {"image_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd"}
_DETECTION = {"image_id", "category_id", "keypoints", "score"}


def read_annotations(path: Path | str) -> dict:
    """Content of `person_keypoints_*.json`: images, annotations and categories, with all that is read of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, an annotation of an image that is not listed, NaN.
    """
    path = Path(path)
    with reading(path, "COCO keypoints JSON"):
        content = json.loads(path.read_text())
        images = _ids(content["images"], "images")
        _ids(content["categories"], "categories")
        _ids(content["annotations"], "annotations")
        for image in content["images"]:
            what = f"image {image['id']}"
            _needs(image, _IMAGE, what)
            _check_numbers([image["width"], image["height"]], what)
        for person in content["annotations"]:
            what = f"annotation {person['id']}"
            _needs(person, _PERSON, what)
            if person["image_id"] not in images:
                raise ValueError(f"{what} belongs to image {person['image_id']}, which is not listed")
            if len(person["keypoints"]) != 3 * len(COCO_17) or len(person["bbox"]) != 4:
                raise ValueError(f"{what} has not {len(COCO_17)} keypoints and a box")
            _check_numbers([*person["keypoints"], *person["bbox"], person["num_keypoints"], person["area"]], what)
    return content


def read_results(path: Path | str, annotations: dict) -> list[dict]:
    """People in COCO results: a list of {"image_id", "category_id": 1, "keypoints": 17 x (x, y, v), "score"}.

    Args:
        path: the JSON.
        annotations: content of the file whose images they are of.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, an image that the annotations lack, another number of keypoints, NaN.
    """
    path = Path(path)
    images, categories = (_ids(annotations[what], what) for what in ("images", "categories"))
    with reading(path, "COCO results"):
        people = json.loads(path.read_text())
        if not isinstance(people, list):
            raise ValueError("expected a list of detections")
        for number, person in enumerate(people):
            what = f"detection {number}"
            _needs(person, _DETECTION, what)
            if person["image_id"] not in images:
                raise ValueError(f"{what} is of image {person['image_id']}, which the annotations lack")
            if person["category_id"] not in categories:
                raise ValueError(f"{what} is of category {person['category_id']}, which the annotations lack")
            if not isinstance(person["keypoints"], list) or not isinstance(person["score"], int | float):
                raise ValueError(f"{what} needs a list of keypoints and a number as score")
            if len(person["keypoints"]) != 3 * len(COCO_17):
                raise ValueError(
                    f"{what} has {len(person['keypoints'])} numbers as keypoints, expected {len(COCO_17)} x (x, y, v)"
                )
            _check_numbers([*person["keypoints"], person["score"]], what)
    return people


def _ids(entries: Sequence[dict], what: str) -> set[int]:
    """Raises ValueError for an id that two entries have, as files that were put together may."""
    count = Counter(entry["id"] for entry in entries)
    twice = [number for number, times in count.items() if times > 1]
    if twice:
        raise ValueError(f"{len(twice)} {what} have the id of another, the first {twice[0]}")
    return set(count)


def _needs(entry: dict, fields: set[str], what: str) -> None:
    lacking = fields - entry.keys()
    if lacking:
        raise ValueError(f"{what} has no {', '.join(sorted(lacking))}")


def _check_numbers(values: Iterable, what: str) -> None:
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        raise ValueError(f"{what} holds what is no finite number")
