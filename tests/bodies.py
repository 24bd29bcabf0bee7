"""Bodies that tests are made with."""

from __future__ import annotations

import torch

from mpose3d.skeleton import MIDPOINTS, SKELETON

FORWARD, BACKWARD = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-1.0, 0.0, 0.0])
LEFT, RIGHT = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, -1.0, 0.0])
UP, DOWN = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, -1.0])


def standing(**limbs: torch.Tensor | tuple[float, float, float]) -> torch.Tensor:
    """A canonical pose (15, 3) with hanging arms; `limbs` are directions of the limbs that end at a joint."""
    directions = dict.fromkeys(SKELETON.names, DOWN) | {"neck": UP, "head_top": UP}
    directions |= {"l_shoulder": LEFT, "l_hip": LEFT, "r_shoulder": RIGHT, "r_hip": RIGHT} | limbs
    pose = torch.zeros(len(SKELETON), 3)
    for parent, child in SKELETON.tree:
        direction = torch.nn.functional.normalize(torch.as_tensor(directions[SKELETON.names[child]]), dim=0)
        pose[child] = pose[parent] + SKELETON.bone_lengths[child] * direction
    return pose


def with_midpoints(joints: torch.Tensor) -> torch.Tensor:
    """Random joints (..., 15, D), with neck and pelvis where they are by definition."""
    joints = joints.clone()
    for middle, sides in MIDPOINTS.items():
        joints[..., middle, :] = joints[..., sides, :].mean(-2)
    return joints
