"""Pickles that hold arrays and nothing else, read without running code hidden in them."""

from __future__ import annotations

import _codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mpose3d.files import reading

# what NumPy's own arrays and scalars reduce to, under the names of NumPy 1 and 2
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    # how Python 3 writes bytes for Python 2
    ("_codecs", "encode"): _codecs.encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(
                f"it wants to load {module}.{name}; only arrays, numbers and text are admitted"
            )
        return _ADMITTED[module, name]


def read_arrays_pickle(path: Path) -> Any:
    """What a pickle of NumPy arrays, numbers, strings, lists and dicts holds; strings of Python 2 as Latin-1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a pickle, or it refers to any other class or function.
    """
    with reading(path, "a readable pickle of arrays"), open(path, "rb") as handle:
        return _ArrayUnpickler(handle, encoding="latin1").load()
