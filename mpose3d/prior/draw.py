"""Poses as pictures: many of them, their directions within the joint limits, ways between them, their neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.poses.limits import JointLimits
from mpose3d.prior.poses import decode, encode, load, read
from mpose3d.visualise.pictures import poses_grid, write_picture
from mpose3d.visualise.spheres import limits_picture

Kind = Literal["poses", "limits", "interpolation", "neighbours"]

_COLUMNS = 8  # poses in a row of a picture


def plot_poses(
    file: Path,
    out: Path,
    kind: Kind = "poses",
    count: int | None = None,
    limits: Path | None = None,
    weights: Path | None = None,
    layout: str = "mupots",
    body_models: Path | None = None,
    seed: int = 0,
) -> None:
    """Draw poses, their directions within the joint limits, ways between two of them, or those nearest to some.

    Args:
        file: npz of poses, or motion capture.
        out: picture, .png or .jpg.
        kind: poses, spread over the file; limits: spheres of the right side's joints with the limits, and the poses'
            directions as dots, left ones mirrored; interpolation, a row each: a pose, six steps in the embedding from
            it to another, the other; neighbours, a row each: a pose, and those nearest to it in the embedding, of other
            recordings where the file has several.
        count: poses (32), poses with dots (2000), or rows (4).
        limits: YAML file of joint limits; by default the table of the package.
        weights: of the auto-encoder, for the last two kinds; by default those that ship.
        layout, body_models: see `read_motion_capture`.
        seed: of the poses that rows begin with.
    """
    count = {"poses": 32, "limits": 2000, "interpolation": 4, "neighbours": 4}[kind] if count is None else count
    if count < 1:
        raise ValueError(f"--count {count}: draw at least one")
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"{out}: name the picture .png or .jpg")
    table = JointLimits.from_file(limits) if limits else JointLimits()
    clips = read(file, layout, body_models)
    poses = torch.cat(list(clips.values()))
    generator = torch.Generator().manual_seed(seed)
    if kind == "poses":
        picture = poses_grid(poses[_spread(len(poses), count)].numpy(), _COLUMNS)
    elif kind == "limits":
        picture = limits_picture(table, poses[_spread(len(poses), count)])
    elif kind == "interpolation":
        ends = torch.randint(len(poses), (count, 2), generator=generator)
        rows = _interpolated(load(weights), poses[ends])
        picture = poses_grid(rows.flatten(0, 1).numpy(), rows.shape[1], row_colours=True)
    else:
        queries = torch.randperm(len(poses), generator=generator)[:count]
        recording = torch.arange(len(clips)).repeat_interleave(torch.tensor([len(p) for p in clips.values()]))
        found = _neighbours(load(weights), poses, recording, queries)
        rows = poses[torch.cat([queries[:, None], found], dim=1)]
        picture = poses_grid(rows.flatten(0, 1).numpy(), rows.shape[1], row_colours=True)
    write_picture(out, picture)


def _interpolated(network: PoseAutoEncoder, ends: Tensor) -> Tensor:
    """Pairs of poses (n, 2, 15, 3) -> (n, 8, 15, 3): first pose, six steps in the embedding, second pose."""
    phi = encode(network, ends.flatten(0, 1)).unflatten(0, ends.shape[:2])
    share = torch.linspace(0, 1, _COLUMNS - 2)[:, None]
    between = torch.lerp(phi[:, :1], phi[:, 1:], share)
    decoded = decode(network, between.flatten(0, 1)).unflatten(0, between.shape[:2])
    return torch.cat([ends[:, :1], decoded, ends[:, 1:]], dim=1)


def _neighbours(network: PoseAutoEncoder, poses: Tensor, recording: Tensor, queries: Tensor) -> Tensor:
    """Indices (queries, up to 7) of the poses nearest in the embedding, of other recordings where there are any."""
    phi = encode(network, poses)
    distance = torch.cdist(phi[queries], phi)
    same = recording[queries, None] == recording[None]
    same = same if (recording != recording[0]).any() else queries[:, None] == torch.arange(len(poses))
    wanted = min(_COLUMNS - 1, int((~same).sum(-1).min()))
    return distance.masked_fill(same, torch.inf).topk(wanted, largest=False).indices


def _spread(total: int, wanted: int) -> Tensor:
    """At most `wanted` indices, evenly from the first to the last of `total`."""
    return torch.linspace(0, total - 1, min(wanted, total)).round().long()
