"""G: encodes the HM-PAF of 2D people into V (source, section 2)."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class LatentEncoder(nn.Sequential):
    """G: m_syn (b, `in_channels`, h, w) -> v (b, `out_channels`, h, w), five 7x7 convolutions.

    `in_channels` is 43 with the source's teacher, and `layout.supplied_channels` in general. V is the output of a
    rectified layer in every teacher, so G ends in a rectifier too.

    Args:
        width: channels of the four hidden layers (the source gives none).
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 128) -> None:
        channels = [in_channels, *[width] * 4, out_channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, kernel_size=7, padding=3), nn.LeakyReLU(0.1, inplace=True)]
        layers[-1] = nn.ReLU(inplace=True)
        super().__init__(*layers)

    def forward(self, m: Float[Tensor, "b channels h w"]) -> Float[Tensor, "b v h w"]:
        return super().forward(m)
