"""2D people <-> heatmaps and part-affinity fields (HM-PAF): `draw`, `select_supplied`, `parse`.

Pixels follow the OpenCV convention (the centre of the top-left pixel is (0, 0)); cell c of a map of stride s has its
centre at pixel (c + 0.5) s - 0.5. Maps follow Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part
Affinity Fields", CVPR 2017, sections 2.2 and 2.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mpose3d.skeleton import Layout


class HMPAF(NamedTuple):
    """Heatmaps (B, J, h, w), one per joint, and part-affinity fields (B, 2L, h, w), x then y of each limb, in a layout."""

    heatmaps: Tensor
    pafs: Tensor


def draw(
    points: Tensor,
    visible: Tensor,
    layout: Layout,
    size: tuple[int, int],
    stride: float = 8.0,
    sigma: float | Tensor = 7.0,
    amplitude: Tensor | None = None,
    limb_width: float = 1.0,
    limb_edge: float = 1.0,
) -> HMPAF:
    """People as HM-PAF, differentiable in `points`.

        heatmap_j(x)  = max_p  amplitude_pj exp(-|x - point_pj|^2 / (2 sigma^2))
        paf_l(x)      = sum_p  w_pl(x) u_pl / max(1, sum_p w_pl(x)),    u_pl the unit vector along limb l of person p

    w is 1 near the limb and falls linearly to 0 over `limb_edge` cells, through 1/2 at `limb_width` cells from the limb
    (a segment with round ends). The soft edge lets gradients move a limb sideways, as a hard mask (`limb_edge` near 0)
    does not. A joint that is not visible draws nothing, nor does a limb with such an end or of no length.

    Args:
        points: (B, P, J, 2) px; whatever invisible joints hold, NaN too, is ignored.
        visible: (B, P, J) bool. Padding people are people without a visible joint.
        layout: the joints and limbs.
        size: height and width of the maps in cells.
        stride: px per cell.
        sigma: width of the Gaussians in px, a number or a tensor that broadcasts to (B, P, J).
        amplitude: (B, P, J) height of the peaks, default 1; a limb takes the lower one of its two ends.
        limb_width: cells from the limb at which its field has half its strength.
        limb_edge: cells over which the field falls from full strength to none.

    Returns:
        Maps of the points' dtype, float32 at least.

    Raises:
        ValueError: shapes that do not fit the layout.
    """
    if points.shape[-2:] != (len(layout), 2) or points.ndim != 4 or visible.shape != points.shape[:-1]:
        raise ValueError(
            f"layout {layout.name!r} needs points (B, P, {len(layout)}, 2) and visible (B, P, {len(layout)}), "
            f"got {tuple(points.shape)} and {tuple(visible.shape)}"
        )
    with torch.autocast(points.device.type, enabled=False):
        points = points.to(torch.promote_types(points.dtype, torch.float32))
        cells = (torch.where(visible[..., None], points, 0) + 0.5) / stride - 0.5
        strength = visible.to(cells) if amplitude is None else torch.where(visible, amplitude.to(cells), 0)
        rows = torch.arange(size[0], dtype=cells.dtype, device=cells.device)
        columns = torch.arange(size[1], dtype=cells.dtype, device=cells.device)
        return HMPAF(
            _gaussians(cells, strength, rows, columns, sigma / stride),
            _fields(cells, strength, visible, layout, rows, columns, limb_width, limb_edge),
        )


def _gaussians(cells: Tensor, strength: Tensor, rows: Tensor, columns: Tensor, sigma: float | Tensor) -> Tensor:
    """(B, J, h, w): maximum over people of separable Gaussians."""
    batch, people, joints = strength.shape
    if people == 0:
        return cells.new_zeros(batch, joints, len(rows), len(columns))
    if isinstance(sigma, Tensor):
        sigma = sigma.to(cells)[..., None]
    x, y = cells[..., 0, None], cells[..., 1, None]
    along_x = torch.exp(-0.5 * ((columns - x) / sigma) ** 2)
    along_y = torch.exp(-0.5 * ((rows - y) / sigma) ** 2) * strength[..., None]
    return (along_y[..., :, None] * along_x[..., None, :]).amax(dim=1)


def _fields(
    cells: Tensor,
    strength: Tensor,
    visible: Tensor,
    layout: Layout,
    rows: Tensor,
    columns: Tensor,
    width: float,
    edge: float,
) -> Tensor:
    """(B, 2L, h, w): unit vectors near each limb, averaged over the people that share a cell."""
    limbs = torch.tensor(layout.limbs, dtype=torch.long, device=cells.device).reshape(-1, 2)
    ends, seen = cells[:, :, limbs], visible[:, :, limbs].all(dim=-1)  # (B, P, L, 2, 2), (B, P, L)
    span = ends[..., 1, :] - ends[..., 0, :]
    length_squared = (span**2).sum(dim=-1)
    # `where` on both sides of the root keeps value and gradient finite for a limb of no length
    seen = seen & (length_squared > 1e-8)
    length = torch.where(seen, length_squared, 1).sqrt()
    unit = torch.where(seen[..., None], span / length[..., None], 0)

    # coordinates of each cell along and across the limb, from its middle: outer sums of a row part and a column part
    middle = ends.mean(dim=-2)
    x = columns - middle[..., 0, None]
    y = rows - middle[..., 1, None]
    ux, uy = unit[..., 0, None], unit[..., 1, None]
    along = (y * uy)[..., :, None] + (x * ux)[..., None, :]
    across = (y * ux)[..., :, None] - (x * uy)[..., None, :]
    beyond = (along.abs() - 0.5 * length[..., None, None]).relu()
    distance = (across**2 + beyond**2).clamp_min(1e-8).sqrt()
    weight = ((width - distance) / edge + 0.5).clamp(0, 1) * seen[..., None, None]

    scaled = unit * strength[:, :, limbs].amin(dim=-1)[..., None]
    total = torch.einsum("bplhw,bplc->blchw", weight, scaled)
    mean = total / weight.sum(dim=1).clamp_min(1)[:, :, None]
    return mean.flatten(1, 2)


def select_supplied(hmpaf: HMPAF, layout: Layout) -> Tensor:
    """The channels (B, C, h, w) that `SKELETON` can supply: heatmaps of `layout.supplied_joints`, then the fields of
    `layout.supplied_limbs`; C = `layout.supplied_channels`."""
    fields = [channel for limb in layout.supplied_limbs for channel in (2 * limb, 2 * limb + 1)]
    return torch.cat([hmpaf.heatmaps[:, list(layout.supplied_joints)], hmpaf.pafs[:, fields]], dim=1)
