"""The README's own example runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

from lightning.pytorch import Trainer

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


def test_the_files_that_the_readme_names_exist():
    root = README.parent
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (root / target).exists(), target
    for config in re.findall(r"--config (\S+\.yaml)", README.read_text()):
        assert (root / config).is_file(), config
