"""Files that are there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_or_none(path: str | Path) -> Iterator[Path]:
    """A hidden place beside `path`, with its suffix, for a file or folder; it takes the place of `path` at the end.

    Whatever goes wrong before that, `path` is what it was and nothing is left beside it. Folders above it are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    _remove(unfinished)  # of a run that was killed
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
