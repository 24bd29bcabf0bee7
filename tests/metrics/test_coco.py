"""OKS average precision: equal to pycocotools run plainly, and its errors."""

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
def files(tmp_path: Path) -> tuple[Path, Path]:
    people = [annotation(image, 10 * image + k) for image in (1, 2, 3) for k in range(3)]
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 220, "height": 320} for i in (1, 2, 3)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }
    draw = random.Random(0)
    results = [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": [v + draw.gauss(0, 12) if i % 3 < 2 else 1 for i, v in enumerate(person["keypoints"])],
            "score": draw.random(),
        }
        for person in people[:-1]
    ]
    annotations, predictions = tmp_path / "person_keypoints.json", tmp_path / "results.json"
    annotations.write_text(json.dumps(content))
    predictions.write_text(json.dumps(results))
    return annotations, predictions


def plain_pycocotools(annotations: Path, results: Path) -> list[float]:
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth = coco.COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


def test_people_too_small_for_a_class_are_no_mistakes_of_it(files: tuple[Path, Path]) -> None:
    """Somebody small, seen first and where nobody is, counts against AP and not against AP of the large."""
    whole = oks_average_precision(*files)
    results = json.loads(files[1].read_text())
    small = [v for i in range(17) for v in (180 + i, 280 + i, 1)]
    files[1].write_text(json.dumps([*results, {"image_id": 1, "category_id": 1, "keypoints": small, "score": 2.0}]))
    figures = oks_average_precision(*files)
    assert figures["AP_large"] == whole["AP_large"] and figures["AP"] < whole["AP"]
    expected = [math.nan if figure < 0 else figure for figure in plain_pycocotools(*files)]
    assert list(figures.values()) == pytest.approx(expected, nan_ok=True)


def test_equals_pycocotools(files: tuple[Path, Path]) -> None:
    figures = oks_average_precision(*files)
    expected = [math.nan if figure < 0 else figure for figure in plain_pycocotools(*files)]
    assert list(figures.values()) == pytest.approx(expected, nan_ok=True)
    assert 0 < figures["AP"] < 1 and math.isnan(figures["AP_medium"])


def test_equals_pycocotools_on_real_annotations(shared_data: Path, tmp_path: Path) -> None:
    annotations = shared_data / "coco" / "annotations" / "person_keypoints_train2017_mini.json"
    draw = random.Random(0)
    results = [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": [v + draw.gauss(0, 5) if i % 3 < 2 else 1 for i, v in enumerate(person["keypoints"])],
            "score": draw.random(),
        }
        for person in json.loads(annotations.read_text())["annotations"]
        if person["num_keypoints"]
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    files = (annotations, tmp_path / "results.json")
    assert list(oks_average_precision(*files).values()) == pytest.approx(plain_pycocotools(*files))


def test_perfect_and_nobody(files: tuple[Path, Path]) -> None:
    annotations, predictions = files
    people = json.loads(annotations.read_text())["annotations"]
    predictions.write_text(json.dumps([{**person, "score": 1.0} for person in people]))
    assert oks_average_precision(*files)["AP"] == 1
    predictions.write_text("[]")
    assert oks_average_precision(*files)["AP"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "image 99"),
        ({"category_id": 2}, "category 2"),
        ({"keypoints": [1.0] * 45}, "45 numbers"),
        ({"keypoints": [math.nan] * 51}, "no finite number"),
        ({"keypoints": [None] * 51}, "no finite number"),
        ({"keypoints": None}, "a list of keypoints"),
        ({"score": "high"}, "a number as score"),
        ({"score": math.inf}, "no finite number"),
    ],
)
def test_bad_results_are_an_error(files: tuple[Path, Path], change: dict, message: str) -> None:
    results = json.loads(files[1].read_text())
    files[1].write_text(json.dumps([results[0] | change, *results[1:]]))
    with pytest.raises(ValueError, match=message):
        oks_average_precision(*files)


def test_bad_files_are_an_error(files: tuple[Path, Path], tmp_path: Path) -> None:
    annotations, results = files
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        oks_average_precision(annotations, tmp_path / "absent.json")
    content = json.loads(annotations.read_text())
    whole = annotations.read_text()
    annotations.write_text(whole.replace('"iscrowd"', '"crowded"'))
    with pytest.raises(ValueError, match=r"annotation \d+ has no iscrowd"):
        oks_average_precision(annotations, results)
    content["images"].pop()
    annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not listed"):
        oks_average_precision(annotations, results)
    del content["annotations"][0]["id"]
    annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not COCO annotations"):
        oks_average_precision(annotations, results)
    annotations.write_text("{")
    with pytest.raises(ValueError, match="not COCO annotations"):
        oks_average_precision(annotations, results)
    annotations.write_text("{}")
    with pytest.raises(ValueError, match="expected images"):
        oks_average_precision(annotations, results)
