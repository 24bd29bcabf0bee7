"""Average precision by object keypoint similarity (OKS) on COCO, through pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path

from mpose3d.files import reading
from mpose3d.skeleton import COCO_17

_NAMES = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")


def oks_average_precision(annotations: Path | str, results: Path | str) -> dict[str, float]:
    """The ten figures of COCO's keypoint evaluation, 0 to 1, over all images of the annotation file.

    Nobody detected scores 0. A figure without annotated people of its size class is NaN.

    Args:
        annotations: `person_keypoints_*.json`.
        results: COCO results: a list of {"image_id", "category_id": 1, "keypoints": 17 x (x, y, v), "score"}.

    Raises:
        FileNotFoundError: a file is absent.
        ImportError: pycocotools is missing.
        ValueError: not such a file, an image that the annotation lacks, another number of keypoints, NaN.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError("OKS average precision needs pycocotools: pip install 'mpose3d[eval]'") from error

    annotations, results = Path(annotations), Path(results)
    truth, detected = COCO(), COCO()
    truth.dataset = read_annotations(annotations)
    for person in truth.dataset["annotations"]:
        needs(person, {"area", "bbox", "iscrowd", "num_keypoints"}, f"{annotations}: annotation {person['id']}")
    images = {image["id"] for image in truth.dataset["images"]}
    categories = {category["id"] for category in truth.dataset["categories"]}
    people = _read_results(results, images, categories, annotations)
    for number, person in enumerate(people, start=1):
        x, y = person["keypoints"][0::3], person["keypoints"][1::3]
        width, height = max(x) - min(x), max(y) - min(y)
        # as COCO.loadRes adds them; loadRes itself refuses an empty list
        person.update(id=number, bbox=[min(x), min(y), width, height], area=width * height, iscrowd=0)
    detected.dataset = {**truth.dataset, "annotations": people}

    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        detected.createIndex()
        evaluation = COCOeval(truth, detected, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # pycocotools says -1 for "nothing to score"
    return {n: math.nan if v < 0 else float(v) for n, v in zip(_NAMES, evaluation.stats, strict=True)}


def read_annotations(path: Path) -> dict:
    """Checked content of `person_keypoints_*.json`; raises as `oks_average_precision`."""
    with reading(path, "COCO annotations"):
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
            raise ValueError("expected images, annotations and categories")
        images = {image["id"] for image in content["images"]}
        for person in content["annotations"]:
            number = person["id"]
            if person["image_id"] not in images:
                raise ValueError(f"annotation {number} is of image {person['image_id']}, which is not listed")
            if len(person.get("keypoints", ())) != 3 * len(COCO_17):
                raise ValueError(f"annotation {number} has not {len(COCO_17)} keypoints")
    return content


def needs(entry: dict, fields: set[str], what: str) -> None:
    """Raises ValueError where an entry of a file, `what`, lacks some of the `fields`."""
    lacking = fields - entry.keys()
    if lacking:
        raise ValueError(f"{what} has no {', '.join(sorted(lacking))}")


def _read_results(path: Path, images: set[int], categories: set[int], annotations: Path) -> list[dict]:
    with reading(path, "COCO results"):
        people = json.loads(path.read_text())
    if not isinstance(people, list):
        raise ValueError(f"{path}: not COCO results: expected a list of detections")
    wanted = {"image_id", "category_id", "keypoints", "score"}
    for number, person in enumerate(people):
        if not isinstance(person, dict) or not wanted <= person.keys():
            raise ValueError(f"{path}: detection {number} needs {', '.join(sorted(wanted))}")
        if person["image_id"] not in images:
            raise ValueError(f"{path}: detection {number} is of image {person['image_id']}, which {annotations} lacks")
        if person["category_id"] not in categories:
            raise ValueError(
                f"{path}: detection {number} is of category {person['category_id']}, unknown to {annotations}"
            )
        if not isinstance(person["keypoints"], list) or not isinstance(person["score"], int | float):
            raise ValueError(f"{path}: detection {number} needs a list of keypoints and a number as score")
        if len(person["keypoints"]) != 3 * len(COCO_17):
            raise ValueError(
                f"{path}: detection {number} has {len(person['keypoints'])} numbers as keypoints, "
                f"expected {len(COCO_17)} x (x, y, v)"
            )
        numbers = [*person["keypoints"], person["score"]]
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            raise ValueError(f"{path}: detection {number} holds what is no finite number")
    return people
