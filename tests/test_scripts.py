"""Scripts of experiments, run as they are from a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cut_off import cut_people

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("coco_hips --annotations nowhere", "nowhere: no such file; expected COCO keypoints JSON"),
        ("prior_ablations --motion_capture nowhere --out OUT", "nowhere: no such motion capture"),  # by a command
    ],
)
def test_what_is_missing_is_one_line(words, message, tmp_path):
    command = [sys.executable, "-m", *f"experiments.{words}".replace("OUT", str(tmp_path)).split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    told = done.stderr.splitlines()
    assert done.returncode == 1 and len(told) == 1 and told[0].startswith(f"mpose3d: {message}")


def test_people_are_cut_off_in_pictures(shared_data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"TS1: no pictures img_NNNNNN\.jpg"):
        next(cut_people(shared_data / "mupots/MultiPersonTestSet/TS1", tmp_path / "TS1", 1))
