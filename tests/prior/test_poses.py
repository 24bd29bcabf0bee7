"""Files of poses that are broken."""

from __future__ import annotations

import numpy as np
import pytest

from mpose3d.cli import main
from mpose3d.skeleton import SKELETON


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"poses": np.zeros((4, 15, 3))}, "legs of 0 mm"),
        ({"poses": np.full((4, 15, 3), np.nan)}, "NaN or infinite"),
        ({"poses": np.zeros((4, 15, 2))}, "has shape"),
        ({"poses": np.zeros((0, 15, 3))}, "no frame"),
    ],
)
def test_broken_poses_are_one_line(tmp_path, capsys, arrays, complaint):
    np.savez(tmp_path / "a.npz", **arrays)
    assert main(["prior", "check", str(tmp_path / "a.npz")]) == 1
    told = capsys.readouterr().err.strip()
    assert "a.npz" in told and complaint in told and "\n" not in told


def test_limbs_without_length_are_named(tmp_path, capsys, poses):
    poses[3, SKELETON.index("r_wrist")] = poses[3, SKELETON.index("r_elbow")]
    np.savez(tmp_path / "a.npz", poses=poses.numpy())
    assert main(["prior", "check", str(tmp_path / "a.npz")]) == 1
    assert "1 poses have limbs of no length, at r_wrist" in capsys.readouterr().err
