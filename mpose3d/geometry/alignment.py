"""Alignment of a predicted body with the annotated one: the best similarity, and the best scale."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.geometry.precision import full_precision

# Two points can always be laid on two others, which says nothing of a pose.
MIN_ALIGNED_JOINTS = 3

# A body whose size is below this fraction of its distance from the origin is one point: float64 cannot tell.
_POINT = 1e-6

# Below this, the iteration for the rotation loses digits and roma's solver takes over: bodies that are a straight line, or
# the mirror image of what they are aligned with. Real poses lie above 0.004.
_ILL_CONDITIONED = 1e-3
_NEWTON_STEPS = 16


@full_precision
def similarity_align(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    visible: Bool[Tensor, "*batch J"] | None = None,
) -> Float[Tensor, "*batch J 3"]:
    """Each predicted pose moved onto its target: argmin over s >= 0, R, t of sum_j |s R p_j + t - q_j|^2, det R = +1.

    Only visible joints (default: all) decide, and all joints are moved. Invisible ones may hold anything, NaN too.
    A body is never reflected, so its mirror image keeps an error. Units: those of the target.

    Stated results: NaN for a pose with fewer than 3 visible joints, with NaN or infinity in a visible joint, or with a
    target whose visible joints are one point. A prediction that is one point lands on the centre of the target.
    """
    dtype = torch.promote_types(prediction.dtype, target.dtype)
    prediction, target = prediction.double(), target.double()
    if visible is None:
        count, p, q = prediction.shape[-2], prediction, target
    else:
        count = visible.sum(dim=-1)[..., None, None].double()
        p, q = (torch.where(visible[..., None], x, 0) for x in (prediction, target))

    # moments about the origin and one shift: float64 has the digits, and small matrices are faster than large ones
    p_mean, q_mean = (x.sum(dim=-2, keepdim=True) / count for x in (p, q))
    p_square, q_square = (x.square().sum(dim=(-2, -1)) for x in (p, q))
    p_size, q_size = (
        square - (count * mean.square()).sum(dim=(-2, -1)) for square, mean in ((p_square, p_mean), (q_square, q_mean))
    )
    correlation = q.mT @ p - count * q_mean.mT @ p_mean
    rotation, trace = _rotation(correlation)

    # a prediction that is one point has no rotation: s = 0 is its best similarity
    scale = torch.where(p_size > _POINT**2 * p_square, trace / p_size, 0)
    defined = (q_size > _POINT**2 * q_square) & p_square.isfinite()
    if visible is None:
        defined &= prediction.shape[-2] >= MIN_ALIGNED_JOINTS
    else:
        defined &= count[..., 0, 0] >= MIN_ALIGNED_JOINTS
    scaled_rotation = torch.where(defined, scale, torch.nan)[..., None, None] * rotation
    return (prediction @ scaled_rotation.mT + (q_mean - p_mean @ scaled_rotation.mT)).to(dtype)


def _rotation(correlation: Float[Tensor, "*batch 3 3"]) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch"]]:
    """argmax over rotations R of trace(R^T B), and that maximum; the identity where B is 0 or not finite.

    FOAM (Markley, J. Astronautical Sciences 41(2), 1993): the maximum is the largest root of a quartic, found by
    Newton's method from above, and R a polynomial in B. Every step is elementwise over the batch, ten times as fast as
    a batch of 3x3 SVDs; the few ill-conditioned B go to `roma.special_procrustes`.
    """
    norm = torch.linalg.matrix_norm(correlation)
    usable = norm.isfinite() & (norm > 0)
    identity = torch.eye(3, dtype=correlation.dtype, device=correlation.device).expand_as(correlation)
    b = torch.where(usable[..., None, None], correlation / norm[..., None, None], identity / 3**0.5)

    rows = b.unbind(dim=-2)
    cofactors = torch.stack([torch.linalg.cross(rows[i - 2], rows[i - 1], dim=-1) for i in range(3)], dim=-2)
    det = (rows[0] * cofactors[..., 0, :]).sum(dim=-1)
    cofactors_square = cofactors.square().sum(dim=(-2, -1))

    root = torch.full_like(det, 3**0.5)  # |B| = 1, so the sum of the singular values is at most sqrt(3)
    step = root
    for _ in range(_NEWTON_STEPS):
        kappa = (root.square() - 1) / 2
        step = (kappa.square() - 2 * root * det - cofactors_square) / (2 * (kappa * root - det))
        root = root - step
    kappa = (root.square() - 1) / 2
    zeta = kappa * root - det  # product of the sums of two (signed) singular values: 0 where R is not unique
    rotation = ((kappa + 1)[..., None, None] * b + root[..., None, None] * cofactors - b @ b.mT @ b) / zeta[
        ..., None, None
    ]

    well_conditioned = (zeta > _ILL_CONDITIONED) & (step.abs() < 1e-9)
    if not well_conditioned.all():
        rest = ~well_conditioned
        rotation[rest] = roma.special_procrustes(b[rest])
        root[rest] = (rotation[rest] * b[rest]).sum(dim=(-2, -1))
    return rotation, torch.where(usable, root * norm, 0)


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
    if visible is not None:
        p, q = (torch.where(visible[..., None], x, 0) for x in (prediction, target))
    else:
        p, q = prediction, target
    p_size, q_size = (x.square().sum(dim=(-2, -1)) for x in (p, q))
    scale = (p * q).sum(dim=(-2, -1)).clamp_min(0) / p_size
    scale = torch.where((p_size > _POINT**2) & (q_size > _POINT**2), scale, torch.nan)
    return scale[..., None, None] * prediction
