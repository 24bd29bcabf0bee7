"""Callbacks of the stages: averaged weights, files of weights, pictures of what a stage sees, official scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from mpose3d.data.mupots import MupotsDataModule
from mpose3d.metrics.mupots import Mode, Mupots3D
from mpose3d.networks.saved import SavedNetwork
from mpose3d.poses.scenes import Scenes
from mpose3d.representations.neural import ROOT_THRESHOLD
from mpose3d.sample import AnnotatedPhotographs, Photographs, PicturedScenes
from mpose3d.skeleton import MUPOTS_17, SKELETON
from mpose3d.stages.cross_modal import CrossModalStage
from mpose3d.visualise.pictures import beside, hmpaf_picture, overlay, write_picture


def _run_folder(trainer: Trainer) -> Path:
    """Collective, as `log_dir` is sent from the first process: to be called in every one of them at once."""
    return Path(trainer.log_dir or trainer.default_root_dir)


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, by which a run is validated and with which it ends.

    Lightning's `EMAWeightAveraging` takes decay * average + (1 - decay) * current, which rounds a weight that never
    changes a little further off at every step. Here such a weight stays as it is, bit for bit.

    Args:
        decay: share of the average that a step leaves.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Tensor, current: Tensor, _count: Tensor | int) -> Tensor:
            return torch.lerp(averaged, current, 1 - decay) if averaged.is_floating_point() else current

        super().__init__(avg_fn=average)


class NetworkFile(Callback):
    """Writes what a stage gives to others as `network.safetensors` in the run's folder after every epoch.

    The next stage takes the file as its `init`, and `mpose3d infer --weights` reads it. A checkpoint, which holds only
    what its stage trains, serves to resume.

    Raises:
        ValueError: the stage has no such network, as `TeacherStage`, whose checkpoint a teacher reads.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(getattr(pl_module, "network", None), SavedNetwork):
            raise ValueError(f"NetworkFile has nothing to write of a {type(pl_module).__name__}: leave it out")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = _run_folder(trainer)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            pl_module.network.save(folder / "network.safetensors")

    # where weights are averaged, they are by now: their callback stands before this one
    on_train_end = on_train_epoch_end


class Pictures(Callback):
    """Draws the first validation batch of every loader: to a W&B panel where W&B is on, else to `pictures/`.

    Of photographs and renders: the student's people over the image beside a 3D view. Of scenes: m_syn and F(G(m_syn)),
    and the scene's people beside those of H(G(m_syn)).

    Args:
        images: most pictures of one batch.

    Raises:
        ValueError: another stage than `distill`, `phase1` and `phase2`.
    """

    def __init__(self, images: int = 4) -> None:
        self.images = images

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, CrossModalStage):
            raise ValueError(f"Pictures has nothing to draw of a {type(pl_module).__name__}: leave it out")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: CrossModalStage,
        outputs: Any,
        batch: Scenes | Photographs | PicturedScenes,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx > 0 or trainer.fast_dev_run:
            return
        folder = _run_folder(trainer) / "pictures"
        if not trainer.is_global_zero:
            return
        draw = self._scenes if isinstance(batch, Scenes) else self._photographs
        with torch.no_grad():
            pictures = draw(pl_module, batch)
        for name, drawn in pictures.items():
            self._log(trainer, f"{name}_{dataloader_idx}", drawn, folder)

    def _photographs(self, stage: CrossModalStage, batch: Photographs | PicturedScenes) -> dict[str, list[np.ndarray]]:
        image = batch.image[: self.images]
        roots, people = stage.network(stage.teacher.encode(image))
        shown = (255 * image).byte().permute(0, 2, 3, 1).cpu().numpy()
        drawn = [
            overlay(shown[b], people.joints_px[b, found].cpu().numpy(), people.joints[b, found].cpu().numpy())
            for b, found in enumerate(roots.valid)
        ]
        return {"photographs": drawn}

    def _scenes(self, stage: CrossModalStage, batch: Scenes) -> dict[str, list[np.ndarray]]:
        scenes = Scenes(*(part[: self.images] for part in batch))
        network = stage.network
        m_syn = stage.draw_scenes(scenes)
        v = network.encode(m_syn)
        roots, people = network(v, of_g=True)
        again = stage.teacher.decode(v)
        projected = network.representation.project(scenes.joints)
        blank = np.full((224, 224, 3), 32, np.uint8)
        scale = 224 / network.representation.input_size

        def view(joints_px: torch.Tensor, joints: torch.Tensor) -> np.ndarray:
            return overlay(blank, (scale * (joints_px + 0.5) - 0.5).cpu().numpy(), joints.cpu().numpy())

        def maps(hmpaf: Any, b: int) -> np.ndarray:
            return hmpaf_picture(hmpaf.heatmaps[b].cpu().numpy(), hmpaf.pafs[b].cpu().numpy())

        rows = range(len(scenes.valid))
        return {
            "maps_in_and_out": [beside(maps(m_syn, b), maps(again, b)) for b in rows],
            "people_in_and_out": [
                beside(
                    view(projected[b, scenes.valid[b]], scenes.joints[b, scenes.valid[b]]),
                    view(people.joints_px[b, roots.valid[b]], people.joints[b, roots.valid[b]]),
                )
                for b in rows
            ],
        }

    def _log(self, trainer: Trainer, name: str, pictures: list[np.ndarray], folder: Path) -> None:
        boards = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        for board in boards:
            board.log_image(f"val/{name}", pictures, step=trainer.global_step)
        if not boards:
            folder.mkdir(parents=True, exist_ok=True)
            for i, picture in enumerate(pictures):
                write_picture(folder / f"{name}_{i}_step{trainer.global_step}.png", picture)


