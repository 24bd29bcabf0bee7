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
