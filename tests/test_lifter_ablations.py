"""The lifter's ablations: every row is a configuration that can be built, and figures become Markdown."""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

from experiments.lifter_ablations import ROWS, Data, command, markdown
from experiments.rows import folder
from mpose3d.cli import main

DATA = Data(*(Path(name) for name in ("annotations", "images", "clips.npz", "held_out.npz", "prior.safetensors")))


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_a_configuration(name, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command(name, DATA, tmp_path, 7), "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["data"]["init_args"]["motion_capture"] == "clips.npz"
    assert config["data"]["init_args"]["batches"] == 7 and config["trainer"]["max_epochs"] == 1
    assert config["trainer"]["logger"]["init_args"]["name"] == folder(name)
    for change in ROWS[name]:
        path, _, value = change.removeprefix("--").partition("=")
        path = path.replace("noise.init_args", "noise")  # a dataclass is printed plainly
        assert reduce(getitem, path.split("."), config) == yaml.safe_load(value), path


def test_rows_have_folders_of_their_own():
    assert len({folder(name) for name in ROWS}) == len(ROWS)


def test_figures_become_a_table():
    figures = {
        "annotated": {"matched": 84.04, "auc": 50.0},
        "photographs": {"all": 71.0, "matched": 71.5, "pmpjpe": 93.4, "found": 149, "annotated": 150},
        "scenes": {"mpjpe": 90.2, "pmpjpe": 60.6},
    }
    lines = markdown({"nothing": figures}).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| nothing | 84.0 / 50.0 | 71.0 / 71.5 / 93 | 90 / 61 |"
