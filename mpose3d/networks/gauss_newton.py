"""Gauss-Newton for many small searches at once, with derivatives that are finite differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# far above rounding, far below what bends a body
_NUDGE = 0.01


def linearized(
    function: Callable[[Tensor], Tensor], at: Float[Tensor, "n c"]
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "n c r"]]:
    """Values of a function, flattened, and their derivatives by each number of `at`.

    Args:
        function: (n, 1 + c, c) -> (n, 1 + c, ...); it is called once, with `at` and `at` with each number nudged.
        at: where.
    """
    eye = torch.eye(at.shape[-1], dtype=at.dtype, device=at.device)
    nudges = _NUDGE * torch.cat([torch.zeros_like(eye[:1]), eye])
    values = function(at[:, None] + nudges).flatten(2)
    return values[:, 0], (values[:, 1:] - values[:, :1]) / _NUDGE


def gauss_newton_step(
    residual: Float[Tensor, "n r"],
    slope: Float[Tensor, "n c r"],
    weight: Float[Tensor, "n r"],
    precision: Float[Tensor, "n c c"],
    pull: Float[Tensor, "n c"],
) -> Float[Tensor, "n c"]:
    """The step that lowers sum weight residual^2 + pull^T precision pull, as if the residual were linear.

    Args:
        residual, slope: as of `linearized`.
        weight: of the square of each residual.
        precision: the weight of the squared distance from where the search should stay.
        pull: that distance.
    """
    weighted = slope * weight[:, None]
    gradient = weighted @ residual[..., None] + precision @ pull[..., None]
    # `solve` would wait for the device, to see whether it could
    return -torch.linalg.solve_ex(weighted @ slope.mT + precision, gradient)[0][..., 0]
