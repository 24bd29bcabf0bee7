"""Callbacks of the stages: weights that stand by themselves."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, Trainer

from mpose3d.stages.cross_modal import CrossModalStage


class NetworkFile(Callback):
    """Writes G, H and Psi as `network.safetensors` at the end of every epoch and of the fit.

    The file stands beside the checkpoints in the run's folder. The next stage takes it as its `init`, and
    `mpose3d infer --weights` reads it; a checkpoint, which holds only what its stage trains, serves to resume.

    Args:
        path: where to write; by default `network.safetensors` in the logger's folder.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: CrossModalStage) -> None:
        if trainer.is_global_zero:
            folder = Path(trainer.log_dir or trainer.default_root_dir)
            pl_module.network.save(self.path or folder / "network.safetensors")

    def on_fit_end(self, trainer: Trainer, pl_module: CrossModalStage) -> None:
        self.on_train_epoch_end(trainer, pl_module)
