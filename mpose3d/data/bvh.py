"""BVH motion capture: the hierarchy, its channels, and the positions that they give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mpose3d.files import reading

_CHANNELS = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}


@dataclass(frozen=True)
class BvhJoint:
    """A joint or end site: its parent's index (-1: none), offset from it (3,), and channels ("xposition", ...)."""

    name: str
    parent: int
    offset: np.ndarray
    channels: tuple[str, ...]


def read_bvh(path: Path) -> dict[str, np.ndarray]:
    """Positions (T, 3) of every joint by name, in the file's own unit and axes; an end site is called "<parent>_end".

    An end site at offset 0 was not measured. It is given the offset of its joint, so that the limb goes on in the same
    direction and the top of the head is not its base. For the same reason a head that has joints but no end site (eyes,
    a jaw) gets "<head>_beyond", at the offset of the head.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a BVH file, or its motion does not fit its hierarchy.
    """
    with reading(path, "a readable BVH file"):
        head, found, motion = path.read_text(encoding="utf-8-sig", errors="replace").partition("MOTION")
        if not found or not head.lstrip().startswith("HIERARCHY"):
            raise ValueError("HIERARCHY and MOTION sections expected")
        joints = _hierarchy(head.split()[1:])
        header, frames = motion.split("Frame Time:")
        count = int(header.split()[-1])
        values = np.array(frames.split()[1:], dtype=float)
        width = sum(len(joint.channels) for joint in joints)
        if count == 0 or values.size != count * width:
            raise ValueError(f"{count} frames of {width} channels announced, {values.size} values found: truncated?")
        return _positions(joints, values.reshape(count, width))


def _hierarchy(tokens: list[str]) -> list[BvhJoint]:
    joints: list[BvhJoint] = []
    open_joints: list[int] = []
    at = 0
    while at < len(tokens):
        word = tokens[at]
        if word in ("ROOT", "JOINT", "End"):
            # names may hold spaces ("Bip01 L Thigh")
            brace = tokens.index("{", at)
            name = " ".join(tokens[at + 1 : brace])
            parent = open_joints[-1] if open_joints else -1
            if word == "End":
                name = f"{joints[parent].name}_end"
            at = brace + 1
            if tokens[at] != "OFFSET":
                raise ValueError(f"no OFFSET of {name!r}")
            offset = np.array(tokens[at + 1 : at + 4], dtype=float)
            at += 4
            if word == "End" and not offset.any():
                offset = joints[parent].offset
            channels: tuple[str, ...] = ()
            if tokens[at] == "CHANNELS":
                count = int(tokens[at + 1])
                channels = tuple(channel.lower() for channel in tokens[at + 2 : at + 2 + count])
                if not _CHANNELS.issuperset(channels):
                    raise ValueError(f"channels {' '.join(channels)} of {name!r}")
                at += 2 + count
            if word != "End" and any(joint.name == name for joint in joints):
                raise ValueError(f"two joints called {name!r}: give each person a file")
            open_joints.append(len(joints))
            joints.append(BvhJoint(name, parent, offset, channels))
        elif word == "}":
            open_joints.pop()
            at += 1
        else:
            raise ValueError(f"unexpected {word!r}")
    if open_joints or not joints:
        raise ValueError("unbalanced braces")
    names, with_joints = {joint.name for joint in joints}, {joint.parent for joint in joints}
    beyond = [
        BvhJoint(f"{joint.name}_beyond", i, joint.offset, ())
        for i, joint in enumerate(joints)
        if joint.name.lower().endswith("head") and i in with_joints and f"{joint.name}_end" not in names
    ]
    return joints + beyond


def _positions(joints: list[BvhJoint], values: np.ndarray) -> dict[str, np.ndarray]:
    """Forward kinematics: rotations apply in the order of the channels, about the joint's own axes."""
    frames = len(values)
    positions: list[np.ndarray] = []
    rotations: list[Rotation] = []
    column = 0
    for joint in joints:
        channels = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        local = np.broadcast_to(joint.offset, (frames, 3)).copy()
        for i, channel in enumerate(joint.channels):
            if channel.endswith("position"):
                # a position channel replaces the offset
                local[:, "xyz".index(channel[0])] = channels[:, i]
        turning = [i for i, channel in enumerate(joint.channels) if channel.endswith("rotation")]
        if turning:
            order = "".join(joint.channels[i][0].upper() for i in turning)
            rotation = Rotation.from_euler(order, channels[:, turning], degrees=True)
        else:
            rotation = Rotation.identity(frames)
        if joint.parent >= 0:
            local = positions[joint.parent] + rotations[joint.parent].apply(local)
            rotation = rotations[joint.parent] * rotation
        positions.append(local)
        rotations.append(rotation)
    return {joint.name: position for joint, position in zip(joints, positions, strict=True)}
