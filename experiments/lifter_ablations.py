"""The lifter trained with one thing changed at a time, and measured on MuPoTS-3D and on scenes.

python -m experiments.lifter_ablations --annotations MultiPersonTestSet --images images_small
    --motion_capture clips.npz --held_out held_out.npz [--rows ROW ...] [--steps 2000] --out out/lifter_ablations

Each row is `experiments/photographs/lifter.yaml` with the overrides below, from random weights, in a folder of its own;
a row whose figures are there already is not run again, whatever --steps says. Prints the table of
docs/stages/lifter.md. The measurements are those of `mpose3d lift`, `infer`, `evaluate mupots` and `evaluate scenes`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.mupots_keypoints import write_once
from experiments.rows import DATA, MODEL, TRAINER, add_rows, folder, mpose3d, mupots_figures, once, training
from mpose3d.cli import plainly
from mpose3d.evaluation.mupots import score_mupots
from mpose3d.evaluation.scenes import evaluate_scenes
from mpose3d.inference import infer
from mpose3d.lifting import lift
from mpose3d.visualise.tables import markdown_table

_NOISE = f"{MODEL}.noise.init_args"

#: name of a row -> what it changes
ROWS: dict[str, list[str]] = {
    "nothing": [],
    "another seed": ["--seed_everything=1", f"{MODEL}.seed=1", f"{DATA}.seed=1"],  # what chance does to a row
    "artificial poses alone": [f"{DATA}.artificial=1"],
    "motion capture alone": [f"{DATA}.artificial=0", f"{DATA}.seated=0"],  # as on the ladder
    "nobody seated": [f"{DATA}.seated=0"],
    "limbs not recombined": [f"{DATA}.recombine=0", f"{DATA}.interpolate=0"],
    "upright before a level camera": [f"{DATA}.tilt=0", f"{DATA}.looking_down=[0,0]", f"{DATA}.free_rotation=0"],
    "one focal length": [f"{MODEL}.focal_range=[1,1]"],
    "the table's bones": [f"{DATA}.proportions=0"],
    "nobody hides another": [f"{DATA}.occlusion=0"],
    "2D without errors": [f"{_NOISE}.{name}=0" for name in ("jitter", "outliers", "swapped", "missing", "half")],
    "2D with twice the errors": [f"{_NOISE}.jitter=0.2", f"{_NOISE}.outliers=0.03"],
    "a width of 1024": [f"{MODEL}.network.init_args.width=1024"],
}


@dataclass(frozen=True)
class Data:
    """What rows learn from and are measured on."""

    annotations: Path
    images: Path
    motion_capture: Path
    held_out: Path
    prior: Path


def command(name: str, data: Data, out: Path, steps: int) -> list[str]:
    """Words after `mpose3d` that train a row."""
    return [
        *training(name, out, "lifter"),
        f"{TRAINER}.max_epochs=1",
        f"{DATA}.batches={steps}",
        f"{DATA}.motion_capture={data.motion_capture}",
        f"{MODEL}.network.init_args.prior={data.prior}",
        *ROWS[name],
    ]


def run(name: str, data: Data, out: Path, steps: int) -> dict[str, dict[str, float]]:
    """Train and measure one row, unless that has been done; its figures."""
    place = out / folder(name)

    def figures() -> dict[str, dict[str, float]]:
        mpose3d(*command(name, data, out, steps))
        return measure(place / "network.safetensors", data, place, out)

    return once(place / "figures.json", figures)


def measure(weights: Path, data: Data, place: Path, shared: Path) -> dict[str, dict[str, float]]:
    """Figures of a lifter as users run it.

    What the commands wrote stays in `place`, and the annotated 2D, which does not depend on the row, in `shared`.
    """
    annotated, lifted, people = shared / "annotated.npz", place / "lifted.npz", place / "people"
    write_once(annotated, data.annotations)
    lift(str(annotated), out=str(lifted), layout="mupots", weights=str(weights), proportions=False)
    matched = score_mupots(data.annotations, lifted, "matched")[0].mean
    infer([str(data.images)], out=str(people), weights=str(weights), overlay=False, page=False)
    evaluate_scenes(data.held_out, weights=str(weights), out=place)
    return {
        "annotated": {"matched": matched.pck, "auc": matched.auc},
        "photographs": mupots_figures(data.annotations, data.images, people),
        "scenes": json.loads((place / "scenes.json").read_text()),
    }


_COLUMNS: dict[str, Callable[[dict[str, dict[str, float]]], str]] = {
    "annotated 2D: PCK / AUC": lambda f: "{matched:.1f} / {auc:.1f}".format(**f["annotated"]),
    "photographs: all / matched / PMPJPE": lambda f: "{all:.1f} / {matched:.1f} / {pmpjpe:.0f}".format(
        **f["photographs"]
    ),
    "scenes: MPJPE / PMPJPE": lambda f: "{mpjpe:.0f} / {pmpjpe:.0f}".format(**f["scenes"]),
}


def markdown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """Rows of `ROWS` and their figures."""
    rows = [[name, *(show(figures) for show in _COLUMNS.values())] for name, figures in table.items()]
    return markdown_table(["changed", *_COLUMNS], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="folder of TS*/annot.mat")
    parser.add_argument("--images", type=Path, required=True, help="folder of TSn/img_NNNNNN.jpg")
    parser.add_argument("--motion_capture", type=Path, required=True, help="clips to learn from")
    parser.add_argument("--held_out", type=Path, required=True, help="clips for the scenes")
    parser.add_argument("--prior", type=Path, default=Path("mpose3d/weights/prior.safetensors"), help="Phi and Psi")
    add_rows(parser, ROWS)
    parser.add_argument("--steps", type=int, default=2000, help="of every row")
    parser.add_argument("--out", type=Path, default=Path("out/lifter_ablations"))
    given = vars(parser.parse_args())
    rows, steps, out = (given.pop(name) for name in ("rows", "steps", "out"))
    data = Data(**given)
    print(markdown({name: run(name, data, out, steps) for name in rows}))


if __name__ == "__main__":
    raise SystemExit(plainly(main))
