"""Metrics of poses as stateless functions. `modules` accumulates them over batches and processes.

Shapes: `prediction` and `target` (..., J, D), D = 3 in mm or D = 2 in px; `visible` (..., J) says which joints count
(default: all); invisible joints may hold anything, NaN too. Every function returns one value per pose, (...).

`root` is the index of a joint that both poses are moved to first. Leave it out for positions in camera space.

Stated results for degenerate input, none of them a good score:

- a pose without a visible joint, or whose root is invisible where `root` is given: NaN, and `modules` leaves it out;
- NaN or infinity in a visible joint: NaN or infinity as a distance, a miss as PCK and AUC;
- one-point poses: see `pmpjpe` and `n_mpjpe`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.geometry.alignment import aligned_distances, scale_align
from mpose3d.geometry.extent import box_intersection

PCK_THRESHOLD = 150.0
"""mm; 3DPCK (Mehta et al., 3DV 2017)"""

AUC_THRESHOLDS = tuple(float(t) for t in range(0, 151, 5))
"""mm; 0:5:150 (Mehta et al., 3DV 2017)"""

PCK_2D_THRESHOLD = 25.0
"""px; the source, supplement section 4"""


def mpjpe(
    prediction: Float[Tensor, "*batch J D"],
    target: Float[Tensor, "*batch J D"],
    visible: Bool[Tensor, "*batch J"] | None = None,
    *,
    root: int | None = None,
) -> Float[Tensor, "*batch"]:
    """Mean per-joint position error, in the unit of the input: mm in 3D, px in 2D."""
    visible = _needs_root(visible, root)
    if visible is not None:  # before the norm, through which NaN would come back
        prediction, target = (torch.where(visible[..., None], points, 0) for points in (prediction, target))
    return _mean_over_visible(joint_errors(prediction, target, root=root), visible)


def pmpjpe(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    visible: Bool[Tensor, "*batch J"] | None = None,
) -> Float[Tensor, "*batch"]:
    """MPJPE after the best similarity of each pose, without reflection, found on the visible joints.

    NaN with fewer than 3 visible joints or a one-point target; a one-point prediction scores its distance from the
    centre of the target (see `aligned_distances`).
    """
    return _mean_over_visible(aligned_distances(prediction, target, visible), visible)


def n_mpjpe(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    visible: Bool[Tensor, "*batch J"] | None = None,
    *,
    root: int,
) -> Float[Tensor, "*batch"]:
    """MPJPE of root-relative poses after the best non-negative scale of each (Rhodin et al., CVPR 2018).

    NaN where the prediction or the target is one point.
    """
    visible = _needs_root(visible, root)
    prediction, target = _relative(prediction, root), _relative(target, root)
    return mpjpe(scale_align(prediction, target, visible), target, visible)


def pck3d(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    visible: Bool[Tensor, "*batch J"] | None = None,
    *,
    root: int | None = None,
    threshold: float = PCK_THRESHOLD,
) -> Float[Tensor, "*batch"]:
    """Percentage of visible joints less than `threshold` mm away.

    Without `root` it is PCK_abs, of camera-space positions, where a wrong depth counts (Moon et al., ICCV 2019).
    """
    visible = _needs_root(visible, root)
    return 100 * _mean_over_visible((joint_errors(prediction, target, root=root) < threshold).float(), visible)


def auc(
    prediction: Float[Tensor, "*batch J 3"],
    target: Float[Tensor, "*batch J 3"],
    visible: Bool[Tensor, "*batch J"] | None = None,
    *,
    root: int | None = None,
) -> Float[Tensor, "*batch"]:
    """Area under the 3DPCK curve: the mean of 3DPCK over the thresholds 0:5:150 mm, in percent."""
    visible = _needs_root(visible, root)
    errors = joint_errors(prediction, target, root=root)
    correct = errors[..., None] < errors.new_tensor(AUC_THRESHOLDS)
    return 100 * _mean_over_visible(correct.float().mean(dim=-1), visible)


def root_error(
    prediction: Float[Tensor, "*batch J 3"], target: Float[Tensor, "*batch J 3"], *, root: int
) -> Float[Tensor, "*batch"]:
    """Distance of the roots in camera space, mm. Its mean over people is MRPE (Moon et al., ICCV 2019)."""
    return (prediction[..., root, :] - target[..., root, :]).norm(dim=-1)


def pck2d(
    prediction: Float[Tensor, "*batch J 2"],
    target: Float[Tensor, "*batch J 2"],
    visible: Bool[Tensor, "*batch J"] | None = None,
    *,
    threshold: float = PCK_2D_THRESHOLD,
) -> Float[Tensor, "*batch"]:
    """Percentage of visible joints less than `threshold` px away."""
    return 100 * _mean_over_visible((joint_errors(prediction, target) < threshold).float(), visible)


def box_iou(a: Float[Tensor, "*batch 4"], b: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Intersection over union of boxes (x0, y0, x1, y1), 0 to 1; 0 where both have no area, NaN where a box is NaN."""
    intersection = box_intersection(a, b)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b))
    union = area_a + area_b - intersection
    return torch.where(union == 0, 0, intersection / union)


def joint_errors(
    prediction: Float[Tensor, "*batch J D"], target: Float[Tensor, "*batch J D"], *, root: int | None = None
) -> Float[Tensor, "*batch J"]:
    """Euclidean distance of each joint."""
    if root is not None:
        prediction, target = _relative(prediction, root), _relative(target, root)
    return (prediction - target).norm(dim=-1)


def _relative(points: Float[Tensor, "*batch J D"], root: int) -> Float[Tensor, "*batch J D"]:
    return points - points[..., root, None, :]


def _needs_root(visible: Bool[Tensor, "*batch J"] | None, root: int | None) -> Bool[Tensor, "*batch J"] | None:
    """No joint counts where the root is needed and invisible."""
    return visible if visible is None or root is None else visible & visible[..., root, None]


def _mean_over_visible(
    values: Float[Tensor, "*batch J"], visible: Bool[Tensor, "*batch J"] | None
) -> Float[Tensor, "*batch"]:
    if visible is None:
        return values.mean(dim=-1)
    return torch.where(visible, values, 0).sum(dim=-1) / visible.sum(dim=-1)
