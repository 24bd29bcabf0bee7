"""Scenes and photographs side by side, as phases 1 and 2 need them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader

from mpose3d.data.scenes import SyntheticScenes


class CrossModalData(LightningDataModule):
    """Data modules as one: training batches hold one of each, validation runs through the first two.

    The shorter ones are repeated, so that an epoch is as long as the longest.

    Args:
        scenes: D_syn.
        photographs: any data module of unlabelled images.
        paired: data module of `PicturedScenes` for the paired variants: `PairedPhotographs`, or
            `RenderedWorld(gives="paired")`.
    """

    def __init__(
        self, scenes: SyntheticScenes, photographs: LightningDataModule, paired: LightningDataModule | None = None
    ) -> None:
        super().__init__()
        self.scenes, self.photographs = scenes, photographs
        self.parts = {"scenes": scenes, "photographs": photographs} | ({} if paired is None else {"paired": paired})

    def prepare_data(self) -> None:
        for part in self.parts.values():
            part.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        for part in self.parts.values():
            part.trainer = self.trainer
            part.setup(stage)

    def train_dataloader(self) -> CombinedLoader:
        loaders = {name: part.train_dataloader() for name, part in self.parts.items()}
        return CombinedLoader(loaders, "max_size_cycle")

    def val_dataloader(self) -> list:
        return [self.scenes.val_dataloader(), self.photographs.val_dataloader()]

    def test_dataloader(self) -> list:
        return [self.scenes.test_dataloader(), self.photographs.test_dataloader()]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, dict):
            return {
                name: part.on_after_batch_transfer(batch[name], dataloader_idx) for name, part in self.parts.items()
            }
        part = self.scenes if dataloader_idx == 0 else self.photographs
        return part.on_after_batch_transfer(batch, dataloader_idx)
