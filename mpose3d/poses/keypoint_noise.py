"""What a 2D detector does to the joints of people: noise for training on drawn scenes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.geometry.constants import constant
from mpose3d.geometry.extent import spread
from mpose3d.skeleton import MIDPOINTS, SKELETON

_HEAD = SKELETON.index("head_top")
_SIDES = tuple(map(tuple, MIDPOINTS.values()))
_UPPER = tuple(name.rpartition("_")[2] in ("top", "neck", "shoulder", "elbow", "wrist") for name in SKELETON.names)
# pairs whose left and right a detector confuses together
_ARMS, _LEGS = (
    tuple(name.rpartition("_")[2] in parts for name in SKELETON.names)
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)


@dataclass(frozen=True)
class KeypointNoise:
    """Errors of 2D joints, in fractions of a person's size (`spread`).

    Args:
        jitter: largest standard deviation of Gaussian noise; each person's is uniform between 0 and it.
        outliers: fraction of joints that are thrown by `throw`.
        throw: standard deviation of such an error.
        swapped: fraction of people whose arms have left and right exchanged, and of those whose legs have.
        inverted: fraction of joints that are seen where their twin on the other side is ("inversion" of Ronchi and
            Perona, ICCV 2017): both may then be in one place.
        missing: largest chance that a joint is missing; each person's is uniform between 0 and it.
        headless: fraction of people without the top of the head: COCO's detectors do not know it.
        half: fraction of people of whom only the upper half is seen.
        midpoints: pelvis and neck are made of hips and shoulders; else they are detected as the others are.
    """

    jitter: float = 0.05
    outliers: float = 0.01
    throw: float = 0.4
    swapped: float = 0.01
    inverted: float = 0.0
    missing: float = 0.3
    headless: float = 0.5
    half: float = 0.08
    midpoints: bool = True

    def __call__(
        self,
        joints_px: Float[Tensor, "n 15 2"],
        visible: Bool[Tensor, "n 15"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "n 15 2"], Bool[Tensor, "n 15"]]:
        """Joints as a detector would give them, and which it gives."""
        people, device = len(joints_px), joints_px.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        def normal() -> Tensor:
            return torch.randn(joints_px.shape, generator=generator, device=device)

        size = spread(joints_px)[1][:, None, None]
        thrown = uniform(people, len(SKELETON), 1) < self.outliers
        error = self.jitter * uniform(people, 1, 1) * normal() + torch.where(thrown, self.throw * normal(), 0)
        joints = joints_px + error * size
        for limbs in (_ARMS, _LEGS):
            exchanged = (uniform(people, 1, 1) < self.swapped) & constant(limbs, device, torch.bool)[:, None]
            joints, visible = _from_twins(exchanged, joints, visible)
        if self.inverted > 0:
            inverted = uniform(people, len(SKELETON), 1) < self.inverted
            joints, visible = _from_twins(inverted, joints, visible)
        visible = visible & (uniform(people, len(SKELETON)) >= self.missing * uniform(people, 1))
        upper = constant(_UPPER, device, torch.bool)
        visible = visible & (upper | (uniform(people, 1) >= self.half))
        headless = uniform(people) < self.headless
        visible[:, _HEAD] &= ~headless
        if not self.midpoints:
            return joints, visible
        middles, sides = constant(tuple(MIDPOINTS), device), constant(_SIDES, device)
        joints = joints.index_copy(1, middles, joints[:, sides].mean(2))
        return joints, visible.index_copy(1, middles, visible[:, sides].all(2))


def _from_twins(
    those: Bool[Tensor, "n 15 1"], joints: Float[Tensor, "n 15 2"], visible: Bool[Tensor, "n 15"]
) -> tuple[Float[Tensor, "n 15 2"], Bool[Tensor, "n 15"]]:
    """Joints that are taken for `those` are their twins of the other side: seen where, and only if, the twin is."""
    mirror = constant(SKELETON.mirror, joints.device)
    return torch.where(those, joints[:, mirror], joints), torch.where(those[..., 0], visible[:, mirror], visible)
