"""People who stand apart, and what is written about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import scipy.io

from mpose3d.skeleton import SKELETON

FRAMES = 6


def bodies(count: int, joints: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """px (count, joints, 2) of people who stand apart, and mm (count, joints, 3)."""
    draw = np.random.default_rng(seed)
    mm = 250 * draw.standard_normal((count, joints, 3)) + [0, 0, 3000]
    return mm[..., :2] / 2 + 500 * np.arange(1, count + 1)[:, None, None], mm


def write_mupots(root: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An official annot.mat of 2 people, of whom the second is not valid in frame 0; gives (F, 2, 17, .) px and mm."""
    (root / name).mkdir(parents=True)
    px, mm = (np.stack(x) for x in zip(*(bodies(2, 17, seed + frame) for frame in range(FRAMES)), strict=True))
    cells, occlusion = np.empty((FRAMES, 2), dtype=object), np.empty((FRAMES, 2), dtype=object)
    for frame in range(FRAMES):
        for person in range(2):
            cells[frame, person] = {
                "annot2": px[frame, person].T,
                "annot3": mm[frame, person].T,
                "univ_annot3": mm[frame, person].T,
                "isValidFrame": np.uint8((frame, person) != (0, 1)),
            }
            occlusion[frame, person] = np.zeros((1, 17), dtype=np.uint8)
    scipy.io.savemat(root / name / "annot.mat", {"annotations": cells})
    scipy.io.savemat(root / name / "occlusion.mat", {"occlusion_labels": occlusion})
    return px, mm


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


def write_people(path: Path, px: np.ndarray, mm: np.ndarray | None, size: tuple[int, int]) -> None:
    """The JSON of `infer`; NaN in px becomes null."""
    people = [{"joints_px": [None if np.isnan(joint).any() else joint.tolist() for joint in person]} for person in px]
    if mm is not None:
        for person, joints in zip(people, mm, strict=True):
            person["joints_mm"] = joints.tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    skeleton = {"names": list(SKELETON.names), "limbs": [list(limb) for limb in SKELETON.limbs]}
    path.write_text(json.dumps({"image": path.stem, "size": list(size), "skeleton": skeleton, "people": people}))
