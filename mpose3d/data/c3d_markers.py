"""C3D motion capture: skin markers and modelled joint centres, reduced to the joints of the skeleton."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from mpose3d.files import reading

# Joint -> marker sets, the first set that the file has is averaged. Modelled joint centres (Plug-in Gait output)
# come first, then markers on both sides of the joint, then the one on its outside.
_MARKERS = {
    "shoulder": ("SJC", "SHO"),
    "elbow": ("EJC", "ELB MEL", "ELB ELBIN", "ELB"),
    "wrist": ("WJC", "WRA WRB", "WRI", "WRT"),
    "hip": ("HJC",),
    "knee": ("KJC", "KNE MKNE", "KNE KNEIN", "KNE"),
    "ankle": ("AJC", "ANK MANK", "ANK ANKIN", "ANK"),
}
_HEAD = ("FHD", "BHD")
# front and back of the pelvis, as Plug-in Gait and as the CMU recordings call them
_PELVIS = (("ASI", "PSI"), ("FWT", "BWT"))
_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_NEEDED = {
    side + name
    for choices in (*_MARKERS.values(), _HEAD, *_PELVIS)
    for choice in choices
    for name in choice.split()
    for side in "RL"
}


def read_c3d(path: Path) -> dict[str, np.ndarray]:
    """Positions (T, 3) in mm of the 12 limb joints and "head_top"; NaN in frames where a needed marker is hidden.

    Joints without a modelled centre are the mean of the markers around them, hips without one follow the regression
    of Harrington et al., "Prediction of the hip joint centre", J. Biomech. 40 (2007), from the four pelvis markers;
    the top of the head is the mean of the head band, which gives its direction.

    Raises:
        ImportError: the package `c3d` is missing.
        ValueError: not a C3D file, or markers that it needs are not in it.
    """
    try:
        import c3d
    except ImportError as error:
        raise ImportError(f"{path}: reading C3D needs the package c3d: pip install 'mpose3d[mocap]'") from error
    with reading(path, "a readable C3D file"), open(path, "rb") as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about force plates, which nobody asked for
        reader = c3d.Reader(handle)
        labels = [label.strip("\0 ") for label in reader.point_labels]
        unit = reader.get("POINT:UNITS")
        unit = unit.string_value.strip("\0 ").lower() if unit is not None else "none stated"
        # (T, markers, 5): x, y, z, residual (negative where hidden), cameras
        frames = np.stack([points for _, points, _ in reader.read_frames()])
        if len(frames) != reader.frame_count:
            raise ValueError(f"{reader.frame_count} frames announced, {len(frames)} found: truncated?")
    if unit not in _MM:
        raise ValueError(f"{path}: unit of points {unit!r}, expected {', '.join(_MM)}")
    frames[..., :3] *= _MM[unit]
    # some programs write hidden markers as zeros, with no residual
    shown = (frames[..., 3:4] >= 0) & (frames[..., :3] != 0).any(-1, keepdims=True)
    positions = np.where(shown, frames[..., :3], np.nan)
    markers: dict[str, np.ndarray] = {}
    # a file may have more labels than points
    for label, points in zip(labels, positions.swapaxes(0, 1), strict=False):
        name = _plain(label)
        if name in markers and name in _NEEDED:
            alike = [label for label in labels if _plain(label) == name]
            raise ValueError(f"{path}: markers of several subjects ({', '.join(alike)}): give each a file of its own")
        markers[name] = points
    return _joints(markers, path)


def _plain(label: str) -> str:
    """ "Subject:LSHO  " -> "LSHO"."""
    return re.split(r"[:_]", label.strip())[-1].upper()


def _joints(markers: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    joints, missing = {}, []
    for side in "rl":
        for joint, choices in _MARKERS.items():
            for choice in choices:
                names = [side.upper() + name for name in choice.split()]
                if all(name in markers for name in names):
                    joints[f"{side}_{joint}"] = np.mean([markers[name] for name in names], axis=0)
                    break
            else:
                missing.append(f"{side}_{joint} ({' or '.join(side.upper() + c for c in choices)})")
    if any("hip" in joint for joint in missing):
        for front, back in _PELVIS:
            corners = [markers.get(name) for name in ("R" + front, "L" + front, "R" + back, "L" + back)]
            if all(corner is not None for corner in corners):
                joints["r_hip"], joints["l_hip"] = _hips(*corners)
                missing = [joint for joint in missing if "hip" not in joint]
                break
    band = [markers[side + name] for side in "RL" for name in _HEAD if side + name in markers]
    if len(band) == 2 * len(_HEAD):
        joints["head_top"] = np.mean(band, axis=0)
    else:
        missing.append("head_top (RFHD, RBHD, LFHD and LBHD)")
    if missing:
        raise ValueError(f"{path}: no markers for {', '.join(missing)}; the file has {', '.join(sorted(markers))}")
    return joints


def _hips(r_front: np.ndarray, l_front: np.ndarray, r_back: np.ndarray, l_back: np.ndarray) -> list[np.ndarray]:
    """Right and left hip joint centre from the anterior and posterior superior iliac spines, in mm."""
    middle = (r_front + l_front) / 2
    right = r_front - l_front
    width = np.linalg.norm(right, axis=-1, keepdims=True)
    right = right / width
    forward = middle - (r_back + l_back) / 2
    depth = np.linalg.norm(forward, axis=-1, keepdims=True)
    forward = forward - (forward * right).sum(-1, keepdims=True) * right
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    up = np.cross(right, forward)
    centre = middle - (0.24 * depth + 9.9) * forward - (0.30 * width + 10.9) * up
    return [centre + side * (0.33 * width + 7.3) * right for side in (1, -1)]
