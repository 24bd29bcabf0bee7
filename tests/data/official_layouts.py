"""Writes tiny data sets in the official layouts, with made-up content.

python tests/data/official_layouts.py DIR    writes DIR/mupots, DIR/3dpw, DIR/coco, DIR/images and DIR/mocap.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import scipy.io

from mpose3d.data.smpl import HEAD_TOP_VERTEX
from mpose3d.skeleton import SMPL_24

JOINTS_15 = (
    "head_top", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
    "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "pelvis",
)  # fmt: skip

# a standing body in mm, x to its left, y up, z forward; knees a little bent
_HALF = {"shoulder": (165, 1430, 0), "elbow": (190, 1150, -20), "wrist": (200, 920, 60)}
_HALF |= {"hip": (100, 950, 0), "knee": (105, 525, 40), "ankle": (105, 125, 0)}
STANDING = {
    f"{side}_{joint}": np.array([sign * x, y, z], dtype=float)
    for side, sign in (("l", 1), ("r", -1))
    for joint, (x, y, z) in _HALF.items()
}
STANDING |= {"head_top": np.array([0.0, 1690, 20]), "neck": np.array([0.0, 1430, 0]), "pelvis": np.array([0.0, 950, 0])}


def standing(frames: int) -> np.ndarray:
    """(frames, 15, 3): the standing body, raising its left arm a little from frame to frame."""
    poses = np.stack([STANDING[name] for name in JOINTS_15])[None].repeat(frames, axis=0)
    poses[:, JOINTS_15.index("l_wrist"), 1] += 20 * np.arange(frames)
    return poses


def write_picture(path: Path, width: int, height: int, seed: int = 0) -> None:
    """A smooth random picture, so that JPEG changes it little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def write_mupots(root: Path, sequences: tuple[str, ...] = ("TS1", "TS6"), frames: int = 4, people: int = 2) -> Path:
    """MultiPersonTestSet/TSn with annot.mat, occlusion.mat and pictures at a tenth of the official size."""
    for s, name in enumerate(sequences):
        rng = np.random.default_rng(s)
        folder = root / "MultiPersonTestSet" / name
        folder.mkdir(parents=True)
        annotations = np.empty((frames, people), dtype=object)
        occlusion = np.empty((frames, people), dtype=object)
        for f in range(frames):
            for p in range(people):
                mm = rng.normal(0, 400, (3, 17)) + np.array([[0], [0], [3000]])
                annotations[f, p] = {
                    "annot2": 1000 * mm[:2] / mm[2:] + 500,
                    "annot3": mm,
                    "univ_annot3": 1.1 * mm,
                    "isValidFrame": np.uint8((f + p) % 4 != 3),
                }
                occlusion[f, p] = rng.integers(0, 2, (1, 17)).astype(np.uint8)
            size = (204, 204) if name == "TS1" else (192, 108)
            write_picture(folder / f"img_{f:06d}.jpg", *size, seed=f)
        scipy.io.savemat(folder / "annot.mat", {"annotations": annotations})
        scipy.io.savemat(folder / "occlusion.mat", {"occlusion_labels": occlusion})
    return root


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike as the 8-bit strings of Python 2, and NumPy under its name of that time."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def _save_string(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_string


def python2_pickle(content: object) -> bytes:
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def threedpw_content(name: str, frames: int = 3, people: int = 2) -> dict:
    """One sequence's dict: the camera looks along +z from 4 m; metres, as in the official pickles."""
    rng = np.random.default_rng(len(name))
    cam_poses = np.tile(np.eye(4), (frames, 1, 1))
    cam_poses[:, 2, 3] = 4.0
    return {
        "sequence": name,
        "betas": [rng.normal(size=10) for _ in range(people)],
        "poses": [rng.normal(0, 0.2, (frames, 72)) for _ in range(people)],
        "trans": [rng.normal(size=(frames, 3)) for _ in range(people)],
        "poses_60Hz": [rng.normal(size=(2 * frames, 72)) for _ in range(people)],
        "genders": ["m", "f"][:people],
        "texture_maps": [],
        "poses2d": [rng.uniform(0, 1000, (frames, 3, 18)) for _ in range(people)],
        "jointPositions": [rng.normal(0, 0.4, (frames, 72)) for _ in range(people)],
        "img_frame_ids": np.arange(0, 2 * frames, 2),
        "cam_poses": cam_poses,
        "campose_valid": [np.arange(frames) != 1 for _ in range(people)],
        "cam_intrinsics": np.array([[1960.0, 0, 540], [0, 1960, 960], [0, 0, 1]]),
    }


def write_threedpw(root: Path, frames: int = 3) -> Path:
    for split, name in (("train", "park_00"), ("validation", "street_00"), ("test", "office_00"), ("test", "yard_01")):
        file = root / "sequenceFiles" / split / f"{name}.pkl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(python2_pickle(threedpw_content(name, frames)))
        for f in range(frames):
            write_picture(root / "imageFiles" / name / f"image_{f:05d}.jpg", 108, 192, seed=f)
    return root


def coco_person(number: int, image_id: int, box: tuple[float, float, float, float], labelled: bool = True) -> dict:
    """A person whose keypoints lie on the diagonal of the box; the last one is not labelled."""
    x, y, width, height = box
    keypoints = [v for i in range(17) for v in (round(x + i / 17 * width), round(y + i / 17 * height), 2)]
    keypoints[-3:] = [0, 0, 0]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "area": width * height / 2,
        "bbox": list(box),
        "segmentation": [],
        "keypoints": keypoints if labelled else [0] * 51,
        "num_keypoints": 16 if labelled else 0,
    }


