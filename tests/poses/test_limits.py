"""Joint limits: what is inside, what is sampled, what a user may get wrong."""

from __future__ import annotations

import json
from math import cos, radians, sin

import numpy as np
import pytest
import torch

from mpose3d.geometry.kinematics import canonical_to_local, canonicalize, local_to_canonical, mirrored
from mpose3d.poses.limits import DEFAULT_RANGES, JointLimits, JointRange
from mpose3d.skeleton import MUPOTS_17, SKELETON

X, Y, Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)


def with_direction(joint: str, direction: tuple[float, float, float]) -> torch.Tensor:
    """A local pose in the middle of the limits but for one joint."""
    p_l = torch.zeros(len(SKELETON), 3)
    p_l[:, 2] = 1
    p_l[SKELETON.index(joint)] = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0)
    return p_l


def is_inside(limits: JointLimits, joint: str, direction: tuple[float, float, float]) -> bool:
    return bool(limits.inside(with_direction(joint, direction))[SKELETON.index(joint)])


def at(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """Direction about the pole Z with zero azimuth X, degrees."""
    a, e = radians(azimuth), radians(elevation)
    return (sin(e) * cos(a), sin(e) * sin(a), cos(e))


@pytest.mark.parametrize("azimuth", [(120, 240), (120, -120)])
def test_azimuth_wraps_past_180(azimuth, generator):
    limits = JointLimits({"r_elbow": JointRange(azimuth, elevation=(30, 150), pole=Z, zero=X)})
    assert limits.ranges["r_elbow"].width == 120
    for angle, expected in (
        (121, True),
        (180, True),
        (-179, True),
        (-121, True),
        (119, False),
        (-119, False),
        (0, False),
    ):
        assert is_inside(limits, "r_elbow", at(angle, 90)) == expected, angle
    x, y, z = limits.sample(2000, generator)[:, SKELETON.index("r_elbow")].unbind(-1)
    sampled = torch.atan2(y, x).rad2deg() % 360
    assert sampled.min() >= 120 and sampled.max() <= 240
    assert sampled.min() < 125 and sampled.max() > 235
    assert z.abs().max() <= cos(radians(30))


def test_samples_are_inside_and_stay_so_through_kinematics(generator):
    limits = JointLimits()
    p_l = limits.sample(5000, generator)
    assert limits.inside(p_l).all()
    assert limits.inside(canonical_to_local(local_to_canonical(p_l))).all()


def test_samples_are_uniform_by_area(generator):
    """Within a box, the cosine of the elevation and the azimuth are uniform."""
    limits = JointLimits({"r_elbow": JointRange((-90, 90), (0, 120), pole=Z, zero=X)})
    x, y, z = limits.sample(20000, generator).double()[:, SKELETON.index("r_elbow")].unbind(-1)
    for value, low, high in ((z, -0.5, 1.0), (torch.atan2(y, x), -np.pi / 2, np.pi / 2)):
        quantiles = torch.quantile((value - low) / (high - low), torch.linspace(0.1, 0.9, 9, dtype=torch.float64))
        torch.testing.assert_close(quantiles, torch.linspace(0.1, 0.9, 9, dtype=torch.float64), atol=0.02, rtol=0)


def test_same_generator_same_samples():
    limits = JointLimits()
    a, b = (limits.sample(10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)


def test_coverage_is_the_share_of_random_directions_inside(generator):
    limits = JointLimits()
    p_l = torch.nn.functional.normalize(torch.randn(40000, len(SKELETON), 3, generator=generator), dim=-1)
    share = limits.inside(p_l).float().mean(0)
    assert limits.coverage().keys() == DEFAULT_RANGES.keys() - {"r_hip"}
    for name, coverage in limits.coverage().items():
        assert share[SKELETON.index(name)].item() == pytest.approx(coverage, abs=0.012), name


def test_left_mirrors_right(generator):
    """A pose keeps the limits if and only if its mirror image does, joint for joint."""
    limits = JointLimits()
    wild = torch.nn.functional.normalize(torch.randn(2000, len(SKELETON), 3, generator=generator), dim=-1)
    p_l = canonical_to_local(
        local_to_canonical(torch.where(torch.rand(2000, 1, 1) < 0.5, wild, limits.sample(2000, generator)))
    )
    twin = canonical_to_local(mirrored(local_to_canonical(p_l)))
    free = [j for j, name in enumerate(SKELETON.names) if name not in ("r_hip", "l_hip", "r_shoulder", "l_shoulder")]
    assert torch.equal(limits.inside(p_l)[:, free], limits.inside(twin)[:, list(SKELETON.mirror)][:, free])


# Right side, ends of the published ranges of motion (docs/prior.md), as directions in the local frames.
PUBLISHED = {
    "neck flexion 45": ("head_top", (sin(radians(45)), 0, cos(radians(45)))),
    "neck extension 45": ("head_top", (-sin(radians(45)), 0, cos(radians(45)))),
    "neck side bending 45": ("head_top", (0, sin(radians(45)), cos(radians(45)))),
    "trunk rotation 45": ("r_shoulder", (sin(radians(45)), -cos(radians(45)), 0)),
    "trunk side bending 35": ("r_shoulder", (0, -cos(radians(35)), sin(radians(35)))),
    "arm hanging": ("r_elbow", (0, -1, 0)),
    "shoulder flexion 90": ("r_elbow", (1, 0, 0)),
    "shoulder flexion 180": ("r_elbow", (0, 1, 0)),
    "shoulder extension 60": ("r_elbow", (-sin(radians(60)), -cos(radians(60)), 0)),
    "shoulder abduction 90": ("r_elbow", (0, 0, 1)),
    "horizontal abduction 45": ("r_elbow", (-sin(radians(45)), 0, cos(radians(45)))),
    "horizontal adduction 135": ("r_elbow", (sin(radians(135)), 0, cos(radians(135)))),
    "elbow straight": ("r_wrist", (0, 0, 1)),
    "elbow flexion 150": ("r_wrist", (sin(radians(150)), 0, cos(radians(150)))),
    "forearm turned in": ("r_wrist", (cos(radians(70)), -sin(radians(70)), 0)),
    "forearm turned out": ("r_wrist", (0, 1, 0)),
    "trunk to the side over the hips 35": ("r_hip", (0, -cos(radians(35)), -sin(radians(35)))),
    "leg hanging": ("r_knee", (0, -1, 0)),
    "hip flexion 120": ("r_knee", (sin(radians(120)), -cos(radians(120)), 0)),
    "hip extension 30": ("r_knee", (-sin(radians(30)), -cos(radians(30)), 0)),
    "hip abduction 45": ("r_knee", (0, -cos(radians(45)), sin(radians(45)))),
    "hip adduction 30": ("r_knee", (0, -cos(radians(30)), -sin(radians(30)))),
    "knee straight": ("r_ankle", (0, 0, 1)),
    "knee flexion 135": ("r_ankle", (-sin(radians(135)), 0, cos(radians(135)))),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_ranges_of_motion_are_inside(name):
    assert is_inside(JointLimits(), *PUBLISHED[name])


@pytest.mark.parametrize(
    ("joint", "direction"),
    [
        pytest.param("head_top", (0, 0, -1), id="head in the chest"),
        pytest.param("r_elbow", (-1, 0.8, -0.5), id="upper arm behind the neck and down the back"),
        pytest.param("r_wrist", (0.2, 0, -1), id="forearm in the upper arm"),
        pytest.param("r_knee", (-0.5, 1, 0), id="thigh up behind the back"),
        pytest.param("r_ankle", (-0.2, 0, -1), id="shin in the thigh"),
    ],
)
def test_impossible_directions_are_outside(joint, direction):
    assert not is_inside(JointLimits(), joint, direction)


def test_joint_without_a_direction_is_outside():
    limits = JointLimits()
    for broken in (0.0, torch.nan):
        p_l = with_direction("r_knee", (0, -1, 0))
        p_l[SKELETON.index("r_knee")] = broken
        assert not limits.inside(p_l)[SKELETON.index("r_knee")]


def test_excess_is_the_arc_to_the_limits():
    limits = JointLimits({"r_elbow": JointRange((-90, 90), (60, 120), pole=Z, zero=X)})
    excess = lambda *angles: limits.excess(with_direction("r_elbow", at(*angles)))[SKELETON.index("r_elbow")].item()  # noqa: E731
    assert excess(0, 130) == pytest.approx(10, abs=1e-3)
    assert excess(0, 45) == pytest.approx(15, abs=1e-3)
    assert excess(110, 90) == pytest.approx(20, abs=1e-3)
    assert excess(110, 70) == pytest.approx(20 * sin(radians(70)), abs=1e-3)  # shorter near the pole
    assert excess(-85, 90) == pytest.approx(-5, abs=1e-3)


def test_excess_has_finite_gradients_at_the_poles():
    limits = JointLimits()
    for pole in (X, Y, Z, (0, 0, -1), (-1, 1, 1)):
        p_l = torch.nn.functional.normalize(torch.tensor(pole, dtype=torch.float64), dim=0).expand(15, 3).clone()
        p_l.requires_grad_()
        limits.excess(p_l).relu().sum().backward()
        assert p_l.grad.isfinite().all()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"elevation": (125, 20)}, "runs backwards"),
        ({"elevation": (0, 190)}, "leaves 0 to 180"),
        ({"azimuth": (-200, 0)}, "leaves -180 to 360"),
        ({"azimuth": (-180, 360)}, "more than a whole turn"),
        ({"azimuth": (350, -170)}, "more than a whole turn"),
        ({"azimuth": (10,)}, "must be 2 numbers"),
        ({"azimuth": (10, float("nan"))}, "must be 2 numbers"),
        ({"azimuth": "wide"}, "must be 2 numbers"),
        ({"pole": (0, 0, 2)}, "two different axes"),
        ({"pole": (0, 0, 0)}, "two different axes"),
    ],
)
def test_wrong_ranges_are_refused(change, complaint):
    good = {"azimuth": (0, 90), "elevation": (20, 125), "pole": Z, "zero": Z if "pole" in change else X}
    with pytest.raises(ValueError, match=complaint):
        JointRange(**(good | change))


