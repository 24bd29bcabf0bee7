"""Acclaim motion capture (CMU): the skeleton of an .asf file moved by an .amc file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mpose3d.files import reading

_ROOT_ORDER = ["TX", "TY", "TZ", "RX", "RY", "RZ"]


def read_amc(path: Path) -> dict[str, np.ndarray]:
    """Position (T, 3) in mm of the far end of every bone by name, and of the "root".

    The skeleton is `<subject>.asf` beside the motion `<subject>_<trial>.amc`, whose trial may have underscores too.

    Raises:
        FileNotFoundError: no skeleton beside the motion.
        ValueError: a malformed skeleton or motion.
    """
    words = path.stem.split("_")
    subjects = ["_".join(words[:n]) for n in range(len(words) - 1, 0, -1)] or words
    skeletons = [path.with_name(f"{subject}.asf") for subject in subjects]
    skeleton = next((file for file in skeletons if file.is_file()), None)
    if skeleton is None:
        raise FileNotFoundError(f"{path}: its skeleton {skeletons[0].name} is not beside it")
    with reading(skeleton, "an Acclaim skeleton"):
        bones, parents, unit = _read_asf(skeleton)
    with reading(path, "a motion of its skeleton, truncated?"):
        positions = _positions(bones, parents, _read_motion(path, bones))
    return {name: points * unit for name, points in positions.items()}


def _positions(bones: dict[str, dict], parents: dict[str, str], motion: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Forward kinematics: the far end (T, 3) of every bone, in the file's own unit."""
    position = {"root": motion["root"][:, :3]}
    rotation = {"root": Rotation.from_euler("xyz", motion["root"][:, 3:], degrees=True)}
    for name, parent in parents.items():
        bone = bones[name]
        # the angles turn about the bone's own axes, which `axis` gives in the rest pose
        axis = Rotation.from_euler("xyz", bone["axis"], degrees=True)
        turn = Rotation.from_euler("xyz", motion[name], degrees=True)
        rotation[name] = rotation[parent] * (axis * turn * axis.inv())
        position[name] = position[parent] + rotation[name].apply(bone["direction"] * bone["length"])
    return position


def _read_asf(path: Path) -> tuple[dict[str, dict], dict[str, str], float]:
    """Bones (axis, direction, length, dof), parent of each in order parents first, and mm per file unit."""
    bones: dict[str, dict] = {}
    parents: dict[str, str] = {}
    bone: dict = {}
    section, scale = "", 1.0
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            section = words[0]
        elif section == ":units" and words[0] == "length":
            scale = float(words[1])
        elif section == ":units" and words[0] == "angle" and words[1] != "deg":
            raise ValueError(f"angles in {words[1]}, only deg is read")
        elif section == ":root" and words[0] == "order" and [word.upper() for word in words[1:]] != _ROOT_ORDER:
            raise ValueError(f"root order {' '.join(words[1:])}, only {' '.join(_ROOT_ORDER)} is read")
        elif section == ":bonedata":
            if words[0] == "begin":
                bone = {"dof": []}
            elif words[0] == "name":
                bones[words[1]] = bone
            elif words[0] in ("direction", "axis"):
                bone[words[0]] = np.array(words[1:4], dtype=float)
                if words[0] == "axis" and words[4:] != ["XYZ"]:
                    raise ValueError(f"axis order {' '.join(words[4:])}, only XYZ is read")
            elif words[0] == "length":
                bone["length"] = float(words[1])
            elif words[0] == "dof":
                bone["dof"] = [["rx", "ry", "rz"].index(word) for word in words[1:]]
        elif section == ":hierarchy" and words[0] not in ("begin", "end"):
            parents.update(dict.fromkeys(words[1:], words[0]))
    if not parents:
        raise ValueError("no hierarchy")
    hung = {"root"}
    for name, parent in parents.items():
        lacking = {"axis", "direction", "length"} - bones[name].keys() if name in bones else {"bone data"}
        if lacking:
            raise ValueError(f"no {', '.join(sorted(lacking))} of {name!r}")
        if parent not in hung:
            raise ValueError(f"{name!r} hangs on {parent!r}, which comes after it or not at all")
        hung.add(name)
    # Acclaim lengths are inches once divided by the unit
    return bones, parents, 25.4 / scale


def _read_motion(path: Path, bones: dict[str, dict]) -> dict[str, np.ndarray]:
    """Angles (T, 3) about x, y, z in degrees by bone; of the root: position and angles (T, 6)."""
    rows: dict[str, list[list[float]]] = {"root": [], **{name: [] for name in bones}}
    frames = 0
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if words[0].isdigit():
            frames += 1
        else:
            rows[words[0]].append([float(word) for word in words[1:]])
    motion = {"root": np.array(rows.pop("root")).reshape(frames, 6)}
    for name, values in rows.items():
        motion[name] = np.zeros((frames, 3))
        dof = bones[name]["dof"]
        if dof:
            motion[name][:, dof] = np.array(values).reshape(frames, len(dof))
    if frames == 0:
        raise ValueError("no frames")
    return motion
