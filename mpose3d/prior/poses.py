"""Files of poses, and poses through the auto-encoder in batches: what the commands of the prior share."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mpose3d import assets
from mpose3d.data.mocap import SPLIT_SEED, read_motion_capture, split_clips
from mpose3d.files import whole_or_none
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.poses.artificial import local_poses
from mpose3d.skeleton import SKELETON

#: poses at a time: what is worked on stays in the processor's cache
BATCH = 8192

#: joints that can be wrong: the pelvis is the origin, the neck straight above it
FREE = [j for j, name in enumerate(SKELETON.names) if name not in ("pelvis", "neck")]


def read(
    path: Path,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = SPLIT_SEED,
) -> dict[str, Tensor]:
    """Recordings of canonical poses (T, 15, 3) with the bones of `SKELETON`; with `held_out` only those held out."""
    clips = read_motion_capture(path, layout, body_models)
    if held_out is not None:
        clips = split_clips(clips, held_out, split_seed)[1]
        if not clips:
            raise ValueError(f"--held_out {held_out} holds out nothing of {path}")
    return {name: local_to_canonical(local_poses(poses, f"{path} ({name})")) for name, poses in clips.items()}


def write_poses(path: Path, count: int, batches: Iterable[Tensor]) -> None:
    """An npz with `poses` (count, 15, 3) float32, batch by batch, whole or not at all."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, len(SKELETON), 3)}
    with (
        whole_or_none(path) as unfinished,
        zipfile.ZipFile(unfinished, "w") as archive,
        archive.open("poses.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for poses in batches:
            file.write(np.ascontiguousarray(poses.numpy(), dtype="<f4").tobytes())


def load(weights: Path | None) -> PoseAutoEncoder:
    return PoseAutoEncoder.from_file(weights or assets.weights_file("prior"))


def batched(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    return torch.cat([function(part) for part in values.split(BATCH)])


@torch.no_grad()
def decode(network: PoseAutoEncoder, phi: Tensor) -> Tensor:
    return batched(lambda part: local_to_canonical(network.psi(part)), phi)


@torch.no_grad()
def encode(network: PoseAutoEncoder, poses: Tensor) -> Tensor:
    return batched(lambda part: network.phi(canonical_to_local(part)), poses)


@torch.no_grad()
def reconstruct(network: PoseAutoEncoder, poses: Tensor) -> Tensor:
    return batched(network, poses)
