"""Gauss-Newton steps, against closed forms."""

from __future__ import annotations

import torch

from mpose3d.networks.gauss_newton import gauss_newton_step, linearized


def test_derivatives_are_those_of_the_function(generator):
    at = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    matrix = 0.3 * torch.randn(4, 6, generator=generator, dtype=torch.float64)

    def function(codes):
        assert codes.shape == (5, 5, 4)
        return (codes @ matrix).sin().unflatten(-1, (3, 2))

    values, slope = linearized(function, at)
    torch.testing.assert_close(values, (at @ matrix).sin())
    torch.testing.assert_close(slope, (at @ matrix).cos()[:, None] * matrix, rtol=0, atol=0.02)


def test_a_step_solves_what_is_linear(generator):
    """Against least squares of all terms, stacked."""
    residual = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    slope = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64)
    weight = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    factor = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    pull = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    step = gauss_newton_step(residual, slope, weight, factor.mT @ factor, pull)
    rows = torch.cat([weight.sqrt()[..., None] * slope.mT, factor], dim=1)
    right = torch.cat([weight.sqrt() * residual, (factor @ pull[..., None])[..., 0]], dim=1)
    torch.testing.assert_close(step, -torch.linalg.lstsq(rows, right).solution)
