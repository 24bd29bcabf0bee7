"""Round trips, gradients and singular cases of every geometry map."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.extent import spread
from mpose3d.geometry.kinematics import (
    bone_lengths,
    canonical_to_local,
    canonicalize,
    directions_to_local,
    euler_to_rotation,
    fit_translation,
    limb_directions,
    local_to_canonical,
    local_to_directions,
    mirrored,
    rotate,
    rotation_to_euler,
    translate,
)
from mpose3d.skeleton import MUPOTS_17, SKELETON
from tests.bodies import BACKWARD, DOWN, FORWARD, LEFT, UP, standing

TOLERANCE = 1e-4 * SKELETON.stature


def random_poses(n: int, generator: torch.Generator, dtype=torch.float32) -> torch.Tensor:
    """Bodies with every limb in a random direction; hips and shoulders mirror each other as in the skeleton."""
    directions = torch.nn.functional.normalize(torch.randn(n, 15, 3, generator=generator, dtype=dtype), dim=-1)
    lengths = torch.tensor(SKELETON.bone_lengths, dtype=dtype)
    directions[:, SKELETON.index("l_hip")] = -directions[:, SKELETON.index("r_hip")]
    directions[:, SKELETON.index("l_shoulder")] = -directions[:, SKELETON.index("r_shoulder")]
    pose = torch.zeros(n, 15, 3, dtype=dtype)
    for parent, child in SKELETON.tree:
        pose[:, child] = pose[:, parent] + directions[:, child] * lengths[child]
    return pose


@pytest.fixture(scope="module")
def real_poses(shared_data) -> torch.Tensor:
    clips = np.load(shared_data / "mocap" / "clips_mpi17_mm.npz")
    frames = torch.from_numpy(np.concatenate([clips[name] for name in clips.files]))[:10_000]
    pose, visible = MUPOTS_17.to_skeleton(frames)
    assert visible.all() and len(pose) == 10_000
    return pose - pose[:, SKELETON.root, None]


def assert_round_trips(p_r: torch.Tensor) -> None:
    p_c, rotation = canonicalize(p_r)
    p_l = canonical_to_local(p_c)
    back = rotate(local_to_canonical(p_l, bone_lengths(p_r)), rotation)
    assert (back - p_r).norm(dim=-1).max() < TOLERANCE
    assert (canonical_to_local(local_to_canonical(p_l)) - p_l).norm(dim=-1).max() < 1e-4


def test_round_trip_random_poses(generator):
    assert_round_trips(random_poses(10_000, generator))


def test_round_trip_real_poses(real_poses):
    assert_round_trips(real_poses)


def test_canonical_frame_is_as_documented(generator):
    p_c, rotation = canonicalize(random_poses(100, generator, torch.float64))
    neck, r_hip, l_hip = (p_c[:, SKELETON.index(name)] for name in ("neck", "r_hip", "l_hip"))
    normal = torch.linalg.cross(l_hip - r_hip, neck)
    torch.testing.assert_close(
        normal / normal.norm(dim=-1, keepdim=True), torch.tensor([1.0, 0, 0]).expand(100, 3).double()
    )
    torch.testing.assert_close(neck, torch.tensor([0, 0, 1.0]).double() * neck.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(rotation.det(), torch.ones(100).double())


def test_canonical_pose_ignores_view(generator):
    pose = random_poses(100, generator, torch.float64)
    turned = pose @ roma.random_rotmat(100, dtype=torch.float64).mT + 1000.0
    torch.testing.assert_close(canonicalize(turned)[0], canonicalize(pose)[0], atol=1e-6, rtol=0)


def test_local_directions_are_unit_and_hips_have_one_degree_of_freedom(generator):
    p_l = canonical_to_local(canonicalize(random_poses(1000, generator))[0])
    norms = p_l.norm(dim=-1)
    assert torch.all(norms[:, SKELETON.root] == 0)
    torch.testing.assert_close(norms[:, : SKELETON.root], torch.ones(1000, SKELETON.root))
    assert p_l[:, SKELETON.index("r_hip"), 0].abs().max() < 1e-5
    torch.testing.assert_close(p_l[:, SKELETON.index("neck")], torch.tensor([0.0, 0.0, 1.0]).expand(1000, 3))
    torch.testing.assert_close(p_l[:, SKELETON.index("l_hip")], -p_l[:, SKELETON.index("r_hip")])


def test_forward_kinematics_against_a_loop_over_joints(generator):
    """FK by levels against one joint at a time, with frames written out as in the source."""
    p_c, _ = canonicalize(random_poses(20, generator, torch.float64))
    p_l = canonical_to_local(p_c)
    normal = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for b in range(20):
        limb = {SKELETON.root: torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)}
        for parent, child in SKELETON.tree:
            u = limb[parent]
            x = normal - (normal @ u) * u
            x = x / x.norm()
            limb[child] = torch.stack([x, torch.linalg.cross(u, x), u], dim=1) @ p_l[b, child]
            torch.testing.assert_close(limb[child], limb_directions(p_c)[b, child], atol=1e-9, rtol=0)


def test_directions_may_have_any_length(generator):
    directions = limb_directions(canonicalize(random_poses(20, generator, torch.float64))[0])
    p_l = directions_to_local(directions)
    lengths = 10 ** (8 * torch.rand(20, 15, 1, generator=generator, dtype=torch.float64) - 5)
    torch.testing.assert_close(local_to_directions(lengths * p_l), directions)
    torch.testing.assert_close(local_to_canonical(lengths * p_l), local_to_canonical(p_l))


SINGULAR = {
    "arm straight ahead": {"r_elbow": FORWARD, "r_wrist": FORWARD},
    "arm ahead, forearm up": {"r_elbow": FORWARD, "r_wrist": UP},
    "both arms straight back": {f"{s}_{j}": BACKWARD for s in "lr" for j in ("elbow", "wrist")},
    "thighs along the normal (sitting)": {"r_knee": FORWARD, "l_knee": FORWARD},
    "leg held straight ahead": {"l_knee": FORWARD, "l_ankle": FORWARD},
    "forearm folded back on the upper arm": {"r_elbow": FORWARD, "r_wrist": BACKWARD},
    "shoulders along the normal": {"r_shoulder": FORWARD, "l_shoulder": BACKWARD},
    "forearm straight, on the pole": {"l_elbow": DOWN, "l_wrist": DOWN},
}


@pytest.mark.parametrize("change", SINGULAR.values(), ids=SINGULAR.keys())
@pytest.mark.parametrize("tilt", [0.0, 1e-7, 1e-4, 3e-3])
def test_singular_poses_round_trip_with_finite_gradients(change, tilt):
    pose = standing(**{name: d + tilt * (UP + LEFT) for name, d in change.items()}).requires_grad_()
    p_l = canonical_to_local(pose)
    back = local_to_canonical(p_l, bone_lengths(pose))
    assert (back - pose).norm(dim=-1).max() < TOLERANCE
    (gradient,) = torch.autograd.grad((p_l * torch.randn_like(p_l)).sum() + back.square().sum(), pose)
    assert gradient.isfinite().all()


def test_where_the_parents_limb_is_along_the_normal_x_is_along_the_spine():
    p_l = canonical_to_local(standing(r_elbow=FORWARD, r_wrist=UP, l_elbow=BACKWARD, l_wrist=DOWN))
    assert p_l[SKELETON.index("r_wrist")].tolist() == [1, 0, 0]
    assert p_l[SKELETON.index("l_wrist")].tolist() == [-1, 0, 0]


@pytest.mark.parametrize(
    "collapse",
    {
        "all joints at one point": tuple(SKELETON.names),
        "hips at the pelvis": ("r_hip", "l_hip"),
        "neck at the pelvis": ("neck",),
        "hand on the elbow": ("r_wrist",),
    }.items(),
    ids=lambda item: item[0],
)
def test_collapsed_bodies_stay_finite(collapse):
    pose = standing()
    for name in collapse[1]:
        pose[SKELETON.index(name)] = pose[SKELETON.parents[SKELETON.index(name)]] if name == "r_wrist" else 0.0
    pose.requires_grad_()
    p_c, rotation = canonicalize(pose)
    p_l = canonical_to_local(p_c)
    back = rotate(local_to_canonical(p_l, bone_lengths(p_c)), rotation)
    assert (back - pose).norm(dim=-1).max() < TOLERANCE
    (gradient,) = torch.autograd.grad(p_l.sum() + back.square().sum(), pose)
    assert gradient.isfinite().all()


def test_hips_on_the_spine_have_no_torso_plane_but_round_trip():
    pose = standing(r_hip=DOWN, l_hip=UP)
    p_c, rotation = canonicalize(pose)
    torch.testing.assert_close(rotate(p_c, rotation), pose, atol=1e-3, rtol=0)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3))


def test_gradcheck_of_every_map(generator):
    pose = random_poses(3, generator, torch.float64) / 1000  # metres condition the numerical differences better
    assert torch.autograd.gradcheck(lambda p: canonicalize(p), pose.requires_grad_())
    p_c = canonicalize(pose)[0].detach().requires_grad_()
    assert torch.autograd.gradcheck(canonical_to_local, p_c)
    p_l = canonical_to_local(p_c).detach().requires_grad_()
    lengths = bone_lengths(p_c).detach().requires_grad_()
    assert torch.autograd.gradcheck(local_to_canonical, (p_l, lengths))
    sine, cosine = (torch.randn(3, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(euler_to_rotation, (sine, cosine))
    rotation = euler_to_rotation(sine, cosine).detach().requires_grad_()
    assert torch.autograd.gradcheck(rotate, (p_c, rotation))
    camera = Camera.for_image(224, 224)
    root = torch.rand(3, 2, generator=generator, dtype=torch.float64).mul(200).requires_grad_()
    depth = torch.rand(3, generator=generator, dtype=torch.float64).add(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, r, d: translate(p, r, d, camera), (p_c, root, depth))


def test_euler_round_trip(generator):
    rotation = roma.random_rotmat(10_000).to(torch.float32)
    torch.testing.assert_close(euler_to_rotation(*rotation_to_euler(rotation)), rotation, atol=1e-5, rtol=0)
    sine, cosine = torch.randn(2, 100, 3, generator=generator)
    scaled = euler_to_rotation(3 * sine, 3 * cosine)
    torch.testing.assert_close(euler_to_rotation(sine, cosine), scaled)


@pytest.mark.parametrize("zero", ["both", "sine", "cosine"])
def test_euler_of_zero_pairs_is_finite(zero):
    sine, cosine = torch.zeros(1, 3), torch.zeros(1, 3)
    if zero == "sine":
        cosine += 1
    if zero == "cosine":
        sine += 1
    sine.requires_grad_()
    rotation = euler_to_rotation(sine, cosine)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3)[None])
    if zero == "both":  # no angle is an angle of 0
        torch.testing.assert_close(rotation, euler_to_rotation(sine, torch.ones(1, 3)))
    (gradient,) = torch.autograd.grad(rotation.sum(), sine)
    assert gradient.isfinite().all()


def test_zero_angles_are_upright_and_face_the_camera():
    rotation = euler_to_rotation(torch.zeros(3), torch.ones(3))
    pose = rotate(standing(), rotation)
    joint = {name: pose[j] for j, name in enumerate(SKELETON.names)}
    assert joint["head_top"][1] < joint["neck"][1] < joint["pelvis"][1] < joint["l_ankle"][1]  # y points down
    assert joint["l_shoulder"][0] > joint["r_shoulder"][0]  # the left hand is on the image's right
    forward = rotation @ FORWARD
    torch.testing.assert_close(forward, torch.tensor([0.0, 0.0, -1.0]))


def test_a_body_seen_in_one_place_has_a_place(generator):
    p_r = canonicalize(torch.randn(4, 15, 3, generator=generator))[0]
    rays = torch.full((4, 15, 2), 0.1)
    for visible in (torch.ones(4, 15, dtype=torch.bool), torch.arange(15).expand(4, 15) == 3):
        assert fit_translation(p_r, rays, visible, spread(rays, visible)[1]).isfinite().all()


@pytest.fixture
def seen(generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bodies, rays to their joints from 4 m away, and which of the joints are visible."""
    p_r, visible = random_poses(20, generator, torch.float64), torch.rand(20, 15, generator=generator) < 0.6
    joints = p_r + PLACE
    return p_r, torch.where(visible[..., None], joints[..., :2] / joints[..., 2:], 0), visible


