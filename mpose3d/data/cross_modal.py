"""Scenes and photographs side by side, as phases 1 and 2 need them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader

from mpose3d.data.scenes import SyntheticScenes


class CrossModalData(LightningDataModule):
    """Two data modules as one: training batches hold one of each, validation runs through both.

    The shorter of the two is repeated, so that an epoch is as long as the longer.

    Args:
        scenes: D_syn.
        photographs: any data module of unlabelled images.
    """

    def __init__(self, scenes: SyntheticScenes, photographs: LightningDataModule) -> None:
        super().__init__()
        self.scenes, self.photographs = scenes, photographs

    def prepare_data(self) -> None:
        self.photographs.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for part in (self.scenes, self.photographs):
            part.trainer = self.trainer
            part.setup(stage)

    def train_dataloader(self) -> CombinedLoader:
        loaders = {"scenes": self.scenes.train_dataloader(), "photographs": self.photographs.train_dataloader()}
        return CombinedLoader(loaders, "max_size_cycle")

    def val_dataloader(self) -> list:
        return [self.scenes.val_dataloader(), self.photographs.val_dataloader()]

    def test_dataloader(self) -> list:
        return [self.scenes.test_dataloader(), self.photographs.test_dataloader()]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, dict):
            return {
                name: part.on_after_batch_transfer(batch[name], dataloader_idx)
                for name, part in (("scenes", self.scenes), ("photographs", self.photographs))
            }
        part = self.scenes if dataloader_idx == 0 else self.photographs
        return part.on_after_batch_transfer(batch, dataloader_idx)
