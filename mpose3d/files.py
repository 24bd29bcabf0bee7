"""Files: found, written whole or not at all, and read with one line for people where they are not as they should be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile


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


def spare_inputs(out: str | Path, *inputs: str | Path | None) -> None:
    """Raises ValueError where the file to be written is one of those that are read."""
    for given in inputs:
        if given is not None and Path(out).is_file() and Path(given).is_file() and Path(out).samefile(given):
            raise ValueError(f"--out {out} is {given}, which is read and would be written over: name another file")


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Whatever goes wrong with the content of a file is told as "PATH: not WHAT (why)".

    Args:
        path: the file.
        what: what it should be, with an article: "an npz of keypoints".

    Raises:
        FileNotFoundError: no such file.
        ValueError: something was raised inside, other than that another file or a package is missing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what}")
    try:
        yield
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:  # damaged files raise nearly anything
        # a `KeyError` alone would only name what is missing
        why = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ValueError(f"{path}: not {what} ({why.strip().splitlines()[0]})") from error


@contextmanager
def open_npz(path: str | Path, what: str) -> Iterator[NpzFile]:
    """The arrays of an npz file, without code hidden in them; raises as `reading`."""
    with reading(path, what):
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, NpzFile):
            raise ValueError("a single array, expected an npz")
        with content:
            try:
                yield content
            except KeyError as error:
                raise ValueError(error.args[0]) from error  # NumPy says it in a sentence


def files_below(folder: Path) -> list[Path]:
    """All files anywhere below a folder, sorted by path; a folder is none, whatever its name ends in."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
