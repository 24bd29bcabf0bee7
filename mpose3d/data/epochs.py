"""Which samples a training batch holds: a function of seed and number of the batch, on any number of processes.

Training data is one endless stream. Every pass through a data set has an order of its own, passes follow one another
without a gap, and batch number j holds samples j b to (j + 1) b - 1 of the stream, for batches of b. Process r of w
takes the batches r, r + w, r + 2w, ...: together they see what one process would. An "epoch" is a piece of the stream
about as long as a pass.

A run that was interrupted goes on at the batch that it had reached, in the middle of an epoch too: the trainer's own
count of batches, which checkpoints hold, is all the state there is. A loader handed over by itself keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed as dist
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset, DistributedSampler


def batches_trained(trainer: Trainer | None) -> int:
    """Batches that a process of the run has trained on, those of the run that it resumes included."""
    return 0 if trainer is None else trainer.fit_loop.epoch_loop.batch_progress.total.processed


class StreamSampler(DistributedSampler):
    """The samples of this process's batches, from batch number `start` of this process on, for one epoch.

    Yields (pass, index): workers cannot know the pass otherwise, and would repeat its augmentations. Lightning leaves a
    `DistributedSampler` as it is, so the division among processes is the one made here.

    Args:
        dataset: anything with a length.
        batch_size: samples in a batch.
        seed: of the order.
        shuffle: give every pass an order of its own; else that of the data set.

    Raises:
        ValueError: the data set is empty.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int = 0, shuffle: bool = True) -> None:
        if len(dataset) == 0:
            raise ValueError("nothing to train on: the data set is empty")
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=shuffle, seed=seed)
        self.batch_size = batch_size
        self.start = 0

    def _divide(self) -> None:
        """Among all processes: when the sampler was made, they may not have known of each other."""
        if dist.is_available() and dist.is_initialized():
            self.num_replicas, self.rank = dist.get_world_size(), dist.get_rank()

    def __len__(self) -> int:
        """Samples of an epoch: whole batches, at least one, of which every process has as many."""
        self._divide()
        return max(1, len(self.dataset) // (self.batch_size * self.num_replicas)) * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        size, order, ordered = len(self.dataset), [], None
        for batch in range(self.start, self.start + len(self) // self.batch_size):
            first = (batch * self.num_replicas + self.rank) * self.batch_size
            for place in range(first, first + self.batch_size):
                number, place = divmod(place, size)
                if number != ordered:
                    order, ordered = self._order(number), number
                yield number, order[place]

    def _order(self, number: int) -> list[int]:
        if not self.shuffle:
            return list(range(len(self.dataset)))
        return np.random.default_rng((self.seed, number)).permutation(len(self.dataset)).tolist()


class StreamLoader(DataLoader):
    """Training batches of a data set whose keys are those of `StreamSampler`.

    Each iteration is one epoch, and goes on where `trainer` is, or without one where the iteration before it ended.

    Args:
        dataset: takes keys (pass, index).
        batch_size: samples in a batch; None gives the samples themselves, one by one.
        trainer: of the data module; None outside a fit.
        seed, shuffle: see `StreamSampler`.
        options: see `DataLoader`.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None,
        trainer: Trainer | None = None,
        seed: int = 0,
        shuffle: bool = True,
        **options: Any,
    ) -> None:
        options.setdefault("sampler", StreamSampler(dataset, batch_size or 1, seed, shuffle))
        super().__init__(dataset, batch_size, **options)
        self.trainer, self.seed = trainer, seed
        #: number of the next batch of this process
        self.position = 0

    def __iter__(self) -> Iterator[Any]:
        if self.trainer is not None:
            self.position = batches_trained(self.trainer)
        self.sampler.start = self.position
        for batch in super().__iter__():
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The position of a loader without `trainer`; with one, the trainer's own progress counts.

        By this method Lightning also knows that the loader can resume within an epoch.
        """
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state.get("position", 0)
