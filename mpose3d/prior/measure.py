"""What poses are like, and what an auto-encoder does to them: limits, intersections, real motion, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpose3d.data.mocap import SPLIT_SEED
from mpose3d.files import spare_inputs
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.losses import cycle_embedding
from mpose3d.metrics.distributions import precision_recall, two_sample_accuracy
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.prior.poses import FREE, batched, load, read, reconstruct, write_poses
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.tables import print_table, write_table

_FREE_JOINTS = "free joints: all but the pelvis, which is the origin, and the neck, which is straight above it."

_COMPARE_NOTES = [
    "precision, recall: Kynkäänniemi et al. 2019, canonical joints in mm, as many poses of both.",
    "told apart: held-out accuracy of a perceptron, Lopez-Paz and Oquab 2017; 0.5 is chance, 1 always.",
]


def reconstruct_poses(
    file: Path,
    out: Path,
    weights: Path | None = None,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = SPLIT_SEED,
) -> None:
    """Send poses through the auto-encoder, FK.Psi.Phi.T_L, and print the errors of their joints in mm.

    Args:
        file: npz of poses, or motion capture.
        out: npz file with the reconstructed `poses`.
        weights: of the auto-encoder; by default those that ship.
        layout, body_models: see `read_motion_capture`.
        held_out, split_seed: take only the recordings that training with this fraction and seed holds out.
    """
    spare_inputs(out, file, weights)
    poses = torch.cat(list(read(file, layout, body_models, held_out, split_seed).values()))
    decoded = reconstruct(load(weights), poses)
    write_poses(out, len(decoded), [decoded])
    rows = _error_rows((decoded - poses).norm(dim=-1))
    print_table(f"Reconstruction of {len(poses):,} poses at 1.7 m, mm", rows, list(rows[0]), [_FREE_JOINTS], digits=1)


def check_poses(
    file: Path,
    limits: Path | None = None,
    occupancy: Path | None = None,
    intersections: bool = True,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = SPLIT_SEED,
    out: Path | None = None,
) -> None:
    """Count the poses that keep the joint limits, by joint, and those whose limbs stay clear of one another.

    Args:
        file: npz of poses, or motion capture.
        limits: YAML file of joint limits; by default the table of the package.
        occupancy: file of `mpose3d prior occupancy`, checked too.
        intersections: look for limbs that enter one another.
        layout, body_models: see `read_motion_capture`.
        held_out, split_seed: take only the recordings that training with this fraction and seed holds out.
        out: folder for prior_check.csv and prior_check.json.
    """
    table = JointLimits.from_file(limits) if limits else JointLimits()
    learned = PoseOccupancy.from_file(occupancy) if occupancy else None
    poses = torch.cat(list(read(file, layout, body_models, held_out, split_seed).values()))
    inside = batched(lambda p: table.inside(canonical_to_local(p)), poses)
    occupied = None if learned is None else batched(learned.inside, poses)
    coverage = table.coverage()

    rows = []
    for j in FREE:
        right = SKELETON.names[j] if SKELETON.names[j] in table.ranges else SKELETON.names[SKELETON.mirror[j]]
        rows.append(_check_row(SKELETON.names[j], inside[:, j], occupied, j))
        rows[-1]["of the sphere, %"] = 100 * coverage[right] if right in coverage else ""
    rows.append(_check_row("all joints", inside.all(-1), occupied, None))
    rows[-1]["of the sphere, %"] = 100 * sum(coverage.values()) / len(coverage)
    content: dict[str, Any] = {
        "poses": len(poses),
        "inside": {row["joint"]: row["inside, %"] / 100 for row in rows},
        "coverage": coverage | {"mean": sum(coverage.values()) / len(coverage)},
    }
    notes = ["r_hip and l_hip have one degree of freedom, and no share of a sphere."]
    if occupied is not None:
        content["occupied"] = {row["joint"]: row["occupied, %"] / 100 for row in rows}
    if intersections:
        depth = batched(self_intersection, poses)
        content["without_intersection"] = float((depth <= 0).double().mean())
        notes.append(
            f"{100 * content['without_intersection']:.2f} % without self-intersection; "
            f"of the others the deepest is {max(0.0, float(depth.max())):.0f} mm."
        )
    print_table(f"{len(poses):,} poses", rows, list(rows[0]), notes)
    write_table(out, "prior_check", rows, content)


def _check_row(joint: str, inside: Tensor, occupied: Tensor | None, j: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"joint": joint, "inside, %": 100 * float(inside.double().mean())}
    if occupied is not None:
        row["occupied, %"] = 100 * float((occupied.all(-1) if j is None else occupied[:, j]).double().mean())
    return row


def compare_poses(
    file: Path,
    motion_capture: Path,
    count: int = 5000,
    neighbours: int = 3,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = SPLIT_SEED,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Compare poses with real motion: precision, recall, and a classifier that tries to tell them apart.

    Args:
        file: npz of poses, or motion capture.
        motion_capture: file or folder of real motion.
        count: poses taken of each at most, as many of both; the figures depend on it.
        neighbours: k of precision and recall.
        layout, body_models: see `read_motion_capture`.
        held_out, split_seed: compare with only the recordings that training with this fraction and seed holds out.
        seed: of the choice of poses, and of the classifier.
        out: folder for prior_compare.csv and prior_compare.json.
    """
    if count < 1:
        raise ValueError(f"--count {count}: compare at least one pose")
    made = torch.cat(list(read(file, layout, body_models).values()))
    real = torch.cat(list(read(motion_capture, layout, body_models, held_out, split_seed).values()))
    row = _compare(made, real, count, neighbours, seed)
    print_table(f"{file} against {motion_capture}", [row], list(row), _COMPARE_NOTES, digits=3)
    write_table(out, "prior_compare", [row], row)


