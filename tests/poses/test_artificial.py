"""Pose sources: canonical poses with the skeleton's bones, seeded, in the asked proportions."""

from __future__ import annotations

import pytest
import roma
import torch

from mpose3d.geometry.kinematics import bone_lengths, canonical_to_local, canonicalize, local_to_canonical, mirrored
from mpose3d.poses.artificial import ArtificialPoses, MixedPoses, MotionCapturePoses, SeatedPoses, ValidPoses
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits, JointRange
from mpose3d.poses.occupancy import PoseOccupancy
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
        "clear": ValidPoses(artificial, max_penetration=0.0),
        "occupied": ArtificialPoses(occupancy=PoseOccupancy.fit(canonicalize(captured)[0], bins=100)),
        "shuffled and valid": ValidPoses(shuffled, JointLimits(), max_penetration=0.0),
    }


NAMES = ["artificial", "plain", "shuffled", "mixed", "clear", "occupied", "shuffled and valid"]


@pytest.mark.parametrize("name", NAMES)
def test_poses_are_canonical_with_the_bones_of_the_skeleton(captured, generator, name):
    poses = sources(captured)[name].sample(200, generator)
    assert poses.shape == (200, len(SKELETON), 3)
    torch.testing.assert_close(bone_lengths(poses), LENGTHS.expand(200, -1), atol=1e-2, rtol=0)
    torch.testing.assert_close(canonicalize(poses)[0], poses, atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_poses(captured, name):
    source = sources(captured)[name]
    a, b, c = (source.sample(20, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_artificial_poses_keep_the_limits_given(generator):
    limits = JointLimits({"r_knee": JointRange((-100, -80), (80, 100), pole=(0, 0, 1), zero=(1, 0, 0))})
    assert limits.inside(canonical_to_local(ArtificialPoses(limits).sample(2000, generator))).all()


@pytest.mark.parametrize("name", ["clear", "shuffled and valid"])
@pytest.mark.parametrize("number", [1, 300, 3000])
def test_no_pose_that_is_refused_comes_out(captured, generator, name, number):
    poses = sources(captured)[name].sample(number, generator)
    assert poses.shape == (number, len(SKELETON), 3)
    assert (self_intersection(poses) <= 0).all()
    assert JointLimits().inside(canonical_to_local(poses)).all()


def test_occupancy_and_limits_hold_together(captured, generator):
    table = PoseOccupancy.fit(canonicalize(captured)[0], bins=100)
    poses = ValidPoses(ArtificialPoses(occupancy=table), max_penetration=0.0).sample(400, generator)
    assert table.inside(poses).all() and (self_intersection(poses) <= 0).all()
    assert JointLimits().inside(canonical_to_local(poses)).all()
    assert table.inside(ArtificialPoses().sample(400, generator)).all(-1).float().mean() < 0.3


def test_drawing_again_changes_only_the_shares(generator):
    """Poses drawn with a rule are distributed as those drawn without one that happen to keep it."""
    free = ArtificialPoses().sample(40_000, generator)
    kept = free[self_intersection(free) <= 0]
    drawn = ValidPoses(ArtificialPoses(), max_penetration=0.0).sample(len(kept), generator)
    assert len(kept) < 0.7 * len(free)
    for moment in (torch.mean, torch.std):
        torch.testing.assert_close(moment(drawn, 0), moment(kept, 0), atol=12, rtol=0)


def test_limbs_are_drawn_again_each_by_itself(captured, generator):
    """The trunk of a pose does not depend on whether its limbs had to be drawn again."""
    table = PoseOccupancy.fit(canonicalize(captured)[0], bins=100)
    joints = SKELETON.indices("head_top", "r_shoulder", "r_hip")
    with_table = canonical_to_local(ArtificialPoses(occupancy=table).sample(4000, generator))[:, joints]
    without = canonical_to_local(ArtificialPoses().sample(4000, generator))[:, joints]
    torch.testing.assert_close(with_table.mean(0), without.mean(0), atol=0.04, rtol=0)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (
            ValidPoses(ArtificialPoses(), max_penetration=-1e6, attempts=3),
            "30 of 30 poses .* after 3 attempts: loosen joint limits",
        ),
        (ValidPoses(ArtificialPoses(), max_penetration=-1e6, attempts=0), "after 0 attempts"),
        (
            ArtificialPoses(occupancy=PoseOccupancy(torch.zeros(2, 50, 50, dtype=torch.bool)), attempts=3),
            "30 of 30 poses .*loosen the occupancy",
        ),
    ],
)
def test_rules_that_no_pose_keeps_are_an_error(source, complaint, generator):
    with pytest.raises(ValueError, match=complaint):
        source.sample(30, generator)


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


def test_limbs_are_exchanged_each_by_itself_with_the_chance_asked_for(captured, generator):
    local = canonical_to_local(canonicalize(captured)[0])
    poses = canonical_to_local(MotionCapturePoses(captured, mirror=False, recombine=0.5).sample(2000, generator))
    trunk, arm, leg = (
        torch.cdist(poses[:, joint], local[:, joint]).argmin(1)
        for joint in SKELETON.indices("head_top", "r_elbow", "l_knee")
    )
    # both stay with a chance of a quarter, and else are one pose's with a chance of 1 in 40
    for one, other in ((trunk, arm), (arm, leg)):
        assert (one == other).float().mean().item() == pytest.approx(0.25 + 0.75 / 40, abs=0.04)


def between(p_l: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """By how many radians (n,) the directions leave the way from those of one pose to those of another."""

    def angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))

    one, other = one.expand_as(p_l), other.expand_as(p_l)
    return (angle(one, p_l) + angle(p_l, other) - angle(one, other)).amax(-1)


