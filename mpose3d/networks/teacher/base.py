"""What a teacher is: image -> v (E) -> HM-PAF (F)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mpose3d.representations.hmpaf import HMPAF
from mpose3d.skeleton import Layout


class Teacher(nn.Module, ABC):
    """A 2D multi-person network, cut in two at the tensor v.

    E (`encode`) maps images to v, F (`decode`) maps v alone to heatmaps and part-affinity fields. G learns to write v
    and H to read it, so the cut decides the width of both.

    Args:
        layout: joints and limbs of the output channels.
        stride: image pixels per cell of v and of the maps.
        v_channels: channels of v.
        cut: name of the tensor that v is, in the network's own terms.
    """

    def __init__(self, layout: Layout, stride: int, v_channels: int, cut: str) -> None:
        super().__init__()
        self.layout = layout
        self.stride = stride
        self.v_channels = v_channels
        self.cut = cut

    def encode(self, image: Tensor) -> Tensor:
        """E: image (B, 3, H, W), float RGB in [0, 1] -> v (B, v_channels, H / stride, W / stride).

        Raises:
            ValueError: not such an image, or a side that is no multiple of the stride.
        """
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise ValueError(
                f"a teacher reads float RGB images (B, 3, H, W) in [0, 1], got {image.dtype} {tuple(image.shape)}"
            )
        if any(side == 0 or side % self.stride for side in image.shape[-2:]):
            height, width = image.shape[-2:]
            raise ValueError(f"{width}x{height} px: pad the image to a multiple of {self.stride}, the teacher's stride")
        return self.features(image)

    def decode(self, v: Tensor) -> HMPAF:
        """F: v (B, v_channels, h, w) -> heatmaps (B, J, h, w) without background, PAFs (B, 2L, h, w)."""
        return self.stages(v)[-1]

    def forward(self, image: Tensor) -> HMPAF:
        return self.decode(self.encode(image))

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """E on images that `encode` has checked."""

    @abstractmethod
    def stages(self, v: Tensor) -> list[HMPAF]:
        """F, with the output of each of its stages, coarse to fine: what intermediate supervision trains."""
