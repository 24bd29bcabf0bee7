"""The five training stages, one LightningModule each, in the order in which they are run."""

from mpose3d.stages.aae import AAEStage
from mpose3d.stages.distill import DistillStage
from mpose3d.stages.phase1 import Phase1Stage
from mpose3d.stages.phase2 import Phase2Stage
from mpose3d.stages.teacher import TeacherStage

__all__ = ["AAEStage", "DistillStage", "Phase1Stage", "Phase2Stage", "TeacherStage"]
