"""The auto-encoder trained with one thing changed at a time, and measured by `mpose3d prior evaluate`.

python -m experiments.prior_ablations --motion_capture clips.npz [--rows ROW ...] [--epochs 8] --out out/ablations

Each row is `experiments/photographs/aae.yaml` with the overrides below, in a folder of its own; a row whose figures are
there already is not run again, whatever --epochs says. Prints the table of docs/prior.md, and writes curves.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
from pathlib import Path

from experiments.rows import DATA, MODEL, add_rows, folder, mpose3d, training
from mpose3d.cli import plainly
from mpose3d.visualise.pictures import curves, write_picture
from mpose3d.visualise.tables import markdown_table

#: name of a row -> what it changes; OCCUPANCY stands for the file of `mpose3d prior occupancy`
ROWS: dict[str, list[str]] = {
    "as shipped": [],
    "another seed": ["--seed_everything=1", f"{MODEL}.seed=1", f"{DATA}.seed=1"],  # what chance does to a row
    "artificial poses alone": [f"{DATA}.artificial=1"],
    "motion capture alone": [f"{DATA}.artificial=0"],
    "30 % artificial": [f"{DATA}.artificial=0.3"],
    "no self-intersecting pose": [f"{DATA}.max_penetration=0"],
    "artificial poses within the occupancy": [f"{DATA}.max_penetration=0", f"{DATA}.occupancy=OCCUPANCY"],
    "limbs not recombined": [f"{DATA}.recombine=0"],
    "a tenth sits": [f"{DATA}.seated=0.1"],
    "embedding of 64": [f"{MODEL}.embedding=64"],
    "embedding of 16": [f"{MODEL}.embedding=16"],
    "no adversary": [f"{MODEL}.adversarial=0"],
    "adversary at 1": [f"{MODEL}.adversarial=1"],
    "plain GAN": [f"{MODEL}.adversary=logistic"],
    "plain GAN with a gradient penalty": [f"{MODEL}.adversary=logistic", f"{MODEL}.gradient_penalty=0.1"],
    "hinge with a gradient penalty": [f"{MODEL}.gradient_penalty=0.1"],
    "spherical loss beside metres": [f"{MODEL}.spherical=3"],
    "spherical loss in place of metres": [f"{MODEL}.spherical=3", f"{MODEL}.pose_cycle=0"],
    "Disc as slow as Psi": [f"{MODEL}.discriminator_learning_rate=1.0e-3"],
    "embedding cycle at 1": [f"{MODEL}.embedding_cycle=1"],
    "no press towards the limits": [f"{MODEL}.limits=0"],
    "no press against self-intersection": [f"{MODEL}.intersection=0"],
    "no averaged weights": ['--trainer.callbacks=[{"class_path": "NetworkFile"}]'],
}

_COLUMNS = {
    "reconstruction, mean / p95 of joints": lambda f: f"{f['free joints, mm']:.1f} / {f['free p95, mm']:.1f} mm",
    "embedding cycle": lambda f: f"{f['embedding cycle']:.3f}",
    "no self-intersection": lambda f: f"{100 * f['no intersection']:.1f} %",
    "precision / recall": lambda f: f"{f['precision']:.2f} / {f['recall']:.2f}",
    "told apart": lambda f: f"{f['told apart']:.3f}",
}


def command(name: str, motion_capture: Path, out: Path, *extra: str) -> list[str]:
    """Words after `mpose3d` that train a row."""
    changes = [change.replace("OCCUPANCY", str(out / "occupancy.npz")) for change in ROWS[name]]
    return [*training(name, out, "aae"), f"{DATA}.motion_capture={motion_capture}", *extra, *changes]


def run(name: str, motion_capture: Path, out: Path, extra: list[str]) -> dict[str, float]:
    """Train and measure one row, unless that has been done; its figures."""
    figures = out / folder(name) / "prior.json"  # which `prior evaluate` writes
    if not figures.is_file():
        mpose3d(*command(name, motion_capture, out, *extra))
        weights = figures.with_name("network.safetensors")
        where = (f"--weights={weights}", f"--out={figures.parent}")
        mpose3d("prior", "evaluate", f"--motion_capture={motion_capture}", *where)
    return json.loads(figures.read_text())


def markdown(table: dict[str, dict[str, float]]) -> str:
    """Rows of `ROWS` and their figures, with what each row adds to `mpose3d fit`."""
    rows = []
    for name, figures in table.items():
        change = f"`{shlex.join(ROWS[name])}`" if ROWS[name] else ""
        rows.append([name, change, *(show(figures) for show in _COLUMNS.values())])
    return markdown_table(["row", "change", *_COLUMNS], rows)


def validation_curves(out: Path, names: list[str]) -> dict[str, tuple[list[float], list[float]]]:
    """`row/metric` -> steps and values, from the CSV logs."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for name in names:
        with (out / folder(name) / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        for key in rows[0]:
            points = [(float(row["step"]), float(row[key])) for row in rows if row[key] and key.startswith("val/")]
            if points:
                steps, values = zip(*points, strict=True)
                series[f"{name}/{key.removeprefix('val/')}"] = (list(steps), list(values))
    return series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion_capture", type=Path, required=True, help="clips to learn from")
    parser.add_argument("--out", type=Path, default=Path("out/ablations"))
    add_rows(parser, ROWS)
    parser.add_argument("--epochs", type=int, default=8, help="of 500 steps")
    arguments, extra = parser.parse_known_args()
    out = arguments.out
    if not (out / "occupancy.npz").is_file():
        motion = f"--motion_capture={arguments.motion_capture}"
        mpose3d("prior", "occupancy", motion, f"--out={out / 'occupancy.npz'}")
    extra = [f"--trainer.max_epochs={arguments.epochs}", *extra]
    table = {name: run(name, arguments.motion_capture, out, extra) for name in arguments.rows}
    print(markdown(table))
    write_picture(out / "curves.png", curves(validation_curves(out, arguments.rows)))


if __name__ == "__main__":
    raise SystemExit(plainly(main))
