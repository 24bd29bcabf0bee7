"""What the scripts share that train the rows of a table: each row by the command, and measured once.

A row has a folder below `--out`, called after it. What is there already is not done again, so a table that was
interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mpose3d.evaluation.mupots import score_mupots
from mpose3d.files import whole_or_none

HERE = Path(__file__).parent

#: what overrides of a config begin with
MODEL, DATA, TRAINER = "--model.init_args", "--data.init_args", "--trainer"


def add_rows(parser: argparse.ArgumentParser, rows: Iterable[str]) -> None:
    """The flag `--rows`, by default all of them."""
    names = list(rows)
    told = f"of {names}".replace("%", "%%")  # argparse fills in what a % announces
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW", help=told)


def folder(name: str) -> str:
    """Name of the folder of a row."""
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


def training(name: str, out: Path, *configs: str) -> list[str]:
    """Words after `mpose3d` that train a row, by configs of `experiments/photographs`, in its folder below `out`."""
    files = (HERE / "base.yaml", *(HERE / "photographs" / f"{config}.yaml" for config in configs))
    return [
        "fit",
        *(f"--config={file}" for file in files),
        f"--trainer.logger.init_args.save_dir={out}",
        f"--trainer.logger.init_args.name={folder(name)}",
        "--trainer.enable_progress_bar=false",
    ]


def mpose3d(*words: str) -> None:
    """Run the command in a process of its own; if that fails, it has said why, and this one ends too."""
    done = subprocess.run([sys.executable, "-m", "mpose3d", *words])
    if done.returncode > 0:
        raise SystemExit(done.returncode)
    done.check_returncode()  # one that was killed has said nothing


def once(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures in a JSON file; if there is none, they are made and written first."""
    if not file.is_file():
        made = json.dumps(make(), indent=1) + "\n"
        with whole_or_none(file) as unfinished:
            unfinished.write_text(made)
    return json.loads(file.read_text())


def mupots_figures(annotations: Path, images: Path, predictions: Path) -> dict[str, float]:
    """Both modes of MuPoTS-3D; PMPJPE is the mean over people found."""
    sequences = sorted(path.name for path in images.iterdir() if path.is_dir())
    everybody, matched = (score_mupots(annotations, predictions, mode, sequences)[0] for mode in ("all", "matched"))
    return {
        "all": everybody.mean.pck,
        "matched": matched.mean.pck,
        "auc": matched.mean.auc,
        "pmpjpe": matched.people["pmpjpe"],
        "found": sum(part.found for part in matched.sequences.values()),
        "annotated": sum(part.annotated for part in everybody.sequences.values()),
    }
