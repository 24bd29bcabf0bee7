"""OpenPose: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpose3d.networks.teacher.base import Normalise, Teacher
from mpose3d.networks.weights import by_layer, load_weights, read_weights
from mpose3d.representations.hmpaf import HMPAF
from mpose3d.skeleton import COCO_18, MPI_15, find_layout

# VGG19 up to conv4_2, and the two layers that narrow it: name and channels out; a pool stands before each new block
_TRUNK = (
    ("conv1_1", 64), ("conv1_2", 64),
    ("conv2_1", 128), ("conv2_2", 128),
    ("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256), ("conv3_4", 256),
    ("conv4_1", 512), ("conv4_2", 512), ("conv4_3_CPM", 256), ("conv4_4_CPM", 128),
)  # fmt: skip
_POOLED = ("conv2_1", "conv3_1", "conv4_1")
_FEATURES = 128
_WIDE = 512
_BRANCHES = ("L1", "L2")  # PAFs, heatmaps


class OpenPose(Teacher):
    """The source's E and F (VGG19), stride 8, in either of two cuts. Layer names are those of the released model.

    `cut="stage1"`, the source's own: v is `conv5_4_CPM_L1` and `conv5_4_CPM_L2` concatenated, 512 channels each, so
    28x28x1024 of a 224x224 image. F has eight convolutions in each branch: the 1x1 that ends stage 1, on the branch's
    own half of v, then the seven of stage 2. The released stage 2 reads the stage-1 maps of both branches *and* the
    trunk features `conv4_4_CPM`; F has v alone, so its stage 2 reads the maps only. All released weights fit but those
    of `Mconv1_stage2_L1` and `_L2`: of these the part that reads the maps is a start, and F must then be trained (stage
    `teacher`) before its maps mean anything.

    `cut="trunk"`: v is `conv4_4_CPM`, 128 channels; F is stages 1 and 2 as released, skip and all. Nothing to train.

    Args:
        layout: `mpi15` (15 heatmaps and 28 PAF channels) or `openpose18` (18 and 38).
        cut: `stage1` or `trunk`.
        weights: the released `.caffemodel`, its conversions to PyTorch, or a checkpoint of this network (see
            `read_weights`); None starts from random ones.

    Raises:
        ValueError: another layout or cut, or weights that do not fit.
    """

    def __init__(
        self,
        layout: str = "mpi15",
        cut: Literal["stage1", "trunk"] = "stage1",
        weights: str | None = None,
    ) -> None:
        if layout not in (MPI_15.name, COCO_18.name):
            raise ValueError(f"OpenPose has the layouts {MPI_15.name!r} and {COCO_18.name!r}, not {layout!r}")
        if cut not in ("stage1", "trunk"):
            raise ValueError(f"OpenPose can be cut at 'stage1' or 'trunk', not {cut!r}")
        normalise = Normalise(scale=255 / 256, offset=-0.5, bgr=True)
        super().__init__(find_layout(layout), 8, 2 * _WIDE if cut == "stage1" else _FEATURES, cut, normalise)
        # one heatmap is the background
        maps = dict(zip(_BRANCHES, (2 * len(self.layout.limbs), len(self.layout) + 1), strict=True))

        self.encoder = nn.ModuleDict()
        channels = 3
        for name, out in _TRUNK:
            self.encoder[name] = nn.Conv2d(channels, out, 3, padding=1)
            channels = out

        # stage 1 up to its last layer belongs to E or to F
        self.decoder = nn.ModuleDict()
        wide = self.encoder if cut == "stage1" else self.decoder
        for branch in _BRANCHES:
            for i in (1, 2, 3):
                wide[f"conv5_{i}_CPM_{branch}"] = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)
            wide[f"conv5_4_CPM_{branch}"] = nn.Conv2d(_FEATURES, _WIDE, 1)

        read = sum(maps.values()) + (0 if cut == "stage1" else _FEATURES)
        for branch, out in maps.items():
            self.decoder[f"conv5_5_CPM_{branch}"] = nn.Conv2d(_WIDE, out, 1)
            for i in (1, 2, 3, 4, 5):
                self.decoder[f"Mconv{i}_stage2_{branch}"] = nn.Conv2d(read if i == 1 else _FEATURES, 128, 7, padding=3)
            self.decoder[f"Mconv6_stage2_{branch}"] = nn.Conv2d(_FEATURES, _FEATURES, 1)
            self.decoder[f"Mconv7_stage2_{branch}"] = nn.Conv2d(_FEATURES, out, 1)

        if weights is not None:
            tensors = by_layer(self, read_weights(weights))
            if cut == "stage1":
                tensors = _without_skip(tensors, read, weights)
            load_weights(self, tensors, weights)

    def features(self, image: Tensor) -> Tensor:
        x = self.normalise(image)
        for name, _ in _TRUNK:
            x = F.max_pool2d(x, 2) if name in _POOLED else x
            x = F.relu_(self.encoder[name](x))
        return torch.cat(self._wide(self.encoder, x), dim=1) if self.cut == "stage1" else x

    def stages(self, v: Tensor) -> list[HMPAF]:
        f = self.decoder
        wide = v.chunk(2, dim=1) if self.cut == "stage1" else self._wide(f, v)
        maps = [f[f"conv5_5_CPM_{branch}"](half) for branch, half in zip(_BRANCHES, wide, strict=True)]
        coarse = self._without_background(*maps)

        both = torch.cat(maps if self.cut == "stage1" else [*maps, v], dim=1)
        maps = []
        for branch in _BRANCHES:
            x = both
            for i in (1, 2, 3, 4, 5, 6):
                x = F.relu_(f[f"Mconv{i}_stage2_{branch}"](x))
            maps.append(f[f"Mconv7_stage2_{branch}"](x))
        return [coarse, self._without_background(*maps)]

    @staticmethod
    def _wide(layers: nn.ModuleDict, features: Tensor) -> list[Tensor]:
        """The 512 channels of each branch of stage 1."""
        outputs = []
        for branch in _BRANCHES:
            x = features
            for i in (1, 2, 3, 4):
                x = F.relu_(layers[f"conv5_{i}_CPM_{branch}"](x))
            outputs.append(x)
        return outputs


def _without_skip(tensors: dict[str, Tensor], channels: int, path: str) -> dict[str, Tensor]:
    """Leave out what the released first layers of stage 2 read of the trunk: the last 128 channels."""
    names = [f"decoder.Mconv1_stage2_{branch}.weight" for branch in _BRANCHES]
    released = [name for name in names if name in tensors and tensors[name].shape[1] == channels + _FEATURES]
    if released:
        warnings.warn(
            f"{path}: stage 2 of the released network reads the trunk, which v does not hold at the cut 'stage1'; "
            "its first layer is only a start: train F (stage teacher) or use the cut 'trunk'",
            stacklevel=3,
        )
    return tensors | {name: tensors[name][:, :channels] for name in released}
