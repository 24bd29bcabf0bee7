"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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
