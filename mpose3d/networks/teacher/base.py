"""What a teacher is: image -> v (E) -> HM-PAF (F)."""

from __future__ import annotations

import copy
from abc import abstractmethod

import torch
from torch import Tensor, nn

from mpose3d.networks.pose_estimator import PoseEstimator2D
from mpose3d.representations.hmpaf import HMPAF, People2D, parse
from mpose3d.skeleton import Layout


class Normalise(nn.Module):
    """RGB in [0, 1] -> what the first convolution was trained on: scale * image + offset, in BGR order if `bgr`."""

    def __init__(self, scale: float = 1.0, offset: float = 0.0, bgr: bool = False) -> None:
        super().__init__()
        self.scale, self.offset, self.bgr = scale, offset, bgr

    def forward(self, image: Tensor) -> Tensor:
        image = image.flip(1) if self.bgr else image
        image = image * self.scale if self.scale != 1 else image
        return image + self.offset if self.offset else image

    @torch.no_grad()
    def folded(self, convolution: nn.Conv2d) -> nn.Module:
        """`convolution` after this, in one: exact to rounding."""
        folded = copy.deepcopy(convolution)
        if folded.bias is None:
            folded.bias = nn.Parameter(folded.weight.new_zeros(len(folded.weight)), requires_grad=False)
        folded.bias += self.offset * folded.weight.sum(dim=(1, 2, 3))
        folded.weight.copy_(self.scale * (folded.weight.flip(1) if self.bgr else folded.weight))
        if self.offset == 0 or not any(folded.padding):
            return folded
        rows, columns = folded.padding
        folded.padding = (0, 0)
        return nn.Sequential(nn.ConstantPad2d((columns, columns, rows, rows), -self.offset / self.scale), folded)


class Teacher(PoseEstimator2D):
    """A 2D multi-person network, cut in two at the tensor v.

    E (`encode`) maps images to v, F (`decode`) maps v alone to heatmaps and part-affinity fields. G learns to write v
    and H to read it, so the cut decides the width of both.

    Args:
        layout: joints and limbs of the output channels.
        stride: image pixels per cell of v and of the maps.
        v_channels: channels of v.
        cut: name of the tensor that v is, in the network's own terms.
        normalise: what `features` does to the image before the first convolution.
    """

    side = 544
    threshold = 0.3
    upright_only = True
    #: least height of a joint's peak
    peak = 0.1

    def __init__(
        self, layout: Layout, stride: int, v_channels: int, cut: str, normalise: Normalise | None = None
    ) -> None:
        super().__init__()
        self.layout = layout
        self.stride = self.multiple = stride
        self.v_channels = v_channels
        self.cut = cut
        self.normalise = normalise or Normalise()

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

    def fold(self) -> None:
        """Fold what is linear beside a convolution into it, for good: same output, fewer operations, other weights.

        Here it is the normalisation of the image. The first convolution pads the normalised image with zeros; folded,
        it must pad the image itself with what is normalised to zero.
        """
        name, convolution = next((name, m) for name, m in self.named_modules() if isinstance(m, nn.Conv2d))
        self.set_submodule(name, self.normalise.folded(convolution))
        self.normalise = Normalise()

    def _without_background(self, pafs: Tensor, heatmaps: Tensor) -> HMPAF:
        """The maps of a stage, as OpenPose and its kin order them; the background's heatmap is the last."""
        return HMPAF(heatmaps[:, : len(self.layout)], pafs)

    def people(self, maps: HMPAF) -> People2D:
        """k_q: what `forward` gives -> people, grouped from the peaks."""
        return parse(maps, self.layout, self.stride, threshold=self.peak)

    def score(self, people: People2D) -> Tensor:
        """How sure each person (B, P) is: the mean height of the peaks; a joint that was estimated has none."""
        return torch.where(people.valid, people.scores.sum(-1), 0) / (people.scores > 0).sum(-1).clamp_min(1)

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """E on images that `encode` has checked."""

    @abstractmethod
    def stages(self, v: Tensor) -> list[HMPAF]:
        """F, with the output of each of its stages, coarse to fine: what intermediate supervision trains."""
