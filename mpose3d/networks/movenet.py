"""MoveNet MultiPose (Google, Apache-2.0), read from its TensorFlow.js files: image -> 2D people in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mpose3d.geometry.extent import bounding_box, one_in_other
from mpose3d.networks.pose_estimator import PoseEstimator2D
from mpose3d.networks.tensorflow import pad_stride_2
from mpose3d.networks.weights import by_layer, load_weights, read_weights
from mpose3d.representations.hmpaf import People2D, in_order
from mpose3d.representations.neural import MAX_PEOPLE
from mpose3d.skeleton import COCO_17

# MobileNet v2 at one and a half times its width: channels out, stride of the first block, blocks
_TRUNK = ((24, 1, 1), (40, 2, 2), (48, 2, 3), (96, 2, 4), (144, 1, 3), (240, 2, 3), (480, 1, 1))
_EXPANSION = 6
_TAPS = {2: 40, 5: 48, 9: 96}  # blocks whose outputs the pyramid takes up, and their channels
_DEEP = 1280
_PYRAMID = (64, 32, 24, 24)  # channels at strides 32 and 16, 8, 4, and after the last convolution
_HEADS = {"centre": 1, "box_size": 2, "box_offset": 2, "heatmap": 17, "regression": 34, "offset": 34}
_HEAD_WIDTH = 96

_MULTIPLE = 32  # of which the sides of what the trunk reads are

# of the release: side in cells of the window in which a centre must be the highest, width of the window about a
# regressed joint, and height from which a joint counts as seen
_PEAK_WINDOW = 5
_SPREAD = 0.3
_SEEN = 0.127

# A person is the same as a surer one if the two share more than this part of its seen joints. A joint is shared if its
# two places are closer than this part of the side of the surer one's box.
_SHARED = 0.5
_SAME_JOINT = 0.1

# At several sizes: two readings are of the same person if half of the joints are closer than this part of the box's
# diagonal. The scores of a person whom only a later reading sees are multiplied by the second number.
_SAME_PERSON = 0.15
_SURER = 0.65

# A person fills the image if the diagonal of the box is this part of the image's longer side, and is seen best at a
# small size. A reading at less than the second number of the first one's size is for such people alone.
_FILLING = 0.5
_SMALL = 0.5

# A joint outside the picture is given a place near the border all the same: this part of the side of the person's box
# away, and not sure. Of such joints COCO's annotators saw a quarter, of others as unsure half (docs/teachers.md).
_AT_BORDER = 0.15
_SURE = 0.3


class MoveNet(PoseEstimator2D):
    """2D people of an image, COCO-17, by centres (as CenterNet): no limbs, no grouping, the same work for any crowd.

    A map says where the centres of people are, a field how far each joint is from its person's centre, and heatmaps
    where joints are; of each joint's heatmap, a person takes the highest place near where the field points. Not a
    `Teacher`: it has no part-affinity fields, and no v for H. Layer names are those of the graph, in which batch
    normalisation is folded.

    Source: the graph of movenet/multipose/lightning/1. Beyond it: images of any size, any number of people, no two of
    the same person, and people ordered by their joints rather than by their centres.

    Args:
        weights: `movenet-multipose.json`, its weights beside it, or another file with them (see `read_weights`); None
            starts from random ones.
        max_people: places for people in an image.
        scales: read the image at these multiples of its size. Later readings add the people whom earlier ones missed,
            and each joint is the mean over all readings that see it (`_merged`). At less than half of the first only
            people who fill half of the image are taken up.
    """

    layout = COCO_17
    stride = 4
    side = 512
    multiple = 1
    threshold = 0.15
    upright_only = False

    def __init__(
        self, weights: str | None = None, max_people: int = MAX_PEOPLE, scales: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        if max_people < 1:
            raise ValueError(f"MoveNet needs a place for somebody: {max_people} people are none")
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"MoveNet reads an image at one multiple of its size or more, not at {list(scales)}")
        self.max_people = max_people
        self.scales = tuple(scales)
        layers: dict[str, nn.Module] = {"Conv1": nn.Conv2d(3, 48, 3, stride=2)}
        self._blocks: list[tuple[str, bool]] = []  # name of each block, and whether its input is added to its output
        channels = 48
        for out, first_stride, count in _TRUNK:
            for block in range(count):
                stride = first_stride if block == 0 else 1
                name = f"block_{len(self._blocks)}" if self._blocks else "expanded_conv"
                wide = channels * _EXPANSION if self._blocks else channels
                if self._blocks:
                    layers[f"{name}_expand"] = nn.Conv2d(channels, wide, 1)
                layers[f"{name}_depthwise"] = _depthwise(wide, stride)
                layers[f"{name}_project"] = nn.Conv2d(wide, out, 1)
                self._blocks.append((name, stride == 1 and channels == out))
                channels = out
        layers["Conv_1"] = nn.Conv2d(channels, _DEEP, 1)
        for i, (tap, width) in enumerate(zip((_DEEP, *reversed(_TAPS.values())), (64, *_PYRAMID), strict=False)):
            layers[_numbered("conv2d", i)] = nn.Conv2d(tap, width, 1)
        for i, (width, out) in enumerate(pairwise(_PYRAMID)):
            layers |= _separable(i, width, out)
        for i, out in enumerate(_HEADS.values(), start=3):
            layers |= _separable(i, _PYRAMID[-1], _HEAD_WIDTH)
            layers[_numbered("conv2d", i + 1)] = nn.Conv2d(_HEAD_WIDTH, out, 1)
        self.layers = nn.ModuleDict(layers)
        if weights is not None:
            load_weights(self, by_layer(self, read_weights(weights)), weights)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> People2D:
        """Float RGB in [0, 1] -> people, surest first, points in pixels of the image.

        Raises:
            ValueError: not such an image.
        """
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point() or 0 in image.shape[1:]:
            raise ValueError(
                f"MoveNet reads float RGB images (B, 3, H, W) in [0, 1], got {image.dtype} {tuple(image.shape)}"
            )
        readings = [self._read(image, scale) for scale in self.scales]
        if len(readings) == 1:
            return readings[0]
        with torch.autocast(image.device.type, enabled=False):  # pixels are float32 under mixed precision too
            return _merged(readings, self.scales, max(image.shape[-2:]))

    def _read(self, image: Tensor, scale: float) -> People2D:
        sides = image.shape[-2:]
        height, width = (max(1, round(scale * side)) for side in sides)
        if (height, width) != sides:
            image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)
        image = F.pad(image, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE))
        people = self._people({name: head.float() for name, head in self.heads(image).items()})
        if (height, width) == sides:
            return people
        x, y = people.points.unbind(-1)
        points = torch.stack([(x + 0.5) * (sides[1] / width) - 0.5, (y + 0.5) * (sides[0] / height) - 0.5], dim=-1)
        return people._replace(points=torch.where(people.visible[..., None], points, 0))

    def people(self, found: People2D) -> People2D:
        """What `forward` gives, as it is: nothing is left to group."""
        return found

    def score(self, people: People2D) -> Tensor:
        """How sure each person (B, P) is: the mean height of all joints, for every person has a place for each."""
        return torch.where(people.valid, people.scores.mean(-1), 0)

    def cut_off(self, people: People2D, border: Float[Tensor, "b 4"]) -> Bool[Tensor, "b p 17"]:
        """The joints of people (B, P) that the border of the picture probably cuts off.

        A person who would keep fewer than 8 of the 17 joints keeps them all.

        Args:
            people: as of `people`.
            border: (x0, y0, x1, y1) of each picture's edges, in pixels of the image.
        """
        side = _side(people.points, people.visible)
        low, high = border[:, None, None].split(2, dim=-1)
        inwards = torch.cat([people.points - low, high - people.points], dim=-1).amin(-1)
        beyond = (inwards < _AT_BORDER * side[..., None]) & (people.scores < _SURE) & people.visible
        left = (people.visible & ~beyond).sum(-1, keepdim=True)
        return beyond & (left >= len(self.layout) // 2)

    def heads(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c h/4 w/4"]]:
        """The maps that people are read from, before any sigmoid; offsets and sizes are in cells, y before x.

        Sides of the image are multiples of 32.
        """
        layers = self.layers
        x = F.relu6(layers["Conv1"](pad_stride_2(2 * image - 1)))
        taps = []
        for i, (name, residual) in enumerate(self._blocks):
            wide = F.relu6(layers[f"{name}_expand"](x)) if i else x
            depthwise = layers[f"{name}_depthwise"]
            wide = F.relu6(depthwise(pad_stride_2(wide) if depthwise.stride == (2, 2) else wide))
            out = layers[f"{name}_project"](wide)
            x = x + out if residual else out
            if i in _TAPS:
                taps.append(x)
        x = layers["conv2d"](F.relu6(layers["Conv_1"](x)))
        for i, tap in enumerate(reversed(taps)):
            up = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self._separable(i, up + layers[_numbered("conv2d", i + 1)](tap))
        return {
            name: layers[_numbered("conv2d", i + 1)](self._separable(i, x)) for i, name in enumerate(_HEADS, start=3)
        }

    def _separable(self, i: int, x: Tensor) -> Tensor:
        name = _numbered("separable_conv2d", i)
        return F.relu(self.layers[name](self.layers[f"{name}_depthwise"](x)))

    def _people(self, heads: dict[str, Tensor]) -> People2D:
        centre, heatmap = heads["centre"].sigmoid(), heads["heatmap"].sigmoid()
        height, width = centre.shape[-2:]
        peak = centre * (F.max_pool2d(centre, _PEAK_WINDOW, 1, _PEAK_WINDOW // 2) == centre)
        places = min(self.max_people, height * width)
        sure, cell = peak.flatten(1).topk(places)  # (b, p)

        def at(head: str, parts: int) -> Tensor:
            """What a head says at the centres: (b, p, parts, 2)."""
            flat = heads[head].flatten(2)
            return flat.gather(2, cell[:, None].expand(-1, flat.shape[1], -1)).mT.unflatten(-1, (parts, 2))

        # all places are (y, x), in cells
        origin = torch.stack([cell // width, cell % width], dim=-1).to(centre)[:, :, None]
        expected = origin + at("regression", len(self.layout))
        middle, half = origin + at("box_offset", 1), at("box_size", 1).clamp_min(0) / 2

        def near(axis: int, count: int) -> Tensor:
            """How near rows or columns are to each expected joint, 0 outside the person's box: (b, p, j, count)."""
            line = torch.arange(count, device=centre.device, dtype=centre.dtype)
            distance = line - expected[..., axis, None]
            low, high = ((middle + sign * half)[..., axis, None] for sign in (-1, 1))
            inside = (line >= low) & (line < high)
            return torch.exp(-(distance**2) / (_SPREAD * min(height, width))) * inside

        near_y, near_x = near(0, height), near(1, width)
        likely = heatmap[:, None] * (near_y[..., :, None] * near_x[..., None, :])  # (b, p, j, h, w)
        scores, best = likely.flatten(-2).max(dim=-1)
        offsets = heads["offset"].unflatten(1, (len(self.layout), 2)).flatten(-2)  # (b, j, 2, h w)
        index = best.transpose(1, 2)[:, :, None].expand(-1, -1, 2, -1)
        offset = offsets.gather(-1, index).permute(0, 3, 1, 2)  # (b, p, j, 2)
        found = torch.stack([best // width, best % width], dim=-1) + offset
        points = found.flip(-1) * self.stride  # the release puts cell c at pixel 4 c

        visible = (scores > _SEEN) & (sure > 0)[..., None]
        side = self.stride * (2 * half[:, :, 0]).prod(-1).sqrt()
        return _once_each(points, torch.where(visible, scores, 0), visible, side)


def _side(points: Tensor, visible: Tensor) -> Tensor:
    """Side (b, p) of the square that has the area of the box around a person's visible joints."""
    box = bounding_box(points, visible)
    return (box[..., 2:] - box[..., :2]).prod(-1).sqrt()


def _once_each(points: Tensor, scores: Tensor, visible: Tensor, side: Tensor) -> People2D:
    """People (b, p, ...) with boxes of these sides (b, p), surest first; duplicates are not valid.

    A duplicate lies in the place of a surer person who is not a duplicate of somebody else.
    """
    order = scores.sum(-1).argsort(dim=1, descending=True)
    points, scores, visible, side = (in_order(part, order) for part in (points, scores, visible, side))
    apart = (points[:, :, None] - points[:, None]).norm(dim=-1)
    shared = (apart < _SAME_JOINT * side[:, None, :, None]) & visible[:, :, None]
    again = (shared.sum(-1) > _SHARED * visible.sum(-1, keepdim=True)).tril(-1)
    again = (again & ~again.any(-1)[:, None]).any(-1)
    valid = visible.any(-1) & ~again
    visible = visible & valid[..., None]
    return People2D(torch.where(visible[..., None], points, 0), torch.where(visible, scores, 0), visible, valid)


def _merged(readings: Sequence[People2D], scales: Sequence[float], side: float) -> People2D:
    """People of an image of this longer side, read at several sizes, each once, in as many places as the first reading.

    Two people of different readings are the same if half of the one's joints are near the other's. The earlier one
    stays, with its scores. Its joints are the mean over the readings, weighted by score and by the size that was read.
    The scores of a person who is new in a later reading are multiplied by `_SURER`. If two people still lie in one
    place, the less sure one is left out as a fragment, such as half of a person whom another reading sees whole.

    Whoever fills the image counts in full where read at a smaller size than the first, and the earlier one takes those
    scores if they are surer.
    """
    points, scores, visible, valid = (torch.cat(parts, dim=1) for parts in zip(*readings, strict=True))
    places = [reading.valid.shape[1] for reading in readings]
    scale = torch.cat([points.new_full((count,), scale) for count, scale in zip(places, scales, strict=True)])
    weights = scale[:, None] * scores
    which = torch.cat([valid.new_full((count,), i, dtype=torch.long) for i, count in enumerate(places)])
    earlier, elsewhere = which < which[:, None], which != which[:, None]  # [n, m]: the reading of m, and that of n
    box = bounding_box(points, visible)
    diagonal = (box[..., 2:] - box[..., :2]).norm(dim=-1)
    fills = diagonal >= _FILLING * side
    close_up = fills & (scale < scales[0])
    valid = valid & (fills | (scale >= _SMALL * scales[0]))
    visible = visible & valid[..., None]

    # half of the joints of n are at most this far from those of m, in diagonals of the box of n
    apart = (points[:, :, None] - points[:, None]).norm(dim=-1)
    both = visible[:, :, None] & visible[:, None]
    ordered = torch.where(both, apart, torch.inf).sort(-1).values
    half = ((visible.sum(-1) - 1).clamp_min(0) // 2)[:, :, None, None].expand(*ordered.shape[:3], 1)
    far = ordered.gather(-1, half)[..., 0] / diagonal[..., None]
    # of each reading, only the nearest
    nearest = torch.cat([part == part.amin(-1, keepdim=True) for part in far.split(places, dim=-1)], dim=-1)
    same = nearest & (far < _SAME_PERSON) & elsewhere
    itself = torch.eye(len(which), dtype=torch.bool, device=which.device)
    together = same & nearest.mT | itself  # nobody's reading is averaged into two people

    scores = torch.where(((which == 0) | close_up)[..., None], scores, _SURER * scores)
    sure = torch.where(together & (close_up[:, None] | itself), scores.sum(-1)[:, None], -1)
    scores, sure = in_order(scores, sure.argmax(-1)), sure.amax(-1)
    first = valid & ~(same & earlier).any(-1)
    better = first[:, None] & (sure[:, None] > sure[..., None]) & elsewhere
    valid = first & ~(better & one_in_other(box[:, :, None], box[:, None])).any(-1)

    readings_of = together.to(weights)
    total = readings_of @ weights
    visible = (total > 0) & valid[..., None]
    points = torch.einsum("bnm,bmjd->bnjd", readings_of, weights[..., None] * points)
    points = torch.where(visible[..., None], points / total[..., None].clamp_min(1e-9), 0)
    merged = _once_each(points, torch.where(visible, scores, 0), visible, _side(points, visible))
    return People2D(*(part[:, : places[0]] for part in merged))


def _numbered(name: str, i: int) -> str:
    """Keras' names: the first has no number."""
    return f"{name}_{i}" if i else name


def _depthwise(channels: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1 if stride == 1 else 0, groups=channels, bias=bias)


def _separable(i: int, channels: int, out: int) -> dict[str, nn.Module]:
    name = _numbered("separable_conv2d", i)
    return {f"{name}_depthwise": _depthwise(channels, bias=False), name: nn.Conv2d(channels, out, 1)}
