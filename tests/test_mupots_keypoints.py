"""Annotated 2D of MuPoTS-3D as a file."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import mupots_keypoints
from experiments.mupots_keypoints import write_once


def test_all_frames_or_those_with_a_picture(tmp_path, monkeypatch):
    frames = {f"TS1_img_{i:06d}/px": np.ones((i, 17, 2)) for i in range(4)}
    monkeypatch.setattr(mupots_keypoints, "keypoints", lambda _: frames)
    (tmp_path / "images/TS1").mkdir(parents=True)
    (tmp_path / "images/TS1/img_000002.jpg").touch()
    write_once(tmp_path / "all.npz", tmp_path)
    write_once(tmp_path / "some.npz", tmp_path, tmp_path / "images")
    write_once(tmp_path / "some.npz", tmp_path)  # is there
    for name, counts in (("all", [0, 1, 2, 3]), ("some", [2])):
        with np.load(tmp_path / f"{name}.npz") as arrays:
            assert [len(px) for px in arrays.values()] == counts
    with pytest.raises(FileNotFoundError, match=r"elsewhere: no pictures TSn/img_NNNNNN.jpg"):
        write_once(tmp_path / "none.npz", tmp_path, tmp_path / "elsewhere")
    assert not (tmp_path / "none.npz").exists()
