"""The README's own example runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from lightning.pytorch import Trainer

from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.teacher import OpenPose

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_import_example_trains(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(names["MyPrior"](), names["data"])
    assert trainer.global_step == 2


def test_the_chain_of_the_readme_fits_together_at_the_source_s_cut():
    """What `teacher.yaml` trains is what `network_stage1.yaml` loads, and the network has V and layout of it."""

    def read(name: str) -> dict:
        return yaml.safe_load((README.parent / f"experiments/{name}.yaml").read_text())["model"]["init_args"]

    trained, used = read("teacher")["teacher"]["init_args"], read("network_stage1")
    loaded = {name: value for name, value in used["teacher"]["init_args"].items() if name != "weights"}
    assert loaded == trained
    teacher, network = OpenPose(**trained), CrossModalNetwork(**used["network"]["init_args"])
    assert (network.v_channels, network.cells) == (teacher.v_channels, 28) == (1024, 28)
    assert (network.layout, network.stride) == (teacher.layout, teacher.stride)
    assert read("network")["network"]["init_args"]["v_channels"] == OpenPose("mpi15", "trunk").v_channels


def test_the_files_that_the_readme_names_exist():
    root = README.parent
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (root / target).exists(), target
    for config in re.findall(r"--config (\S+\.yaml)", README.read_text()):
        assert (root / config).is_file(), config
