"""The five stages in the small world, from scratch, scored in millimetres on renders that no stage has seen.

python -m experiments.small.run --out out/small
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mpose3d.cli import main as mpose3d
from mpose3d.data.rendered import RenderedWorld
from mpose3d.metrics.functional import pmpjpe
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.teacher import SmallTeacher, Teacher
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.sample import RenderedScenes
from mpose3d.stages.cross_modal import scene_errors
from mpose3d.visualise.pictures import beside, curves, overlay, write_picture

HERE = Path(__file__).parent
STAGES = ("teacher", "aae", "distill", "phase1", "phase2")

#: the small world of the configs, with a seed that none of them has
UNSEEN = RenderedWorld(
    input_size=112,
    people=(1, 2),
    height=(0.5, 0.8),
    margin=0.3,
    tilt=10.0,
    free_rotation=0.0,
    batch_size=32,
    val_batches=4,
    seed=2**20,
)


def train(out: Path, stages: tuple[str, ...] = STAGES, overrides: list[str] | None = None) -> None:
    """Run the stages by the command that users run."""
    for stage in stages:
        command = ["fit", "--config", str(HERE.parent / "base.yaml"), "--config", str(HERE / "base.yaml")]
        command += ["--config", str(HERE / f"{stage}.yaml"), f"--trainer.logger.init_args.save_dir={out}"]
        if stage in ("distill", "phase1", "phase2"):
            made = "--model.init_args"
            command += [
                "--config",
                str(HERE / "network.yaml"),
                f"{made}.teacher.init_args.weights={out}/teacher/checkpoints/last.ckpt",
                f"{made}.network.init_args.prior={out}/aae/checkpoints/last.ckpt",
            ]
        if stage == "phase1":
            command.append(f"--model.init_args.init={out}/distill/network.safetensors")
        if stage == "phase2":
            command.append(f"--model.init_args.init={out}/phase1/network.safetensors")
        Console().rule(f"stage {stage}")
        status = mpose3d([*command, *(overrides or [])])
        if status:
            raise SystemExit(status)


@torch.inference_mode()
def score(teacher: Teacher, network: CrossModalNetwork, unseen: list[RenderedScenes]) -> dict[str, float]:
    """Means of `scene_errors` over all people in the renders."""
    teacher.eval()
    network.eval()
    errors = [scene_errors(network, network.h(teacher.encode(image)), scenes) for image, scenes in unseen]
    return {name: float(torch.cat([batch[name] for batch in errors]).mean()) for name in errors[0]}


def constant_pose(unseen: list[RenderedScenes]) -> dict[str, float]:
    """The mean pose, aligned to the truth: the best that can be done without looking at the image."""
    mean = ArtificialPoses().sample(20_000, torch.Generator().manual_seed(0)).mean(0)
    truth = torch.cat([scenes.joints[scenes.valid] for _, scenes in unseen])
    return {"pmpjpe": float(pmpjpe(mean.expand_as(truth), truth).mean())}


def report(out: Path) -> dict[str, dict[str, float]]:
    """Score the untrained network and every stage; write `small_world.json` and `curves.png`, print the table."""
    UNSEEN.setup()
    unseen = [UNSEEN.make(1, torch.Generator().manual_seed(UNSEEN.seed + i)) for i in range(UNSEEN.val_batches)]
    teacher = SmallTeacher(width=32, weights=str(out / "teacher" / "checkpoints" / "last.ckpt"))
    trained = CrossModalNetwork.from_file(out / "phase1" / "network.safetensors")
    torch.manual_seed(0)
    rows = {
        "mean pose, true rotation": constant_pose(unseen),
        "before training": score(teacher, CrossModalNetwork(**trained.settings), unseen),
    }
    for stage in ("distill", "phase1", "phase2"):
        network = CrossModalNetwork.from_file(out / stage / "network.safetensors")
        rows[f"after {stage}"] = score(teacher, network, unseen)

    people = sum(int(scenes.valid.sum()) for _, scenes in unseen)
    table = Table(
        "", "MPJPE mm", "PMPJPE mm", "roots found", title=f"{people} people in renders never seen in training"
    )
    for name, row in rows.items():
        found = f"{row['found']:.0%}" if "found" in row else ""
        table.add_row(name, *(f"{row[key]:.0f}" if key in row else "" for key in ("mpjpe", "pmpjpe")), found)
    Console().print(table)
    (out / "small_world.json").write_text(json.dumps(rows, indent=1))
    write_picture(out / "people.png", people_of_a_render(teacher, network, unseen[0]))
    write_picture(
        out / "curves.png", curves({stage: _losses(out / stage / "metrics.csv") for stage in STAGES}, log=True)
    )
    return rows


@torch.inference_mode()
def people_of_a_render(
    teacher: Teacher, network: CrossModalNetwork, batch: RenderedScenes, count: int = 2
) -> np.ndarray:
    """The first renders with the people that the network finds in them, beside a 3D view."""
    roots, people = network(teacher.encode(batch.image[:count]))
    rows = []
    for b in range(count):
        found, zoom = roots.valid[b], 4
        image = (255 * batch.image[b]).byte().permute(1, 2, 0).numpy()
        image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        pixels = zoom * (people.joints_px[b, found].numpy() + 0.5) - 0.5
        rows.append(overlay(image, pixels, people.joints[b, found].numpy()))
    return beside(*rows)


def _losses(path: Path) -> tuple[list[float], list[float]]:
    """Steps and training losses of a stage's CSV log."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/loss")]
    return [float(row["step"]) for row in rows], [float(row["train/loss"]) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/small"))
    arguments, overrides = parser.parse_known_args()
    train(arguments.out, overrides=overrides)
    report(arguments.out)


if __name__ == "__main__":
    main()
