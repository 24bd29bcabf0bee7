"""A small teacher to train from scratch on rendered scenes."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpose3d.networks.teacher.base import Normalise, Teacher
from mpose3d.networks.weights import load_weights, read_weights
from mpose3d.representations.hmpaf import HMPAF
from mpose3d.skeleton import find_layout


class SmallTeacher(Teacher):
    """E is a small feature pyramid, F two stages of prediction as OpenPose has, the second reading v and the first.

    Convolutions are whole ones: separable ones, with a fifth of the multiplications, take a CPU as long at width 32.
    The cut is at the pyramid's finest level: v has `width` channels, and F reads nothing else. At width 64 and stride
    4, a 112x112 image costs 450 million multiplications (E 210, F 240), and v is 28x28x64; at width 32 a quarter.

    Args:
        layout: name of the joint layout (a key of `LAYOUTS`) with limbs.
        width: channels of v, even; the other layers scale with it.
        stride: pixels per cell, a power of two from 2 on.
        weights: file of this network's weights or checkpoint of the stage that trained it (see `read_weights`); None
            starts from random ones.

    Raises:
        ValueError: such arguments cannot be had, or the weights do not fit.
    """

    threshold = 0.2  # trained for minutes, its peaks are lower than those of large networks
    peak = 0.4  # of lower peaks nine in ten are nowhere near their joint (docs/trials.md)

    def __init__(self, layout: str = "mpose3d", width: int = 64, stride: int = 4, weights: str | None = None) -> None:
        if width < 2 or width % 2:
            raise ValueError(f"the width of a small teacher is an even number, not {width}")
        if stride < 2 or stride & (stride - 1):
            raise ValueError(f"the stride of a small teacher is a power of two from 2 on, not {stride}")
        super().__init__(
            find_layout(layout, with_limbs=True), stride, width, cut="pyramid", normalise=Normalise(offset=-0.5)
        )
        maps = len(self.layout) + 2 * len(self.layout.limbs)

        # E: image -> fine (1/stride) -> middle (1/2 of that) -> coarse (1/4), and back
        halvings = stride.bit_length() - 1
        channels = [3, *[width // 2] * (halvings - 1), width]
        self.stem = nn.Sequential(*[_conv(a, b, stride=2) for a, b in pairwise(channels)])
        self.fine = _Residual(width)
        self.middle = nn.Sequential(_conv(width, width * 3 // 2, stride=2), _Residual(width * 3 // 2))
        self.coarse = nn.Sequential(
            _conv(width * 3 // 2, 2 * width, stride=2), _Residual(2 * width), _Residual(2 * width)
        )
        self.coarse_to_middle = nn.Conv2d(2 * width, width * 3 // 2, 1)
        self.middle_to_fine = nn.Conv2d(width * 3 // 2, width, 1)
        self.merge = _Residual(width)

        # F
        self.stage1 = nn.Sequential(_Residual(width), _Residual(width), nn.Conv2d(width, maps, 1))
        self.stage2 = nn.Sequential(
            nn.Conv2d(width + maps, width, 1),
            _Residual(width, dilation=2),
            _Residual(width, dilation=2),
            nn.Conv2d(width, maps, 1),
        )

        if weights is not None:
            load_weights(self, read_weights(weights), weights)

    def features(self, image: Tensor) -> Tensor:
        fine = self.fine(self.stem(self.normalise(image)))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        # up again, each level adding what the one below has seen around it
        middle = middle + _enlarge(self.coarse_to_middle(coarse), middle)
        return self.merge(fine + _enlarge(self.middle_to_fine(middle), fine))

    def stages(self, v: Tensor) -> list[HMPAF]:
        first = self.stage1(v)
        second = first + self.stage2(torch.cat([v, first], dim=1))
        joints = len(self.layout)
        return [HMPAF(maps[:, :joints], maps[:, joints:]) for maps in (first, second)]


class _Residual(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _same(channels, dilation)
        self.second = _same(channels, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def _conv(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _same(channels: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(channels)
    )


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
