"""H: reads the neural representation s out of V (source, section 2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mpose3d.representations.neural import NeuralGrid


class ChannelwiseFullyConnected(nn.Module):
    """One fully connected layer per channel, over its whole map (Pathak et al., CVPR 2016): (b, c, n, n) -> same."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        cells = size * size
        self.size = size
        self.weight = nn.Parameter(torch.empty(channels, cells, cells).uniform_(-1, 1) / cells**0.5)
        self.bias = nn.Parameter(torch.zeros(channels, cells))

    def forward(self, x: Float[Tensor, "b c n n"]) -> Float[Tensor, "b c n n"]:
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"this layer takes maps of {self.size}x{self.size} cells, got {tuple(x.shape[-2:])}: the network's "
                "input_size is the side of the images"
            )
        return (torch.einsum("bcj,cij->bci", x.flatten(2), self.weight) + self.bias).unflatten(
            2, (self.size, self.size)
        )


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, after),
        nn.LeakyReLU(0.1, inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class NeuralHead(nn.Module):
    """H (and H' of the source): v (b, `in_channels`, `size`, `size`) -> s on a grid of half the size, and its roots.

    v -> two strided convolutions -> a bottleneck of a quarter of the size (7x7x128 at `size` 28) with the channel-wise
    fully connected layer added to what it reads -> deconvolution, joined by a skip connection at half the size -> tanh.

    The root map and sub-cell offset stand beside s for teachers whose layout has no pelvis heatmap (COCO). They are
    trained on what the network reads: on D_syn, where the roots are known, and by the people that the teacher sees.

    Args:
        channels: channels of s, `NeuralRepresentation.channels`.
        blocks: residual blocks at half the size, after the skip connection.
        fine: a grid of the whole size (ours): one more deconvolution and skip connection before s and its roots.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 39,
        size: int = 28,
        width: int = 128,
        blocks: int = 1,
        fine: bool = False,
    ) -> None:
        super().__init__()
        if size % 4:
            raise ValueError(f"H halves its input twice: size must be a multiple of 4, not {size}")
        self.stem = _convolution(in_channels, width // 2)
        self.down = nn.Sequential(_convolution(width // 2, width, stride=2), _convolution(width, width))
        self.reduce = _convolution(width, width, stride=2)
        self.bottleneck = nn.Sequential(ChannelwiseFullyConnected(width, size // 4), nn.LeakyReLU(0.1, inplace=True))
        self.up = nn.ConvTranspose2d(width, width, kernel_size=4, stride=2, padding=1)
        self.join = nn.Sequential(_convolution(2 * width, width), *(_Residual(width) for _ in range(blocks)))
        self.fine = fine
        if fine:
            self.up_again = nn.ConvTranspose2d(width, width // 2, kernel_size=4, stride=2, padding=1)
            self.join_again = _convolution(width // 2 * 2, width)
        self.neural = nn.Conv2d(width, channels, kernel_size=1)
        self.root = nn.Conv2d(width, 3, kernel_size=1)
        nn.init.constant_(self.root.bias[0], -4.0)  # roots are rare: start from few

    def forward(self, v: Float[Tensor, "b v h w"]) -> NeuralGrid:
        whole = self.stem(v)
        half = self.down(whole)
        quarter = self.reduce(half)
        up = self.up(quarter + self.bottleneck(quarter))
        joined = self.join(torch.cat([half, up], dim=1))
        if self.fine:
            joined = self.join_again(torch.cat([whole, self.up_again(joined)], dim=1))
        root, offset = self.root(joined).split([1, 2], dim=1)
        return NeuralGrid(self.neural(joined).tanh(), root, offset.tanh())
