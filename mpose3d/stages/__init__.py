"""The training stages, one LightningModule each: `teacher`, the source's four in the order in which they are run, and
`lifter`, `chooser` and `compact`, which are ours."""

from mpose3d.stages.aae import AAEStage
from mpose3d.stages.chooser import ChooserStage
from mpose3d.stages.compact import CompactStage
from mpose3d.stages.distill import DistillStage
from mpose3d.stages.lifter import LifterStage
from mpose3d.stages.phase1 import Phase1Stage
from mpose3d.stages.phase2 import Phase2Stage
from mpose3d.stages.teacher import TeacherStage

__all__ = [
    "AAEStage",
    "ChooserStage",
    "CompactStage",
    "DistillStage",
    "LifterStage",
    "Phase1Stage",
    "Phase2Stage",
    "TeacherStage",
]
