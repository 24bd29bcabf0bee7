"""Each photograph and video has a place of its own, or the command stops before anything is written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mpose3d.places import output_places


def test_several_folders_keep_their_names(tmp_path):
    for name in ("TS1", "TS2"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "img_000000.jpg"), np.zeros((8, 8, 3), np.uint8))
    places = [str(place) for _, place in output_places([tmp_path / "TS1", tmp_path / "TS2"], tmp_path / "out")]
    assert places == ["TS1/img_000000", "TS2/img_000000"]
    assert [str(place) for _, place in output_places([tmp_path / "TS1"], tmp_path / "out")] == ["img_000000"]


def test_a_path_that_is_given_twice_is_read_once_and_a_live_photograph_beside_its_video(tmp_path):
    for name in ("IMG_1.jpg", "IMG_1.mov"):
        (tmp_path / name).touch()
    photograph, video = tmp_path / "IMG_1.jpg", tmp_path / "IMG_1.mov"
    assert output_places([photograph, video, photograph], tmp_path / "out") == [
        (photograph, Path("IMG_1")),
        (video, Path("IMG_1")),
    ]
    (tmp_path / "IMG_1.avi").touch()
    with pytest.raises(ValueError, match=r"IMG_1\.mov and .*IMG_1\.avi would both be written to IMG_1/"):
        output_places([tmp_path], tmp_path / "out")


def test_a_video_beside_its_extracted_frames_is_refused(tmp_path):
    (tmp_path / "clip").mkdir()
    for name in ("clip.mp4", "clip/000000.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"clip/000000\.jpg and a frame of .*clip\.mp4 would both be written"):
        output_places([tmp_path], tmp_path / "out")


def test_two_photographs_of_one_name_are_refused(tmp_path):
    for suffix in ("jpg", "png"):
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"would both be written to a\.json: rename one"):
        output_places([tmp_path], tmp_path / "out")


def test_a_folder_that_is_called_as_a_video_is_searched_and_not_read_itself(tmp_path):
    (tmp_path / "clip.mp4").mkdir()
    frame = tmp_path / "clip.mp4" / "000000.jpg"
    frame.touch()
    assert output_places([tmp_path], tmp_path / "out") == [(frame, Path("clip.mp4/000000"))]
