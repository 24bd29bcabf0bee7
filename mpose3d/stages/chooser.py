"""Stage `chooser`: joints of people chosen again among the peaks, on 2D annotation (ours; docs/stages/chooser.md)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from mpose3d import losses
from mpose3d.geometry.extent import spread
from mpose3d.metrics.matching import assign_people
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.teacher import Teacher
from mpose3d.sample import LabelledPhotographs
from mpose3d.stages.base import Stage


class ChooserStage(Stage):
    """Trains the chooser on the people whom the frozen teacher finds, each assigned to the annotated one it is.

    Args:
        teacher: E and F, trained.
        network: the chooser, of the teacher's layout.
        near: a peak within this part of the person's size of the joint is the joint's.
        init: `network.safetensors` of an earlier run to start from.
        optimizer: see `Stage`.

    Raises:
        ValueError: teacher and chooser of two layouts.
    """

    frozen: ClassVar[tuple[str, ...]] = ("teacher",)

    def __init__(
        self,
        teacher: Teacher,
        network: PeakChooser,
        near: float = 0.2,
        init: str | None = None,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        self.save_hyperparameters(ignore=["teacher", "network"])
        if teacher.layout != network.layout:
            raise ValueError(
                f"the teacher's maps are of {teacher.layout.name}, the chooser is of {network.layout.name}"
            )
        self.teacher, self.network = teacher, network
        self.near = near
        if init is not None:
            network.load(init)
        self.freeze_networks()

    def _step(self, batch: LabelledPhotographs, split: str) -> Tensor:
        with torch.no_grad():
            maps = self.teacher(batch.image)
            people = self.teacher.people(maps)
        choice = self.network(maps, people, self.teacher.stride)
        truth, counted = _annotated(batch, people.points, people.visible, people.valid)
        size = spread(truth, counted)[1].clamp_min(1.0)[:, None, None]
        off = (choice.places_px - truth[:, :, None]).norm(dim=-1) / size  # (n, J, K + 1)
        terms = {
            "choice": losses.choice_error(choice.scores, off[..., :-1], self.near, counted),
            "estimate": losses.masked_mean(off[..., -1], counted),
        }
        loss = terms["choice"] + terms["estimate"]
        chosen = off.detach().gather(2, choice.scores.argmax(-1, keepdim=True))[..., 0]
        terms |= {"loss": loss, "far_off": losses.masked_mean((chosen > 0.25).float(), counted)}
        # the mean over an epoch is one over joints
        self.log_terms(split, terms, len(batch.image) if split == "train" else int(counted.sum()))
        return loss

    def training_step(self, batch: LabelledPhotographs, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: LabelledPhotographs, batch_idx: int) -> None:
        self._step(batch, "val")


def _annotated(batch: LabelledPhotographs, points: Tensor, visible: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Annotated joints (n, J, 2) px of the valid people, and which of them count: none of those who are nobody."""
    truth, counted = torch.zeros_like(points), torch.zeros_like(visible)
    for b in range(len(valid)):
        there = batch.visible[b].any(-1).nonzero()[:, 0]
        matching = assign_people(batch.points[b, there], batch.visible[b, there], points[b], visible[b]).to(
            there.device
        )
        hit = matching >= 0
        truth[b, matching[hit]] = batch.points[b, there[hit]]
        counted[b, matching[hit]] = batch.visible[b, there[hit]]
    return torch.where(counted[..., None], truth, 0)[valid], counted[valid]
