"""The prior's ablations: figures become Markdown."""

from __future__ import annotations

from experiments.prior_ablations import markdown


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
