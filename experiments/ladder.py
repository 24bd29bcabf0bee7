"""The ladder of the source's stages on photographs, every rung and every ablation measured on the same data.

python -m experiments.ladder --annotations MultiPersonTestSet --images images_small --motion_capture held_out.npz
    --teacher hpe0001.npz --start network.safetensors [--rows ROW ...] [--commands] --out out/ladder

Each row is a config of `experiments/photographs` with the overrides below, trained in a folder of its own from the
network of the row it names; a row whose figures are there already is not run again. `--commands` prints what would be
run. Prints the tables of docs/ladder.md. The measurements are those of `mpose3d lift`, `infer`, `evaluate mupots`,
`evaluate 2d` and `evaluate scenes`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from experiments.mupots_keypoints import write_once
from experiments.rows import DATA, MODEL, TRAINER, add_rows, folder, mpose3d, mupots_figures, once, training
from mpose3d.cli import plainly
from mpose3d.evaluation.in_2d import compare_2d
from mpose3d.evaluation.scenes import evaluate_scenes
from mpose3d.files import whole_or_none
from mpose3d.inference import infer
from mpose3d.lifting import lift
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.teacher import LightweightOpenPose
from mpose3d.stages.cross_modal import LossWeights
from mpose3d.visualise.tables import markdown_table

#: what a network is read through: annotated 2D that is drawn, the maps of the teacher, the V of the teacher
INPUTS = ("annotated", "hmpaf", "image")


@dataclass(frozen=True)
class Row:
    """One training.

    Args:
        stage: config of `experiments/photographs`; None trains nothing, and measures the network of `--start`.
        changes: overrides of it.
        start: row whose network is the first one; None starts from random weights.
        inputs: what it is measured through.
        fine: a grid of 28, as the configs have it, and not of 14.
        shared: one H, without an H' of its own for what G writes.

    A network that is finer than that of its start, or has an H' which that has not, is grown from it (`grow`).
    """

    stage: str | None
    changes: tuple[str, ...] = ()
    start: str | None = None
    inputs: tuple[str, ...] = INPUTS
    fine: bool = False
    shared: bool = True


#: the row of what `--start` holds
START = "start"
_SCENES = f"{DATA}.scenes.init_args"
#: where the scenes of a stage are configured
_PEOPLE = {"lift": DATA, "phase1": _SCENES, "phase2": _SCENES}
_MAPS = ("annotated", "hmpaf")
#: what D_syn teaches
_RECON = [field.name for field in fields(LossWeights) if field.name.startswith("recon_")]
_LONGER = (f"{DATA}.batches=500", f"{TRAINER}.max_epochs=1", f"{MODEL}.learning_rate=5.0e-4")


def _motion_alone(stage: str) -> tuple[str, ...]:
    """Scenes of motion capture, without artificial and seated poses."""
    return f"{_PEOPLE[stage]}.artificial=0", f"{_PEOPLE[stage]}.seated=0"


def _longer(*changes: str) -> Row:
    """D_syn alone for 500 steps more than (a)."""
    return Row("lift", (*_LONGER, *changes), "a", _MAPS)


def _scratch(*changes: str, fine: bool = False) -> Row:
    """D_syn alone from random weights, 600 steps."""
    return Row("lift", (f"{DATA}.batches=600", f"{TRAINER}.max_epochs=1", *changes), inputs=_MAPS, fine=fine)


def _phase1_at_once(start: str, fine: bool = False, shared: bool = True, steps: int = 450) -> Row:
    """Phase 1 from D_syn of motion capture alone, without distillation before it."""
    changes = (f"{TRAINER}.max_steps={steps}", f"{_SCENES}.batches={steps}", *_motion_alone("phase1"))
    return Row("phase1", changes, start, fine=fine, shared=shared)


def _phase2_at_once(start: str, fine: bool = False, shared: bool = True) -> Row:
    """Phase 2 behind `_phase1_at_once`, on the same scenes."""
    return Row("phase2", _motion_alone("phase2"), start, fine=fine, shared=shared)


def _phase1(*changes: str, shared: bool = True) -> Row:
    """Phase 1 for a third as long as on the ladder."""
    short = (f"{TRAINER}.max_steps=100", f"{_SCENES}.batches=100")
    return Row("phase1", (*short, *changes), "c", ("hmpaf", "image"), shared=shared)


LADDER: dict[str, Row] = {
    START: Row(None),
    "a": Row("lift", (f"{DATA}.batches=500", f"{TRAINER}.max_epochs=7"), START),
    "c": Row("distill", start="a"),
    "d": Row("phase1", start="c"),
    "e": Row("phase2", start="d"),
    # as many steps on D_syn as phases 1 and 2 take together
    "a, longer": Row("lift", _LONGER, "a"),
    # what the first ablation suggests: no artificial poses, and phase 1 at once
    "d, motion capture alone": _phase1_at_once("motion capture alone"),
    "e, motion capture alone": _phase2_at_once("d, motion capture alone"),
    # the same with twice the grid
    "a, grid of 28": Row(
        "lift",
        (f"{DATA}.batches=1000", f"{TRAINER}.max_epochs=12", *_motion_alone("lift")),
        "e, motion capture alone",
        _MAPS,
        fine=True,
    ),
    "d, grid of 28": _phase1_at_once("a, grid of 28", fine=True),
    "e, grid of 28": _phase2_at_once("d, grid of 28", fine=True),
    # with an H' for D_syn
    "d, H and H'": Row("phase1", start="c", shared=False),
    "d, grid of 28, H and H'": _phase1_at_once("e, grid of 28", fine=True, shared=False, steps=900),
    "c, then, grid of 28, H and H'": Row("distill", start="d, grid of 28, H and H'", fine=True, shared=False),
    "d, then, grid of 28, H and H'": _phase1_at_once("c, then, grid of 28, H and H'", fine=True, shared=False),
    "e, then, grid of 28, H and H'": _phase2_at_once("d, then, grid of 28, H and H'", fine=True, shared=False),
}

ABLATIONS: dict[str, Row] = {
    "artificial poses alone": _longer(f"{DATA}.artificial=1"),
    "motion capture alone": _longer(*_motion_alone("lift")),
    "no recon_canonical, no recon_rotation": _longer(
        f"{MODEL}.weights.recon_canonical=0", f"{MODEL}.weights.recon_rotation=0"
    ),
    "no recon_pose": _longer(f"{MODEL}.weights.recon_pose=0"),
    "no recon_points": _longer(f"{MODEL}.weights.recon_points=0"),
    "upright before a level camera": _longer(f"{DATA}.tilt=0", f"{DATA}.looking_down=[0,0]", f"{DATA}.free_rotation=0"),
    "drawing without noise": _longer(
        f"{MODEL}.amplitude=1", f"{MODEL}.blur=null", f"{MODEL}.jitter=0", f"{DATA}.occlusion=0", f"{DATA}.dropped=0"
    ),
    "near joints of two people merged": _longer(f"{MODEL}.merged=12"),
    "from random weights": _scratch(),
    "from random weights, joints regressed directly": _scratch(f"{MODEL}.network.init_args.direct=true"),
    "from random weights, a grid of 28": _scratch(fine=True),
    "from random weights, a grid of 28, Euler angles": _scratch(f"{MODEL}.network.init_args.rotation=euler", fine=True),
    "from random weights, a grid of 28, weak perspective": _scratch(
        f"{MODEL}.network.init_args.perspective=weak", fine=True
    ),
    "phase 1": _phase1(),
    "phase 1, no distl": _phase1(f"{MODEL}.weights.distl=0", f"{MODEL}.weights.distl_root=0"),
    "phase 1, no ss": _phase1(f"{MODEL}.weights.ss=0"),
    "phase 1, no recon_maps": _phase1(f"{MODEL}.weights.recon_maps=0"),
    "phase 1, H and H'": _phase1(shared=False),
    # all that photographs teach
    "phase 1, no recon": _phase1(*(f"{MODEL}.weights.{term}=0" for term in _RECON)),
}

ROWS = LADDER | ABLATIONS


@dataclass(frozen=True)
class Data:
    """What rows are measured on, and the files that they start from."""

    annotations: Path
    images: Path
    motion_capture: Path
    teacher: str
    prior: Path
    start: Path


def command(name: str, data: Data, out: Path) -> list[str]:
    """Words after `mpose3d` that train a row that is trained."""
    row = ROWS[name]
    words = training(name, out, row.stage, "network")
    words += [f"{MODEL}.network.init_args.prior={data.prior}", f"{MODEL}.teacher.init_args.weights={data.teacher}"]
    if not row.fine:
        words.append(f"{MODEL}.network.init_args.fine=false")
        words += [f"{_PEOPLE[row.stage]}.crowding={1 / 14}"] if row.stage in _PEOPLE else []
    if not row.shared:
        words.append(f"{MODEL}.network.init_args.shared=false")
    if row.start is not None:
        words.append(f"{MODEL}.init={start_of(name, data, out)}")
    return [*words, *row.changes]


def start_of(name: str, data: Data, out: Path) -> Path:
    """The network that a row starts from."""
    return out / folder(name) / "start.safetensors" if _growth(ROWS[name]) else network_of(ROWS[name].start, data, out)


def _growth(row: Row) -> dict[str, bool]:
    """Settings that the network of a row has, and that of the row it starts from has not."""
    before = ROWS[row.start]
    changed = {"fine": row.fine and not before.fine, "shared": before.shared and not row.shared}
    return {name: getattr(row, name) for name, differs in changed.items() if differs}


def grow(source: Path, grown: Path, **settings: bool) -> None:
    """The network of `source` with other settings: its weights, those of H for H', random ones for layers it lacks."""
    network = CrossModalNetwork.from_file(source)
    torch.manual_seed(0)
    larger = CrossModalNetwork(**network.settings | settings)
    larger.load_state_dict(larger.state_dict() | network.state_dict())
    if "shared" in settings:
        larger.h_prime.load_state_dict(larger.h.state_dict())
    larger.save(grown)


