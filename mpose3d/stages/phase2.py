"""Stage `phase2`: L_ss and L_recon with G frozen (source, section 2.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from mpose3d.sample import CrossModalBatch
from mpose3d.stages.cross_modal import CrossModalStage


class Phase2Stage(CrossModalStage):
    """L_ss on unlabelled images, L_recon on D_syn. Trains H and H'; E, F, G and Psi are frozen.

    With an H' beside H, H's root map stays as it is: of the two losses only L_recon has roots, and that is then of H'.
    In the paired variants images with their 3D people as well (`supervision`).
    """

    frozen: ClassVar[tuple[str, ...]] = ("teacher", "network.psi", "network.g")

    def frozen_networks(self) -> Iterable[nn.Module]:
        network = self.network
        return (*super().frozen_networks(), *([] if network.h_prime is None else [network.h.root]))

    def training_step(self, batch: CrossModalBatch, batch_idx: int) -> Tensor:
        scenes, photographs = batch["scenes"], batch["photographs"]
        grid = self.network.h(self.teacher.encode(photographs.image))
        terms = self.reconstruction(scenes) | self.self_supervision(grid) | self.supervision(batch)
        return self.training_loss(terms, len(scenes.joints))
