"""The 3DPW protocols against a frame by frame reference written after the official code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpose3d.metrics.threedpw import Challenge, FourteenJoints, scored_frames
from tests.metrics.samples import scipy_pmpjpe

MAJOR = [1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21]  # SMPL_MAJOR_JOINTS of the official evaluate.py


def poses(joints: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    target = 300 * torch.randn(40, joints, 3, generator=generator, dtype=torch.float64) + 3000
    return target + 40 * torch.randn(40, joints, 3, generator=generator, dtype=torch.float64), target


def test_challenge_equals_the_official_definition(generator: torch.Generator) -> None:
    prediction, target = poses(24, generator)
    metric = Challenge()
    for at in (slice(0, 7), slice(7, None)):
        metric.update(prediction[at], target[at])
    score = metric.compute()
    errors = np.array(
        [
            np.linalg.norm((p - p[0]) - (q - q[0]), axis=1)
            for p, q in zip(prediction.numpy(), target.numpy(), strict=True)
        ]
    )
    assert score.mpjpe == pytest.approx(errors.mean())
    aligned = [scipy_pmpjpe(p, q) for p, q in zip(prediction.numpy(), target.numpy(), strict=True)]
    assert score.pmpjpe == pytest.approx(np.mean(aligned), abs=1e-4)
    assert score.pck == pytest.approx(100 * (errors[:, MAJOR] <= 50).mean())
    thresholds = np.arange(0.0, 200.0)
    curve = [(errors[:, MAJOR] <= t).mean() for t in thresholds]
    assert score.auc == pytest.approx(np.trapezoid(curve, thresholds / thresholds.max()))


def test_a_joint_at_the_threshold_is_correct() -> None:
    target = torch.arange(72.0).reshape(1, 24, 3) * 100
    prediction = target.clone()
    prediction[0, MAJOR, 0] += torch.tensor([50.0, 51.0]).repeat(6)
    metric = Challenge()
    metric.update(prediction, target)
    assert metric.compute().pck == 50


def test_challenge_scores_a_prediction_of_zeros_as_the_official_code_does(generator: torch.Generator) -> None:
    _, target = poses(24, generator)
    metric = Challenge()
    metric.update(torch.zeros_like(target), target)
    spread = (target - target.mean(1, keepdim=True)).norm(dim=-1).mean().item()
    assert metric.compute().pmpjpe == pytest.approx(spread)


def test_fourteen_joints_move_the_hips_together(generator: torch.Generator) -> None:
    prediction, target = poses(14, generator)
    metric = FourteenJoints()
    metric.update(prediction + 777, target)
    p, q = (x - x[:, [2, 3]].mean(1, keepdim=True) for x in (prediction, target))
    assert metric.compute().mpjpe == pytest.approx((p - q).norm(dim=-1).mean().item())
    expected = [scipy_pmpjpe(p, q) for p, q in zip(prediction.numpy(), target.numpy(), strict=True)]
    assert metric.compute().pmpjpe == pytest.approx(np.mean(expected), abs=1e-4)


def test_frames_without_detection_or_camera_are_dropped() -> None:
    poses2d = torch.ones(4, 2, 18, 3)
    poses2d[1, 0] = 0
    poses2d[2, 0, 1:] = 0
    valid = torch.ones(4, 2, dtype=torch.bool)
    valid[3, 1] = False
    assert scored_frames(poses2d, valid).tolist() == [[True, True], [False, True], [True, True], [True, False]]


@pytest.mark.parametrize("metric_class", [Challenge, FourteenJoints])
@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_bad_input(metric_class: type, generator: torch.Generator) -> None:
    prediction, target = poses(24 if metric_class is Challenge else 14, generator)
    assert all(map(math.isnan, metric_class().compute()))
    with pytest.raises(ValueError, match="expected both"):
        metric_class().update(prediction[:, :13], target)
    with pytest.raises(ValueError, match="expected both"):
        metric_class().update(prediction[:1], target)
    prediction[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        metric_class().update(prediction, target)