def network_of(name: str, data: Data, out: Path) -> Path:
    """The network that a row trains."""
    return data.start if name == START else out / folder(name) / "network.safetensors"


def run(name: str, data: Data, out: Path) -> dict[str, Any]:
    """Train and measure one row, and before it those that it starts from, unless that has been done; its figures."""
    place, inputs = out / folder(name), ROWS[name].inputs

    def figures() -> dict[str, Any]:
        return train(name, data, out) | measure(network_of(name, data, out), data, place, out, inputs)

    return once(place / "ladder.json", figures)


def train(name: str, data: Data, out: Path) -> dict[str, float]:
    """Train a row, unless that has been done; its steps and minutes."""
    row, place = ROWS[name], out / folder(name)
    if row.stage is None:
        return {"steps": 0, "minutes": 0}

    def steps_and_minutes() -> dict[str, float]:
        if row.start is not None:
            train(row.start, data, out)
            if growth := _growth(row):
                grow(network_of(row.start, data, out), start_of(name, data, out), **growth)
        began = time.time()
        mpose3d(*command(name, data, out))
        minutes = (time.time() - began) / 60
        last = torch.load(place / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)
        return {"steps": last["global_step"], "minutes": minutes}

    return once(place / "trained.json", steps_and_minutes)


def measure(
    weights: Path, data: Data, place: Path, shared: Path, inputs: tuple[str, ...] = INPUTS
) -> dict[str, dict[str, float]]:
    """Figures of a network by what it is read through, and on scenes.

    What the commands wrote stays in `place`, and what does not depend on the row in `shared`.
    """
    evaluate_scenes(data.motion_capture, through="maps", weights=str(weights), out=place)
    figures = {"scenes": json.loads((place / "scenes.json").read_text())}
    if "annotated" in inputs:
        annotated, lifted = shared / "annotated.npz", place / "lifted.npz"
        write_once(annotated, data.annotations, data.images)
        lift(str(annotated), out=str(lifted), layout="mupots", through="maps", weights=str(weights))
        figures["annotated"] = mupots_figures(data.annotations, data.images, lifted)
    teacher = LightweightOpenPose(data.teacher)
    for pathway in ("hmpaf", "image"):
        if pathway not in inputs:
            continue
        given = {"weights": str(weights), "teacher": teacher, "pathway": pathway, "overlay": False, "page": False}
        seen, people = shared / f"teacher_{pathway}", place / pathway
        if not seen.is_dir():
            infer([str(data.images)], out=str(people), teacher_people=True, **given)
            with whole_or_none(seen) as unfinished:
                _copy_teacher(people, unfinished)
        else:
            infer([str(data.images)], out=str(people), **given)
            _copy_teacher(seen, people)
        compare_2d(data.annotations, people, out=people)
        flat = json.loads((people / "2d.json").read_text())
        figures[pathway] = mupots_figures(data.annotations, data.images, people) | {
            f"{who}_{key}": flat[who][key] for who in ("teacher", "student") for key in ("found", "pck_2d")
        }
    return figures


