"""Which samples an epoch visits, such that a sample's augmentation depends on seed, epoch and index alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch.distributed as dist
from torch.utils.data import Dataset, DistributedSampler


class EpochSampler(DistributedSampler):
    """Shuffles anew every epoch and yields (epoch, index) in place of the index.

    Workers cannot know the epoch otherwise, and would repeat its augmentations. Lightning calls `set_epoch`, and
    leaves a `DistributedSampler` as it is; in one process this is a plain shuffle.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        spread = dist.is_available() and dist.is_initialized()
        super().__init__(
            dataset,
            num_replicas=dist.get_world_size() if spread else 1,
            rank=dist.get_rank() if spread else 0,
            seed=seed,
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in super().__iter__())
