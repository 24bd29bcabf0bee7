"""All stages in the small world, from scratch, scored in millimetres on renders that no stage has seen.

python -m experiments.small.run --out out/small
python -m experiments.small.run --out out/small_long --scale long    # by keypoints alone, 75 minutes on a CPU
python -m experiments.small.run --out out/small_gpu --scale gpu      # the same, larger, on a GPU
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mpose3d.cli import main as mpose3d
from mpose3d.cli import plainly
from mpose3d.data.rendered import RenderedWorld
from mpose3d.metrics.functional import mpjpe, pmpjpe
from mpose3d.metrics.matching import assign_people
from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.keypoint_lifter import REFINE, KeypointLifter
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.teacher import SmallTeacher, Teacher
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import Scenes
from mpose3d.readers import KeypointReader
from mpose3d.representations.neural import Roots
from mpose3d.sample import PicturedScenes
from mpose3d.skeleton import SKELETON
from mpose3d.stages.cross_modal import scene_errors
from mpose3d.visualise.pictures import beside, curves, overlay, write_picture

HERE = Path(__file__).parent

STAGES = ("teacher", "aae", "distill", "phase1", "phase2", "lifter")

#: the route by keypoints: stages of the scales, each of which has a folder of overrides
SCALED = ("teacher", "aae", "chooser", "lifter")
SCALES = ("long", "gpu")

#: the small world of the configs, with a seed that none of them has
UNSEEN = RenderedWorld(
    **yaml.safe_load((HERE / "teacher.yaml").read_text())["data"]["init_args"]
    | {"gives": "photographs", "batch_size": 32, "val_batches": 16, "seed": 2**20}
)


def train(out: Path, scale: str | None = None, overrides: list[str] | None = None) -> None:
    """Run the stages by the command that users run."""
    for stage in SCALED if scale else STAGES:
        configs = [HERE.parent / "base.yaml", HERE / "base.yaml", HERE / f"{stage}.yaml"]
        flags = [f"--trainer.logger.init_args.save_dir={out}"]
        if stage in ("distill", "phase1", "phase2"):
            configs.append(HERE / "network.yaml")
        if stage in ("distill", "phase1", "phase2", "chooser"):
            flags.append(f"--model.init_args.teacher.init_args.weights={out}/teacher/checkpoints/last.ckpt")
        if stage in ("distill", "phase1", "phase2", "lifter"):
            flags.append(f"--model.init_args.network.init_args.prior={out}/aae/checkpoints/last.ckpt")
        if stage == "phase1":
            flags.append(f"--model.init_args.init={out}/distill/network.safetensors")
        if stage == "phase2":
            flags.append(f"--model.init_args.init={out}/phase1/network.safetensors")
        if scale:
            configs.append(HERE / scale / f"{stage}.yaml")
        Console().rule(f"stage {stage}")
        status = mpose3d(["fit", *(f"--config={config}" for config in configs), *flags, *(overrides or [])])
        if status:
            raise SystemExit(status)


@torch.inference_mode()
def score(teacher: Teacher, network: CrossModalNetwork, unseen: list[PicturedScenes]) -> dict[str, float]:
    """Means of `scene_errors` over all people in the renders."""
    teacher.eval()
    network.eval()
    errors = [scene_errors(network, network.h(teacher.encode(image)), scenes) for image, scenes in unseen]
    return {name: float(torch.cat([batch[name] for batch in errors]).mean()) for name in errors[0]}


def mean_pose_errors(unseen: list[PicturedScenes]) -> Tensor:
    """PMPJPE of everybody by the mean pose, which is the best that can be done without looking at the image."""
    mean = ArtificialPoses().sample(20_000, torch.Generator().manual_seed(0)).mean(0)
    truth = torch.cat([scenes.joints[scenes.valid] for _, scenes in unseen])
    return pmpjpe(mean.expand_as(truth), truth)


@torch.inference_mode()
def score_people(found: list[Detection], unseen: list[PicturedScenes]) -> dict[str, float]:
    """People that were read, against those who are there.

    Read people are assigned to true ones by their 2D joints, one to one, within a limit (`assign_people`). `mpjpe` and
    `pmpjpe` are of the found; `pmpjpe_all` is of everybody, who was not found being the mean pose.
    """
    errors, read = [], 0
    for (roots, people), (_, scenes) in zip(found, unseen, strict=True):
        pixels = UNSEEN.camera.project(scenes.joints)
        for b, there in enumerate(scenes.valid):
            truth, given = scenes.joints[b, there], roots.valid[b]
            joints_px, joints = people.joints_px[b, given], people.joints[b, given]
            everything = torch.ones_like(joints_px[..., 0], dtype=torch.bool)
            matching = assign_people(pixels[b, there], scenes.drawn[b, there], joints_px, everything)
            error = torch.full((len(truth), 2), torch.nan)
            hit = matching >= 0
            predicted = joints[matching[hit]]
            error[hit, 0] = mpjpe(predicted, truth[hit], root=SKELETON.root)
            error[hit, 1] = pmpjpe(predicted, truth[hit])
            errors.append(error)
            read += len(joints)
    metric, aligned = torch.cat(errors).unbind(-1)
    hit = aligned.isfinite()
    return {
        "mpjpe": float(metric[hit].mean()),
        "pmpjpe": float(aligned[hit].mean()),
        "found": float(hit.float().mean()),
        "pmpjpe_all": float(torch.where(hit, aligned, mean_pose_errors(unseen)).mean()),
        "read_beside": read - int(hit.sum()),
    }


def _lifted(lifter: KeypointLifter, scenes: Scenes) -> Detection:
    """The true 2D joints of the scenes, those outside the picture missing, lifted: as by a perfect teacher."""
    pixels = UNSEEN.camera.project(scenes.joints)
    people = lifter(pixels, scenes.drawn, UNSEEN.camera, REFINE)
    joints_px = torch.where(scenes.drawn[..., None], pixels, people.joints_px)
    roots = Roots(joints_px[..., SKELETON.root, :], scenes.valid.float(), scenes.valid)
    return Detection(roots, people._replace(joints_px=joints_px))


def report(out: Path) -> dict[str, dict[str, float]]:
    """Score whatever was trained; write `small_world.json`, `people.png` and `curves.png`, print the table."""
    UNSEEN.setup()
    unseen = [UNSEEN.make(1, torch.Generator().manual_seed(UNSEEN.seed + i)) for i in range(UNSEEN.val_batches)]
    teacher = _trained_teacher(out)
    rows = {"mean pose, aligned to the truth": {"pmpjpe": float(mean_pose_errors(unseen).mean())}}
    if (out / "phase2").is_dir():
        trained = CrossModalNetwork.from_file(out / "phase1" / "network.safetensors")
        torch.manual_seed(0)
        rows["before training"] = score(teacher, CrossModalNetwork(**trained.settings), unseen)
        for stage in ("distill", "phase1", "phase2"):
            network = CrossModalNetwork.from_file(out / stage / "network.safetensors")
            rows[f"after {stage}"] = score(teacher, network, unseen)
    lifter = KeypointLifter.from_file(out / "lifter" / "network.safetensors")
    choosers: dict[str, PeakChooser | None] = {"teacher's people": None}
    if (out / "chooser").is_dir():
        choosers["joints chosen again"] = PeakChooser.from_file(out / "chooser" / "network.safetensors")
    for name, chooser in choosers.items():
        # without refinement, which follows the errors of a teacher as rough as this
        reader = KeypointReader(teacher, lifter, UNSEEN.input_size, refine=0, chooser=chooser)
        read = [reader.detect(image) for image, _ in unseen]
        rows[f"{name}, lifted"] = score_people(read, unseen)
    with torch.inference_mode():
        rows["true 2D, lifted"] = score_people([_lifted(lifter, scenes) for _, scenes in unseen], unseen)

    people = sum(int(scenes.valid.sum()) for _, scenes in unseen)
    formats = {"mpjpe": "{:.0f}", "pmpjpe": "{:.0f}", "found": "{:.0%}", "pmpjpe_all": "{:.0f}"}
    heads = ("", "MPJPE mm", "PMPJPE mm", "found", "PMPJPE mm, those not found being the mean pose")
    table = Table(*heads, title=f"{people} people in renders never seen in training")
    for name, row in rows.items():
        table.add_row(name, *(how.format(row[key]) if key in row else "" for key, how in formats.items()))
    Console().print(table)
    (out / "small_world.json").write_text(json.dumps(rows, indent=1))
    write_picture(out / "people.png", people_of_a_render(unseen[0].image, read[0]))
    logs = {stage: out / stage / "metrics.csv" for stage in dict.fromkeys(STAGES + SCALED)}
    losses = {stage: _losses(log) for stage, log in logs.items() if log.exists()}
    write_picture(out / "curves.png", curves(losses, log=True))
    return rows


def _trained_teacher(out: Path) -> SmallTeacher:
    """The teacher as the run's own config has it."""
    config = yaml.safe_load((out / "teacher" / "config.yaml").read_text())
    settings = config["model"]["init_args"]["teacher"]["init_args"]
    return SmallTeacher(**settings | {"weights": str(out / "teacher" / "checkpoints" / "last.ckpt")})


def people_of_a_render(image: Tensor, found: Detection, count: int = 2) -> np.ndarray:
    """The first renders with the people that were read in them, beside a 3D view."""
    rows = []
    for b in range(count):
        valid, zoom = found.roots.valid[b], 4
        picture = (255 * image[b]).byte().permute(1, 2, 0).numpy()
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        pixels = zoom * (found.people.joints_px[b, valid].numpy() + 0.5) - 0.5
        rows.append(overlay(picture, pixels, found.people.joints[b, valid].numpy()))
    return beside(*rows)


def _losses(path: Path) -> tuple[list[float], list[float]]:
    """Steps and training losses of a stage's CSV log."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/loss")]
    return [float(row["step"]) for row in rows], [float(row["train/loss"]) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/small"))
    parser.add_argument("--scale", choices=SCALES, help="the route by keypoints alone, trained for longer")
    arguments, overrides = parser.parse_known_args()
    train(arguments.out, arguments.scale, overrides)
    report(arguments.out)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