def _copy_teacher(source: Path, destination: Path) -> None:
    """The teacher's 2D people, which `infer` wrote below `source`, to the same places below `destination`."""
    for file in source.rglob("*.teacher.json"):
        place = destination / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


_MUPOTS: dict[str, Callable[[dict[str, float]], str]] = {
    "PCK all": lambda f: f"{f['all']:.1f}",
    "matched": lambda f: f"{f['matched']:.1f}",
    "AUC": lambda f: f"{f['auc']:.1f}",
    "PMPJPE": lambda f: f"{f['pmpjpe']:.0f}",
    "found": lambda f: f"{f['found']} of {f['annotated']}",
    "2D-PCK teacher / student": lambda f: (
        f"{f['teacher_pck_2d']:.1f} / {f['student_pck_2d']:.1f}" if "teacher_pck_2d" in f else ""
    ),
}
_NAMES = {"annotated": "annotated 2D", "hmpaf": "F(E(I))", "image": "E(I)"}


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """Rows -> two tables: the people of the photographs, and training and scenes."""
    photographs = [
        [name, _NAMES[key], *(show(figures[key]) for show in _MUPOTS.values())]
        for name, figures in table.items()
        for key in INPUTS
        if key in figures
    ]
    scenes = [
        [
            name,
            f"{figures['steps']:,}",
            f"{figures['minutes']:.1f}",
            *(f"{figures['scenes'][key]:.0f}" for key in ("mpjpe", "pmpjpe", "root_error")),
        ]
        for name, figures in table.items()
    ]
    return "\n\n".join(
        [
            markdown_table(["row", "read through", *_MUPOTS], photographs),
            markdown_table(["row", "steps", "minutes", "scenes MPJPE", "PMPJPE", "root error"], scenes),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="folder of TS*/annot.mat")
    parser.add_argument("--images", type=Path, required=True, help="folder of TSn/img_NNNNNN.jpg")
    parser.add_argument("--motion_capture", type=Path, required=True, help="held-out clips, for scenes")
    parser.add_argument("--teacher", required=True, help="weights of LightweightOpenPose")
    parser.add_argument("--prior", type=Path, default=Path("mpose3d/weights/prior.safetensors"), help="Phi and Psi")
    parser.add_argument("--start", type=Path, required=True, help="network.safetensors of G and H that (a) starts from")
    add_rows(parser, ROWS)
    parser.add_argument("--commands", action="store_true", help="print the trainings, and run nothing")
    parser.add_argument("--out", type=Path, default=Path("out/ladder"))
    given = vars(parser.parse_args())
    rows, commands, out = (given.pop(name) for name in ("rows", "commands", "out"))
    data = Data(**given)
    if commands:
        for name in (name for name in rows if ROWS[name].stage is not None):
            print(f"# {name}\nmpose3d {shlex.join(command(name, data, out))}")
        return
    print(markdown({name: run(name, data, out) for name in rows}))


if __name__ == "__main__":
    raise SystemExit(plainly(main))