def write_coco(root: Path, images: int = 5) -> Path:
    """Every image has a labelled person; image 2 a second, small one; image 3 one without keypoints and a crowd."""
    for split in ("train2017", "val2017"):
        entries, people = [], []
        for i in range(1, images + 1):
            name = f"{i:012d}.jpg"
            write_picture(root / split / name, 64, 48, seed=i)
            entries.append({"id": i, "file_name": name, "width": 64, "height": 48})
            people.append(coco_person(10 * i, i, (10, 8, 20, 34)))
            if i == 2:
                people.append(coco_person(10 * i + 1, i, (40, 10, 8, 12)))
            if i == 3:
                people.append(coco_person(10 * i + 1, i, (25, 10, 20, 20), labelled=False))
                people.append(coco_person(10 * i + 2, i, (50, 0, 14, 10), labelled=False) | {"iscrowd": 1})
        file = root / "annotations" / f"person_keypoints_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": entries, "annotations": people, "categories": []}))
    return root


def write_images(root: Path) -> Path:
    """Six pictures of several sizes in two folders, and a video of five frames."""
    for i in range(6):
        write_picture(root / f"day{i % 2}" / f"{i}.{'jpg' if i % 3 else 'png'}", 40 + 10 * i, 70 - 5 * i, seed=i)
    video = cv2.VideoWriter(str(root / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(5):
        video.write(np.full((48, 64, 3), 40 * i + 20, dtype=np.uint8))
    video.release()
    return root


_BVH_TREE = {
    "Hips": {
        "Spine": {
            "LeftArm": {"LeftForeArm": {"LeftHand": {}}},
            "RightArm": {"RightForeArm": {"RightHand": {}}},
            "Head": {},
        },
        "LeftUpLeg": {"LeftLeg": {"LeftFoot": {}}},
        "RightUpLeg": {"RightLeg": {"RightFoot": {}}},
    }
}


def write_bvh(path: Path, frames: int = 3, names: dict[str, str] | None = None) -> Path:
    """The standing body in cm with z-x-y channels, turned by 10 degrees about y per frame; `names` renames joints."""
    at = {"Hips": STANDING["pelvis"], "Spine": np.array([0.0, 1100, 0]), "Head": np.array([0.0, 1550, 10])}
    parts = {"UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "Arm": "shoulder", "ForeArm": "elbow", "Hand": "wrist"}
    for side, short in (("Left", "l"), ("Right", "r")):
        at |= {side + part: STANDING[f"{short}_{joint}"] for part, joint in parts.items()}
    lines, joints = ["HIERARCHY"], []

    def add(tree: dict, parent: np.ndarray, depth: int) -> None:
        for name, children in tree.items():
            joints.append(name)
            offset = (at[name] - parent) / 10
            channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation" if depth == 0 else ""
            lines.extend(
                [
                    f"{'ROOT' if depth == 0 else 'JOINT'} {(names or {}).get(name, name)}",
                    "{",
                    f"OFFSET {offset[0]} {offset[1]} {offset[2]}",
                    f"CHANNELS {channels or '3 Zrotation Xrotation Yrotation'}",
                ]
            )
            add(children, at[name], depth + 1)
            if not children:
                end = (STANDING["head_top"] - at["Head"]) / 10 if name == "Head" else np.zeros(3)
                lines.extend(["End Site", "{", f"OFFSET {end[0]} {end[1]} {end[2]}", "}"])
            lines.append("}")

    add(_BVH_TREE, np.zeros(3), 0)
    lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.0333333"]
    for f in range(frames):
        root = [*(at["Hips"] / 10), 0, 0, 10 * f]
        lines.append(" ".join(map(str, root + [0] * 3 * (len(joints) - 1))))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_mocap(root: Path) -> Path:
    write_bvh(root / "walks" / "walk_1.bvh")
    write_bvh(root / "walks" / "walk_2.bvh")
    write_bvh(root / "jumps" / "jump.bvh", frames=2)
    return root


def write_smpl_model(path: Path) -> None:
    """A body of 6890 vertices at its own joints, and one at the top of the head."""
    vertices, regressor = np.zeros((6890, 3)), np.zeros((24, 6890))
    for j, name in enumerate(SMPL_24.names):
        vertices[j], regressor[j, j] = STANDING.get(name, np.zeros(3)) / 1000, 1
    vertices[HEAD_TOP_VERTEX] = STANDING["head_top"] / 1000
    weights = np.zeros((6890, 24))
    weights[:, 0] = 1
    content = {
        "v_template": vertices, "shapedirs": np.zeros((6890, 3, 10)), "posedirs": np.zeros((6890, 3, 207), np.float32),
        "J_regressor": regressor, "weights": weights, "f": np.zeros((1, 3), np.int64),
        "kintree_table": np.array([[-1, *range(23)], list(range(24))]),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_mupots(target / "mupots")
    write_threedpw(target / "3dpw")
    write_coco(target / "coco")
    write_images(target / "images")
    write_mocap(target / "mocap")
    print(f"wrote {', '.join(str(path) for path in sorted(target.iterdir()))}")
