"""OKS average precision: equal to pycocotools run plainly."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from mpose3d.metrics.coco import oks_average_precision


def annotation(image_id: int, number: int) -> dict:
    draw = random.Random(number)
    keypoints = [v for _ in range(17) for v in (draw.uniform(10, 200), draw.uniform(10, 300), 2)]
    return {
        "id": number, "image_id": image_id, "category_id": 1, "keypoints": keypoints, "num_keypoints": 17,
        "bbox": [10, 10, 190, 290], "area": 190 * 290, "iscrowd": 0,
    }  # fmt: skip


@pytest.fixture
def annotations() -> dict:
    people = [annotation(image, 10 * image + k) for image in (1, 2, 3) for k in range(3)]
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 220, "height": 320} for i in (1, 2, 3)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }


def detections(people: list[dict], deviation: float) -> list[dict]:
    draw = random.Random(0)
    return [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": [v + draw.gauss(0, deviation) if i % 3 < 2 else 1 for i, v in enumerate(person["keypoints"])],
            "score": draw.random(),
        }
        for person in people
    ]


def plain_pycocotools(annotations: dict, results: list[dict], place: Path) -> list[float]:
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    files = {"annotations.json": annotations, "results.json": results}
    for name, content in files.items():
        (place / name).write_text(json.dumps(content))
    truth = coco.COCO(str(place / "annotations.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(place / "results.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


def test_people_too_small_for_a_class_are_no_mistakes_of_it(annotations: dict, tmp_path: Path) -> None:
    """Somebody small, seen first and where nobody is, counts against AP and not against AP of the large."""
    results = detections(annotations["annotations"][:-1], deviation=12)
    whole = oks_average_precision(annotations, results)
    small = [v for i in range(17) for v in (180 + i, 280 + i, 1)]
    results = [*results, {"image_id": 1, "category_id": 1, "keypoints": small, "score": 2.0}]
    figures = oks_average_precision(annotations, results)
    assert figures["AP_large"] == whole["AP_large"] and figures["AP"] < whole["AP"]
    expected = [math.nan if figure < 0 else figure for figure in plain_pycocotools(annotations, results, tmp_path)]
    assert list(figures.values()) == pytest.approx(expected, nan_ok=True)


def test_equals_pycocotools(annotations: dict, tmp_path: Path) -> None:
    results = detections(annotations["annotations"][:-1], deviation=12)
    expected = [math.nan if figure < 0 else figure for figure in plain_pycocotools(annotations, results, tmp_path)]
    figures = oks_average_precision(annotations, results)
    assert list(figures.values()) == pytest.approx(expected, nan_ok=True)
    assert 0 < figures["AP"] < 1 and math.isnan(figures["AP_medium"])


def test_equals_pycocotools_on_real_annotations(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "coco" / "annotations" / "person_keypoints_train2017_mini.json"
    annotations = json.loads(file.read_text())
    results = detections([p for p in annotations["annotations"] if p["num_keypoints"]], deviation=5)
    expected = plain_pycocotools(annotations, results, tmp_path)
    assert list(oks_average_precision(annotations, results).values()) == pytest.approx(expected)


def test_perfect_and_nobody(annotations: dict) -> None:
    people = [{**person, "score": 1.0} for person in annotations["annotations"]]
    assert oks_average_precision(annotations, people)["AP"] == 1
    assert oks_average_precision(annotations, [])["AP"] == 0
