"""Networks that users pick today, for timing alone: random weights, built from public packages and descriptions."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpose3d.networks.teacher import OpenPose

ULTRALYTICS = "ultralytics==8.4.190"  # AGPL-3.0; nothing of ours uses it


def yolo(model: str, folder: Path) -> nn.Module:
    """An ultralytics network with random weights by the name of its YAML, such as "yolo11n-pose".

    The package is installed into `folder`, without its dependencies and beside ours. It imports torchvision, of which
    these networks use nothing; where there is none, an empty package with a version takes its place.

    Raises:
        OSError: the package cannot be had.
    """
    if importlib.util.find_spec("ultralytics") is None:
        if not (folder / "ultralytics").is_dir():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
            done = subprocess.run([*pip, "--target", folder, ULTRALYTICS], capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"{ULTRALYTICS} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        if importlib.util.find_spec("torchvision") is None:
            stub, facts = folder / "torchvision", folder / "torchvision-0.28.0.dist-info"
            for made in (stub, facts):
                made.mkdir(exist_ok=True)
            (stub / "__init__.py").write_text('__version__ = "0.28.0"\n')
            (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))  # it keeps a settings file
    from ultralytics.nn.tasks import DetectionModel, PoseModel

    kind = PoseModel if model.endswith("-pose") else DetectionModel
    return kind(f"{model}.yaml", verbose=False).eval()


class OpenPoseSixStages(nn.Module):
    """OpenPose as first released for COCO: VGG19 to conv4_2, then six stages of two branches (Cao et al., CVPR 2017).

    Trunk and stage 1 are those of `OpenPose`. Each later stage reads the trunk and both outputs of the one before:
    five 7x7 convolutions of 128 channels, a 1x1 of 128, and the 1x1 to 38 fields or 19 heatmaps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = OpenPose("openpose18", cut="trunk")
        for name in [name for name in self.first.decoder if "stage2" in name]:
            del self.first.decoder[name]
        self.stages = nn.ModuleList(nn.ModuleList(self._branch(maps) for maps in (38, 19)) for _ in range(5))

    @staticmethod
    def _branch(maps: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [nn.Conv2d(128 + 38 + 19 if i == 0 else 128, 128, 7, padding=3), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.Conv2d(128, 128, 1), nn.ReLU(inplace=True), nn.Conv2d(128, maps, 1))

    def forward(self, image: Tensor) -> Tensor:
        trunk = self.first.features(image)
        stage1 = self.first.decoder
        wide = OpenPose._wide(stage1, trunk)
        maps = torch.cat([stage1[f"conv5_5_CPM_{b}"](w) for b, w in zip(("L1", "L2"), wide, strict=True)], dim=1)
        for stage in self.stages:
            maps = torch.cat([branch(torch.cat([maps, trunk], dim=1)) for branch in stage], dim=1)
        return maps


class ResNet50Regressor(nn.Module):
    """Crops of one person each (B, 3, 256, 256) -> joints (B, 15, 3): ResNet-50 (He et al., CVPR 2016), pooled, linear.

    The plainest of per-person 3D networks; those with deconvolutions and 3D heatmaps cost more.
    """

    def __init__(self, joints: int = 15) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )  # fmt: skip
        blocks: list[nn.Module] = []
        channels = 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for i in range(count):
                blocks.append(_Bottleneck(channels, width, stride if i == 0 else 1))
                channels = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Linear(channels, 3 * joints)

    def forward(self, crops: Tensor) -> Tensor:
        return self.out(self.blocks(self.stem(crops)).mean(dim=(2, 3))).unflatten(1, (-1, 3))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        self.skip = nn.Identity()
        if stride > 1 or channels != 4 * width:
            self.skip = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.body(x), inplace=True)


def randomise(network: nn.Module) -> nn.Module:
    """Random weights that keep the size of a signal, in eval mode: arithmetic on numbers near 0 would be slow."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network.eval().requires_grad_(False)
