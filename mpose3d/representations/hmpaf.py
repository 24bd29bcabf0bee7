"""2D people <-> heatmaps and part-affinity fields (HM-PAF): `draw`, `select_supplied`, `parse`.

Pixels follow the OpenCV convention (the centre of the top-left pixel is (0, 0)); cell c of a map of stride s has its
centre at pixel (c + 0.5) s - 0.5. Maps follow Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part
Affinity Fields", CVPR 2017, sections 2.2 and 2.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from mpose3d.geometry.constants import constant, like
from mpose3d.geometry.precision import full_precision
from mpose3d.skeleton import Layout

# heatmaps are enlarged by this before the search, so that two peaks two cells apart are two
_ENLARGED = 2

# places on the line between two peaks at which the field is read
_SAMPLES = 10

#: least component of the field along a limb
LEAST_FIELD = 0.05
# least part of the places along a limb where `parse` wants that
_AGREEMENT = 0.8

# whom `parse` takes for a person: fewest joints, and their least mean height
_FEWEST_JOINTS, _LEAST_HEIGHT = 4, 0.2
#: most peaks of one joint in an image
MOST_PEAKS = 32


class HMPAF(NamedTuple):
    """Heatmaps (B, J, h, w), one per joint, and part-affinity fields (B, 2L, h, w), x then y of each limb."""

    heatmaps: Tensor
    pafs: Tensor


@full_precision
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
        Maps of the points' dtype; float32 for half precision, under autocast too.

    Raises:
        ValueError: shapes that do not fit the layout.
    """
    if points.shape[-2:] != (len(layout), 2) or points.ndim != 4 or visible.shape != points.shape[:-1]:
        raise ValueError(
            f"layout {layout.name!r} needs points (B, P, {len(layout)}, 2) and visible (B, P, {len(layout)}), "
            f"got {tuple(points.shape)} and {tuple(visible.shape)}"
        )
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

    def along(axis: Tensor, place: Tensor) -> Tensor:
        # the floor, e^-40, keeps products above denormal numbers, with which a CPU is slow
        return torch.exp((-0.5 * ((axis - place) / sigma).square()).clamp_min(-40))

    along_x = along(columns, cells[..., 0, None])
    along_y = along(rows, cells[..., 1, None]) * strength[..., None]
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
    batch, area = len(strength), len(rows) * len(columns)
    first, second = constant(layout.limbs, cells.device).reshape(-1, 2).T
    cells = cells.movedim(-1, 0).contiguous()
    start, end = cells.index_select(-1, first), cells.index_select(-1, second)  # (2, B, P, L): x, y
    seen = visible.index_select(-1, first) & visible.index_select(-1, second)
    strength = torch.minimum(strength.index_select(-1, first), strength.index_select(-1, second))
    length_squared = (end - start).square().sum(dim=0)
    # `where` on both sides of the root keeps value and gradient finite for a limb of no length
    seen = seen & (length_squared > 1e-8)
    length = torch.where(seen, length_squared, 1).sqrt()
    unit = torch.where(seen, end - start, 0) / length
    middle = 0.5 * (start + end)

    # only the cells of a box around each limb are computed, a few per cent of all: n of them, one after the other
    with torch.no_grad():
        reach = 0.5 * (end - start).abs() + (width + 0.5 * edge)
        size = like((len(columns), len(rows)), reach).view(2, 1, 1, 1)
        corner = (middle - reach).ceil().clamp_min(0)
        box = torch.minimum((middle + reach).floor() + 1, size) - corner
        box = torch.where(seen, box.clamp_min(0), 0).long().flatten(1)
        count = box[0] * box[1]
        corner = torch.where(seen, corner, 0)
        # where the corner lies in (B, L, 2, h, w), in the map of x
        maps = torch.arange(batch * len(first), device=count.device).view(batch, 1, len(first)) * (2 * area)
        origin = (maps + (corner[1] * len(columns) + corner[0]).long()).flatten()

        limb = torch.arange(len(count), device=count.device).repeat_interleave(count)
        place = torch.arange(len(limb), device=limb.device) - (count.cumsum(0) - count).index_select(0, limb)
        box_height = box[1].index_select(0, limb)
        x = place.div(box_height, rounding_mode="floor")
        y = place - x * box_height
        cell = origin.index_select(0, limb) + y * len(columns) + x

    # coordinates of each cell along and across its limb, from the limb's middle
    numbers = (*(middle - corner), *unit, 0.5 * length, strength)
    middle_x, middle_y, ux, uy, half_length, strength = (n.flatten().index_select(0, limb) for n in numbers)
    x, y = x - middle_x, y - middle_y
    along = torch.addcmul(x * ux, y, uy)
    across = torch.addcmul(x * uy, y, ux, value=-1)
    beyond = along - along.clamp(-half_length, half_length)
    distance = torch.addcmul(across.square(), beyond, beyond).clamp_min(1e-8).sqrt()
    weight = ((width - distance) / edge + 0.5).clamp(0, 1)

    # the fields are divided by the summed weight before they are added up; one buffer holds that sum first, and then
    # the fields
    fields = weight.new_zeros(batch * len(first) * 2 * area).index_add_(0, cell, weight)
    share = strength * weight / fields.index_select(0, cell).clamp_min(1)
    fields = fields.zero_().index_add_(0, cell, share * ux).index_add_(0, cell + area, share * uy)
    return fields.view(batch, 2 * len(first), len(rows), len(columns))


