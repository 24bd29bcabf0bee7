"""Alignment against roma and SciPy, its invariances, and its stated results for degenerate input."""

from __future__ import annotations

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes

from mpose3d.geometry.alignment import aligned_distances, is_point, scale_align


@pytest.fixture
def poses(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    target = 300 * torch.randn(200, 15, 3, generator=generator, dtype=torch.float64)
    return target + 80 * torch.randn(200, 15, 3, generator=generator, dtype=torch.float64), target + 4000


def with_roma(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    rotation, translation, scale = roma.rigid_points_registration(prediction, target, compute_scaling=True)
    return scale[:, None, None] * prediction @ rotation.mT + translation[:, None]


def test_equals_roma(poses) -> None:
    assert torch.allclose(aligned_distances(*poses), (with_roma(*poses) - poses[1]).norm(dim=-1))


def test_equals_scipy_where_no_reflection_is_better(poses) -> None:
    """SciPy scales the target to norm 1, and gives the sum of squares that is left."""
    prediction, target = poses
    left = aligned_distances(prediction, target).square().sum(-1)
    size = (target - target.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    expected = [procrustes(q.numpy(), p.numpy())[2] for p, q in zip(prediction, target, strict=True)]
    assert torch.allclose(left / size, torch.tensor(expected, dtype=torch.float64))


def test_ill_conditioned_bodies_are_still_optimal(poses, generator: torch.Generator) -> None:
    """Mirror images, straight lines and planar bodies: as good a fit as by SVD."""
    prediction, _ = poses
    line = prediction[:, :, :1] * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    flat = prediction * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    noise = 1e-2 * torch.randn(prediction.shape, generator=generator, dtype=torch.float64)
    mirrored = prediction * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    for source, target in ((prediction, mirrored), (line, 2 * line + noise), (flat, flat + noise), (line, flat)):
        ours, reference = aligned_distances(source, target), (with_roma(source, target) - target).norm(dim=-1)
        assert torch.allclose(*(x.square().sum(-1) for x in (ours, reference)), rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(0.01, 100),
    shift=st.tuples(*[st.floats(-1e5, 1e5)] * 3),
)
def test_result_does_not_depend_on_the_similarity_of_the_prediction(seed: int, scale: float, shift) -> None:
    generator = torch.Generator().manual_seed(seed)
    prediction, target = 300 * torch.randn(2, 15, 3, generator=generator, dtype=torch.float64)
    rotation = roma.unitquat_to_rotmat(roma.random_unitquat(1))[0].double()
    moved = scale * prediction @ rotation.mT + torch.tensor(shift, dtype=torch.float64)
    assert torch.allclose(aligned_distances(moved, target), aligned_distances(prediction, target), atol=1e-4)


def test_gradients_after_a_call_in_inference_mode(poses) -> None:
    prediction, target = poses[0].clone(), poses[0] + poses[1]
    # a straight line is ill-conditioned
    prediction[0] = prediction[0, :, :1] * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    kept = getattr(roma.mappings, "_cached_horn_map", None)
    if kept is not None:  # as in a process that has aligned nothing yet
        kept.cache_clear()
    with torch.inference_mode():
        expected = aligned_distances(prediction, target)
    prediction.requires_grad_()
    distances = aligned_distances(prediction, target)
    distances.sum().backward()
    assert torch.equal(distances.detach(), expected) and prediction.grad.isfinite().all()


def test_invisible_joints_do_not_matter(poses) -> None:
    prediction, target = (x.clone() for x in poses)
    visible = torch.ones(prediction.shape[:-1], dtype=torch.bool)
    visible[:, 5:] = False
    target[:, 5:] = torch.nan
    prediction[:, 7:] = torch.nan
    distances = aligned_distances(prediction, target, visible)
    assert torch.allclose(distances[:, :5], aligned_distances(prediction[:, :5], target[:, :5]))
    assert distances[:, 5:].isnan().all()


def test_degenerate_input_has_the_stated_result(poses) -> None:
    prediction, target = poses[0][0], poses[1][0]
    point = torch.full_like(target, 1234.567)
    two = torch.arange(15) < 2
    broken = prediction.clone()
    broken[3, 1] = torch.nan
    assert aligned_distances(prediction, target, two).isnan().all()
    assert aligned_distances(prediction, target, two & False).isnan().all()
    assert aligned_distances(prediction, point).isnan().all()
    assert aligned_distances(broken, target).isnan().all()
    assert aligned_distances(prediction, broken).isnan().all()
    assert torch.allclose(aligned_distances(point, target), (target - target.mean(0)).norm(dim=-1))
    # one bad pose leaves its neighbours alone
    assert aligned_distances(torch.stack([broken, prediction]), torch.stack([target, target]))[1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_gives_no_point_a_size(dtype: torch.dtype, generator: torch.Generator) -> None:
    points = (1000 * torch.randn(200, 1, 3, generator=generator, dtype=dtype)).expand(200, 15, 3)
    pose = 300 * torch.randn(200, 15, 3, generator=generator, dtype=dtype)
    assert is_point(points, torch.ones(200, 15, dtype=torch.bool)).all()
    assert aligned_distances(pose, points).isnan().all()
    assert torch.allclose(aligned_distances(points, pose), (pose - pose.mean(1, keepdim=True)).norm(dim=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_leading_dimensions_and_precision(poses, dtype: torch.dtype) -> None:
    prediction, target = (x.reshape(10, 20, 15, 3) for x in poses)
    distances = aligned_distances(prediction.to(dtype), target.float())
    assert distances.shape == target.shape[:-1] and distances.dtype == torch.float32
    if dtype == torch.float32:
        assert torch.allclose(distances, aligned_distances(prediction, target).float(), atol=1e-2)


def test_scale_is_the_best_one_and_never_negative(poses) -> None:
    prediction, target = poses[0], poses[1] - 4000
    aligned = scale_align(prediction, target)
    error = (aligned - target).square().sum(dim=(1, 2))
    for factor in (0.99, 1.01):
        assert ((factor * aligned - target).square().sum(dim=(1, 2)) > error).all()
    assert torch.equal(scale_align(-target, target), torch.zeros_like(target))
    assert scale_align(0 * target, target).isnan().all() and scale_align(target, 0 * target).isnan().all()


def test_the_best_scale_is_that_of_the_visible_joints(poses) -> None:
    prediction, target = (x.clone() for x in poses)
    visible = (torch.arange(15) < 6).expand(200, 15)
    expected = scale_align(prediction[:, :6], target[:, :6])
    target[:, 6:] = torch.nan
    assert torch.allclose(scale_align(prediction, target, visible)[:, :6], expected)


def test_many_poses_are_as_few(poses) -> None:
    """More than fit one step, and none."""
    prediction, target = (x.repeat(25, 1, 1) for x in poses)
    distances = aligned_distances(prediction, target)
    assert torch.allclose(distances.reshape(25, 200, 15), aligned_distances(*poses).expand(25, 200, 15))
    assert aligned_distances(prediction[:0], target[:0]).shape == (0, 15)
