"""What D_syn costs of a training step: a batch sampled, placed, projected, drawn, and its targets, against the step.

    python -m experiments.bench.scenes [--batch 8] [--out out/bench/scenes.json]

Sizes are those of experiments/photographs. "scenes alone" is the step of its lift.yaml, "with photographs" phase 1 with
all its terms. The step holds drawing and targets, as in training; sampling comes on top.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.bench.stages import bare, batch, build, scenes, train_step
from experiments.bench.timing import available_device, interleaved, options, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.geometry.kinematics import canonicalize
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.poses.scenes import Scenes
from mpose3d.skeleton import SKELETON
from mpose3d.stages.cross_modal import LossWeights


def targets(network: CrossModalNetwork, made: Scenes) -> tuple[Tensor, ...]:
    """What L_recon compares with: projection, root map and offsets, canonical pose, rotation and depth code."""
    representation = network.representation
    projected = representation.project(made.joints)
    return (
        projected,
        *representation.root_targets(projected[..., SKELETON.root, :], made.valid),
        *canonicalize(made.joints),
        representation.depth_code(made.joints[..., SKELETON.root, 2]),
    )


def rows(batch_size: int, repeats: int, device: str, command: str) -> list[dict[str, Any]]:
    both = bare(build("phase1").to(device))
    alone = bare(build("phase1").to(device))
    alone.weights = LossWeights(recon_maps=0.0)
    data, generator = scenes(batch_size), torch.Generator(device).manual_seed(0)
    cross_modal = batch("phase1", batch_size, device)
    made = data.make(0, generator)

    def whole() -> None:
        made = data.make(0, generator)
        both.draw_scenes(made)
        targets(both.network, made)

    times = interleaved(
        {
            "whole": whole,
            "sample, place, hide": lambda: data.make(0, generator),
            "draw": lambda: both.draw_scenes(made),
            "targets": lambda: targets(both.network, made),
            "scenes alone": lambda: train_step(alone, made),
            "with photographs": lambda: train_step(both, cross_modal),
        },
        repeats,
    )
    people = int(made.valid.sum()) / batch_size
    table = f"D_syn on {device}: batches of {batch_size} scenes, {people:.1f} people each, against a step of phase 1"
    found = []
    for step in ("scenes alone", "with photographs"):
        for part in ("whole", "sample, place, hide", "draw", "targets"):
            found.append({
                "table": table, "row": part, "ours": times[part].median, "other": times[step].median,
                "ratio": times[part].median / times[step].median, "against": f"step, {step}",
                "scenes_per_second": batch_size / times[part].median, "command": command,
            })  # fmt: skip
            if part == "whole":
                found[-1]["row"] = f"whole: {batch_size / times[part].median:,.0f} scenes/s"
                found[-1]["bar"] = "<= 0.15" if device == "cpu" else "<= 0.05"
    return found


def main() -> None:
    parser = options("scenes", __doc__, repeats=15)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    command = f"python -m experiments.bench.scenes --batch {args.batch} --threads {args.threads}"
    found = rows(args.batch, args.repeats, available_device(), command)
    print_rows(found)
    write_results(args.out, found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
