"""Rows of the tables: every one is a configuration that can be built, in a folder of its own."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

from experiments import ladder, lifter_ablations, prior_ablations
from experiments.rows import folder
from mpose3d.cli import main

OUT = Path("out")
LADDER = ladder.Data(Path("annotations"), Path("images"), Path("held.npz"), "teacher.npz", Path("prior"), Path("first"))
LIFTER = lifter_ablations.Data(*(Path(name) for name in ("annotations", "images", "clips.npz", "held.npz", "prior")))

COMMANDS = {
    f"{table}: {name}": words
    for table, commands in {
        "ladder": {n: ladder.command(n, LADDER, OUT) for n, row in ladder.ROWS.items() if row.stage is not None},
        "lifter": {n: lifter_ablations.command(n, LIFTER, OUT, 7) for n in lifter_ablations.ROWS},
        "prior": {n: prior_ablations.command(n, Path("clips.npz"), OUT) for n in prior_ablations.ROWS},
    }.items()
    for name, words in commands.items()
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_every_row_is_a_configuration(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    # which writes the network that is measured
    assert config["trainer"]["callbacks"][-1]["class_path"] == "mpose3d.callbacks.NetworkFile"
    given = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)  # the last one counts
    for path, value in given.items():
        if path not in ("config", "trainer.callbacks"):
            path = path.replace("noise.init_args", "noise")  # a dataclass is printed plainly
            assert reduce(getitem, path.split("."), config) == yaml.safe_load(value), path


@pytest.mark.parametrize("table", [ladder, lifter_ablations, prior_ablations])
def test_rows_have_folders_of_their_own(table):
    assert len({folder(name) for name in table.ROWS}) == len(table.ROWS)


def test_folders_have_plain_names():
    assert folder("60 % artificial, x") == "60_artificial_x"


def test_figures_of_the_prior_become_a_table():
    figures = {
        "free joints, mm": 5.06, "free p95, mm": 14.9, "embedding cycle": 0.0461, "no intersection": 0.98,
        "precision": 0.014, "recall": 0.966, "told apart": 0.996,
    }  # fmt: skip
    lines = prior_ablations.markdown({"as shipped": figures, "no averaged weights": figures}).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith(
        """| no averaged weights | `'--trainer.callbacks=[{"class_path": "NetworkFile"}]'` | 5.1"""
    )
    assert lines[2] == "| as shipped |  | 5.1 / 14.9 mm | 0.046 | 98.0 % | 0.01 / 0.97 | 0.996 |"


def test_figures_of_the_lifter_become_a_table():
    figures = {
        "annotated": {"matched": 84.04, "auc": 50.0},
        "photographs": {"all": 71.0, "matched": 71.5, "pmpjpe": 93.4, "found": 149, "annotated": 150},
        "scenes": {"mpjpe": 90.2, "pmpjpe": 60.6},
    }
    lines = lifter_ablations.markdown({"nothing": figures}).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| nothing | 84.0 / 50.0 | 71.0 / 71.5 / 93 | 90 / 61 |"
