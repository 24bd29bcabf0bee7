"""The commands of the prior, run as users run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mpose3d.cli import main


def run(*words: object) -> None:
    assert main(["prior", *map(str, words)]) == 0


def load(path: Path | str) -> torch.Tensor:
    with np.load(path) as archive:
        assert archive.files == ["poses"] and archive["poses"].dtype == np.float32
        return torch.from_numpy(archive["poses"])


def in_file_order(poses: torch.Tensor) -> torch.Tensor:
    """As `clips` holds them: recordings by name."""
    return torch.cat([poses[60:], poses[40:60], poses[:40]])
