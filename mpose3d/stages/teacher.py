"""Stage `teacher`: trains E and F on 2D annotation, where no released weights are used."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from mpose3d import losses
from mpose3d.networks.teacher import Teacher
from mpose3d.representations.hmpaf import HMPAF, draw
from mpose3d.sample import LabelledPhotographs
from mpose3d.stages.base import Stage


class TeacherStage(Stage):
    """L2 of heatmaps and PAFs after every stage of F (Cao et al., CVPR 2017, equations 3 to 5).

    Args:
        teacher: E and F, to be trained.
        sigma: width in pixels of the Gaussians of the targets.
        peaks: extra weight of cells near joints and limbs, which are few; 0 is the plain loss.
        optimizer: see `Stage`.
    """

    def __init__(
        self,
        teacher: Teacher,
        sigma: float = 7.0,
        peaks: float = 0.0,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        self.save_hyperparameters(ignore=["teacher"])
        self.teacher = teacher.to(memory_format=torch.channels_last)  # on a CPU a fifth to a third faster
        self.sigma = sigma
        self.peaks = peaks

    def _step(self, batch: LabelledPhotographs, split: str) -> torch.Tensor:
        v = self.teacher.encode(batch.image)
        size = tuple(v.shape[-2:])
        target = draw(batch.points, batch.visible, self.teacher.layout, size, self.teacher.stride, self.sigma)
        counted = functional.interpolate(batch.counted, size)
        errors = [losses.hmpaf_error(maps, target, counted, self.peaks) for maps in self.teacher.stages(v)]
        loss = torch.stack(errors).sum()
        blank = HMPAF(*map(torch.zeros_like, target))
        terms = {
            "loss": loss,
            "last_stage": errors[-1],
            # 1 is a network that sees nobody
            "relative_error": errors[-1] / losses.hmpaf_error(blank, target, counted, self.peaks).clamp_min(1e-9),
        }
        self.log_terms(split, terms, len(batch.image))
        return loss

    def training_step(self, batch: LabelledPhotographs, batch_idx: int) -> torch.Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: LabelledPhotographs, batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: LabelledPhotographs, batch_idx: int) -> None:
        self._step(batch, "test")
