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

# Below this, the iteration for the rotation loses digits and roma's solver takes over: bodies that are a straight line,
# or the mirror image of what they are aligned with. Real poses lie above 0.004.
_ILL_CONDITIONED = 1e-3
_NEWTON_STEPS = 12

# Poses in one step: what lies between then fits a core's cache.
_CHUNK = 2048


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
    joints = target.shape[-2]
    parts = [x.reshape(-1, joints, 3).split(_CHUNK) for x in (prediction, target)]
    seen = [None] * len(parts[0]) if visible is None else visible.reshape(-1, joints).split(_CHUNK)
    distances = torch.cat([_square_distances(*part) for part in zip(*parts, seen, strict=True)]).sqrt()
    return distances.reshape(target.shape[:-1]).to(torch.promote_types(prediction.dtype, target.dtype))


def _square_distances(
    prediction: Float[Tensor, "n J 3"], target: Float[Tensor, "n J 3"], visible: Bool[Tensor, "n J"] | None
) -> Float[Tensor, "n J"]:
    moved, p, q = _similarity(prediction, target, visible)
    squares = sum(((moved[i] * p).sum(dim=1) - q[:, i]).square() for i in range(3)).T
    return squares if visible is None else torch.where(visible, squares, torch.nan)


def _batch_last(points: Float[Tensor, "n J 3"]) -> Float[Tensor, "J 3 n"]:
    """float64 with the poses along the last axis: steps along it are several times as fast as over small matrices."""
    return points.permute(1, 2, 0).contiguous().double()


def _similarity(
    prediction: Float[Tensor, "n J 3"], target: Float[Tensor, "n J 3"], visible: Bool[Tensor, "n J"] | None
) -> tuple[Float[Tensor, "3 3 n"], Float[Tensor, "J 3 n"], Float[Tensor, "J 3 n"]]:
    """s R, and prediction and target about their centres, 0 where invisible.

    s R is NaN where the result is not defined.
    """
    p, q, count = _batch_last(prediction), _batch_last(target), target.shape[1]
    seen = None if visible is None else visible.T[:, None]
    if seen is not None:
        # nothing invisible enters a sum
        p, q, count = torch.where(seen, p, 0), torch.where(seen, q, 0), seen.sum(dim=(0, 1))
    p_mean, q_mean = p.sum(dim=0) / count, q.sum(dim=0) / count
    p, q = p - p_mean, q - q_mean
    if seen is not None:
        p, q = p * seen, q * seen

    p_size, q_size = p.square().sum(dim=(0, 1)), q.square().sum(dim=(0, 1))
    rotation, trace = _rotation(torch.stack([(q[:, i, None] * p).sum(dim=0) for i in range(3)]))
    # a prediction that is one point has no rotation: s = 0 is its best similarity
    scale = torch.where(p_size > _POINT**2 * count * p_mean.square().sum(dim=0), trace / p_size, 0)
    defined = (q_size > _POINT**2 * count * q_mean.square().sum(dim=0)) & p_size.isfinite()
    defined = defined & torch.as_tensor(count >= MIN_ALIGNED_JOINTS, device=defined.device)
    return torch.where(defined, scale, torch.nan) * rotation, p, q


def _rotation(correlation: Float[Tensor, "3 3 n"]) -> tuple[Float[Tensor, "3 3 n"], Float[Tensor, " n"]]:
    """argmax over rotations R of trace(R^T B), and that maximum; the identity and 0 where B is 0 or not finite.

    FOAM (Markley, J. Astronautical Sciences 41(2), 1993): the maximum is the largest root of a quartic, found by
    Newton's method from above, and R a polynomial in B. Every step is elementwise over the batch, ten times as fast as
    a batch of 3x3 SVDs; the few ill-conditioned B go to `roma.special_procrustes`.
    """
    norm = correlation.square().sum(dim=(0, 1)).sqrt()
    usable = norm.isfinite() & (norm > 0)
    identity = torch.eye(3, dtype=norm.dtype, device=norm.device)[..., None] / 3**0.5
    b = torch.where(usable, correlation / norm, identity)

    cofactors = torch.stack([torch.linalg.cross(b[i - 2], b[i - 1], dim=0) for i in range(3)])
    det = (b[0] * cofactors[0]).sum(dim=0)
    cofactors_square = cofactors.square().sum(dim=(0, 1))

    # quartic r^4 - 2 r^2 - 8 det r + 1 - 4 |cof B|^2; as |B| = 1, its largest root is at most sqrt(3)
    linear, constant = -8 * det, 1 - 4 * cofactors_square
    root = torch.full_like(det, 3**0.5)
    value = slope = torch.ones_like(det)
    for _ in range(_NEWTON_STEPS):
        square = root * root
        value = torch.addcmul(constant, torch.addcmul(linear, square - 2, root), root)
        slope = torch.addcmul(linear, square - 1, root, value=4)
        root = torch.addcdiv(root, value, slope, value=-1)
    kappa = (root * root - 1) / 2
    zeta = kappa * root - det  # product of the sums of two (signed) singular values: 0 where R is not unique
    b_bt = (b[:, None] * b).sum(dim=2)
    rotation = ((kappa + 1) * b + root * cofactors - (b_bt[:, :, None] * b).sum(dim=1)) / zeta

    well_conditioned = (zeta > _ILL_CONDITIONED) & ((value / slope).abs() < 1e-9)
    if not well_conditioned.all():
        rest = ~well_conditioned
        # roma's other method keeps a tensor of its first call, which may be in inference mode
        found = roma.special_procrustes(b[..., rest].permute(2, 0, 1), method="svd")
        rotation[..., rest] = found.permute(1, 2, 0)
        root = torch.where(rest, (rotation * b).sum(dim=(0, 1)), root)
    return rotation, torch.where(usable, root * norm, 0)


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
