"""Stage `phase2`: L_ss and L_recon with G frozen (source, section 2.2)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mpose3d.sample import CrossModalBatch
from mpose3d.stages.cross_modal import CrossModalStage


class Phase2Stage(CrossModalStage):
    """L_ss on unlabelled images, L_recon on D_syn. Trains H; E, F, G and Psi are frozen.

    In the paired variants images with their 3D people as well (`supervision`).
    """

    frozen: ClassVar[tuple[str, ...]] = ("teacher", "network.psi", "network.g")

    def training_step(self, batch: CrossModalBatch, batch_idx: int) -> Tensor:
        scenes, photographs = batch["scenes"], batch["photographs"]
        grid = self.network.h(self.teacher.encode(photographs.image))
        terms = self.reconstruction(scenes) | self.self_supervision(grid) | self.supervision(batch)
        return self.training_loss(terms, len(scenes.joints))
