"""One of two gloo processes of `test_two_processes_with_uneven_shards_equal_one`: RANK FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed

from tests.metrics.samples import compute_all, mupots_mean


def main(rank: int, folder: Path) -> None:
    batches, frames = torch.load(folder / "shards.pt", weights_only=True)[rank]
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    torch.save(compute_all(batches) | mupots_mean(frames), folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
