"""Unit vectors: orthogonal parts and shortest turns. All are (..., 3), in any frame."""

from __future__ import annotations

import torch
from torch import Tensor

from mpose3d.geometry.precision import normalize

# Sine of the angle between two vectors below which one counts as having no part orthogonal to the other. Rounding of
# 1e-7 turns that part by 1e-7 / sine, so the round trip of a limb through its local frame stays within 1e-5 outside.
_SINGULAR = 0.01


def _aside(unit: Tensor) -> Tensor:
    """The axis farthest from `unit`."""
    return torch.eye(3, dtype=unit.dtype, device=unit.device)[unit.detach().abs().argmin(-1)]


def orthogonal(v: Tensor, unit: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Unit vector along the part of v, itself about as long, orthogonal to `unit`.

    Where v has none it is that of `fallback`, by default the axis farthest from `unit`.
    """
    fallback = _aside(unit) if fallback is None else fallback
    part = v - (v * unit).sum(-1, keepdim=True) * unit
    spare = fallback - (fallback * unit).sum(-1, keepdim=True) * unit
    singular = part.square().sum(-1, keepdim=True) < _SINGULAR**2
    return normalize(torch.where(singular, spare, part))


def turned(v: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """v after the shortest rotation that takes `start` to `end`, unit vectors; any half turn where they are opposite.

    It is made of two reflections: in the plane across `start`, and in the one across the middle of `start` and `end`.
    """
    middle = start + end
    opposite = middle.square().sum(-1, keepdim=True) < 1e-6
    middle = torch.where(opposite, torch.linalg.cross(start, _aside(start)), middle)
    for normal in (start, normalize(middle)):
        v = v - 2 * (v * normal).sum(-1, keepdim=True) * normal
    return v
