"""Lightweight OpenPose: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU", 2018 (arXiv 1811.12004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpose3d.networks.teacher.base import Normalise, Teacher
from mpose3d.networks.weights import by_layer, load_weights, read_weights
from mpose3d.representations.hmpaf import HMPAF
from mpose3d.skeleton import COCO_18

# MobileNet v1 up to conv5_5: name, channels out, stride, dilation of the depthwise convolution
_TRUNK = (
    ("conv2_1", 64, 1, 1), ("conv2_2", 128, 2, 1), ("conv3_1", 128, 1, 1), ("conv3_2", 256, 2, 1),
    ("conv4_1", 256, 1, 1), ("conv4_2", 512, 1, 1), ("conv5_1", 512, 1, 2), ("conv5_2", 512, 1, 1),
    ("conv5_3", 512, 1, 1), ("conv5_4", 512, 1, 1), ("conv5_5", 512, 1, 1),
)  # fmt: skip
_FEATURES = 128
_BLOCKS = 5  # of stage 2


class LightweightOpenPose(Teacher):
    """Open Model Zoo's human-pose-estimation-0001, batch normalisation folded into the convolutions.

    The cut is at the trunk features `conv4_4_CPM` (128 channels, stride 8), so that F is stages 1 and 2 as released,
    with their skip from the trunk. Layer names are those of the released Caffe definition.

    Args:
        weights: file with the layers' weights (see `read_weights`); None starts from random ones.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__(COCO_18, 8, _FEATURES, cut="conv4_4_CPM", normalise=Normalise(offset=-0.50195, bgr=True))
        heatmaps, pafs = len(self.layout) + 1, 2 * len(self.layout.limbs)  # one heatmap is the background

        self.encoder = nn.ModuleDict({"conv1": nn.Conv2d(3, 32, 3, stride=2, padding=1)})
        channels = 32
        for name, out, stride, dilation in _TRUNK:
            self.encoder[f"{name}/dw"] = _depthwise(channels, stride, dilation)
            self.encoder[f"{name}/sep"] = nn.Conv2d(channels, out, 1)
            channels = out
        self.encoder["conv4_3_CPM/al"] = nn.Conv2d(channels, _FEATURES, 1)
        self.encoder["conv4_3_CPM/red"] = nn.Conv2d(_FEATURES, _FEATURES, 1)
        for depthwise, pointwise in (("dw1", "dw1/1x1"), ("dw2", "dw2/1x1"), ("dw3", "inc")):
            self.encoder[f"conv4_3_CPM/{depthwise}"] = _depthwise(_FEATURES)
            self.encoder[f"conv4_3_CPM/{pointwise}"] = nn.Conv2d(_FEATURES, _FEATURES, 1)
        self.encoder["conv4_4_CPM"] = _conv3x3(_FEATURES, _FEATURES)

        self.decoder = nn.ModuleDict({f"conv5_{i}_CPM_L1": _conv3x3(_FEATURES, _FEATURES) for i in (1, 2, 3)})
        for branch, out in (("L1", pafs), ("L2", heatmaps)):
            self.decoder[f"conv5_4_CPM_{branch}"] = nn.Conv2d(_FEATURES, 512, 1)
            self.decoder[f"conv5_5_CPM_{branch}"] = nn.Conv2d(512, out, 1)
        channels = pafs + heatmaps + _FEATURES
        for i in range(1, _BLOCKS + 1):
            self.decoder[f"Mconv{i}_stage2_L1/sq"] = nn.Conv2d(channels, _FEATURES, 1)
            self.decoder[f"Mconv{i}_stage2_L1/3x3"] = _conv3x3(_FEATURES, _FEATURES)
            self.decoder[f"Mconv{i}_stage2_L1/3x3/2"] = _conv3x3(_FEATURES, _FEATURES, dilation=2)
            channels = _FEATURES
        for branch, out in (("L1", pafs), ("L2", heatmaps)):
            self.decoder[f"Mconv6_stage2_{branch}"] = nn.Conv2d(_FEATURES, _FEATURES, 1)
            self.decoder[f"Mconv7_stage2_{branch}"] = nn.Conv2d(_FEATURES, out, 1)

        if weights is not None:
            load_weights(self, by_layer(self, read_weights(weights)), weights)

    def features(self, image: Tensor) -> Tensor:
        e = self.encoder
        x = F.relu_(e["conv1"](self.normalise(image)))
        for name, *_ in _TRUNK:
            x = F.relu_(e[f"{name}/dw"](x))
            x = F.relu_(e[f"{name}/sep"](x))
        aligned = x = F.elu_(e["conv4_3_CPM/al"](x))
        for name in ("red", "dw1", "dw1/1x1", "dw2", "dw2/1x1", "dw3", "inc"):
            x = F.elu_(e[f"conv4_3_CPM/{name}"](x))
        return F.relu_(e["conv4_4_CPM"](aligned + x))

    def stages(self, v: Tensor) -> list[HMPAF]:
        f = self.decoder
        x = v
        for i in (1, 2, 3):
            x = F.relu_(f[f"conv5_{i}_CPM_L1"](x))
        pafs, heatmaps = (f[f"conv5_5_CPM_{b}"](F.relu_(f[f"conv5_4_CPM_{b}"](x))) for b in ("L1", "L2"))
        coarse = self._without_background(pafs, heatmaps)

        x = torch.cat([pafs, heatmaps, v], dim=1)
        for i in range(1, _BLOCKS + 1):
            block = f"Mconv{i}_stage2_L1"
            squeezed = F.relu_(f[f"{block}/sq"](x))
            x = F.relu_(f[f"{block}/3x3"](squeezed))
            x = squeezed + F.relu_(f[f"{block}/3x3/2"](x))
        pafs, heatmaps = (f[f"Mconv7_stage2_{b}"](F.relu_(f[f"Mconv6_stage2_{b}"](x))) for b in ("L1", "L2"))
        return [coarse, self._without_background(pafs, heatmaps)]


def _conv3x3(channels: int, out: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation)


def _depthwise(channels: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=dilation, dilation=dilation, groups=channels)
