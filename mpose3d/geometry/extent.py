"""Where the points of a person lie and how large the person appears: boxes, middle and size."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def bounding_box(
    points: Float[Tensor, "*batch J 2"], visible: Bool[Tensor, "*batch J"] | None = None
) -> Float[Tensor, "*batch 4"]:
    """Box (x0, y0, x1, y1) around the visible points; NaN where there is none, or one of them is NaN."""
    if visible is None:
        return torch.cat([points.amin(dim=-2), points.amax(dim=-2)], dim=-1)
    visible = visible[..., None]
    low = torch.where(visible, points, torch.inf).amin(dim=-2)
    high = torch.where(visible, points, -torch.inf).amax(dim=-2)
    return torch.where(visible.any(dim=-2), torch.cat([low, high], dim=-1), torch.nan)


def in_box(points: Float[Tensor, "*#batch 2"], box: Float[Tensor, "*#batch 4"]) -> Bool[Tensor, "*batch"]:
    """Whether points lie within boxes (x0, y0, x1, y1); not where a number is NaN."""
    return ((points > box[..., :2]) & (points < box[..., 2:])).all(dim=-1)


def box_intersection(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch"]:
    """Area that boxes (x0, y0, x1, y1) share; NaN where a box is NaN."""
    return (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(dim=-1)


def one_in_other(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Bool[Tensor, "*batch"]:
    """Whether most of the smaller of two boxes (x0, y0, x1, y1) lies in the other; not where a box is NaN."""
    smaller = torch.minimum(box_intersection(a, a), box_intersection(b, b))
    return box_intersection(a, b) > 0.5 * smaller


def spread(
    points: Float[Tensor, "*batch J D"], visible: Bool[Tensor, "*batch J"] | None = None
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
    """Mean of the visible points, and their root mean square distance from it: a person's size. 0 where there is none.

    Invisible points may hold anything.
    """
    if visible is None:
        visible = torch.ones_like(points[..., 0], dtype=torch.bool)
    seen = visible[..., None]
    count = visible.sum(-1).clamp_min(1)
    middle = torch.where(seen, points, 0).sum(-2) / count[..., None]
    squared = torch.where(seen, points - middle[..., None, :], 0).square().sum((-2, -1)) / count
    point = squared == 0  # where the root has no finite gradient
    return middle, torch.where(point, 1, squared).sqrt().masked_fill(point, 0)
