"""Metrics against plain NumPy and SciPy, their invariances, shapes, and stated results for degenerate input."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import roma
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

from mpose3d.geometry.extent import bounding_box
from mpose3d.metrics import functional
from mpose3d.metrics.functional import (
    auc,
    box_iou,
    mpjpe,
    n_mpjpe,
    pck2d,
    pck3d,
    pmpjpe,
    root_error,
)
from mpose3d.skeleton import SKELETON
from tests.metrics.samples import scipy_pmpjpe

ROOT = SKELETON.root


def random_poses(generator: torch.Generator, count: int = 50, noise: float = 80.0) -> tuple[torch.Tensor, torch.Tensor]:
    target = 300 * torch.randn(count, 15, 3, generator=generator)
    return target + noise * torch.randn(count, 15, 3, generator=generator), target


def test_distances_equal_numpy(generator: torch.Generator) -> None:
    prediction, target = random_poses(generator)
    p, q = prediction.double().numpy(), target.double().numpy()
    assert np.allclose(mpjpe(prediction, target), np.linalg.norm(p - q, axis=-1).mean(-1), rtol=1e-5)
    errors = np.linalg.norm(p - p[:, [ROOT]] - q + q[:, [ROOT]], axis=-1)
    assert np.allclose(mpjpe(prediction, target, root=ROOT), errors.mean(-1), rtol=1e-5)
    assert np.allclose(pck3d(prediction, target, root=ROOT), 100 * (errors < 150).mean(-1))
    curve = [100 * (errors < threshold).mean(-1) for threshold in range(0, 151, 5)]
    assert np.allclose(auc(prediction, target, root=ROOT), np.mean(curve, axis=0), rtol=1e-5)
    assert np.allclose(root_error(prediction, target, root=ROOT), np.linalg.norm(p - q, axis=-1)[:, ROOT], rtol=1e-5)


def test_pmpjpe_equals_scipy(generator: torch.Generator) -> None:
    prediction, target = random_poses(generator)
    expected = [scipy_pmpjpe(p, q) for p, q in zip(prediction.numpy(), target.numpy(), strict=True)]
    assert np.allclose(pmpjpe(prediction, target + 3000), expected, atol=1e-3)


def test_a_wrong_depth_counts_without_root_only(generator: torch.Generator) -> None:
    _, target = random_poses(generator)
    deeper = target + torch.tensor([0.0, 0.0, 500.0])
    assert (pck3d(deeper, target) == 0).all() and (pck3d(deeper, target, root=ROOT) == 100).all()
    assert (pck3d(deeper, target, threshold=501) == 100).all()
    assert torch.allclose(root_error(deeper, target, root=ROOT), torch.tensor(500.0), rtol=1e-4)


def test_n_mpjpe_undoes_scale_but_not_rotation(generator: torch.Generator) -> None:
    _, target = random_poses(generator)
    turned = target @ torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert torch.allclose(n_mpjpe(0.3 * target + 100, target, root=ROOT), torch.zeros(50), atol=1e-2)
    assert (n_mpjpe(turned, target, root=ROOT) > 50).all()
    assert (n_mpjpe(-target, target, root=ROOT) > 50).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.05, 20), shift=st.floats(-1e4, 1e4))
def test_pmpjpe_does_not_see_rotation_translation_and_scale(seed: int, scale: float, shift: float) -> None:
    prediction, target = random_poses(torch.Generator().manual_seed(seed), count=3)
    rotation = roma.random_rotmat(3)
    moved = scale * prediction @ rotation + shift
    assert torch.allclose(pmpjpe(moved, target), pmpjpe(prediction, target), atol=0.05 + 1e-5 * abs(shift) / scale)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), axis=st.integers(0, 2))
def test_a_mirrored_body_never_scores_0(seed: int, axis: int) -> None:
    _, target = random_poses(torch.Generator().manual_seed(seed), count=3)
    mirrored = target.clone()
    mirrored[..., axis] *= -1
    assert (pmpjpe(mirrored, target) > 10).all()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(6)), joints=st.permutations(range(15)))
def test_order_of_people_and_joints_changes_nothing(order: list[int], joints: list[int]) -> None:
    prediction, target = random_poses(torch.Generator().manual_seed(1), count=6)
    visible = torch.rand(6, 15, generator=torch.Generator().manual_seed(2)) > 0.3
    for metric in (mpjpe, pmpjpe, pck3d, auc):
        expected = metric(prediction, target, visible)[order]
        assert torch.allclose(metric(prediction[order], target[order], visible[order]), expected, atol=1e-3)
        shuffled = metric(prediction[order][:, joints], target[order][:, joints], visible[order][:, joints])
        assert torch.allclose(shuffled, expected, atol=1e-3)


def test_only_visible_joints_count(generator: torch.Generator) -> None:
    prediction, target = random_poses(generator)
    visible = torch.arange(15).expand(50, 15) < 6
    few = (prediction[:, :6].clone(), target[:, :6].clone())
    prediction[:, 6:] = torch.nan
    for metric in (mpjpe, pmpjpe, pck3d, auc):
        assert torch.allclose(metric(prediction, target, visible), metric(*few))
    assert torch.allclose(n_mpjpe(prediction, target, visible, root=0), n_mpjpe(*few, root=0))


class TestDegenerate:
    """None of these is a good score."""

    def test_no_visible_joint(self, generator: torch.Generator) -> None:
        prediction, target = random_poses(generator)
        nothing = torch.zeros(50, 15, dtype=torch.bool)
        for metric in (mpjpe, pmpjpe, pck3d, auc):
            assert metric(prediction, target, nothing).isnan().all()
        assert n_mpjpe(prediction, target, nothing, root=ROOT).isnan().all()
        assert pck2d(prediction[..., :2], target[..., :2], nothing).isnan().all()

    def test_what_is_hidden_has_no_gradient(self, generator: torch.Generator) -> None:
        prediction, target = torch.randn(2, 5, 15, 3, generator=generator)
        visible = torch.arange(15) < 11
        prediction[:, 12] = torch.nan
        for root in (None, ROOT):
            hidden = prediction.clone().requires_grad_()
            mpjpe(hidden, target, (visible | (torch.arange(15) == ROOT)).expand(5, 15), root=root).sum().backward()
            assert hidden.grad.isfinite().all() and not hidden.grad[:, 12].any() and hidden.grad[:, :11].any()

    def test_root_invisible(self, generator: torch.Generator) -> None:
        prediction, target = random_poses(generator)
        rootless = torch.arange(15).expand(50, 15) != ROOT
        for metric in (mpjpe, n_mpjpe, pck3d, auc):
            assert metric(prediction, target, rootless, root=ROOT).isnan().all()

    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_nan_in_a_prediction(self, generator: torch.Generator, value: float) -> None:
        _, target = random_poses(generator)
        broken = target.clone()
        broken[:, 3, 0] = value
        for metric in (mpjpe, pmpjpe):
            assert not metric(broken, target).isfinite().any()
        assert not n_mpjpe(broken, target, root=ROOT).isfinite().any()
        assert torch.allclose(pck3d(broken, target), torch.tensor(100 * 14 / 15))
        iou = box_iou(*(bounding_box(points[..., :2]) for points in (broken, target)))
        assert (iou.isnan() | (iou == 0)).all()

    def test_one_point(self, generator: torch.Generator) -> None:
        _, target = random_poses(generator)
        point = torch.full_like(target, 123.456)
        assert pmpjpe(target, point).isnan().all() and pmpjpe(point, point).isnan().all()
        assert n_mpjpe(point, target, root=ROOT).isnan().all() and n_mpjpe(target, point, root=ROOT).isnan().all()
        spread = (target - target.mean(1, keepdim=True)).norm(dim=-1).mean(-1)
        assert torch.allclose(pmpjpe(point, target), spread)

    def test_two_points_can_always_be_aligned_so_they_are_not_scored(self, generator: torch.Generator) -> None:
        prediction, target = random_poses(generator)
        assert pmpjpe(prediction, target, torch.arange(15).expand(50, 15) < 2).isnan().all()

    def test_nobody(self) -> None:
        nobody = torch.zeros(0, 15, 3)
        assert mpjpe(nobody, nobody).shape == pmpjpe(nobody, nobody).shape == (0,)


def test_boxes() -> None:
    a, b = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 1, 3, 3])
    assert box_iou(a, b) == pytest.approx(1 / 7)
    assert box_iou(a, a) == 1 and box_iou(a, a + 5) == 0
    assert box_iou(torch.zeros(4), torch.zeros(4)) == 0


def test_thresholds_are_150_mm_and_25_px_and_are_misses_themselves() -> None:
    joints = torch.tensor([[149.0, 0, 0], [0, 149.9, 0], [150, 0, 0], [0, 0, 999]])
    assert pck3d(joints, torch.zeros(4, 3)) == 50
    target = torch.zeros(4, 2)
    assert pck2d(torch.tensor([[24.0, 0], [0, 24.9], [25, 0], [100, 0]]), target) == 50


def test_shapes_are_as_annotated(generator: torch.Generator) -> None:
    """Every public function under jaxtyping and beartype: right shapes pass, wrong ones do not."""
    prediction, target = (x.reshape(5, 10, 15, 3) for x in random_poses(generator))
    visible = torch.ones(5, 10, 15, dtype=torch.bool)
    checked = {
        name: jaxtyped(typechecker=beartype)(function)
        for name, function in vars(functional).items()
        if inspect.isfunction(function) and function.__module__ == functional.__name__
    }
    for name in ("mpjpe", "pmpjpe", "pck3d", "auc"):
        assert checked[name](prediction, target, visible).shape == (5, 10)
        with pytest.raises(Exception, match="Type-check error"):
            checked[name](prediction, target[..., :14, :], visible)
    assert checked["n_mpjpe"](prediction, target, visible, root=ROOT).shape == (5, 10)
    assert checked["root_error"](prediction, target, root=ROOT).shape == (5, 10)
    flat, flat_target = prediction[..., :2], target[..., :2]
    assert checked["pck2d"](flat, flat_target, visible).shape == (5, 10)
    boxes = [bounding_box(points, visible) for points in (flat, flat_target)]
    assert checked["box_iou"](*boxes).shape == (5, 10)
