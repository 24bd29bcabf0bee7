"""Files of the data sets, small and right: what the evaluation commands read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.samples import FRAMES, write_mupots


@pytest.fixture
def mupots(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Annotations of TS3 and TS11, and predictions that are those annotations, as arrays of an npz."""
    root = tmp_path / "MultiPersonTestSet"
    arrays = {}
    for seed, name in enumerate(("TS3", "TS11")):
        px, mm = write_mupots(root, name, 100 * seed)
        for frame in range(FRAMES):
            arrays[f"{name}_img_{frame:06d}/px"], arrays[f"{name}_img_{frame:06d}/mm"] = px[frame], mm[frame]
    return root, arrays
