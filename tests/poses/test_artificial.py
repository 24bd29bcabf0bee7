"""Pose sources: canonical poses with the skeleton's bones, seeded, in the asked proportions."""

from __future__ import annotations

import pytest
import roma
import torch

from mpose3d.geometry.kinematics import bone_lengths, canonical_to_local, canonicalize, local_to_canonical, mirrored
from mpose3d.poses.artificial import ArtificialPoses, MixedPoses, MotionCapturePoses
from mpose3d.poses.limits import JointLimits
from mpose3d.skeleton import SKELETON

LENGTHS = torch.tensor(SKELETON.bone_lengths)


@pytest.fixture
def captured(generator) -> torch.Tensor:
    """Forty poses of one body, not ours in size, anywhere, in any rotation."""
    poses = ArtificialPoses().sample(40, generator) * 0.6
    rotation = roma.special_procrustes(torch.randn(40, 3, 3, generator=generator))
    return poses @ rotation.mT + torch.randn(40, 1, 3, generator=generator) * 1000


def sources(captured):
    artificial = ArtificialPoses()
    plain = MotionCapturePoses(captured)
    shuffled = MotionCapturePoses(captured, recombine=0.5, interpolate=0.5)
    return {
        "artificial": artificial,
        "plain": plain,
        "shuffled": shuffled,
        "mixed": MixedPoses([artificial, plain], [1, 2]),
    }


@pytest.mark.parametrize("name", ["artificial", "plain", "shuffled", "mixed"])
def test_poses_are_canonical_with_the_bones_of_the_skeleton(captured, generator, name):
    poses = sources(captured)[name].sample(200, generator)
    assert poses.shape == (200, len(SKELETON), 3)
    torch.testing.assert_close(bone_lengths(poses), LENGTHS.expand(200, -1), atol=1e-2, rtol=0)
    torch.testing.assert_close(canonicalize(poses)[0], poses, atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ["artificial", "plain", "shuffled", "mixed"])
def test_same_generator_same_poses(captured, name):
    source = sources(captured)[name]
    a, b, c = (source.sample(20, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_artificial_poses_keep_the_limits_given(generator):
    limits = JointLimits()
    assert limits.inside(canonical_to_local(ArtificialPoses(limits).sample(2000, generator))).all()


def nearest(poses: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    return torch.cdist(poses.flatten(1).double(), bank.flatten(1).double()).min(dim=1).values


def test_motion_capture_keeps_every_direction_and_mirrors_half(captured, generator):
    source = MotionCapturePoses(captured)
    poses = source.sample(400, generator)
    bank = MotionCapturePoses(captured, mirror=False).sample(2000, generator)
    own, twin = nearest(poses, bank) < 1, nearest(poses, mirrored(bank)) < 1
    assert (own ^ twin).all()
    assert 0.4 < own.float().mean() < 0.6
    # directions of the captured bodies themselves, whatever their size and rotation
    resized = local_to_canonical(canonical_to_local(canonicalize(captured)[0]))
    assert nearest(bank, resized).max() < 1


def test_recombined_limbs_come_from_captured_poses(captured, generator):
    local = canonical_to_local(canonicalize(captured)[0])
    poses = canonical_to_local(MotionCapturePoses(captured, mirror=False, recombine=1.0).sample(500, generator))
    for limb in (("r_elbow", "r_wrist"), ("l_knee", "l_ankle"), ("head_top", "r_shoulder", "r_hip")):
        joints = SKELETON.indices(*limb)
        distance = torch.cdist(poses[:, joints].flatten(1), local[:, joints].flatten(1)).min(dim=1).values
        assert distance.quantile(0.95) < 1e-3, limb
    whole = torch.cdist(poses.flatten(1), local.flatten(1)).min(dim=1).values
    assert (whole > 0.1).float().mean() > 0.9


class Constant:
    def __init__(self, value: float) -> None:
        self.value = value

    def sample(self, n, generator):
        return torch.full((n, len(SKELETON), 3), self.value)


def test_a_mixture_keeps_its_weights_and_shuffles(generator):
    drawn = MixedPoses([Constant(0.0), Constant(1.0), Constant(2.0)], [3, 0, 1]).sample(4000, generator)[:, 0, 0]
    assert not (drawn == 1).any()
    assert (drawn == 0).float().mean().item() == pytest.approx(0.75, abs=0.03)
    # not run by run: both halves hold the same mixture
    assert (drawn[:2000] == 0).float().mean().item() == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    ("poses", "complaint"),
    [
        (torch.zeros(4, 17, 3), r"must be \(N, 15, 3\)"),
        (torch.zeros(0, 15, 3), "N > 0"),
        (torch.full((4, 15, 3), torch.nan), "4 poses with NaN"),
        (torch.zeros(4, 15, 3), "limbs of no length, at head_top"),
    ],
)
def test_broken_motion_capture_is_refused(poses, complaint):
    with pytest.raises(ValueError, match=complaint):
        MotionCapturePoses(poses)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="as many weights"):
        MixedPoses([ArtificialPoses(), ArtificialPoses()], weights)
