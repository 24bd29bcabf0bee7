"""The terms of the training losses: one stateless function each, with no weights and no logging.

Means over people count only those that are there; with nobody there a term is 0 and has a zero gradient.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mpose3d.geometry.precision import full_precision, normalize
from mpose3d.representations.hmpaf import HMPAF


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask holds; 0 where it never does.

    Hidden values may be anything, NaN too, and get a gradient of 0. The function that made them must have a finite
    derivative there: 0 times infinity would go back as NaN.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


# aae -----------------------------------------------------------------------------------------------------------------


def cycle_pose(p_c: Float[Tensor, "... 15 3"], decoded: Float[Tensor, "... 15 3"]) -> Tensor:
    """First term of L_cyc (source, equation 1): |p_c - FK.Psi.Phi.T_L(p_c)|, mean distance of joints in metres."""
    return (p_c - decoded).norm(dim=-1).mean() / 1000


@full_precision
def cycle_directions(p_l: Float[Tensor, "... 15 3"], decoded: Float[Tensor, "... 15 3"]) -> Tensor:
    """Spherical form of the first term of L_cyc: mean angle between the directions of two local poses, in radians.

    Rows of any length; the root's, which is 0, counts as an angle of 0.
    """
    half_chord = (normalize(p_l) - normalize(decoded)).norm(dim=-1) / 2
    return 2 * half_chord.clamp(max=1 - 1e-6).asin().mean()  # the slope of asin is infinite at 1


def cycle_embedding(phi: Float[Tensor, "... e"], encoded: Float[Tensor, "... e"]) -> Tensor:
    """Second term of L_cyc (source, equation 1): |phi - Phi.Psi(phi)|, mean over the embedding."""
    return (phi - encoded).abs().mean()


def hinge_discriminator(real: Float[Tensor, "n d"], fake: Float[Tensor, "n d"]) -> Tensor:
    """Hinge loss of Disc (Lim and Ye, 2017) over its logits for real and for decoded poses."""
    return (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()) / 2


def hinge_generator(fake: Float[Tensor, "n d"]) -> Tensor:
    """L_adv of Psi: its poses should be taken for real ones."""
    return -fake.mean()


def logistic_discriminator(real: Float[Tensor, "n d"], fake: Float[Tensor, "n d"]) -> Tensor:
    """Cross entropy of Disc (Goodfellow et al., 2014) over its logits for real and for decoded poses."""
    return (functional.softplus(-real).mean() + functional.softplus(fake).mean()) / 2


def logistic_generator(fake: Float[Tensor, "n d"]) -> Tensor:
    """L_adv of Psi in the plain GAN, in its form that does not saturate: the cross entropy of "real"."""
    return functional.softplus(-fake).mean()


def gradient_penalty(real: Float[Tensor, "n d"], p_l: Float[Tensor, "n 15 3"]) -> Tensor:
    """R1 (Mescheder et al., 2018): half the squared slope of Disc on real poses, mean over the poses.

    Args:
        real: logits of Disc for `p_l`; the slope is that of their mean over the judgements.
        p_l: poses that require a gradient. The penalty itself can be differentiated for Disc's weights.
    """
    (slope,) = torch.autograd.grad(real.mean(-1).sum(), p_l, create_graph=True)
    return slope.square().sum((-2, -1)).mean() / 2


def overstep(excess: Float[Tensor, ...]) -> Tensor:
    """Mean amount by which limits are overstepped: degrees of `JointLimits.excess`, mm of `self_intersection`."""
    return functional.relu(excess).mean()


# 2D ------------------------------------------------------------------------------------------------------------------


def hmpaf_error(
    prediction: HMPAF, target: HMPAF, mask: Float[Tensor, "b 1 h w"] | None = None, peaks: float = 0.0
) -> Tensor:
    """Squared error of heatmaps and PAFs, summed over channels, mean over cells.

    Args:
        mask: cells that count, default all; unlabelled people must not be trained as background.
        peaks: extra weight of cells where the target is large: a cell counts 1 + peaks * |target|.
    """
    total = torch.zeros((), device=target.heatmaps.device)
    for predicted, wanted in zip(prediction, target, strict=True):
        error = (predicted.float() - wanted.float()).square() * (1 + peaks * wanted.float().abs())
        total = total + (error if mask is None else error * mask).sum(1).mean()
    return total


def choice_error(
    scores: Float[Tensor, "n J K+1"], off: Float[Tensor, "n J K"], near: float, counted: Bool[Tensor, "n J"]
) -> Tensor:
    """Cross-entropy of choosing the peak that is the least `off`, or the last, "none of them", where none is `near`.

    Peaks with a score of -inf do not exist.
    """
    least, nearest = torch.where(scores[..., :-1].isfinite(), off, torch.inf).min(dim=-1)
    right = torch.where(least < near, nearest, off.shape[-1])
    return masked_mean(functional.cross_entropy(scores.movedim(-1, 1), right, reduction="none"), counted)


def relative_error(prediction: Float[Tensor, ...], target: Float[Tensor, ...]) -> Tensor:
    """Squared error as a part of the squared target: 1 for a prediction of 0 everywhere, whatever their scale."""
    error = (prediction.float() - target.float()).square().sum()
    return error / target.float().square().sum().clamp_min(1e-9)


def keypoints(
    k_p: Float[Tensor, "b p J 2"], k_q: Float[Tensor, "b p J 2"], visible: Bool[Tensor, "b p J"], size: float
) -> Tensor:
    """L_distl: student's against teacher's 2D joints, visible ones only; mean |dx| + |dy| in parts of `size` px."""
    return masked_mean((k_p - k_q).abs().sum(-1), visible) / size


# 3D ------------------------------------------------------------------------------------------------------------------


def pose_error(
    joints: Float[Tensor, "*people J 3"],
    target: Float[Tensor, "*people J 3"],
    root: int,
    known: Bool[Tensor, "*people J"],
) -> Tensor:
    """3D term of L_recon: mean distance of root-relative joints in metres, over the known ones."""
    relative = (joints - joints[..., root, None, :]) - (target - target[..., root, None, :])
    relative = torch.where(known[..., None], relative, 0)  # before the norm, through which NaN would come back
    return masked_mean(relative.norm(dim=-1), known) / 1000


def rotation_error(
    rotation: Float[Tensor, "b p 3 3"], target: Float[Tensor, "b p 3 3"], valid: Bool[Tensor, "b p"]
) -> Tensor:
    """Rotation term of L_recon: mean distance of the rotated axes, 0 to 2."""
    difference = torch.where(valid[..., None, None], rotation - target, 0)  # as in `pose_error`
    return masked_mean(difference.norm(dim=-2).mean(-1), valid)


def depth_error(code: Float[Tensor, "b p"], target: Float[Tensor, "b p"], valid: Bool[Tensor, "b p"]) -> Tensor:
    """Depth term of L_recon: mean absolute error of the depth code."""
    return masked_mean((code - target).abs(), valid)


def root_error(
    logits: Float[Tensor, "b 1 g g"],
    offset: Float[Tensor, "b 2 g g"],
    mask: Float[Tensor, "b 1 g g"],
    offset_target: Float[Tensor, "b 2 g g"],
    counted: Bool[Tensor, "b 1 g g"] | None = None,
) -> Tensor:
    """Root map by focal cross entropy (Lin et al., ICCV 2017; gamma 2), sub-cell offset by L1, per person.

    Cells without a root that are not `counted` may say what they like.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), mask, reduction="none")
    if counted is not None:
        entropy = entropy * (counted | (mask > 0))
    probability = logits.float().sigmoid()
    hardness = torch.where(mask > 0, 1 - probability, probability).square()
    people = mask.sum().clamp_min(1)
    return (entropy * hardness).sum() / people + masked_mean(
        (offset - offset_target).abs(), (mask > 0).expand_as(offset)
    )


def agreement(s: Float[Tensor, "b p c"], again: Float[Tensor, "b p c"], valid: Bool[Tensor, "b p"]) -> Tensor:
    """L_ss: s and s~ at root cells, mean absolute difference."""
    return masked_mean((s - again).abs().mean(-1), valid)
