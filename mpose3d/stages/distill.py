"""Stage `distill`: pretrains H on the teacher's 2D people alone (source, section 2.2: about 15k iterations)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from mpose3d.sample import Photographs
from mpose3d.stages.cross_modal import CrossModalStage


class DistillStage(CrossModalStage):
    """L_distl on unlabelled images. Trains H; E, F and Psi are frozen, and G and an H' beside H do not take part."""

    frozen: ClassVar[tuple[str, ...]] = ("teacher", "network.psi", "network.g")

    def frozen_networks(self) -> Iterable[nn.Module]:
        h_prime = self.network.h_prime
        return (*super().frozen_networks(), *([] if h_prime is None else [h_prime]))

    def training_step(self, batch: Photographs, batch_idx: int) -> Tensor:
        v = self.teacher.encode(batch.image)
        return self.training_loss(self.distillation(v, self.network.h(v)), len(batch.image))
