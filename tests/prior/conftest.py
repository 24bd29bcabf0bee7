"""An untrained auto-encoder, and a little motion capture."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.poses.artificial import ArtificialPoses


@pytest.fixture(scope="module")
def network() -> PoseAutoEncoder:
    torch.manual_seed(0)
    return PoseAutoEncoder(8).eval()


@pytest.fixture
def weights(tmp_path, network) -> str:
    network.save(tmp_path / "untrained.safetensors")
    return str(tmp_path / "untrained.safetensors")


@pytest.fixture
def poses() -> torch.Tensor:
    return ArtificialPoses().sample(90, torch.Generator().manual_seed(7))


@pytest.fixture
def clips(tmp_path, poses) -> str:
    """Three recordings of 17 joints, of a body of another size, anywhere, in any rotation."""
    generator = torch.Generator().manual_seed(1)
    rotation = roma.random_rotmat(90, generator=generator)
    moved = 0.9 * poses @ rotation.mT + 1000 * torch.randn(90, 1, 3, generator=generator)
    arrays = torch.cat([moved, moved[:, :2]], dim=1).numpy()
    np.savez(tmp_path / "clips.npz", walk_1=arrays[:40], run_1=arrays[40:60], jump_1=arrays[60:])
    return str(tmp_path / "clips.npz")
