"""Stage `compact`: a cheaper E learns to give the teacher's v (ours; docs/stages/compact.md)."""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor

from mpose3d import losses
from mpose3d.networks.teacher import CompactTrunk, Teacher
from mpose3d.sample import Photographs
from mpose3d.stages.base import Stage


class CompactStage(Stage):
    """Feature matching on unlabelled images: the trunk's v against E's, and F's maps of the one against the other's.

    Args:
        teacher: E, to be imitated, and F; both are frozen.
        rank: of the trunk, see `CompactTrunk`.
        features, maps: weights of the terms; without the last F takes no part.
        init: `network.safetensors` of an earlier run to start from; else the trunk starts from the principal components
            of E's layers on pictures of the training data.
        start_batches: so many batches of them.
        optimizer: see `Stage`.
    """

    frozen: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(
        self,
        teacher: Teacher,
        rank: int = 64,
        features: float = 1.0,
        maps: float = 10.0,
        init: str | None = None,
        start_batches: int = 10,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        self.save_hyperparameters(ignore=["teacher"])
        self.teacher = teacher
        self.network = CompactTrunk(teacher, rank)
        self.weights = {"features": features, "maps": maps}
        self.start_batches = 0 if init is not None else start_batches
        if init is not None:
            self.network.load(init)
        self.freeze_networks()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        # here and not later: a checkpoint overrides it, and processes take it from the first
        data = self.trainer.datamodule
        if stage == "fit" and self.start_batches:
            if data is None:
                raise ValueError("the trunk starts from pictures of a data module: without one give `start_batches: 0`")
            batches = islice(data.train_dataloader(), self.start_batches)
            # some data is made where the trainer will be, and the networks are not there yet
            images = [data.on_after_batch_transfer(batch, 0).image.to(self.device) for batch in batches]
            self.network.start_from(self.teacher, images)

    def _step(self, batch: Photographs, split: str) -> Tensor:
        with torch.no_grad():
            target = self.teacher.encode(batch.image)
        v = self.network(batch.image)
        terms = {"features": losses.relative_error(v, target)}
        if self.weights["maps"] or split == "val":
            with torch.no_grad():
                maps = self.teacher.decode(target)
            terms["maps"] = losses.hmpaf_error(self.teacher.decode(v), maps)
        return self.weighted_loss(split, terms, self.weights, len(batch.image))

    def training_step(self, batch: Photographs, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Photographs, batch_idx: int) -> None:
        self._step(batch, "val")
