"""Average precision by object keypoint similarity (OKS) on COCO, through pycocotools."""

from __future__ import annotations

import contextlib
import io
import math

_NAMES = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")


def oks_average_precision(annotations: dict, results: list[dict]) -> dict[str, float]:
    """The ten figures of COCO's keypoint evaluation, 0 to 1, over all annotated images.

    Nobody detected scores 0. A figure without annotated people of its size class is NaN.

    Args:
        annotations: content of `person_keypoints_*.json`.
        results: people detected: {"image_id", "category_id": 1, "keypoints": 17 x (x, y, v), "score"} each.

    Raises:
        ImportError: pycocotools is missing.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError("OKS average precision needs pycocotools: pip install 'mpose3d[eval]'") from error

    people = []
    for number, person in enumerate(results, start=1):
        x, y = person["keypoints"][0::3], person["keypoints"][1::3]
        width, height = max(x) - min(x), max(y) - min(y)
        # as COCO.loadRes adds them; loadRes itself refuses an empty list
        box = {"bbox": [min(x), min(y), width, height], "area": width * height}
        people.append({**person, **box, "id": number, "iscrowd": 0})
    truth, detected = COCO(), COCO()
    truth.dataset, detected.dataset = annotations, {**annotations, "annotations": people}

    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        detected.createIndex()
        evaluation = COCOeval(truth, detected, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # pycocotools says -1 for "nothing to score"
    return {n: math.nan if v < 0 else float(v) for n, v in zip(_NAMES, evaluation.stats, strict=True)}