def test_blended_poses_lie_between_two_in_the_share_asked_for(captured, generator):
    one, other = canonical_to_local(canonicalize(captured[:2].double())[0])
    source = MotionCapturePoses(captured[:2], mirror=False, interpolate=0.5)
    p_l = canonical_to_local(source.sample(2000, generator).double())
    assert between(p_l, one, other).max() < 1e-2
    alone = torch.minimum((p_l - one).flatten(1).norm(dim=1), (p_l - other).flatten(1).norm(dim=1)) < 1e-3
    # a half of those whose other half is another pose
    assert (~alone).float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_who_sits_has_raised_thighs_bent_knees_and_parted_legs(generator):
    standing = ArtificialPoses().sample(1, generator)

    class Standing:
        def sample(self, n, generator):
            return standing.expand(n, -1, -1)

    before = standing.clone()
    poses = SeatedPoses(Standing()).sample(4000, generator)
    assert torch.equal(standing, before)
    torch.testing.assert_close(bone_lengths(poses), LENGTHS.expand(4000, -1), atol=1e-2, rtol=0)
    hips, knees, ankles = (SKELETON.indices(f"r_{joint}", f"l_{joint}") for joint in ("hip", "knee", "ankle"))
    others = [j for j in range(len(SKELETON)) if j not in (*knees, *ankles)]
    assert torch.equal(poses[:, others], before[:, others].expand(4000, -1, -1))

    def forward_and_aside(limb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, y, z = (limb / limb.norm(dim=-1, keepdim=True)).unbind(-1)
        return torch.acos(-z).rad2deg() * x.sign(), torch.atan(y / x).rad2deg()

    (thigh, parted), (shin, aside) = (
        forward_and_aside(poses[:, b] - poses[:, a]) for a, b in ((hips, knees), (knees, ankles))
    )
    bent = thigh - shin
    assert thigh.mean().item() == pytest.approx(82.5, abs=2) and bent.mean().item() == pytest.approx(75, abs=2)
    assert bent.min() > -0.2 and bent.max() < 150.2  # no knee bends the other way
    assert parted.mean(0).tolist() == pytest.approx([-8, 8], abs=1)  # to the right and to the left
    assert (aside - parted).quantile(0.84).item() == pytest.approx(10, abs=1)
    # both legs together, each a little by itself
    assert (thigh[:, 0] - thigh[:, 1]).std().item() == pytest.approx(10 * 2**0.5, abs=1)


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


def test_a_mixture_within_a_mixture_may_give_none(generator):
    inner = MixedPoses([Constant(1.0)], [1])
    assert inner.sample(0, generator).shape == (0, 15, 3)
    drawn = MixedPoses([inner, Constant(0.0)], [1, 3])
    for _ in range(20):
        assert drawn.sample(2, generator).shape == (2, 15, 3)


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


@pytest.mark.parametrize("weights", [[1.0], [2.0, -1.0], [0.0, 0.0]])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ValueError, match="as many weights"):
        MixedPoses([ArtificialPoses(), ArtificialPoses()], weights)