def select_supplied(hmpaf: HMPAF, layout: Layout) -> HMPAF:
    """The channels that `SKELETON` can supply: heatmaps of `layout.supplied_joints`, fields of `layout.supplied_limbs`.

    There are `layout.supplied_channels` of them.
    """
    fields = [channel for limb in layout.supplied_limbs for channel in (2 * limb, 2 * limb + 1)]
    joints, fields = (constant(tuple(channels), hmpaf.pafs.device) for channels in (layout.supplied_joints, fields))
    return HMPAF(hmpaf.heatmaps[:, joints], hmpaf.pafs[:, fields])


class People2D(NamedTuple):
    """People found in maps, best first, padded to the image with most of them.

    points (B, P, J, 2) px; scores (B, P, J) peak heights; visible (B, P, J) bool; valid (B, P) bool.
    Joints that are not visible have points and scores 0.
    """

    points: Tensor
    scores: Tensor
    visible: Tensor
    valid: Tensor


def in_order(part: Tensor, order: Tensor) -> Tensor:
    """What people have (B, P, ...), in the order (B, P') of their numbers."""
    index = order.reshape(*order.shape, *(1 for _ in part.shape[2:])).expand(*order.shape, *part.shape[2:])
    return part.gather(1, index)


def parse(hmpaf: HMPAF, layout: Layout, stride: float = 8.0, threshold: float = 0.1) -> People2D:
    """People of HM-PAF: peaks of the heatmaps, grouped by line integrals over the fields (Cao et al., section 2.3).

    Peaks and integrals are batched on the maps' device. Each limb's ends are then matched by an optimal assignment, of
    the integrals times the geometric mean of the peaks (ours), and the matched limbs joined into people, strongest
    first, never giving a person two of one joint.

    Args:
        hmpaf: maps in all joints and limbs of the layout.
        layout: the joints and limbs.
        stride: px per cell.
        threshold: least height of a peak.

    Raises:
        ValueError: maps that do not fit the layout or are not finite; a layout without limbs.
    """
    channels = (hmpaf.heatmaps.shape[1], hmpaf.pafs.shape[1])
    if not layout.limbs:
        raise ValueError(f"layout {layout.name!r} has no limbs: its people cannot be grouped")
    if channels != (len(layout), 2 * len(layout.limbs)):
        raise ValueError(
            f"layout {layout.name!r} has {len(layout)} heatmaps and {2 * len(layout.limbs)} PAF channels, "
            f"got {channels[0]} and {channels[1]}"
        )
    heatmaps, pafs = (maps.detach().float().contiguous() for maps in hmpaf)
    # NaN and infinity come through the extrema, in a tenth of the time of `isfinite` on the maps
    if len(heatmaps) and not torch.stack([*heatmaps.aminmax(), *pafs.aminmax()]).isfinite().all():
        raise ValueError("heatmaps or part-affinity fields hold NaN or infinity")

    # maps -> peaks of each joint -> score of each pair of peaks that a limb could join -> people
    cells, scores = peaks(heatmaps, threshold, MOST_PEAKS)
    joins = limb_integrals(pafs, cells, scores > 0, layout, LEAST_FIELD, _AGREEMENT)
    # a network that is unsure of a joint has low peaks beside the right one, with fields as good
    first, second = (scores[:, end] for end in constant(layout.limbs, scores.device).T)
    joins *= (first[..., None] * second[:, :, None]).sqrt()
    images = [
        _group(join, score, layout) for join, score in zip(joins.cpu().numpy(), scores.cpu().numpy(), strict=True)
    ]

    most = max((len(people) for people in images), default=0)
    peak = np.full((len(images), most, len(layout)), -1)
    for image, people in enumerate(images):
        for person, joints in enumerate(people):
            peak[image, person, list(joints)] = list(joints.values())
    peak = torch.from_numpy(peak).to(cells.device)
    visible = peak >= 0
    peak = peak.clamp_min(0).transpose(1, 2)  # (B, J, P) into the K peaks of each joint
    scores = scores.gather(2, peak).transpose(1, 2)
    points = (cells.gather(2, peak[..., None].expand(-1, -1, -1, 2)).transpose(1, 2) + 0.5) * stride - 0.5
    return People2D(
        points=torch.where(visible[..., None], points, 0),
        scores=torch.where(visible, scores, 0),
        visible=visible,
        valid=visible.any(dim=-1),
    )