def test_limits_from_a_file(tmp_path):
    file = tmp_path / "limits.yaml"
    file.write_text("r_knee: {azimuth: [-100, 10]}\nr_elbow: {pole: [0, 0, 1], elevation: [10, 90]}\n")
    limits = JointLimits.from_file(file)
    assert limits.ranges["r_knee"].azimuth == (-100, 10)
    assert limits.ranges["r_knee"].elevation == DEFAULT_RANGES["r_knee"].elevation
    assert limits.ranges["r_elbow"].pole == (0, 0, 1)
    assert limits.ranges["r_ankle"] == DEFAULT_RANGES["r_ankle"]
    file.write_text(json.dumps({"r_knee": {"azimuth": [-100, 10]}}))
    assert JointLimits.from_file(file).ranges["r_knee"] == limits.ranges["r_knee"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("r_knee: {elevation: [125, 20]}", r"limits\.yaml: r_knee: elevation .* runs backwards: write the smaller"),
        ("l_knee: {elevation: [20, 125]}", r"limits\.yaml: l_knee: no limits .* \(left joints mirror right"),
        ("r_knee: {elevation: [20, 125], tilt: 3}", r"limits\.yaml: r_knee: unknown field 'tilt'; fields are azimuth"),
        ("r_knee: 20", r"limits\.yaml: r_knee: must be a mapping"),
        ("- r_knee", r"limits\.yaml: must map joints to ranges"),
        ("r_knee: {azimuth: [", r"limits\.yaml: not readable as YAML or JSON"),
        ("", r"limits\.yaml: must map joints to ranges"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path, text, complaint):
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        JointLimits.from_file(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        JointLimits.from_file(tmp_path / "none.yaml")


def test_limits_take_in_real_motion_and_still_limit(shared_data):
    with np.load(shared_data / "mocap" / "clips_mpi17_mm.npz") as clips:
        points = torch.from_numpy(np.concatenate([clips[name] for name in clips.files]))
    poses, visible = MUPOTS_17.to_skeleton(points)
    assert visible.all()
    limits = JointLimits()
    assert limits.inside(canonical_to_local(canonicalize(poses)[0])).all(-1).float().mean() >= 0.99
    assert np.mean(list(limits.coverage().values())) <= 0.60


def test_clamp_moves_what_is_outside_to_the_border_and_nothing_else(generator):
    limits = JointLimits()
    free = torch.nn.functional.normalize(torch.randn(3000, 15, 3, generator=generator), dim=-1)
    inside = limits.sample(3000, generator)
    free[:, SKELETON.index("r_hip")] = inside[:, SKELETON.index("r_hip")]
    free[:, [SKELETON.index("neck"), SKELETON.root]] = inside[:, [SKELETON.index("neck"), SKELETON.root]]
    for name in ("hip", "shoulder"):
        free[:, SKELETON.index(f"l_{name}")] = -free[:, SKELETON.index(f"r_{name}")]
    lengths = 0.5 + torch.rand(3000, 15, 1, generator=generator)
    lengths[:, SKELETON.indices("l_hip", "l_shoulder")] = lengths[:, SKELETON.indices("r_hip", "r_shoulder")]
    clamped = limits.clamp(free * lengths)
    assert limits.inside(clamped).all()
    for name in ("hip", "shoulder"):
        assert torch.equal(clamped[:, SKELETON.index(f"l_{name}")], -clamped[:, SKELETON.index(f"r_{name}")])
    torch.testing.assert_close(clamped.norm(dim=-1), (free * lengths).norm(dim=-1))
    within = limits.inside(free) & (limits.excess(free) < 0)
    assert torch.equal(clamped[within], (free * lengths)[within])
    # and to the border it is, no farther
    outside = limits.excess(free) > 0.1
    assert (limits.excess(clamped)[outside].abs() < 0.05).all()


def test_clamp_has_finite_gradients(generator):
    p_l = torch.randn(500, 15, 3, generator=generator).requires_grad_()
    JointLimits().clamp(p_l).square().sum().backward()
    assert p_l.grad.isfinite().all()