def evaluate_prior(
    motion_capture: Path,
    weights: Path | None = None,
    count: int = 20_000,
    compared: int = 5000,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float = 0.2,
    split_seed: int = SPLIT_SEED,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Measure an auto-encoder on held-out motion and on decoded samples: all that docs/prior.md claims of it.

    Args:
        motion_capture: file or folder.
        weights: of the auto-encoder; by default those that ship.
        count: decoded samples, phi ~ U[-1, 1].
        compared: poses taken of each set for precision and recall at most.
        layout, body_models: see `read_motion_capture`.
        held_out, split_seed: the recordings that training held out; 0 measures on all.
        seed: of the samples.
        out: folder for prior.csv and prior.json.
    """
    if count < 1:
        raise ValueError(f"--count {count}: ask for at least one sample")
    if compared < 1:
        raise ValueError(f"--compared {compared}: compare at least one pose")
    network = load(weights)
    clips = read(motion_capture, layout, body_models, held_out or None, split_seed)
    real = torch.cat(list(clips.values()))
    errors = (reconstruct(network, real) - real).norm(dim=-1)

    generator = torch.Generator().manual_seed(seed)
    phi = network.random_embeddings(count, generator)
    with torch.no_grad():
        p_l = batched(network.psi, phi)
        cycle = float(cycle_embedding(phi, batched(network.phi, p_l)))
    samples = batched(local_to_canonical, p_l)
    row = {
        "reconstruction, mm": float(errors.mean()),
        "p95, mm": _quantile(errors, 0.95),
        "free joints, mm": float(errors[:, FREE].mean()),
        "free p95, mm": _quantile(errors[:, FREE], 0.95),
        "embedding cycle": cycle,
        "inside limits": float(batched(lambda p: JointLimits().inside(p).all(-1), p_l).double().mean()),
        "no intersection": float((batched(self_intersection, samples) <= 0).double().mean()),
        **_compare(samples, real, compared, 3, seed),
    }
    notes = [f"{len(real):,} real poses of {len(clips)} recordings, {count:,} decoded samples.", _FREE_JOINTS]
    print_table("The prior", [row], list(row), [*notes, *_COMPARE_NOTES], digits=3)
    write_table(out, "prior", [row], row | {"real": len(real), "decoded": count})


def _error_rows(errors: Tensor) -> list[dict[str, Any]]:
    """Errors (N, 15) in mm -> one row per joint, all of them, and the free ones."""
    parts = {name: errors[:, j] for j, name in enumerate(SKELETON.names)}
    parts |= {"all joints": errors, "free joints": errors[:, FREE]}
    return [
        {"joint": name, "mean": float(part.mean()), "95th percentile": _quantile(part, 0.95)}
        for name, part in parts.items()
    ]


def _quantile(values: Tensor, q: float) -> float:
    # torch.quantile refuses more than 2^24 values
    return float(np.quantile(values.numpy(), q))


def _compare(made: Tensor, real: Tensor, count: int, neighbours: int, seed: int) -> dict[str, float | int]:
    count = min(count, len(made), len(real))
    generator = torch.Generator().manual_seed(seed)

    def some(poses: Tensor) -> Tensor:
        return poses[torch.randperm(len(poses), generator=generator)[:count]]

    chosen_real, chosen_made = some(real), some(made)
    precision, recall = precision_recall(chosen_real, chosen_made, neighbours)
    halves = (samples.split([count - count // 2, count // 2]) for samples in (chosen_real, chosen_made))
    accuracy = two_sample_accuracy(*halves, seed)
    return {"poses": count, "precision": precision, "recall": recall, "told apart": accuracy}
