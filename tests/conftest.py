"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mpose3d.networks.cross_modal import CrossModalNetwork

# a process that is forked off one with a pool of threads hangs; whoever wants more cores runs more workers
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

_SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real files that development uses; absent from most machines."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"real data not present: {_SHARED_DATA.resolve()}")
    return _SHARED_DATA.resolve()


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Networks and images that a test makes without a generator are the same every time, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def network(tmp_path) -> CrossModalNetwork:
    """A network that sees people everywhere."""
    torch.manual_seed(0)
    network = CrossModalNetwork("mpose3d", v_channels=8, stride=4, input_size=64, g_width=4, h_width=16, sigma=2.0)
    torch.nn.init.constant_(network.h.root.bias[0], 5.0)
    network.save(tmp_path / "network.safetensors")
    return network
