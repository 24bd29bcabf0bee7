"""Poses sampled, and the occupancy that artificial ones may keep to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mpose3d.data.mocap import SPLIT_SEED, split_clips
from mpose3d.data.scenes import SyntheticPoses
from mpose3d.files import spare_inputs
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.prior.poses import BATCH, batched, decode, load, read, write_poses
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.tables import print_table

Source = Literal["embedding", "limits", "motion_capture", "mixed"]

# options of `sample_poses` that each source reads
_OF_LIMITS = {"limits", "occupancy", "max_penetration"}
_OF_MOTION = {"motion_capture", "recombine", "interpolate", "seated", "limits", "max_penetration"}
_READ = {
    "embedding": {"weights"},
    "limits": _OF_LIMITS,
    "motion_capture": _OF_MOTION,
    "mixed": {"artificial"} | _OF_LIMITS | _OF_MOTION,
}


def sample_poses(
    count: int,
    out: Path,
    source: Source = "embedding",
    weights: Path | None = None,
    motion_capture: Path | None = None,
    artificial: float | None = None,
    recombine: float | None = None,
    interpolate: float | None = None,
    seated: float | None = None,
    limits: Path | None = None,
    occupancy: Path | None = None,
    max_penetration: float | None = None,
    seed: int = 0,
) -> None:
    """Sample poses into an npz file: decoded from the embedding, from the joint limits, from motion capture, or mixed.

    Args:
        count: number of poses.
        out: npz file with `poses` (count, 15, 3).
        source: embedding decodes phi ~ U[-1, 1]; limits draws every joint uniformly within its limits; motion_capture
            takes recorded poses, with their mirror images; mixed is the last two together.
        weights: of the auto-encoder; by default those that ship.
        motion_capture: file or folder, for the last two sources.
        artificial: fraction of poses from the limits, when mixed; by default a half.
        recombine, interpolate: chance that a recorded pose takes limbs of others, or lies between two; by default 0.
        seated: fraction of the recorded poses that are given the legs of people who sit or crouch; by default 0.
        limits: YAML file of joint limits.
        occupancy: file of `mpose3d prior occupancy`, which poses from the limits keep to.
        max_penetration: mm; poses whose limbs enter one another deeper, and recorded ones that leave the joint limits,
            are drawn again. Not for the embedding, whose samples are taken as they come.
        seed: of all that is random.

    Raises:
        ValueError: an option is given that the source does not read, or one that it needs is not.
    """
    if count < 1:
        raise ValueError(f"--count {count}: ask for at least one pose")
    options = {
        "weights": weights, "motion_capture": motion_capture, "artificial": artificial, "recombine": recombine,
        "interpolate": interpolate, "seated": seated, "limits": limits, "occupancy": occupancy,
        "max_penetration": max_penetration,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    spare_inputs(out, weights, motion_capture, limits, occupancy)
    if unread := [f"--{name}" for name in given if name not in _READ[source]]:
        raise ValueError(f"--source {source} does not read {', '.join(unread)}: leave out what has no effect")
    if source == "embedding":
        network = load(weights)

        def draw(n: int, generator: torch.Generator) -> Tensor:
            return decode(network, network.random_embeddings(n, generator))

    else:
        draw = _pose_source(source, given)
    generator = torch.Generator().manual_seed(seed)
    sizes = [BATCH] * (count // BATCH) + [count % BATCH] * (count % BATCH > 0)
    write_poses(out, count, (draw(n, generator) for n in sizes))


def _pose_source(source: Source, given: dict[str, Any]) -> Callable[[int, torch.Generator], Tensor]:
    """`sample` of the source that a training run with the same options would learn from."""
    if source != "limits" and "motion_capture" not in given:
        raise ValueError(f"the source {source} needs --motion_capture PATH")
    if source == "motion_capture" and "limits" in given and "max_penetration" not in given:
        raise ValueError("recorded poses are held to --limits where --max_penetration is given too: give both")
    options = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    if source == "motion_capture":
        options["artificial"] = 0.0
    data = SyntheticPoses(held_out=0.0, **options)
    data.setup()
    return data.sources[0].sample


def fit_occupancy(
    motion_capture: Path,
    out: Path,
    bins: int = 400,
    upper_radius: float = 35.0,
    lower_radius: float = 25.0,
    least: int = 2,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float = 0.2,
    split_seed: int = SPLIT_SEED,
    seed: int = 0,
) -> None:
    """Learn from motion capture where forearms and shins may point, given the limbs above them; say what it keeps out.

    Args:
        motion_capture: file or folder.
        out: npz file for the table.
        bins, upper_radius, lower_radius, least: see `PoseOccupancy.fit`.
        layout, body_models: see `read_motion_capture`.
        held_out, split_seed: fraction of the motion, in whole recordings, that is not learned from but measured on; 0
            learns from all.
        seed: of the artificial poses that are measured on.
    """
    spare_inputs(out, motion_capture)
    train, rest = split_clips(read(motion_capture, layout, body_models), held_out, split_seed)
    table = PoseOccupancy.fit(torch.cat(list(train.values())), bins, upper_radius, lower_radius, least)
    table.save(out)
    sets = {"motion it was learned from": torch.cat(list(train.values()))}
    if rest:
        sets["motion held out"] = torch.cat(list(rest.values()))
    sets["artificial, uniform in the limits"] = ArtificialPoses().sample(20_000, torch.Generator().manual_seed(seed))
    ends = SKELETON.indices("r_wrist", "l_wrist", "r_ankle", "l_ankle")
    rows = []
    for name, poses in sets.items():
        inside = batched(table.inside, poses)
        share = inside.double().mean(0)[ends].tolist()
        limbs = dict(zip(("right arm, %", "left arm, %", "right leg, %", "left leg, %"), share, strict=True))
        rows.append({"poses": name, "number": len(poses)} | {limb: 100 * part for limb, part in limbs.items()})
        rows[-1]["all, %"] = 100 * float(inside.all(-1).double().mean())
    covered = ", ".join(f"{limb} {100 * part:.0f} %" for limb, part in table.coverage.items())
    print_table("Inside the occupancy", rows, list(rows[0]), [f"Pairs of directions that are occupied: {covered}."])
