"""Unpaired motion capture: BVH, C3D, Acclaim, AMASS and plain npz files -> clips of 15-joint poses in mm."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from os.path import commonprefix
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mpose3d.data.acclaim import read_amc
from mpose3d.data.bvh import read_bvh
from mpose3d.data.c3d_markers import read_c3d
from mpose3d.data.smpl import smpl_joints
from mpose3d.files import files_below, open_npz
from mpose3d.geometry.precision import normalize
from mpose3d.skeleton import MPOSE3D, SKELETON, SMPL_24, Layout, find_layout

SUFFIXES = (".npz", ".bvh", ".c3d", ".amc")

#: which clips are held out where nobody says: one choice for training and measuring, so that what was held out stays so
SPLIT_SEED = 4

# hip, knee, ankle, shoulder, elbow, wrist in the naming conventions of common BVH skeletons; * is the side
_BVH_NAMES = (
    "*upleg *leg *foot *arm *forearm *hand",  # MotionBuilder, Mixamo, CMU conversions, LAFAN1
    "*upperleg *lowerleg *foot *upperarm *lowerarm *hand",  # Unity, Blender
    "*hip *knee *ankle *shoulder *elbow *wrist",  # Biovision, SMPL
    "*thigh *shin *foot *shldr *forearm *hand",  # Poser, DAZ
    "*thigh *shin *foot *upperarm *forearm *hand",  # Blender's Rigify
    "*thigh *shin *foot *arm *forearm *hand",  # Rokoko
    "*thigh *calf *foot *upperarm *forearm *hand",  # 3ds Max Biped
    "*thigh *calf *foot *upperarm *lowerarm *hand",  # Unreal
)
_BVH_HEAD_TOPS = (
    "headtopend", "headend", "headtop", "headnub", "headtip", "headleaf", "head1", "headbeyond", "head", "spine006end",
)  # fmt: skip
_ASF_NAMES = "*hipjoint *femur *tibia *clavicle *humerus *radius"  # far ends of the bones
_PARTS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")

# mm: no layout has its pelvis further from the middle of the hips, and another joint in its place is twice as far
_PELVIS_AT_HIPS = 150
# mm: over clips of real motion the knees are 20 or more before the middle of hip and ankle
_KNEES_BACKWARD = -10


def find_motion_capture(path: Path | str) -> list[Path]:
    """The file itself, or the files of motion capture below a folder, sorted.

    Raises:
        FileNotFoundError: no such path, or no such file in it.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such motion capture file or folder")
    files = [file for file in files_below(path) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise FileNotFoundError(f"{path}: no motion capture ({', '.join(SUFFIXES)}) in this folder")
    return files


def read_motion_capture(
    path: Path | str, layout: str = "mupots", body_models: Path | str | None = None
) -> dict[str, Tensor]:
    """Clips of motion by name: (T, 15, 3) float32, joints of `SKELETON` in mm, in the axes of the file.

    `path` is a file, or a folder that is searched for .npz, .bvh, .c3d and .amc files. A clip is named after its file
    relative to the folder, but those of an npz file of several after their arrays (and the file, where two files have
    the same). BVH files state no unit: their bodies are scaled to the legs of `SKELETON`. Frames of a C3D file in which
    a needed marker is hidden are left out.

    Args:
        path: file or folder.
        layout: joints of plain arrays (T, J, 3) in mm in npz files, a key of `LAYOUTS`. An array `poses` (N, 15, 3),
            as `mpose3d prior` writes it, holds joints of `SKELETON` whatever this says.
        body_models: folder of SMPL model files, for AMASS files (`poses`, `betas`, `trans`).

    Raises:
        FileNotFoundError: no such path, no motion in it, or a file that one of them needs is missing.
        ImportError: an optional package is missing.
        ValueError: a file that is malformed, truncated or of another layout.
    """
    path = Path(path)
    clips: dict[str, Tensor] = {}
    for file in find_motion_capture(path):
        prefix = (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()
        suffix = file.suffix.lower()
        if suffix == ".npz":
            found = _read_npz(file, prefix, layout, body_models)
        elif suffix == ".bvh":
            found = {prefix: _scaled_to_skeleton(_body(_limbs(read_bvh(file), _BVH_NAMES, file)), file)}
        elif suffix == ".c3d":
            found = {prefix: _body(read_c3d(file))}
        elif suffix == ".amc":
            found = {prefix: _body(_limbs(read_amc(file), (_ASF_NAMES,), file))}
        else:
            raise ValueError(f"{file}: not motion capture, expected one of {', '.join(SUFFIXES)}")
        for name, poses in found.items():
            if suffix == ".c3d":
                poses = poses[poses.isfinite().all(dim=-1).all(dim=-1)]
            _check(poses, f"{file} ({name})")
            if name in clips:
                name = f"{prefix}{file.suffix}" if name == prefix else f"{prefix}/{name}"
            if name in clips:
                raise ValueError(f"{file}: a second clip named {name!r}; rename one of the two files")
            clips[name] = poses
    if not clips:
        raise ValueError(f"{path}: shapes of bodies and no motion")
    return clips


def split_clips(
    clips: Mapping[str, Tensor], held_out: float, seed: int = SPLIT_SEED
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Training clips and held-out clips: about the fraction `held_out` of the frames, never parts of one recording.

    Clips of the same folder, or whose names differ only in a trailing number ("walk_1", "walk_2"), stay together.

    Raises:
        ValueError: `held_out` is outside [0, 1), or there is only one group to divide.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a fraction in [0, 1), got {held_out}")
    if held_out == 0:
        return dict(clips), {}
    groups: dict[str, list[str]] = {}
    for name in sorted(clips):
        folder = name.rpartition("/")[0]
        groups.setdefault(folder or re.sub(r"[_\-\s]?\d+$", "", name), []).append(name)
    if len(groups) < 2:
        raise ValueError(f"cannot hold out clips: all {len(clips)} belong to one recording, {next(iter(groups), '')!r}")

    names = list(groups)
    order = [names[i] for i in torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()]
    frames = {name: sum(len(clips[clip]) for clip in groups[name]) for name in names}
    wanted, taken = held_out * sum(frames.values()), 0
    chosen: set[str] = set()
    for name in order:
        # a group that would overshoot by more than it helps is passed over
        if abs(taken + frames[name] - wanted) < abs(taken - wanted) and len(chosen) < len(names) - 1:
            chosen.add(name)
            taken += frames[name]
    chosen = chosen or {min(names, key=frames.__getitem__)}
    held = {clip for name in chosen for clip in groups[name]}
    return (
        {name: poses for name, poses in clips.items() if name not in held},
        {name: poses for name, poses in clips.items() if name in held},
    )


def _read_npz(file: Path, prefix: str, layout_name: str, body_models: Path | str | None) -> dict[str, Tensor]:
    with open_npz(file, "a readable npz file") as archive:
        keys = set(archive.files)
        if {"poses", "trans"} <= keys:
            return {prefix: _amass(archive, Path(body_models) if body_models else None)}
        if "betas" in keys and "poses" not in keys:
            return {}  # the shape of a body, which AMASS has beside its motions
        whole = "joints" if "joints" in keys else None  # the one array that is the whole file
        if whole is None and "poses" in keys and archive["poses"].shape[1:] == (len(SKELETON), 3):
            whole, layout_name = "poses", MPOSE3D.name
        arrays = {key: archive[key] for key in ([whole] if whole else sorted(keys))}
    if not arrays:
        raise ValueError(f"{file}: an npz without arrays, expected (T, J, 3) in mm")
    layout = find_layout(layout_name)
    clips = {}
    for key, array in arrays.items():
        if array.ndim != 3 or array.shape[1:] != (len(layout), 3):
            raise ValueError(
                f"{file}: {key!r} has shape {array.shape}, expected (T, {len(layout)}, 3) of the layout {layout_name!r}"
            )
        _check_hips(array, layout, f"{file}: {key!r}")
        poses, visible = layout.to_skeleton(torch.from_numpy(array.astype(np.float32)))
        if not visible.all():
            lacking = ", ".join(SKELETON.names[j] for j in (~visible.all(dim=0)).nonzero().flatten())
            raise ValueError(f"{file}: the layout {layout_name!r} has no {lacking}, which a pose of the skeleton needs")
        clips[prefix if key == whole else key] = poses
    return clips


def _amass(archive: Mapping[str, np.ndarray], body_models: Path | None) -> Tensor:
    """AMASS: SMPL+H poses (T, 156), of which the first 22 joints are those of SMPL."""
    poses = archive["poses"][:, :66]
    poses = np.concatenate([poses, np.zeros((len(poses), 6))], axis=1)
    gender = archive["gender"].item() if "gender" in archive else "neutral"
    gender = gender.decode() if isinstance(gender, bytes) else gender
    joints, head_top = smpl_joints(poses, archive["betas"], archive["trans"], gender, body_models)
    named = {name: joints[:, j] for j, name in enumerate(SMPL_24.names)}
    return _body(named | {"head_top": head_top})


def _limbs(positions: Mapping[str, np.ndarray], conventions: tuple[str, ...], file: Path) -> dict[str, np.ndarray]:
    """The limb joints and the top of the head, found by the first naming convention that fits."""
    plain: dict[str, list[str]] = defaultdict(list)
    for short, name in zip(_plain(positions), positions, strict=True):
        plain[short].append(name)
    for convention in conventions:
        parts = convention.split()
        for right, left in (("right", "left"), ("r", "l")):
            for template in ("{side}{part}", "{part}{side}"):
                names = {
                    f"{short}_{joint}": template.format(side=side, part=part.strip("*"))
                    for short, side in (("r", right), ("l", left))
                    for joint, part in zip(_PARTS, parts, strict=True)
                }
                head_top = next((name for name in _BVH_HEAD_TOPS if name in plain), None)
                if head_top and all(name in plain for name in names.values()):
                    chosen = {joint: plain[name] for joint, name in (names | {"head_top": head_top}).items()}
                    for joint, originals in chosen.items():
                        if len(originals) > 1:
                            raise ValueError(f"{file}: {joint} is {' or '.join(originals)}: give each person a file")
                    return {joint: positions[original] for joint, (original,) in chosen.items()}
    raise ValueError(
        f"{file}: no known joint names among {', '.join(positions)}; "
        "convert it to an npz of joint positions (T, J, 3) in mm (docs/data.md)"
    )


def _plain(names: Iterable[str]) -> list[str]:
    """ "mixamorig:LeftUpLeg", "Bip01 L Thigh" -> "leftupleg", "lthigh", without what all of them begin with."""
    names = [re.split(r"[:|]", name)[-1].lower() for name in names]
    if all(re.search(r"\.\d{3}(_end)?$", name) for name in names):  # of a second armature in Blender
        names = [re.sub(r"\.\d{3}(?=(_end)?$)", "", name) for name in names]
    names = [re.sub(r"[^a-z0-9]", "", name) for name in names]
    shared = len(commonprefix(names)) if len(names) > 1 else 0  # noqa: RUF071 - letter by letter, as is wanted
    return [re.sub(r"^(mixamorig\d*|bip\d+)", "", name[shared:]) for name in names]


def _body(points: Mapping[str, np.ndarray]) -> Tensor:
    """The 15 joints of the skeleton, whose neck and pelvis are midpoints by definition."""
    points = dict(points)
    points["neck"] = (points["r_shoulder"] + points["l_shoulder"]) / 2
    points["pelvis"] = (points["r_hip"] + points["l_hip"]) / 2
    return torch.as_tensor(np.stack([points[name] for name in SKELETON.names], axis=1), dtype=torch.float32)


def _legs(poses: Tensor) -> tuple[Tensor, ...]:
    """Hips, knees and ankles (T, 2, 3), right and left."""
    return tuple(poses[:, SKELETON.indices(f"r_{joint}", f"l_{joint}")] for joint in ("hip", "knee", "ankle"))


def _leg_length(poses: Tensor) -> Tensor:
    hip, knee, ankle = _legs(poses)
    return ((knee - hip).norm(dim=-1) + (ankle - knee).norm(dim=-1)).mean()


def _scaled_to_skeleton(poses: Tensor, file: Path) -> Tensor:
    length = _leg_length(poses)
    if not length > 0:
        raise ValueError(f"{file}: a body without size (its legs are {length:.3g} long)")
    return poses * (sum(SKELETON.bone_lengths[j] for j in SKELETON.indices("r_knee", "r_ankle")) / length)


def _check_hips(array: np.ndarray, layout: Layout, what: str) -> None:
    """Raises ValueError where the joints are of another layout: the pelvis is far from the hips."""
    if {"pelvis", "r_hip", "l_hip"} <= set(layout.names):
        pelvis, right, left = (array[:, layout.index(name)] for name in ("pelvis", "r_hip", "l_hip"))
        apart = np.linalg.norm(pelvis - (right + left) / 2, axis=-1)
        if np.nanmean(apart) > _PELVIS_AT_HIPS:
            raise ValueError(
                f"{what} has the pelvis {np.nanmean(apart):.0f} mm from the middle of the hips: its joints are not "
                f"those of {layout.name!r}, name their layout"
            )


def _knees_forward(poses: Tensor) -> float:
    """How far knees lie before the middle of hip and ankle, in the mean: mm, negative in a mirror."""
    hip, knee, ankle = _legs(poses)
    up = poses[:, SKELETON.index("neck")] - poses[:, SKELETON.root]
    forward = normalize(torch.linalg.cross(up, hip[:, 0] - hip[:, 1]))
    return float(((knee - (hip + ankle) / 2) * forward[:, None]).sum(-1).mean())


def _check(poses: Tensor, what: str) -> None:
    if len(poses) == 0:
        raise ValueError(f"{what}: no frame with every joint")
    if not poses.isfinite().all():
        raise ValueError(f"{what}: NaN or infinite joint positions")
    length = float(_leg_length(poses))
    # from a small child to a giant: anything else is another unit
    if not 300 < length < 1500:
        raise ValueError(f"{what}: legs of {length:.3g} mm, expected 300 to 1500: are the positions in mm?")
    if _knees_forward(poses) < _KNEES_BACKWARD:
        raise ValueError(
            f"{what}: knees that bend the wrong way: left and right are exchanged, or the axes are left-handed, as "
            "Unity's and Unreal's (negate one of them)"
        )