class MupotsScores(Callback):
    """Scores a stage's people by the official MuPoTS-3D rules in `mpose3d test`, over `MupotsDataModule`.

    Logs `mupots/<all or matched>/<pck, auc or mpjpe>`, the unweighted mean over sequences, and `.../<sequence>/...`.
    A figure that is undefined (a sequence in which nobody was matched) is left out.

    Args:
        threshold: least probability of a root.

    Raises:
        ValueError: other data, or several processes, whose shares of the frames Lightning fills up with frames that
            others have.
    """

    def __init__(self, threshold: float = ROOT_THRESHOLD) -> None:
        self.threshold = threshold
        self.metrics: dict[Mode, Mupots3D] = {}

    def on_test_start(self, trainer: Trainer, pl_module: CrossModalStage) -> None:
        if trainer.world_size > 1:
            raise ValueError("MuPoTS-3D is scored by one process: --trainer.devices 1 --trainer.num_nodes 1")
        data = trainer.datamodule
        if not isinstance(data, MupotsDataModule):
            raise ValueError(f"MupotsScores has no figures of a {type(data).__name__}: leave it out")
        names = tuple(sequence.name for sequence in data.dataset.sequences)
        self.metrics = {mode: Mupots3D(names, mode).to(pl_module.device) for mode in get_args(Mode)}

    @torch.no_grad()
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: CrossModalStage,
        outputs: Any,
        batch: AnnotatedPhotographs,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        v = pl_module.teacher.encode(batch.image)
        roots, people = pl_module.network(v, threshold=self.threshold)
        # pixels of the input -> of the official picture; joints of the skeleton -> of MuPoTS, of which spine and head,
        # its last two, cannot be had
        px = (people.joints_px - batch.offset[:, None, None]) / batch.scale[:, None, None]
        px, mm = (MUPOTS_17.from_skeleton(part)[0][..., : len(SKELETON), :] for part in (px, people.joints))
        sequences = [trainer.datamodule.dataset.locate(index)[0].name for index in batch.index.tolist()]
        for metric in self.metrics.values():
            for name in sorted(set(sequences)):
                of = torch.tensor([sequence == name for sequence in sequences], device=px.device)
                metric.update(
                    name, batch.points[of], batch.joints[of], batch.valid[of], px[of], mm[of], roots.valid[of]
                )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: CrossModalStage) -> None:
        for mode, metric in self.metrics.items():
            score = metric.compute()
            parts = {"": score.mean} | {f"/{name}": part for name, part in score.sequences.items()}
            values = {
                f"mupots/{mode}{name}/{figure}": getattr(part, figure)
                for name, part in parts.items()
                for figure in ("pck", "auc", "mpjpe")
            }
            pl_module.log_dict({name: value for name, value in values.items() if math.isfinite(value)})
