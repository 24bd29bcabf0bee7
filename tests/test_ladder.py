"""The ladder: every row starts from a row there is, is run once, and figures become Markdown."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from experiments import ladder
from experiments.ladder import ROWS, START, Data, command, folder, markdown, run
from mpose3d.networks.cross_modal import CrossModalNetwork

DATA = Data(Path("annotations"), Path("images"), Path("held.npz"), "teacher.npz", Path("prior"), Path("first"))


def test_rows_start_from_rows_there_are_and_never_from_themselves():
    for name, row in ROWS.items():
        seen = {name}
        while row.start is not None:
            assert row.start not in seen
            seen.add(row.start)
            row = ROWS[row.start]
        assert row.stage is None or seen & set(ladder.ABLATIONS)


def test_a_row_begins_where_another_ended(tmp_path):
    assert f"--model.init_args.init={tmp_path / 'c' / 'network.safetensors'}" in command("d", DATA, tmp_path)
    assert "--model.init_args.init=first" in command("a", DATA, tmp_path)
    assert not any(".init=" in word for word in command("from random weights", DATA, tmp_path))


def test_a_row_of_a_finer_grid_starts_from_the_weights_of_the_coarse_one(tmp_path):
    settings = {"layout": "openpose18", "v_channels": 8, "g_width": 16, "h_width": 16}
    coarse = CrossModalNetwork(**settings)
    coarse.save(tmp_path / "coarse.safetensors")
    ladder.grow(tmp_path / "coarse.safetensors", tmp_path / "fine.safetensors", fine=True)
    fine = CrossModalNetwork.from_file(tmp_path / "fine.safetensors")
    assert fine.representation.grid == 2 * coarse.representation.grid
    weights = fine.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in coarse.state_dict().items())
    start = tmp_path / folder("a, grid of 28") / "start.safetensors"
    assert f"--model.init_args.init={start}" in command("a, grid of 28", DATA, tmp_path)


def test_h_prime_starts_as_a_copy_of_h(tmp_path):
    CrossModalNetwork(layout="openpose18", v_channels=8, g_width=16, h_width=16).save(tmp_path / "one.safetensors")
    ladder.grow(tmp_path / "one.safetensors", tmp_path / "two.safetensors", shared=False)
    two = CrossModalNetwork.from_file(tmp_path / "two.safetensors")
    assert two.h_of_g is two.h_prime is not two.h
    for name, weight in two.h.state_dict().items():
        assert torch.equal(two.h_prime.state_dict()[name], weight), name
    row = "phase 1, H and H'"
    assert f"--model.init_args.init={tmp_path / folder(row) / 'start.safetensors'}" in command(row, DATA, tmp_path)


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    calls = []

    def fit(*words):
        calls.append(next(word.rpartition("=")[2] for word in words if "logger.init_args.name" in word))
        place = tmp_path / calls[-1]
        (place / "checkpoints").mkdir(parents=True)
        torch.save({"global_step": 40}, place / "checkpoints" / "last.ckpt")

    monkeypatch.setattr(ladder, "mpose3d", fit)
    monkeypatch.setattr(ladder, "measure", lambda weights, *_: calls.append(weights) or {"scenes": {}})
    assert run("d", DATA, tmp_path)["steps"] == 40
    assert calls == ["a", "c", "d", tmp_path / "d" / "network.safetensors"]
    run("d", DATA, tmp_path)
    run("c", DATA, tmp_path)
    assert calls[4:] == [tmp_path / "c" / "network.safetensors"]
    assert run(START, DATA, tmp_path)["steps"] == 0 and calls[5:] == [Path("first")]


def test_figures_become_tables():
    mupots = {"all": 41.94, "matched": 51.5, "auc": 23.8, "pmpjpe": 113.6, "found": 106, "annotated": 150}
    figures = {
        "steps": 3500, "minutes": 12.34, "scenes": {"mpjpe": 161.6, "pmpjpe": 98.9, "root_error": 570.7},
        "annotated": mupots, "hmpaf": mupots | {"teacher_pck_2d": 46.9, "student_pck_2d": 22.64},
    }  # fmt: skip
    photographs, scenes = markdown({"a": json.loads(json.dumps(figures))}).split("\n\n")
    for table in (photographs, scenes):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert photographs.splitlines()[2] == "| a | annotated 2D | 41.9 | 51.5 | 23.8 | 114 | 106 of 150 |  |"
    assert photographs.splitlines()[3] == "| a | F(E(I)) | 41.9 | 51.5 | 23.8 | 114 | 106 of 150 | 46.9 / 22.6 |"
    assert scenes.splitlines()[2] == "| a | 3,500 | 12.3 | 162 | 99 | 571 |"