def peaks(heatmaps: Tensor, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    """Local maxima: cells (B, J, K, 2) as x, y with a fraction, and their heights (B, J, K), 0 where there is none."""
    heatmaps = functional.interpolate(heatmaps, scale_factor=_ENLARGED, mode="bicubic")
    height, width = heatmaps.shape[-2:]
    is_peak = (heatmaps > threshold) & (heatmaps == _largest_near(_largest_near(heatmaps, -1), -2))
    scores, index = torch.where(is_peak, heatmaps, 0).flatten(2).topk(min(most, height * width), dim=-1)
    count = max(1, int((scores > 0).any((0, 1)).sum()))
    scores, index = scores[..., :count], index[..., :count]

    # the 3x3 neighbours of each peak, in reading order
    x, y = index % width, index.div(width, rounding_mode="floor")
    padded = functional.pad(heatmaps, (1, 1, 1, 1), value=-math.inf).flatten(2)
    step = torch.arange(3, device=heatmaps.device)
    neighbours = (y * (width + 2) + x)[..., None] + (step[:, None] * (width + 2) + step).flatten()
    around = padded.gather(2, neighbours.flatten(2)).view(neighbours.shape)
    # of a plateau, the first cell is the peak
    scores = torch.where(scores > around[..., :4].amax(dim=-1), scores, 0)

    # parabola through the logarithm of three neighbours: exact for a Gaussian
    log = around.clamp_min(1e-6).log()
    offset_x = _vertex(log[..., 3], log[..., 4], log[..., 5], (x > 0) & (x < width - 1))
    offset_y = _vertex(log[..., 1], log[..., 4], log[..., 7], (y > 0) & (y < height - 1))
    cells = torch.stack([x + offset_x, y + offset_y], dim=-1)
    return (cells + 0.5) / _ENLARGED - 0.5, scores


def _largest_near(maps: Tensor, dim: int) -> Tensor:
    """Largest of each cell and the two beside it along `dim`; along both, a tenth of the time of `max_pool2d`."""
    largest = maps.clone()
    length = maps.shape[dim]
    for here, beside in ((0, 1), (1, 0)):
        cells = largest.narrow(dim, here, length - 1)
        torch.maximum(cells, maps.narrow(dim, beside, length - 1), out=cells)
    return largest


def _vertex(before: Tensor, here: Tensor, after: Tensor, inside: Tensor) -> Tensor:
    """Where, between -0.5 and 0.5, the parabola through three neighbours has its top; 0 at the border of the map."""
    curvature = before - 2 * here + after
    usable = inside & (curvature < -1e-6)
    return torch.where(usable, 0.5 * (before - after) / torch.where(usable, curvature, 1), 0).clamp(-0.5, 0.5)


def limb_integrals(
    pafs: Tensor, cells: Tensor, exists: Tensor, layout: Layout, threshold: float, agreement: float
) -> Tensor:
    """(B, L, K, K): mean of the field along the line from each first to each second end; 0 where that is no limb."""
    batch, _, height, width = pafs.shape
    limbs = constant(layout.limbs, cells.device)
    # coordinates in planes of their own: (B, L, K, 1) and (B, L, 1, K)
    (x, y), (to_x, to_y) = (cells[:, limbs[:, end]].unbind(-1) for end in (0, 1))
    x, y, to_x, to_y = x[..., None], y[..., None], to_x[:, :, None], to_y[:, :, None]
    span_x, span_y = to_x - x, to_y - y
    length = (span_x * span_x + span_y * span_y).sqrt().clamp_min(1e-6)
    steps = torch.linspace(0, 1, _SAMPLES, device=cells.device)
    # in the units of `grid_sample`, (B, L, K, K, samples)
    line_x = (2 * (x[..., None] + span_x[..., None] * steps) + 1) / width - 1
    line_y = (2 * (y[..., None] + span_y[..., None] * steps) + 1) / height - 1

    maps = pafs.reshape(batch * len(layout.limbs), 2, height, width)
    grid = torch.stack([line_x, line_y], dim=-1).flatten(0, 1).flatten(1, 2)
    field = functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    field_x, field_y = field.unflatten(0, (batch, len(layout.limbs))).unflatten(3, span_x.shape[2:]).unbind(2)
    along = field_x * (span_x / length)[..., None] + field_y * (span_y / length)[..., None]

    agrees = (along > threshold).float().mean(dim=-1) >= agreement
    both = exists[:, limbs[:, 0], :, None] & exists[:, limbs[:, 1], None]
    return torch.where(agrees & both, along.mean(dim=-1), 0).clamp_min(0)


def _group(joins: np.ndarray, scores: np.ndarray, layout: Layout) -> list[dict[int, int]]:
    """People of one image, each {joint: peak}, from limb scores (L, K, K) and peak heights (J, K)."""
    limbs = []
    for (first, second), join in zip(layout.limbs, joins, strict=True):
        rows, columns = linear_sum_assignment(join, maximize=True)
        matched = zip(join[rows, columns].tolist(), rows.tolist(), columns.tolist(), strict=True)
        limbs += [(strength, (first, i), (second, k)) for strength, i, k in matched if strength > 0]

    person_of: dict[tuple[int, int], dict[int, int]] = {}
    for _, first, second in sorted(limbs, reverse=True):
        one, other = person_of.get(first), person_of.get(second)
        if one is None:
            one = person_of[first] = dict([first])
        if other is None:
            other = person_of[second] = dict([second])
        if one.keys().isdisjoint(other):
            one.update(other)
            for end in other.items():
                person_of[end] = one

    heights = scores.tolist()

    def height(person: dict[int, int]) -> float:
        return sum(heights[joint][peak] for joint, peak in person.items()) / len(person)

    people = {id(person): person for person in person_of.values()}.values()
    kept = [person for person in people if len(person) >= _FEWEST_JOINTS and height(person) >= _LEAST_HEIGHT]
    return sorted(kept, key=lambda person: len(person) * height(person), reverse=True)
