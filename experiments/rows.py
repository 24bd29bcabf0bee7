"""Rows of a table: each trained by the command and measured once, in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpose3d.files import whole_or_none


def folder(name: str) -> str:
    """Name of the folder of a row."""
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


def mpose3d(*words: str) -> None:
    """Run the command in a process of its own; raises CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "mpose3d", *words], check=True)


def once(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures in a JSON file; if there is none, they are made and written first."""
    if not file.is_file():
        made = json.dumps(make(), indent=1) + "\n"
        with whole_or_none(file) as unfinished:
            unfinished.write_text(made)
    return json.loads(file.read_text())
