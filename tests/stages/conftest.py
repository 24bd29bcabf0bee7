"""A world so small that a stage takes a step in a fraction of a second."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from mpose3d.data.cross_modal import CrossModalData
from mpose3d.data.rendered import RenderedWorld
from mpose3d.data.scenes import SyntheticPoses, SyntheticScenes
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.teacher import SmallTeacher
from mpose3d.representations.hmpaf import HMPAF, People2D
from mpose3d.stages import (
    AAEStage,
    ChooserStage,
    CompactStage,
    DistillStage,
    LifterStage,
    Phase1Stage,
    Phase2Stage,
    TeacherStage,
)

SCENES: dict[str, Any] = {"input_size": 32, "people": (1, 2), "batch_size": 2, "batches": 2, "val_batches": 1}


class CrowdedTeacher(SmallTeacher):
    """Untrained, sees peaks and limbs everywhere, and all over the image the same small person."""

    def stages(self, v):
        return [HMPAF(100 * maps.heatmaps, torch.ones_like(maps.pafs)) for maps in super().stages(v)]

    def people(self, maps):
        places = torch.cartesian_prod(torch.arange(0.0, 32, 6), torch.arange(0.0, 32, 6))
        person = 3 * torch.randn(15, 2, generator=torch.Generator().manual_seed(0))
        points = (places[:, None] + person).repeat(len(maps.heatmaps), 1, 1, 1)
        seen = torch.ones_like(points[..., 0], dtype=torch.bool)
        return People2D(points, seen.float(), seen, seen[..., 0])


def tiny_network(**arguments: Any) -> CrossModalNetwork:
    sizes = {"v_channels": 8, "stride": 4, "input_size": 32, "g_width": 4, "h_width": 16, "sigma": 2.0}
    return CrossModalNetwork("mpose3d", **sizes | arguments)


def tiny_stage(name: str, **arguments: Any):
    if name == "teacher":
        return TeacherStage(SmallTeacher(width=8), sigma=2.0, **arguments)
    if name == "aae":
        return AAEStage(**arguments)
    if name == "lifter":
        return LifterStage(KeypointLifter(width=16, blocks=1), **arguments)
    if name == "chooser":
        return ChooserStage(CrowdedTeacher(width=8), PeakChooser(width=16, blocks=1), **arguments)
    if name == "compact":
        return CompactStage(SmallTeacher(width=8).eval(), **{"rank": 2, "start_batches": 1} | arguments)
    stage = {"distill": DistillStage, "phase1": Phase1Stage, "phase2": Phase2Stage}[name]
    return stage(SmallTeacher(width=8), tiny_network(**arguments.pop("network", {})), **arguments)


def tiny_data(name: str):
    if name in ("teacher", "chooser"):
        return RenderedWorld(gives="labelled", **SCENES)
    if name == "aae":
        return SyntheticPoses(batch_size=4, batches=2, val_batches=1)
    if name in ("distill", "compact"):
        return RenderedWorld(**SCENES)
    if name == "lifter":
        return SyntheticScenes(**SCENES | {"batch_size": 16, "proportions": 0.1})
    return CrossModalData(SyntheticScenes(**SCENES), RenderedWorld(**SCENES))


@pytest.fixture
def trainer(tmp_path):
    """A trainer of two steps, on the CPU, that writes under tmp_path."""

    def make(**arguments: Any) -> Trainer:
        defaults = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_progress_bar": False}
        defaults |= {"enable_model_summary": False, "default_root_dir": tmp_path, "num_sanity_val_steps": 0}
        return Trainer(**(defaults | arguments))

    return make


STAGES = ("teacher", "aae", "distill", "phase1", "phase2", "lifter", "chooser", "compact")
