"""The pose prior at work: poses sampled, reconstructed, checked, drawn and compared with real motion, as commands.

Poses travel in npz files with one array `poses` (N, 15, 3): canonical, pelvis at the origin, mm. Whatever
`read_motion_capture` reads is taken too, in any position and rotation. Bones are set to the lengths of `SKELETON`, a
stature of 1.7 m, before anything is measured.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mpose3d import assets
from mpose3d.data.mocap import read_motion_capture, split_clips
from mpose3d.data.scenes import SyntheticPoses
from mpose3d.geometry.kinematics import canonical_to_local, canonicalize, local_to_canonical
from mpose3d.losses import cycle_embedding
from mpose3d.metrics.distributions import precision_recall, two_sample_accuracy
from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.pictures import poses_grid, write_picture
from mpose3d.visualise.spheres import limits_picture
from mpose3d.visualise.tables import print_table, write_table

Source = Literal["embedding", "limits", "motion_capture", "mixed"]
Kind = Literal["poses", "limits", "interpolation", "neighbours"]

_BATCH = 8192  # poses at a time: what is worked on stays in the processor's cache
_COLUMNS = 8  # poses in a row of a picture
# joints that can be wrong: the pelvis is the origin, the neck straight above it
_FREE = [j for j, name in enumerate(SKELETON.names) if name not in ("pelvis", "neck")]


# commands ------------------------------------------------------------------------------------------------------------


def sample_poses(
    count: int,
    out: Path,
    source: Source = "embedding",
    weights: Path | None = None,
    motion_capture: Path | None = None,
    artificial: float = 0.5,
    recombine: float = 0.0,
    interpolate: float = 0.0,
    seated: float = 0.0,
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
        artificial: fraction of poses from the limits, when mixed.
        recombine, interpolate: chance that a recorded pose takes limbs of others, or lies between two.
        seated: fraction of the recorded poses that are given the legs of people who sit or crouch.
        limits: YAML file of joint limits.
        occupancy: file of `mpose3d prior occupancy`, which poses from the limits keep to.
        max_penetration: mm; poses whose limbs enter one another deeper, and recorded ones that leave the joint limits,
            are drawn again. Not for the embedding, whose samples are taken as they come.
        seed: of all that is random.
    """
    if count < 1:
        raise ValueError(f"--count {count}: ask for at least one pose")
    if source == "embedding":
        for name, given in (("occupancy", occupancy), ("max_penetration", max_penetration), ("limits", limits)):
            if given is not None:
                raise ValueError(f"--{name} is for poses that are drawn, the source embedding decodes: leave it out")
        network = _load(weights)

        def draw(n: int, generator: torch.Generator) -> Tensor:
            return _decode(network, _random_embeddings(network, n, generator))

    else:
        draw = _pose_source(
            source, motion_capture, artificial, recombine=recombine, interpolate=interpolate, seated=seated,
            limits=limits, occupancy=occupancy, max_penetration=max_penetration,
        )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    sizes = [_BATCH] * (count // _BATCH) + [count % _BATCH] * (count % _BATCH > 0)
    _write_poses(out, count, (draw(n, generator) for n in sizes))


def reconstruct_poses(
    file: Path,
    out: Path,
    weights: Path | None = None,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = 4,
) -> None:
    """Send poses through the auto-encoder, FK.Psi.Phi.T_L, and print the errors of their joints in mm.

    Args:
        file: npz of poses, or motion capture.
        out: npz file with the reconstructed `poses`.
        weights: of the auto-encoder; by default those that ship.
        layout, body_models: see `read_motion_capture`.
        held_out, split_seed: take only the recordings that training with this fraction and seed holds out.
    """
    poses = torch.cat(list(_read(file, layout, body_models, held_out, split_seed).values()))
    decoded = _reconstruct(_load(weights), poses)
    _write_poses(out, len(decoded), [decoded])
    rows = _error_rows((decoded - poses).norm(dim=-1))
    print_table(f"Reconstruction of {len(poses):,} poses at 1.7 m, mm", rows, list(rows[0]), [_FREE_JOINTS], digits=1)


_FREE_JOINTS = "free joints: all but the pelvis, which is the origin, and the neck, which is straight above it."


def check_poses(
    file: Path,
    limits: Path | None = None,
    occupancy: Path | None = None,
    intersections: bool = True,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = 4,
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
    poses = torch.cat(list(_read(file, layout, body_models, held_out, split_seed).values()))
    inside = _batched(lambda p: table.inside(canonical_to_local(p)), poses)
    occupied = None if learned is None else _batched(learned.inside, poses)
    coverage = table.coverage()

    rows = []
    for j in _FREE:
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
        depth = _batched(self_intersection, poses)
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
    clips = _read(file, layout, body_models)
    poses = torch.cat(list(clips.values()))
    generator = torch.Generator().manual_seed(seed)
    if kind == "poses":
        picture = poses_grid(poses[_spread(len(poses), count)].numpy(), _COLUMNS)
    elif kind == "limits":
        picture = limits_picture(table, poses[_spread(len(poses), count)])
    elif kind == "interpolation":
        ends = torch.randint(len(poses), (count, 2), generator=generator)
        rows = _interpolated(_load(weights), poses[ends])
        picture = poses_grid(rows.flatten(0, 1).numpy(), rows.shape[1], row_colours=True)
    else:
        queries = torch.randperm(len(poses), generator=generator)[:count]
        recording = torch.arange(len(clips)).repeat_interleave(torch.tensor([len(p) for p in clips.values()]))
        found = _neighbours(_load(weights), poses, recording, queries)
        rows = poses[torch.cat([queries[:, None], found], dim=1)]
        picture = poses_grid(rows.flatten(0, 1).numpy(), rows.shape[1], row_colours=True)
    write_picture(out, picture)


def compare_poses(
    file: Path,
    motion_capture: Path,
    count: int = 5000,
    neighbours: int = 3,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = 4,
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
    made = torch.cat(list(_read(file, layout, body_models).values()))
    real = torch.cat(list(_read(motion_capture, layout, body_models, held_out, split_seed).values()))
    row = _compare(made, real, count, neighbours, seed)
    print_table(f"{file} against {motion_capture}", [row], list(row), _COMPARE_NOTES, digits=3)
    write_table(out, "prior_compare", [row], row)


_COMPARE_NOTES = [
    "precision, recall: Kynkäänniemi et al. 2019, canonical joints in mm, as many poses of both.",
    "told apart: held-out accuracy of a perceptron, Lopez-Paz and Oquab 2017; 0.5 is chance, 1 always.",
]


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
    split_seed: int = 4,
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
    train, rest = split_clips(_read(motion_capture, layout, body_models), held_out, split_seed)
    table = PoseOccupancy.fit(torch.cat(list(train.values())), bins, upper_radius, lower_radius, least)
    table.save(out)
    sets = {"motion it was learned from": torch.cat(list(train.values()))}
    if rest:
        sets["motion held out"] = torch.cat(list(rest.values()))
    sets["artificial, uniform in the limits"] = ArtificialPoses().sample(20_000, torch.Generator().manual_seed(seed))
    ends = SKELETON.indices("r_wrist", "l_wrist", "r_ankle", "l_ankle")
    rows = []
    for name, poses in sets.items():
        inside = _batched(table.inside, poses)
        share = inside.double().mean(0)[ends].tolist()
        limbs = dict(zip(("right arm, %", "left arm, %", "right leg, %", "left leg, %"), share, strict=True))
        rows.append({"poses": name, "number": len(poses)} | {limb: 100 * part for limb, part in limbs.items()})
        rows[-1]["all, %"] = 100 * float(inside.all(-1).double().mean())
    covered = ", ".join(f"{limb} {100 * part:.0f} %" for limb, part in table.coverage.items())
    print_table("Inside the occupancy", rows, list(rows[0]), [f"Pairs of directions that are occupied: {covered}."])


def evaluate_prior(
    motion_capture: Path,
    weights: Path | None = None,
    count: int = 20_000,
    compared: int = 5000,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float = 0.2,
    split_seed: int = 4,
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
    network = _load(weights)
    clips = _read(motion_capture, layout, body_models, held_out or None, split_seed)
    real = torch.cat(list(clips.values()))
    errors = (_reconstruct(network, real) - real).norm(dim=-1)

    generator = torch.Generator().manual_seed(seed)
    phi = _random_embeddings(network, count, generator)
    with torch.no_grad():
        p_l = _batched(network.psi, phi)
        cycle = float(cycle_embedding(phi, _batched(network.phi, p_l)))
    samples = _batched(local_to_canonical, p_l)
    row = {
        "reconstruction, mm": float(errors.mean()),
        "p95, mm": _quantile(errors, 0.95),
        "free joints, mm": float(errors[:, _FREE].mean()),
        "free p95, mm": _quantile(errors[:, _FREE], 0.95),
        "embedding cycle": cycle,
        "inside limits": float(_batched(lambda p: JointLimits().inside(p).all(-1), p_l).double().mean()),
        "no intersection": float((_batched(self_intersection, samples) <= 0).double().mean()),
        **_compare(samples, real, compared, 3, seed),
    }
    notes = [f"{len(real):,} real poses of {len(clips)} recordings, {count:,} decoded samples.", _FREE_JOINTS]
    print_table("The prior", [row], list(row), [*notes, *_COMPARE_NOTES], digits=3)
    write_table(out, "prior", [row], row | {"real": len(real), "decoded": count})


# files ---------------------------------------------------------------------------------------------------------------


def _read(
    path: Path,
    layout: str = "mupots",
    body_models: Path | None = None,
    held_out: float | None = None,
    split_seed: int = 4,
) -> dict[str, Tensor]:
    """Recordings of canonical poses (T, 15, 3) with the bones of `SKELETON`; with `held_out` only those held out."""
    clips = read_motion_capture(path, layout, body_models)
    if held_out is not None:
        clips = split_clips(clips, held_out, split_seed)[1]
        if not clips:
            raise ValueError(f"--held_out {held_out} holds out nothing of {path}")
    return {name: _canonical(poses, f"{path} ({name})") for name, poses in clips.items()}


def _canonical(poses: Tensor, what: str) -> Tensor:
    p_l = canonical_to_local(canonicalize(poses)[0])
    missing = p_l.square().sum(-1) < 0.5
    missing[:, SKELETON.root] = False
    if missing.any():
        joints = ", ".join(name for name, gone in zip(SKELETON.names, missing.any(0).tolist(), strict=True) if gone)
        raise ValueError(f"{what}: {int(missing.any(-1).sum())} poses have limbs of no length, at {joints}")
    return local_to_canonical(p_l)


def _write_poses(path: Path, count: int, batches: Iterable[Tensor]) -> None:
    """An npz with `poses` (count, 15, 3) float32, batch by batch, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, len(SKELETON), 3)}
    try:
        with zipfile.ZipFile(unfinished, "w") as archive, archive.open("poses.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for poses in batches:
                file.write(np.ascontiguousarray(poses.numpy(), dtype="<f4").tobytes())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _load(weights: Path | None) -> PoseAutoEncoder:
    return PoseAutoEncoder.from_file(weights or assets.weights_file("prior")).eval()


# poses ---------------------------------------------------------------------------------------------------------------


def _pose_source(
    source: Source, motion_capture: Path | None, artificial: float, **options: Any
) -> Callable[[int, torch.Generator], Tensor]:
    """`sample` of the source that a training run with the same options would learn from."""
    if source != "limits" and motion_capture is None:
        raise ValueError(f"the source {source} needs --motion_capture PATH")
    path = None if source == "limits" else str(motion_capture)
    files = {name: None if options[name] is None else str(options[name]) for name in ("limits", "occupancy")}
    share = artificial if source == "mixed" else 0.0
    data = SyntheticPoses(path, share, held_out=0.0, **(options | files))
    data.setup()
    return data.sources[0].sample


def _batched(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    return torch.cat([function(part) for part in values.split(_BATCH)])


def _random_embeddings(network: PoseAutoEncoder, n: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(n, network.embedding, generator=generator) - 1


@torch.no_grad()
def _decode(network: PoseAutoEncoder, phi: Tensor) -> Tensor:
    return _batched(lambda part: local_to_canonical(network.psi(part)), phi)


@torch.no_grad()
def _encode(network: PoseAutoEncoder, poses: Tensor) -> Tensor:
    return _batched(lambda part: network.phi(canonical_to_local(part)), poses)


@torch.no_grad()
def _reconstruct(network: PoseAutoEncoder, poses: Tensor) -> Tensor:
    return _batched(network, poses)


def _interpolated(network: PoseAutoEncoder, ends: Tensor) -> Tensor:
    """Pairs of poses (n, 2, 15, 3) -> (n, 8, 15, 3): first pose, six steps in the embedding, second pose."""
    phi = _encode(network, ends.flatten(0, 1)).unflatten(0, ends.shape[:2])
    share = torch.linspace(0, 1, _COLUMNS - 2)[:, None]
    between = torch.lerp(phi[:, :1], phi[:, 1:], share)
    decoded = _decode(network, between.flatten(0, 1)).unflatten(0, between.shape[:2])
    return torch.cat([ends[:, :1], decoded, ends[:, 1:]], dim=1)


def _neighbours(network: PoseAutoEncoder, poses: Tensor, recording: Tensor, queries: Tensor) -> Tensor:
    """Indices (queries, up to 7) of the poses nearest in the embedding, of other recordings where there are any."""
    phi = _encode(network, poses)
    distance = torch.cdist(phi[queries], phi)
    same = recording[queries, None] == recording[None]
    same = same if (recording != recording[0]).any() else queries[:, None] == torch.arange(len(poses))
    wanted = min(_COLUMNS - 1, int((~same).sum(-1).min()))
    return distance.masked_fill(same, torch.inf).topk(wanted, largest=False).indices


def _spread(total: int, wanted: int) -> Tensor:
    """At most `wanted` indices, evenly from the first to the last of `total`."""
    return torch.linspace(0, total - 1, min(wanted, total)).round().long()


# figures -------------------------------------------------------------------------------------------------------------


def _error_rows(errors: Tensor) -> list[dict[str, Any]]:
    """Errors (N, 15) in mm -> one row per joint, all of them, and the free ones."""
    parts = {name: errors[:, j] for j, name in enumerate(SKELETON.names)}
    parts |= {"all joints": errors, "free joints": errors[:, _FREE]}
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
