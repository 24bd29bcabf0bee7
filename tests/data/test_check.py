"""`mpose3d data check`: counts, and everything that is missing in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpose3d.data.check import TREES, check, check_dataset
from tests.data.official_layouts import write_mocap


def test_complete_folders(threedpw_root: Path, coco_root: Path, images_root: Path, tmp_path: Path, capsys) -> None:
    mocap = write_mocap(tmp_path / "mocap")
    for name, root in {"3dpw": threedpw_root, "coco": coco_root, "images": images_root, "mocap": mocap}.items():
        assert check_dataset(name, root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "4 sequences, 12 frames, 16 people, 12 images",
        "10 images, 12 people",
        "7 files, 11 images",
        "3 files, 3 clips, 8 frames",
    ]


def test_everything_missing_is_in_one_message(mupots_root: Path, capsys) -> None:
    folder = mupots_root / "MultiPersonTestSet"
    (folder / "TS1" / "img_000002.jpg").unlink()
    (folder / "TS1" / "occlusion.mat").unlink()
    (folder / "TS6" / "annot.mat").write_bytes(b"")
    assert check_dataset("mupots", mupots_root) == 1
    printed = capsys.readouterr()
    message = printed.err
    assert "TS1: 1 of 4 pictures are missing" in message
    assert "occlusion.mat is missing" in message
    assert "annot.mat: not a readable .mat file" in message
    assert "no annot.mat of TS2, TS3" in message
    assert TREES["mupots"].format(root=mupots_root) in message
    assert "1 sequences, 4 frames, 6 people, 3 images" in printed.out


def test_pictures_that_are_counted_from_1_are_told(mupots_root: Path) -> None:
    folder = mupots_root / "MultiPersonTestSet" / "TS1"
    for frame in reversed(range(4)):
        (folder / f"img_{frame:06d}.jpg").rename(folder / f"img_{frame + 1:06d}.jpg")
    problems = check("mupots", mupots_root).problems
    assert "TS1: 1 of 4 pictures are missing" in problems[0]
    assert "img_000004.jpg: the annotations have 4 frames, from 0" in problems[1]


@pytest.mark.parametrize("name", TREES)
def test_empty_folders(tmp_path: Path, name: str, capsys) -> None:
    report = check(name, tmp_path)
    assert report.problems and not report.counts
    assert check_dataset(name, tmp_path) == 1 and "\nexpected:\n" in capsys.readouterr().err


def test_broken_parts(threedpw_root: Path, coco_root: Path) -> None:
    (threedpw_root / "sequenceFiles" / "test" / "yard_01.pkl").write_bytes(b"")
    (threedpw_root / "imageFiles" / "park_00" / "image_00000.jpg").unlink()
    problems = check("3dpw", threedpw_root).problems
    assert len(problems) == 2 and "park_00: 1 of 3 pictures" in problems[0] and "yard_01.pkl" in problems[1]
    train = coco_root / "annotations" / "person_keypoints_train2017.json"
    train.write_text(train.read_text().replace('"iscrowd"', '"crowded"'))
    assert "annotation 10 has no iscrowd" in check("coco", coco_root).problems[0]
    train.unlink()
    (coco_root / "annotations" / "person_keypoints_val2017.json").unlink()
    assert any("no person_keypoints_val2017.json" in problem for problem in check("coco", coco_root).problems)


def test_every_broken_file_of_motion_capture_is_told(tmp_path: Path) -> None:
    root = write_mocap(tmp_path / "mocap")
    (root / "a.bvh").write_text("HIERARCHY")
    (root / "z.npz").write_bytes(b"PK")
    report = check("mocap", root)
    assert report.counts == {"files": 3, "clips": 3, "frames": 8}
    assert [problem.partition(": ")[0] for problem in report.problems] == [str(root / "a.bvh"), str(root / "z.npz")]


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'kinetics', known are mupots, 3dpw, coco, images, mocap"):
        check("kinetics", tmp_path)
