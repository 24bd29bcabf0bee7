"""Limits on spheres: what is allowed is blue, and dots outside are red."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.limits import JointLimits, JointRange
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.spheres import limits_picture

X, Z = (1, 0, 0), (0, 0, 1)


def pixels(picture: np.ndarray, kind: str) -> int:
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    if kind == "blue":
        return int(((blue > red + 30) & (blue > 100)).sum())
    return int(((red > green + 80) & (red > blue + 80)).sum())


def all_with(elevation: tuple[float, float]) -> JointLimits:
    """Every joint with the same box about its pole Z."""
    names = JointLimits().ranges
    return JointLimits({name: JointRange((-180, 180), elevation, pole=Z, zero=X) for name in names})


def test_the_blue_share_of_both_hemispheres_is_that_of_the_limits():
    nothing = pixels(limits_picture(all_with((0, 0.01))), "blue")
    half, everything = (pixels(limits_picture(all_with((0, top))), "blue") for top in (90, 180))
    assert nothing < 0.01 * everything
    # seen from two opposite sides, half a sphere has half of the pixels
    assert half / everything == pytest.approx(0.5, abs=0.03)


def test_dots_outside_are_red(generator):
    limits = JointLimits()
    poses = ArtificialPoses(limits).sample(200, generator)
    picture = limits_picture(limits, poses)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert pixels(picture, "red") == 0
    assert not np.array_equal(picture, limits_picture(limits))
    p_l = canonical_to_local(poses)
    # a forearm within the upper arm
    p_l[:, SKELETON.index("r_wrist")] = torch.nn.functional.normalize(
        torch.tensor([0.0, 0.0, -1.0]) + 0.1 * torch.randn(200, 3, generator=generator), dim=-1
    )
    assert pixels(limits_picture(limits, local_to_canonical(p_l)), "red") > 20
