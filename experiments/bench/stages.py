"""The stages at the sizes that are trained, batches of their data, and seconds of their steps.

What the benchmarks of training measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from lightning.pytorch import Callback

from experiments.bench.timing import now
from mpose3d.data.rendered import RenderedWorld
from mpose3d.data.scenes import SyntheticPoses, SyntheticScenes
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.teacher import LightweightOpenPose, OpenPose, Teacher
from mpose3d.sample import CrossModalBatch, LabelledPhotographs, Photographs
from mpose3d.stages import AAEStage, DistillStage, LifterStage, Phase1Stage, Phase2Stage, TeacherStage
from mpose3d.stages.base import Stage

#: samples in the batch that is measured of each stage
BATCH = {"teacher": 8, "aae": 256, "distill": 8, "phase1": 8, "phase2": 8, "lifter": 192}
STAGES = tuple(BATCH)
#: first steps of a run, which are not measured
WARMUP = 3
#: "photographs": experiments/photographs, with the grid of 14; "source": experiments/network.yaml, the source's size
Size = Literal["photographs", "source"]

#: people, framing and noise of experiments/photographs/lift.yaml as it was at first; since then its camera looks down,
#: more people are turned anyhow, and they stand closer
SCENES: dict[str, Any] = {
    "people": (2, 7), "height": (0.15, 1.0), "tilt": 20.0, "free_rotation": 0.1, "occlusion": 60.0, "dropped": 0.05,
}  # fmt: skip
DRAWING: dict[str, Any] = {"amplitude": 0.4, "blur": (4.5, 10.0), "jitter": 1.0}


def teacher(size: Size) -> Teacher:
    return LightweightOpenPose() if size == "photographs" else OpenPose("mpi15", "trunk")


def network(size: Size) -> CrossModalNetwork:
    if size == "photographs":
        return CrossModalNetwork("openpose18", 128, 8, rotation="6d", perspective="full", g_width=32, h_width=96)
    return CrossModalNetwork("mpi15", 128, 8, g_width=128, h_width=128, shared=False)


def build(name: str, size: Size = "photographs") -> Stage:
    """A stage with random weights, in training mode."""
    torch.manual_seed(0)
    if name == "teacher":
        return TeacherStage(teacher(size)).train()
    if name == "aae":
        return AAEStage().train()
    if name == "lifter":
        return LifterStage(KeypointLifter()).train()
    kinds = {"distill": DistillStage, "phase1": Phase1Stage, "phase2": Phase2Stage}
    return kinds[name](teacher(size), network(size), **DRAWING).train()


def bare(stage: Stage) -> Stage:
    """The stage outside a Trainer: an optimiser of its own, and nothing logged."""
    stage.log_terms = lambda *_: None
    stage.optimizer = torch.optim.AdamW(stage.parameter_groups(), lr=1e-4, foreach=True)
    return stage


class Clock(Callback):
    """When each step of a fit ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.times.append(now())


def measured_steps(ends: Sequence[float]) -> list[float]:
    """Seconds of each step of a run but its first, from when each ended."""
    return [later - before for before, later in pairwise(ends[WARMUP - 1 :])]


def train_step(stage: Stage, data: Any) -> None:
    optimizer = stage.optimizer
    optimizer.zero_grad()
    stage.training_step(data, 0).backward()
    optimizer.step()


def scenes(batch_size: int, **changes: Any) -> SyntheticScenes:
    """D_syn as the configs have it, from artificial poses alone."""
    data = SyntheticScenes(**SCENES | {"batch_size": batch_size} | changes)
    data.setup()
    return data


def batch(name: str, batch_size: int, device: str = "cpu", size: Size = "photographs") -> Any:
    """One training batch; photographs are renders of scenes, so that the teacher has people to look at."""
    generator = torch.Generator(device).manual_seed(0)
    if name == "aae":
        poses = SyntheticPoses(batch_size=batch_size)
        poses.setup()
        return poses.make(0, generator)
    if name == "lifter":
        return scenes(batch_size).make(0, generator)
    layout = teacher(size).layout.name
    pictures = []
    for _ in range(0, batch_size, 8):  # rendering is not measured, and a few at a time need little memory
        world = RenderedWorld("labelled", layout, **SCENES | {"batch_size": min(8, batch_size)})
        world.setup()
        pictures.append(world.make(0, generator))
    labelled = LabelledPhotographs(*(torch.cat(part)[:batch_size] for part in zip(*pictures, strict=True)))
    if name == "teacher":
        return labelled
    photographs = Photographs(labelled.image, torch.arange(batch_size, device=device))
    if name == "distill":
        return photographs
    return CrossModalBatch(scenes=scenes(batch_size).make(0, generator), photographs=photographs)
