"""Test sets of annotated sequences: their frames as samples, and what their data modules share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset

from mpose3d.data.letterbox import letterbox, read_picture, same_proportions, to_tensor
from mpose3d.sample import AnnotatedPhotographs
from mpose3d.skeleton import Layout

S = TypeVar("S")


def choose(wanted: Sequence[str] | None, available: Mapping[str, Path], root: Path | str) -> dict[str, Path]:
    """Those of the sequences below `root` that are wanted, in that order; None, or no name, wants all.

    Raises:
        FileNotFoundError: one is not there.
    """
    names = wanted or list(available)
    missing = [name for name in names if name not in available]
    if missing:
        raise FileNotFoundError(f"{root}: no annotation of {', '.join(missing)}, only of {', '.join(available)}")
    return {name: available[name] for name in names}


class AnnotatedFrames(Dataset[AnnotatedPhotographs], ABC, Generic[S]):
    """Frames that have a picture, as samples of `AnnotatedPhotographs` without the batch dimension.

    Args:
        sequences: annotations, as the data set has them.
        pictures: frame -> picture, of each sequence.
        most_people: places for people in a sample.
        image_size: side of the square images in pixels.
    """

    def __init__(
        self, sequences: Sequence[S], pictures: Sequence[Mapping[int, Path]], most_people: int, image_size: int
    ) -> None:
        self.sequences = list(sequences)
        self.frames = [(s, frame) for s, paths in enumerate(pictures) for frame in sorted(paths)]
        self.most_people = most_people
        self.image_size = image_size
        self._pictures = list(pictures)

    def __len__(self) -> int:
        return len(self.frames)

    def locate(self, index: int) -> tuple[S, int]:
        """The sequence of a sample, and its frame."""
        at, frame = self.frames[index]
        return self.sequences[at], frame

    def __getitem__(self, index: int) -> AnnotatedPhotographs:
        at, frame = self.frames[index]
        path = self._pictures[at][frame]
        square, box = letterbox(read_picture(path), self.image_size)
        reduction = self._reduction(at, box.size, path)
        points, joints, valid = self.people(at, frame)
        absent = self.most_people - len(valid)
        # official picture -> picture on disk -> square, pixel centres at integers
        offset = torch.tensor(box.offset) + box.scale * (reduction - 1) / 2
        return AnnotatedPhotographs(
            to_tensor(square),
            torch.tensor(index),
            box.scale * reduction,
            offset,
            pad(points.float(), (0, 0, 0, 0, 0, absent)),
            pad(joints.float(), (0, 0, 0, 0, 0, absent)),
            pad(valid, (0, absent)),
        )

    @abstractmethod
    def people(self, at: int, frame: int) -> tuple[Float[Tensor, "p J 2"], Float[Tensor, "p J 3"], Bool[Tensor, " p"]]:
        """Joints of sequence `at` in pixels of the official picture and in camera space (mm), and who counts."""

    @abstractmethod
    def official_size(self, at: int) -> tuple[int, int]:
        """(width, height) of the pictures that sequence `at` was annotated on."""

    def _reduction(self, at: int, size: tuple[int, int], path: Path) -> Float[Tensor, 2]:
        """Pixels of the picture on disk, of `size`, per pixel of the official one, across and down.

        Raises ValueError for a picture of other proportions than the official one.
        """
        official = self.official_size(at)
        if not same_proportions(size, official):
            shown = " x ".join(map(str, official))
            raise ValueError(f"{path}: {size[0]} x {size[1]} is not a smaller copy of the official {shown} picture")
        return torch.tensor(size) / torch.tensor(official)


class AnnotatedDataModule(LightningDataModule):
    """Loads `dataset`, which `setup` makes, for test and predict. To train on it takes `PairedPhotographs`.

    Args:
        image_size: side of the square input in pixels.
        batch_size: pictures in a batch.
        num_workers: processes that read pictures; batches do not depend on it.
    """

    #: of the joints of `dataset`
    layout: ClassVar[Layout]

    def __init__(self, image_size: int = 224, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__()
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.dataset: AnnotatedFrames | None = None

    def test_dataloader(self) -> DataLoader[AnnotatedPhotographs]:
        return DataLoader(self.dataset, batch_size=self.batch_size, num_workers=self.num_workers)

    def predict_dataloader(self) -> DataLoader[AnnotatedPhotographs]:
        return self.test_dataloader()
