"""Distances of segments against dense sampling, bodies that pass through themselves, real motion that does not."""

from __future__ import annotations

import pytest
import torch

from mpose3d.data.mocap import read_motion_capture
from mpose3d.geometry.kinematics import mirrored
from mpose3d.poses.artificial import ArtificialPoses, MotionCapturePoses
from mpose3d.poses.intersection import segment_distance, self_intersection
from mpose3d.skeleton import SKELETON


def test_segment_distance_is_that_of_the_nearest_of_many_points(generator):
    p, u, q, v = torch.randn(4, 200, 3, generator=generator, dtype=torch.float64)
    u[:5] = v[:5]  # parallel
    steps = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]
    dense = torch.stack([
        torch.cdist(p[i] + steps * u[i], q[i] + steps * v[i]).min() for i in range(len(p))
    ])  # fmt: skip
    torch.testing.assert_close(segment_distance(p, u, q, v), dense, atol=0.02, rtol=0)


@pytest.fixture
def hanging() -> torch.Tensor:
    """A body that stands with hanging arms."""
    pose = torch.zeros(15, 3)
    for name, place in {
        "neck": (0, 0, 440), "head_top": (0, 0, 690),
        "r_shoulder": (0, -165, 440), "r_elbow": (0, -200, 162), "r_wrist": (0, -210, -78),
        "l_shoulder": (0, 165, 440), "l_elbow": (0, 200, 162), "l_wrist": (0, 210, -78),
        "r_hip": (0, -100, 0), "r_knee": (0, -110, -425), "r_ankle": (0, -110, -825),
        "l_hip": (0, 100, 0), "l_knee": (0, 110, -425), "l_ankle": (0, 110, -825),
    }.items():  # fmt: skip
        pose[SKELETON.index(name)] = torch.tensor(place, dtype=pose.dtype)
    return pose


@pytest.mark.parametrize(
    ("place", "radius"),
    {"trunk": ((0, 200), 90), "head": ((0, 560), 80), "thigh": ((105, -200), 60), "shin": ((110, -600), 40)}.values(),
    ids=["trunk", "head", "thigh", "shin"],
)
def test_a_hand_enters_what_is_thicker_than_its_distance(hanging, place, radius):
    """The right one, 25 mm thick, whose forearm points from the front at a place on the axis of a limb."""
    for joint, x in (("r_elbow", 400.0), ("r_wrist", radius + 25.0 - 5)):
        hanging[SKELETON.index(joint)] = torch.tensor([x, *place])
    assert self_intersection(hanging).item() == pytest.approx(5, abs=0.2)


def test_an_arm_through_the_trunk_is_found(hanging):
    assert self_intersection(hanging) <= 0
    pose = hanging.clone()
    pose[SKELETON.index("r_wrist")] = torch.tensor([0.0, 30.0, 200.0])
    assert self_intersection(pose) > 50
    twin = mirrored(pose)
    torch.testing.assert_close(self_intersection(twin), self_intersection(pose))
    # a hand on the thigh of its side rests there, on the other it does not
    hanging[SKELETON.index("r_wrist")] = torch.tensor([0.0, -120.0, -60.0])
    assert self_intersection(hanging) <= 0
    hanging[SKELETON.index("r_wrist")] = torch.tensor([0.0, 105.0, -200.0])
    assert self_intersection(hanging) > 50


def test_limbs_that_cross_have_a_finite_gradient():
    p, u, q, v = (torch.tensor(x, requires_grad=True) for x in ([-1.0, 0, 0], [2.0, 0, 0], [0, -1.0, 0], [0, 2.0, 0]))
    distance = segment_distance(p, u, q, v)
    assert distance < 2e-3 and all(slope.isfinite().all() for slope in torch.autograd.grad(distance, (p, u, q, v)))


def test_gradients_are_finite_and_push_limbs_apart(generator):
    poses = ArtificialPoses().sample(200, generator).requires_grad_()
    depth = self_intersection(poses)
    depth.clamp_min(0).sum().backward()
    assert poses.grad.isfinite().all()
    moved = self_intersection((poses - 5 * poses.grad).detach())
    assert moved[depth > 10].mean() < depth[depth > 10].mean()


def test_real_motion_is_clear_of_itself(shared_data):
    clips = read_motion_capture(shared_data / "mocap" / "clips_mpi17_mm.npz")
    source = MotionCapturePoses(torch.cat(list(clips.values())))
    poses = source.sample(5000, torch.Generator().manual_seed(0))
    assert (self_intersection(poses) <= 0).float().mean() > 0.99
