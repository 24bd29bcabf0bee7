"""Random people, every metric over them, and an independent one, for the tests and the processes that they start."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mpose3d.metrics.modules import AUC3D, MPJPE, MRPE, NMPJPE, PCK2D, PCK3D, PMPJPE, BoxIoU
from mpose3d.metrics.mupots import Mupots3D
from mpose3d.skeleton import SKELETON

ROOT = SKELETON.root

METRICS_3D = {
    "mpjpe": lambda: MPJPE(root=ROOT),
    "pmpjpe": PMPJPE,
    "n_mpjpe": lambda: NMPJPE(root=ROOT),
    "pck": lambda: PCK3D(root=ROOT),
    "pck_abs": PCK3D,
    "auc": lambda: AUC3D(root=ROOT),
    "mrpe": lambda: MRPE(root=ROOT),
}
METRICS_2D = {"mpjpe_2d": MPJPE, "pck_2d": PCK2D, "iou": BoxIoU}


def people(count: int = 23) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    target = 300 * torch.randn(count, 15, 3, generator=generator)
    visible = torch.rand(count, 15, generator=generator) > 0.4
    visible[:3] = False
    return target + 60 * torch.randn(count, 15, 3, generator=generator), target, visible


def scipy_pmpjpe(prediction: np.ndarray, target: np.ndarray) -> float:
    """One pose, by SciPy's Kabsch rotation."""
    p, q = prediction - prediction.mean(0), target - target.mean(0)
    rotated = Rotation.align_vectors(q, p)[0].apply(p)
    return np.linalg.norm((rotated * q).sum() / (p * p).sum() * rotated - q, axis=-1).mean()


def compute_all(batches) -> dict[str, float]:
    """Every metric over (prediction, target, visible) batches."""
    metrics = {name: make() for name, make in {**METRICS_3D, **METRICS_2D}.items()}
    for prediction, target, visible in batches:
        for name, metric in metrics.items():
            size = 2 if name in METRICS_2D else 3
            metric.update(prediction[..., :size], target[..., :size], visible)
    return {name: metric.compute().item() for name, metric in metrics.items()}


def mupots_mean(batches) -> dict[str, float]:
    """Mean of the protocol over (sequence, frames) batches."""
    metric = Mupots3D(("TS1", "TS2"))
    for sequence, frames in batches:
        metric.update(sequence, *frames)
    return {f"mupots_{key}": value for key, value in metric.compute().mean._asdict().items()}


def random_frames(seed: int, frames: int = 20, joints: int = 17) -> tuple[torch.Tensor, ...]:
    """annotated_px, target_mm, annotated, predicted_px, predicted_mm, predicted: 3 annotated and 4 predicted people."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    px, mm = 60 * normal(frames, 3, 17, 2) + 500, 300 * normal(frames, 3, 17, 3)
    # predictions are the people in another order, one of them twice
    order = torch.stack([torch.randperm(3, generator=generator) for _ in range(frames)])
    order = torch.cat([order, order[:, :1]], dim=1)
    near = torch.arange(frames)[:, None], order
    return (
        px,
        mm,
        torch.rand(frames, 3, generator=generator) > 0.2,
        (px[near] + 25 * normal(frames, 4, 17, 2))[:, :, :joints],
        (mm[near] + 60 * normal(frames, 4, 17, 3) + 3000)[:, :, :joints],
        torch.rand(frames, 4, generator=generator) > 0.3,
    )
