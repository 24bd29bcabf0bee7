"""Teacher against student, and COCO: the same people and joints for both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.evaluation.in_2d import compare_2d, evaluate_coco
from mpose3d.skeleton import COCO_17, MUPOTS_17, SKELETON
from tests.data.official_layouts import coco_person
from tests.evaluation.samples import FRAMES, write_people


def test_coco_writes_its_figures(shared_data: Path, tmp_path: Path) -> None:
    annotations = shared_data / "coco" / "annotations" / "person_keypoints_train2017_mini.json"
    people = [p for p in json.loads(annotations.read_text())["annotations"] if p["num_keypoints"]]
    (tmp_path / "results.json").write_text(json.dumps([{**person, "score": 1.0} for person in people]))
    evaluate_coco(annotations, tmp_path / "results.json", out=tmp_path)
    assert json.loads((tmp_path / "coco.json").read_text())["AP"] == 1


class TestTeacherAgainstStudent:
    @pytest.fixture
    def folders(self, mupots, tmp_path: Path) -> tuple[Path, Path]:
        """A teacher without head top, 3 px off, who misses a wrist; a student 8 px off, who misses a person."""
        root, arrays = mupots
        predictions = tmp_path / "people"
        for key, array in arrays.items():
            if key.startswith("TS3") and key.endswith("px"):
                points = MUPOTS_17.to_skeleton(torch.from_numpy(array))[0].numpy()
                name = f"TS3/{key[4:-3]}"
                parse = points + np.array([3.0, 0.0])
                parse[:, SKELETON.index("head_top")] = np.nan
                if key.endswith("000001/px"):
                    parse[0, SKELETON.index("r_wrist")] = np.nan
                write_people(predictions / f"{name}.teacher.json", parse, None, (2048, 2048))
                found = points[:1] if key.endswith("000002/px") else points
                write_people(predictions / f"{name}.json", found + np.array([0.0, 8.0]), None, (2048, 2048))
        return root, predictions

    def test_same_people_and_joints_for_both(self, folders, tmp_path: Path) -> None:
        compare_2d(*folders, out=tmp_path)
        content = json.loads((tmp_path / "2d.json").read_text())
        assert content["pictures"] == FRAMES and "head_top" not in content["joints"] and len(content["joints"]) == 14
        teacher, student = content["teacher"], content["student"]
        assert teacher["annotated"] == student["annotated"] == 11
        assert (teacher["found"], student["found"]) == (11, 10)
        assert teacher["mpjpe_2d"] == pytest.approx(3) and student["mpjpe_2d"] == pytest.approx(8)
        assert 0.9 < student["iou"] < teacher["iou"] < 1
        # absent joints and people are misses: mean over 11 people
        assert teacher["pck_2d"] == pytest.approx(100 * (10 + 13 / 14) / 11)
        assert student["pck_2d"] == pytest.approx(100 * 10 / 11)

    def test_coco_annotations(self, tmp_path: Path) -> None:
        keypoints = [v for j in range(17) for v in (20 + 10 * j, 30 + 7 * (j % 5), 2)]
        content = {
            "images": [{"id": 7, "file_name": "bus.jpg", "width": 400, "height": 200}],
            "annotations": [coco_person(1, 7, (20, 30, 160, 28)) | {"keypoints": keypoints}],
            "categories": [{"id": 1}],
        }
        (tmp_path / "coco.json").write_text(json.dumps(content))
        points, visible = COCO_17.to_skeleton(torch.tensor(keypoints).reshape(1, 17, 3)[..., :2])
        half = ((points + 0.5) / 2 - 0.5).numpy()
        half[~visible.numpy()] = np.nan
        for name in ("bus.json", "bus.teacher.json"):
            write_people(tmp_path / "people" / name, half, None, (200, 100))
        compare_2d(tmp_path / "coco.json", tmp_path / "people", out=tmp_path)
        result = json.loads((tmp_path / "2d.json").read_text())
        assert result["teacher"] == result["student"]
        assert result["teacher"]["mpjpe_2d"] == pytest.approx(0, abs=1e-4) and result["teacher"]["pck_2d"] == 100
        del content["images"][0]["width"]
        (tmp_path / "coco.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="image 7 has no width"):
            compare_2d(tmp_path / "coco.json", tmp_path / "people")

    def test_coco_pictures_of_one_name_in_two_folders(self, tmp_path: Path) -> None:
        people = [coco_person(i, i, (20 + 50 * i, 30, 80, 100)) for i in (1, 2)]
        sizes = {"width": 400, "height": 200}
        images = [{"id": i, "file_name": f"{folder}/0.jpg", **sizes} for i, folder in ((1, "one"), (2, "two"))]
        content = {"images": images, "annotations": people, "categories": [{"id": 1}]}
        (tmp_path / "coco.json").write_text(json.dumps(content))
        for person, folder in zip(people, ("one", "two"), strict=True):
            keypoints = torch.tensor(person["keypoints"]).reshape(1, 17, 3)
            points, visible = COCO_17.to_skeleton(keypoints[..., :2].double(), keypoints[..., 2] > 0)
            points[~visible] = torch.nan
            for name in ("0.json", "0.teacher.json"):
                write_people(tmp_path / "people" / folder / name, points.numpy(), None, (400, 200))
        compare_2d(tmp_path / "coco.json", tmp_path / "people", out=tmp_path)
        content = json.loads((tmp_path / "2d.json").read_text())
        assert content["pictures"] == 2 and content["student"]["found"] == 2
        assert content["student"]["mpjpe_2d"] == pytest.approx(0, abs=1e-4)

    def test_people_of_another_picture_are_refused(self, folders) -> None:
        root, predictions = folders
        file = predictions / "TS3" / "img_000004.teacher.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"size": [640, 480]}))
        with pytest.raises(ValueError, match=r"img_000004\.teacher\.json: a picture of 640 x 480 is no copy"):
            compare_2d(root, predictions)

    def test_no_common_picture_is_an_error(self, folders, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no picture"):
            compare_2d(folders[0], tmp_path / "empty")

    def test_photographs_that_are_not_annotated_are_not_read(self, folders, tmp_path: Path) -> None:
        """A folder of one sequence: its photographs would be written beside the others, whose figures would be told."""
        (tmp_path / "TS3").mkdir()
        (tmp_path / "TS3" / "img_000004.jpg").touch()
        with pytest.raises(FileNotFoundError, match="give the folder above TSn"):
            compare_2d(*folders, photographs=tmp_path / "TS3")
