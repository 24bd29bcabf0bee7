"""COCO's annotations and results: what is refused, and in which words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mpose3d.data.coco_json import read_annotations, read_results
from tests.data.official_layouts import coco_person


def content() -> dict:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in (1, 2)]
    people = [coco_person(7, 1, (10, 8, 20, 34)), coco_person(8, 2, (10, 8, 20, 34), labelled=False)]
    return {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_both_are_read_as_they_are(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path / "annotations.json", content()))
    assert annotations == content()
    people = [{**person, "score": 0.5} for person in annotations["annotations"]]
    assert read_results(write(tmp_path / "results.json", people), annotations) == people
    assert read_results(write(tmp_path / "results.json", []), annotations) == []


def _changed(entries: str, change: dict) -> dict:
    """`content`, with its first image or annotation changed; None takes a field away."""
    whole = content()
    whole[entries][0] = {key: v for key, v in (whole[entries][0] | change).items() if v is not None}
    return whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ({"images": [], "categories": []}, "no 'annotations'"),
        (_changed("images", {"width": None}), "image 1 has no width"),
        (_changed("annotations", {"id": None}), "no 'id'"),
        (_changed("annotations", {"iscrowd": None, "area": None}), "annotation 7 has no area, iscrowd"),
        (_changed("annotations", {"image_id": 3}), "annotation 7 belongs to image 3, which is not listed"),
        (_changed("annotations", {"keypoints": [1, 2, 2]}), "annotation 7 has not 17 keypoints and a box"),
        (_changed("annotations", {"bbox": []}), "annotation 7 has not 17 keypoints and a box"),
        (_changed("annotations", {"bbox": [None] * 4}), "annotation 7 holds what is no finite number"),
        (_changed("annotations", {"keypoints": ["1"] * 51}), "annotation 7 holds what is no finite number"),
        (_changed("annotations", {"keypoints": [math.nan] * 51}), "annotation 7 holds what is no finite number"),
        (_changed("annotations", {"num_keypoints": "17"}), "annotation 7 holds what is no finite number"),
        (_changed("images", {"height": "48"}), "image 1 holds what is no finite number"),
        (_changed("images", {"id": 2}), "1 images have the id of another, the first 2"),
        (_changed("annotations", {"id": 8}), "1 annotations have the id of another, the first 8"),
    ],
)
def test_other_annotations(tmp_path: Path, content: object, message: str) -> None:
    path = write(tmp_path / "annotations.json", content)
    with pytest.raises(ValueError, match=rf"annotations\.json: not COCO keypoints JSON \({message}") as error:
        read_annotations(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "detection 0 is of image 99, which the annotations lack"),
        ({"category_id": 2}, "detection 0 is of category 2"),
        ({"keypoints": [1.0] * 45}, "45 numbers"),
        ({"keypoints": [math.nan] * 51}, "no finite number"),
        ({"keypoints": [None] * 51}, "no finite number"),
        ({"keypoints": None}, "a list of keypoints"),
        ({"score": "high"}, "a number as score"),
        ({"score": math.inf}, "no finite number"),
    ],
)
def test_other_results(tmp_path: Path, change: dict, message: str) -> None:
    person = content()["annotations"][0] | {"score": 0.5}
    path = write(tmp_path / "results.json", [person | change, person])
    with pytest.raises(ValueError, match=rf"results\.json: not COCO results \(.*{message}"):
        read_results(path, content())


@pytest.mark.parametrize(
    ("results", "message"), [({}, "expected a list"), ([3], "has no attribute"), ([{"score": 1}], "has no category_id")]
)
def test_what_is_no_list_of_detections(tmp_path: Path, results: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"results\.json: not COCO results \(.*{message}"):
        read_results(write(tmp_path / "results.json", results), content())


@pytest.mark.parametrize("read", [read_annotations, lambda path: read_results(path, content())])
def test_absent_files(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.json: no such file"):
        read(tmp_path / "absent.json")
