"""Speed of the pose sources: poses a minute, sampled in the limits and decoded to joints, against a loop over poses.

    python -m experiments.bench.prior [--poses 65536] [--threads 2] [--occupancy FILE] [--weights FILE] [--out ...]

FILE of `mpose3d prior occupancy`, and of an auto-encoder; by default the weights that ship.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from experiments.bench.geometry import to_canonical
from experiments.bench.timing import interleaved, options, print_rows, write_results
from mpose3d import assets
from mpose3d.cli import plainly
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.poses.artificial import ArtificialPoses, ValidPoses
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import DEFAULT_RANGES, JointLimits, JointRange
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.skeleton import SKELETON

_BATCH = 4096

# the loop -------------------------------------------------------------------------------------------------------------

_MIRROR = np.array([1.0, -1.0, 1.0])
_SPINE = np.array([0.0, 0.0, 1.0])


def draw_direction(joint_range: JointRange, mirror: bool, random: np.random.Generator) -> np.ndarray:
    """One direction, uniform by area in a box of azimuth and elevation."""
    pole = np.array(joint_range.pole) / np.linalg.norm(joint_range.pole)
    zero = np.array(joint_range.zero) - (np.array(joint_range.zero) @ pole) * pole
    zero /= np.linalg.norm(zero)
    azimuth = math.radians(joint_range.azimuth[0] + joint_range.width * random.random())
    low, high = (math.cos(math.radians(angle)) for angle in joint_range.elevation)
    height = low + (high - low) * random.random()
    around = math.sqrt(max(0.0, 1 - height * height))
    side = np.cross(pole, zero)
    direction = around * math.cos(azimuth) * zero + around * math.sin(azimuth) * side + height * pole
    return direction * _MIRROR if mirror else direction


def draw_local(random: np.random.Generator) -> np.ndarray:
    """One local pose (15, 3), joint by joint."""
    p_l = np.zeros((len(SKELETON), 3))
    p_l[SKELETON.index("neck")] = _SPINE
    for j, name in enumerate(SKELETON.names):
        twin = SKELETON.names[SKELETON.mirror[j]]
        if name in ("l_hip", "l_shoulder"):
            p_l[j] = -p_l[SKELETON.mirror[j]]
        elif name in DEFAULT_RANGES or twin in DEFAULT_RANGES:
            p_l[j] = draw_direction(DEFAULT_RANGES.get(name) or DEFAULT_RANGES[twin], name.startswith("l_"), random)
    return p_l


def main() -> None:
    parser = options("prior", __doc__, repeats=5, threads=2)
    parser.add_argument("--poses", type=int, default=65_536, help="in batches of 4,096")
    parser.add_argument("--loop", type=int, default=500, help="poses of the loop")
    parser.add_argument("--occupancy", type=Path)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    limits = JointLimits()
    network = PoseAutoEncoder.from_file(args.weights or assets.weights_file("prior"))
    generator, random = torch.Generator().manual_seed(0), np.random.default_rng(0)

    # both ways are the same: a pose of the loop is within the limits, and FK agrees to rounding
    looped = np.stack([draw_local(random) for _ in range(200)])
    apart = np.abs(to_canonical(looped) - local_to_canonical(torch.from_numpy(looped)).numpy()).max()
    if apart > 1e-6 or not limits.inside(torch.from_numpy(looped)).all():
        raise SystemExit(f"the loop is not what is timed against it: {apart:.1e} mm apart")

    def batches(sample: Callable[[int], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, args.poses, _BATCH):
                sample(min(_BATCH, args.poses - start))

        return run

    def checked(n: int) -> torch.Tensor:
        poses = ArtificialPoses(limits).sample(n, generator)
        if not limits.inside(canonical_to_local(poses)).all():
            raise SystemExit("a sampled pose is outside the limits")
        return poses

    @torch.no_grad()
    def decoded(n: int) -> torch.Tensor:
        return local_to_canonical(network.psi(network.random_embeddings(n, generator)))

    def source(occupancy: PoseOccupancy | None = None, max_penetration: float | None = None) -> Callable[[], None]:
        poses = ValidPoses(ArtificialPoses(limits, occupancy), max_penetration=max_penetration)
        return batches(lambda n: poses.sample(n, generator))

    ways = {
        "uniform in the limits, FK": source(),
        "the same, each pose checked against the limits again": batches(checked),
        "the same, self-intersecting ones drawn again": source(max_penetration=0.0),
        "phi ~ U[-1, 1], Psi with its limits, FK": batches(decoded),
    }
    if args.occupancy is not None:
        ways["in limits and occupancy, self-intersecting ones drawn again"] = source(
            PoseOccupancy.from_file(args.occupancy), max_penetration=0.0
        )
    loop = {"loop": lambda: to_canonical(np.stack([draw_local(random) for _ in range(args.loop)]))}
    times = interleaved(ways | loop, args.repeats, warmup=1)
    slow = times.pop("loop").median / args.loop
    rows = [
        {
            "table": "poses a minute, as joints",
            "row": name,
            "ours": 60e-6 * args.poses / taken.median,
            "other": 60e-6 / slow,
            "unit": "million",
            "ratio": args.poses / taken.median * slow,
            "against": "loop over the poses: uniform in the limits, FK",
            "command": "python -m experiments.bench.prior" + (" --occupancy FILE" if args.occupancy else ""),
        }
        for name, taken in times.items()
    ]
    print_rows(rows)
    write_results(args.out, rows)
    drawn = ArtificialPoses(limits).sample(args.poses, generator)
    clear = float((self_intersection(drawn) <= 0).float().mean())
    print(f"{100 * clear:.0f} % of poses drawn uniformly in the limits do not intersect themselves")


if __name__ == "__main__":
    raise SystemExit(plainly(main))
