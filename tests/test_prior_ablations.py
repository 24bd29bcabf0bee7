"""The table of ablations: every row is a configuration that can be built, and figures become Markdown."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

from experiments.prior_ablations import ROWS, markdown
from experiments.rows import folder
from mpose3d.cli import main

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_a_configuration(name, tmp_path, capsys):
    configs = [f"--config={EXPERIMENTS / 'base.yaml'}", f"--config={EXPERIMENTS / 'photographs' / 'aae.yaml'}"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *configs, *ROWS[name], "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["callbacks"][-1]["class_path"] == "mpose3d.callbacks.NetworkFile"
    for change in ROWS[name]:
        path, _, value = change.removeprefix("--").partition("=")
        found = reduce(getitem, path.split("."), config)
        if path != "trainer.callbacks":
            assert found == type(found)(value), path


def test_rows_have_folders_of_their_own():
    assert len({folder(name) for name in ROWS}) == len(ROWS)
    assert folder("60 % artificial, x") == "60_artificial_x"


def test_figures_become_a_table():
    figures = {
        "free joints, mm": 5.06, "free p95, mm": 14.9, "embedding cycle": 0.0461, "no intersection": 0.98,
        "precision": 0.014, "recall": 0.966, "told apart": 0.996,
    }  # fmt: skip
    lines = markdown({"as shipped": figures, "no averaged weights": figures}).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith(
        """| no averaged weights | `'--trainer.callbacks=[{"class_path": "NetworkFile"}]'` | 5.1"""
    )
    assert lines[2] == "| as shipped |  | 5.1 / 14.9 mm | 0.046 | 98.0 % | 0.01 / 0.97 | 0.996 |"
