"""Occupancy of arms and legs: what a table holds, what is inside, and what real elbows and knees do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import roma
import torch

from mpose3d.data.mocap import read_motion_capture, split_clips
from mpose3d.geometry.kinematics import canonicalize, limb_directions, mirrored
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.occupancy import PoseOccupancy, sphere_points
from mpose3d.skeleton import SKELETON
from tests.bodies import standing

ENDS = SKELETON.indices("r_wrist", "l_wrist", "r_ankle", "l_ankle")
UPPER = ("r_elbow", "l_elbow", "r_knee", "l_knee")


def around(vector: torch.Tensor, degrees: float, generator: torch.Generator) -> torch.Tensor:
    """A unit vector (3,) at an angle from another, to a random side."""
    side = torch.linalg.cross(vector, torch.randn(3, generator=generator, dtype=vector.dtype))
    side = torch.nn.functional.normalize(side, dim=0)
    return math.cos(math.radians(degrees)) * vector + math.sin(math.radians(degrees)) * side


def test_points_of_the_sphere_are_even():
    points = sphere_points(400)
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(400))
    distance = torch.cdist(points, points).fill_diagonal_(torch.inf).amin(-1)
    assert distance.max() < 1.5 * distance.min()
    assert points.mean(0).abs().max() < 1e-2


def test_one_pose_occupies_its_surroundings_alone(generator):
    """A forearm turned by less than its radius, less a bin, is inside; by more than it and a bin, it is not."""
    pose = standing(r_wrist=(1.0, 0.0, -0.2))
    table = PoseOccupancy.fit(pose[None], upper_radius=30, lower_radius=20, least=1)
    assert table.inside(pose).all()
    # what the right arm did the left may do
    assert table.inside(standing(l_wrist=(1.0, 0.0, -0.2))).all()
    upper, lower = torch.tensor([0.0, 0.0, -1.0]), torch.nn.functional.normalize(torch.tensor([1.0, 0.0, -0.2]), dim=0)
    wrist = SKELETON.index("r_wrist")
    for degrees, inside in ((8, True), (32, False)):
        for _ in range(20):
            turned = around(lower, degrees, generator)
            assert table.inside(standing(r_wrist=turned))[wrist] == inside, (degrees, turned)
    # the whole arm turned, forearm and all, so that the upper arm leaves its radius
    for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-0.6, 0.8, 0.0)):
        for degrees, inside in ((15, True), (45, False)):
            turn = roma.rotvec_to_rotmat(torch.tensor(axis) * math.radians(degrees))
            arm = standing(r_elbow=turn @ upper, r_wrist=turn @ lower)
            assert table.inside(arm)[wrist] == inside, (axis, degrees)


def test_a_wide_bin_of_the_upper_limb_does_not_blur_the_angle_to_the_lower(generator):
    """The arm may turn as a whole by more than the forearm may turn by itself."""
    lower = torch.nn.functional.normalize(torch.tensor([1.0, 0.0, -0.2]), dim=0)
    pose = standing(r_wrist=lower.tolist())
    table, narrow = (PoseOccupancy.fit(pose[None], 200, radius, lower_radius=12, least=1) for radius in (35, 12))
    wrist = SKELETON.index("r_wrist")
    for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-0.6, 0.8, 0.0)):
        turn = roma.rotvec_to_rotmat(torch.tensor(axis) * math.radians(25))
        turned = [(turn @ limb).tolist() for limb in (torch.tensor([0.0, 0.0, -1.0]), lower)]
        assert table.inside(standing(r_elbow=turned[0], r_wrist=turned[1]))[wrist]
        assert not narrow.inside(standing(r_elbow=turned[0], r_wrist=turned[1]))[wrist]
    for _ in range(20):
        assert not table.inside(standing(r_wrist=around(lower, 22, generator).tolist()))[wrist]


def test_a_limb_is_possible_where_its_pair_of_bins_is_occupied(generator):
    """Bins so wide that the turn of the upper limb to the centre of its own moves the lower one to another."""
    points, poses = sphere_points(20), ArtificialPoses().sample(100, generator)
    occupied = torch.rand(2, 20, 20, generator=generator) < 0.5
    inside, directions = PoseOccupancy(occupied).inside(poses), limb_directions(poses)
    for table, (upper, lower) in zip(occupied, (("r_elbow", "r_wrist"), ("r_knee", "r_ankle")), strict=True):
        u, v = directions[:, SKELETON.index(upper)], directions[:, SKELETON.index(lower)]
        row = (u @ points.T).argmax(-1)
        axis = torch.linalg.cross(u, points[row])
        angle = torch.atan2(axis.norm(dim=-1), (u * points[row]).sum(-1))
        turn = roma.rotvec_to_rotmat(torch.nn.functional.normalize(axis, dim=-1) * angle[:, None])
        column = ((turn @ v[..., None]).squeeze(-1) @ points.T).argmax(-1)
        assert torch.equal(inside[:, SKELETON.index(lower)], table[row, column])


def test_what_was_seen_once_may_be_a_slip():
    poses = torch.stack([standing(), standing(), standing(r_ankle=(1.0, 0.0, 0.0))])
    ankle = SKELETON.index("r_ankle")
    assert PoseOccupancy.fit(poses, least=1).inside(poses)[:, ankle].tolist() == [True, True, True]
    assert PoseOccupancy.fit(poses, least=2).inside(poses)[:, ankle].tolist() == [True, True, False]


def test_left_mirrors_right(generator):
    seen, other = ArtificialPoses().sample(300, generator), ArtificialPoses().sample(500, generator)
    table = PoseOccupancy.fit(seen, bins=150)
    assert torch.equal(table.inside(other), table.inside(mirrored(other))[:, list(SKELETON.mirror)])
    assert PoseOccupancy.fit(seen, bins=150, least=1).inside(mirrored(seen)).all()


def test_shapes_and_joints_that_are_not_asked(generator):
    table = PoseOccupancy(torch.zeros(2, 50, 50, dtype=torch.bool))
    poses = ArtificialPoses().sample(12, generator).view(3, 4, 15, 3)
    inside = table.inside(poses)
    assert inside.shape == (3, 4, 15)
    others = [j for j in range(len(SKELETON)) if j not in ENDS]
    assert inside[..., others].all() and not inside[..., ENDS].any()
    everything = PoseOccupancy(torch.ones(2, 50, 50, dtype=torch.bool))
    assert everything.inside(poses).all() and everything.coverage == {"arm": 1.0, "leg": 1.0}
    arms = PoseOccupancy(torch.tensor([True, False])[:, None, None].repeat(1, 50, 50))
    assert arms.coverage == {"arm": 1.0, "leg": 0.0}
    assert arms.inside(poses)[..., SKELETON.indices("r_wrist", "l_wrist")].all()
    folded = poses.clone()  # upper limbs of no length
    folded[..., SKELETON.indices(*UPPER), :] = poses[..., [SKELETON.parents[j] for j in SKELETON.indices(*UPPER)], :]
    for broken in (poses * 0, poses * torch.nan, folded):
        assert not everything.inside(broken)[..., ENDS].any()


def test_a_file_gives_the_same_table(tmp_path, generator):
    table = PoseOccupancy.fit(ArtificialPoses().sample(50, generator), bins=80)
    table.save(tmp_path / "made" / "occupancy.npz")
    again = PoseOccupancy.from_file(tmp_path / "made" / "occupancy.npz")
    poses = ArtificialPoses().sample(300, generator)
    assert torch.equal(table.inside(poses), again.inside(poses))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"poses": np.zeros((2, 15, 3))}, "occupied"),
        ({"occupied": np.zeros((2, 5, 6), dtype=bool)}, r"\(2, bins, bins\)"),
        ({"occupied": np.zeros((2, 5, 5))}, "must be bool"),
        ({"occupied": np.array([print], dtype=object)}, "not a file of occupancy"),
    ],
)
def test_wrong_files_are_one_line(tmp_path, arrays, complaint):
    file = tmp_path / "occupancy.npz"
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=complaint) as error:
        PoseOccupancy.from_file(file)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


@pytest.mark.parametrize("bins", [0, -1])
def test_spheres_have_bins(bins, generator):
    with pytest.raises(ValueError, match=f"a bin or more, not {bins}"):
        PoseOccupancy.fit(ArtificialPoses().sample(5, generator), bins)


def test_a_broken_and_a_missing_file(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ValueError, match=r"broken\.npz: not a file of occupancy"):
        PoseOccupancy.from_file(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz.*mpose3d prior occupancy"):
        PoseOccupancy.from_file(tmp_path / "none.npz")


@pytest.fixture(scope="module")
def learned(shared_data):
    """A table, and the motion that was held out of it."""
    clips = read_motion_capture(shared_data / "mocap" / "clips_mpi17_mm.npz")
    train, held_out = split_clips(clips, 0.2, 4)
    poses = [canonicalize(torch.cat(list(part.values())))[0] for part in (train, held_out)]
    return PoseOccupancy.fit(poses[0]), poses[1]


def test_it_takes_in_motion_it_has_not_seen_and_keeps_out_most_artificial_poses(learned, generator):
    table, held_out = learned
    assert table.inside(held_out).all(-1).float().mean() > 0.99
    assert table.inside(ArtificialPoses().sample(4000, generator)).all(-1).float().mean() < 0.05


@pytest.mark.parametrize(
    ("joint", "possible", "impossible"),
    [
        pytest.param("wrist", (1.0, 0.0, -0.3), (-1.0, 0.0, 0.0), id="an elbow bends forward"),
        pytest.param("ankle", (-1.0, 0.0, -0.3), (1.0, 0.0, 0.0), id="a knee bends backward"),
    ],
)
def test_hinges_bend_one_way(learned, joint, possible, impossible):
    table, _ = learned
    for side in ("r", "l"):
        name = f"{side}_{joint}"
        assert table.inside(standing(**{name: possible}))[SKELETON.index(name)]
        assert not table.inside(standing(**{name: impossible}))[SKELETON.index(name)]
