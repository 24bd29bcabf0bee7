"""Precision, recall and the two-sample test: against plain loops, and on sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpose3d.metrics.distributions import precision_recall, two_sample_accuracy


def by_loops(real: np.ndarray, made: np.ndarray, k: int) -> tuple[float, float]:
    """The definition of Kynkäänniemi et al. 2019, sample by sample."""

    def share(points: np.ndarray, samples: np.ndarray) -> float:
        radii = [np.sort([np.linalg.norm(a - b) for b in samples])[k] for a in samples]
        inside = [any(np.linalg.norm(p - a) <= r for a, r in zip(samples, radii, strict=True)) for p in points]
        return float(np.mean(inside))

    return share(made, real), share(real, made)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_definition(generator, k, dtype):
    real = torch.randn(60, 2, 3, generator=generator, dtype=dtype)
    made = 0.8 * torch.randn(80, 2, 3, generator=generator, dtype=dtype) + 0.3
    expected = by_loops(real.flatten(1).numpy(), made.flatten(1).numpy(), k)
    assert precision_recall(real, made, k) == pytest.approx(expected)
    assert 0 < expected[0] < 1 and 0 < expected[1] < 1
    # exchanged sets exchange precision and recall
    assert precision_recall(made, real, k) == pytest.approx(expected[::-1])


def test_sets_whose_answer_is_known(generator):
    real = torch.randn(1500, 8, generator=generator)
    assert precision_recall(real, real.clone()) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    narrow, wide = real[torch.randperm(1500, generator=generator)] * 0.3, real * 3
    precision, recall = precision_recall(real, narrow)
    assert precision > 0.99 and recall < 0.5
    precision, recall = precision_recall(real, wide)
    assert precision < 0.5 and recall > 0.9


def test_millimetres_far_from_the_origin_are_not_lost(generator):
    """Samples less than 1 mm apart at 2 m: products of matrices in float32 could not tell."""
    real, made = 2000 + 0.3 * torch.randn(2, 60, 6, generator=generator)
    expected = by_loops(real.double().numpy(), made.double().numpy(), 3)
    assert precision_recall(real, made) == pytest.approx(expected)
    base = torch.full((10, 45), 2000.0) + torch.arange(10.0)[:, None] * 40
    far = torch.cat([base, base[-1:] + 1000])
    assert precision_recall(base, far) == (pytest.approx(10 / 11), 1)


def test_too_few_samples():
    with pytest.raises(ValueError, match="3 real samples, precision and recall need more than 3"):
        precision_recall(torch.zeros(3, 2), torch.zeros(9, 2))
    with pytest.raises(ValueError, match="2 made samples"):
        precision_recall(torch.zeros(9, 2), torch.zeros(2, 2))
    for neighbours in (0, -1):
        with pytest.raises(ValueError, match=f"a neighbour or more, not {neighbours}"):
            precision_recall(torch.zeros(9, 2), torch.zeros(9, 2), neighbours)


def test_a_classifier_tells_apart_what_differs(generator):
    def draw(scale: float, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(scale * torch.randn(2, 800, 6, generator=generator) + shift)

    same = two_sample_accuracy(draw(200, 0), draw(200, 0))
    assert 0.45 < same < 0.55
    assert two_sample_accuracy(draw(200, 0), draw(200, 1000)) > 0.99
    # in one place, but wider
    assert two_sample_accuracy(draw(100, 0), draw(400, 0)) > 0.9
    # the pelvis of root-relative poses is 0 in all of them
    padded = [tuple(torch.cat([part, 0 * part[:, :1]], dim=1) for part in draw(200, shift)) for shift in (0, 1000)]
    assert two_sample_accuracy(*padded) > 0.99
    # as far as any classifier can: two Gaussians with means d sigma apart are told apart with chance Phi(d / 2)
    apart = two_sample_accuracy(draw(1, 0), draw(1, 1 / 6**0.5))
    assert apart == pytest.approx(torch.distributions.Normal(0, 1).cdf(torch.tensor(0.5)).item(), abs=0.04)
    # uneven numbers do not make chance better
    many = (torch.randn(2000, 6, generator=generator), torch.randn(500, 6, generator=generator))
    assert 0.42 < two_sample_accuracy(draw(1, 0), many) < 0.58
    assert two_sample_accuracy(draw(1, 5), many) > 0.99


def test_the_seed_decides_and_the_global_generator_is_left_alone(generator):
    real, made = torch.randn(2, 2, 200, 4, generator=generator)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = two_sample_accuracy(tuple(real), tuple(made), seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert two_sample_accuracy(tuple(real), tuple(made), seed=1) == first
    assert {two_sample_accuracy(tuple(real), tuple(made), seed=seed) for seed in (2, 3)} != {first}
    with pytest.raises(ValueError, match="needs real and made samples"):
        two_sample_accuracy((real[0], real[0][:0]), tuple(made))
