"""Stage `phase1`: all losses (source, section 2.2: 450k iterations)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mpose3d.poses.scenes import Scenes
from mpose3d.sample import CrossModalBatch
from mpose3d.stages.cross_modal import CrossModalStage


class Phase1Stage(CrossModalStage):
    """L_distl and L_ss on unlabelled images, L_recon on D_syn. Trains G and H; E, F and Psi are frozen.

    In the paired variants images with their 3D people as well (`supervision`).
    """

    frozen: ClassVar[tuple[str, ...]] = ("teacher", "network.psi")

    def training_step(self, batch: CrossModalBatch | Scenes, batch_idx: int) -> Tensor:
        """A batch of scenes alone trains by L_recon alone: an ablation, and all that drawings without images allow."""
        if isinstance(batch, Scenes):
            scenes, terms = batch, self.reconstruction(batch)
        else:
            scenes = batch["scenes"]
            v = self.teacher.encode(batch["photographs"].image)
            grid = self.network.h(v)
            terms = self.distillation(v, grid) | self.reconstruction(scenes) | self.self_supervision(grid)
            terms |= self.supervision(batch)
        return self.training_loss(terms, len(scenes.joints))
