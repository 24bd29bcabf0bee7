"""The lifter's ablations: figures become Markdown."""

from __future__ import annotations

from experiments.lifter_ablations import markdown


def test_figures_become_a_table():
    figures = {
        "annotated": {"matched": 84.04, "auc": 50.0},
        "photographs": {"all": 71.0, "matched": 71.5, "pmpjpe": 93.4, "found": 149, "annotated": 150},
        "scenes": {"mpjpe": 90.2, "pmpjpe": 60.6},
    }
    lines = markdown({"nothing": figures}).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| nothing | 84.0 / 50.0 | 71.0 / 71.5 / 93 | 90 / 61 |"