PLACE = torch.tensor([300.0, -200.0, 4000.0], dtype=torch.float64)


def test_a_body_is_where_its_visible_joints_are_seen(seen):
    p_r, rays, visible = seen
    found = fit_translation(p_r, rays, visible, spread(rays, visible)[1])
    assert (found - PLACE).norm(dim=-1).max() < 0.01 * PLACE[2]


def test_a_body_seen_in_one_place_is_as_far_as_it_is_small(seen):
    p_r, rays, visible = seen
    rays, size = torch.where(visible[..., None], 0.1, 0 * rays), torch.full((20,), 0.2, dtype=torch.float64)
    found = fit_translation(p_r, rays, visible, size)
    torch.testing.assert_close(found[:, 2], spread(p_r[..., :2], visible)[1] / 0.2)


def test_no_joint_comes_closer_than_100_mm(seen):
    p_r, rays, visible = seen
    found = fit_translation(p_r, 30 * rays, visible, spread(30 * rays, visible)[1])
    nearest = (p_r + found[:, None])[..., 2].amin(-1)
    assert nearest.min().item() == pytest.approx(100)


def test_mirrored_keeps_the_canonical_frame(generator):
    p_c, _ = canonicalize(random_poses(100, generator))
    torch.testing.assert_close(canonicalize(mirrored(p_c))[0], mirrored(p_c), atol=1e-3, rtol=0)
    torch.testing.assert_close(mirrored(mirrored(p_c)), p_c)


def test_leading_dimensions_and_mixed_precision(generator):
    pose = random_poses(12, generator)
    shaped = pose.view(2, 3, 2, 15, 3)
    torch.testing.assert_close(canonicalize(shaped)[0].reshape(12, 15, 3), canonicalize(pose)[0])
    p_l = canonical_to_local(shaped)
    torch.testing.assert_close(local_to_canonical(p_l).reshape(12, 15, 3), local_to_canonical(p_l.reshape(12, 15, 3)))
    expected, of_half = local_to_canonical(p_l), local_to_canonical(p_l.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(local_to_canonical(p_l), expected)
        for half in (local_to_canonical(p_l.bfloat16()), local_to_canonical(p_l=p_l.bfloat16())):
            assert half.dtype is torch.float32 and torch.equal(half, of_half)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu(generator):
    pose = random_poses(1000, generator)
    on_gpu = canonical_to_local(canonicalize(pose.cuda())[0])
    torch.testing.assert_close(on_gpu.cpu(), canonical_to_local(canonicalize(pose)[0]), atol=1e-4, rtol=0)
