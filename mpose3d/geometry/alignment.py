"""Alignment of a predicted body with the annotated one: the best similarity, and the best scale."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.geometry.extent import spread
from mpose3d.geometry.precision import full_precision

# Two points can always be laid on two others, which says nothing of a pose.
MIN_ALIGNED_JOINTS = 3

# A body whose size is below this fraction of its distance from the origin is one point: rounding could make it.
_POINT = 1e-9


@full_precision
def aligned_distances(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    visible: Bool[Tensor, "*batch J"] | None = None,
) -> Float[Tensor, "*batch J"]:
    """Distance of each visible joint from its target, |s R p_j + t - q_j|, after the best similarity of each pose.

    The best is argmin over s >= 0, R, t of sum_j |s R p_j + t - q_j|^2, det R = +1. Only visible joints (default: all)
    decide. A body is never reflected, so its mirror image keeps an error.

    Stated results: NaN for an invisible joint, which may hold anything; for a pose with fewer than 3 visible joints,
    with NaN or infinity in a visible joint, or with a target whose visible joints are one point. A prediction that is
    one point lands on the centre of the target.
    """
    seen = torch.ones_like(target[..., 0], dtype=torch.bool) if visible is None else visible
    (p, p_size, p_extends), (q, q_size, q_extends) = (_centred(points, seen) for points in (prediction, target))
    defined = q_extends & p_size.isfinite() & q_size.isfinite() & (seen.sum(-1) >= MIN_ALIGNED_JOINTS)
    correlation = torch.where(defined[..., None, None], q.mT @ p, 0)
    # roma's other method keeps a tensor of its first call, which may be in inference mode
    rotation = roma.special_procrustes(correlation, method="svd")
    # a prediction that is one point has no rotation: s = 0 is its best similarity
    scale = torch.where(p_extends, (rotation * correlation).sum((-2, -1)) / p_size, 0)
    distances = (scale[..., None, None] * p @ rotation.mT - q).norm(dim=-1)
    distances = torch.where(seen & defined[..., None], distances, torch.nan)
    return distances.to(torch.promote_types(prediction.dtype, target.dtype))


def _centred(
    points: Float[Tensor, "*batch J 3"], visible: Bool[Tensor, "*batch J"]
) -> tuple[Float[Tensor, "*batch J 3"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
    """Visible joints about their centre (float64), 0 where invisible; the sum of their squares; and if it is a size."""
    weight = visible[..., None]
    points = torch.where(weight, points.double(), 0)
    count = weight.sum(-2)
    mean = points.sum(-2) / count
    points = torch.where(weight, points - mean[..., None, :], 0)
    size = points.square().sum((-2, -1))
    return points, size, size > _POINT**2 * count[..., 0] * mean.square().sum(-1)


def is_point(points: Float[Tensor, "*batch J D"], visible: Bool[Tensor, "*batch J"]) -> Bool[Tensor, "*batch"]:
    """Whether the visible joints are one point, which has no rotation and no size; not where one of them is NaN."""
    middle, size = spread(points.double(), visible)
    return size <= _POINT * middle.norm(dim=-1)


@full_precision
def scale_align(
    prediction: Float[Tensor, "*batch J D"],
    target: Float[Tensor, "*batch J D"],
    visible: Bool[Tensor, "*batch J"] | None = None,
) -> Float[Tensor, "*batch J D"]:
    """Each predicted pose times the best s >= 0 about the origin: argmin over s of sum_j |s p_j - q_j|^2.

    Give root-relative poses. s is never negative: a body reflected through its root is no match. NaN where the
    visible joints of the prediction, or of the target, all lie in the origin, and where a visible joint is NaN.
    """
    p, q = prediction, target
    if visible is not None:
        p, q = (torch.where(visible[..., None], x, 0) for x in (p, q))
    p_size, q_size = (x.square().sum(dim=(-2, -1)) for x in (p, q))
    scale = (p * q).sum(dim=(-2, -1)).clamp_min(0) / p_size
    scale = torch.where((p_size > 0) & (q_size > 0), scale, torch.nan)
    return scale[..., None, None] * prediction
