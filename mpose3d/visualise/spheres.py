"""Joint limits drawn on spheres, with the directions of poses on them (source, Fig. 3A)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from mpose3d.geometry.kinematics import canonical_to_local, mirrored
from mpose3d.poses.limits import JointLimits
from mpose3d.skeleton import SKELETON

_PIXELS = 240  # side of a sphere's picture
_EYE = (1.0, -0.8, 0.6)  # where the first view looks from, in the local frame
_WITHIN, _BEYOND = (0.55, 0.73, 0.93), (0.90, 0.90, 0.88)
_DOT, _STRAY = (0.05, 0.15, 0.35), (0.85, 0.1, 0.1)
_LINE = 1.5  # degrees either side of a range without width


def limits_picture(limits: JointLimits, p_c: Float[Tensor, "n 15 3"] | None = None) -> np.ndarray:
    """The spheres of the right side's joints, each from two opposite sides, what the limits allow in blue.

    Axes are those of the joint's local frame (`geometry.kinematics`). Dots are the directions of canonical poses, those
    of left joints mirrored; red ones are outside.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    local = None if p_c is None else canonical_to_local(torch.cat([p_c, mirrored(p_c)]).double())
    joints = list(limits.ranges)
    figure = Figure(figsize=(2.0 * len(joints), 4.3), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for column, name in enumerate(joints):
        directions = None if local is None else local[:, SKELETON.index(name)]
        for row, side in enumerate((1.0, -1.0)):
            axes = figure.add_subplot(2, len(joints), row * len(joints) + column + 1)
            _sphere(axes, limits, name, _view(side), directions)
            if row == 0:
                axes.set_title(name, fontsize=10)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _view(side: float) -> Tensor:
    """Rows right, up and towards the eye, in the local frame, seen from `_EYE` or from the opposite point."""
    towards = normalize(side * torch.tensor(_EYE, dtype=torch.float64), dim=0)
    right = normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), towards), dim=0)
    return torch.stack([right, torch.linalg.cross(towards, right), towards])


def _sphere(axes: Axes, limits: JointLimits, joint: str, view: Tensor, directions: Tensor | None) -> None:
    steps = torch.linspace(-1.02, 1.02, _PIXELS, dtype=torch.float64)
    up, right = torch.meshgrid(-steps, steps, indexing="ij")
    height = (1 - right.square() - up.square()).clamp_min(0).sqrt()
    within = _excess(limits, joint, torch.stack([right, up, height], dim=-1) @ view) <= _width(limits, joint)
    colour = torch.where(within[..., None], torch.tensor(_WITHIN), torch.tensor(_BEYOND))
    shade = (0.55 + 0.45 * height)[..., None]
    ground = (right.square() + up.square() > 1)[..., None]
    picture = torch.where(ground, 1.0, colour * shade)
    extent = (-1.02, 1.02, -1.02, 1.02)
    axes.imshow(picture.clamp(0, 1).numpy(), extent=extent, interpolation="antialiased")
    for axis, label in enumerate("xyz"):
        end = view[:, axis]
        if end[2] > 0:
            axes.annotate(
                "", xy=1.02 * end[:2], xytext=(0, 0), arrowprops={"arrowstyle": "-", "color": "0.35", "lw": 0.8}
            )
            axes.annotate(label, 1.1 * end[:2], ha="center", va="center", fontsize=8, color="0.25")
    if directions is not None:
        seen = directions @ view.T
        outside = _excess(limits, joint, directions) > _width(limits, joint)
        for colour, of_it in ((_DOT, ~outside), (_STRAY, outside)):
            shown = seen[of_it & (seen[:, 2] > 0)]
            axes.scatter(shown[:, 0], shown[:, 1], s=1.2, color=colour, linewidths=0)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    axes.set_axis_off()


def _excess(limits: JointLimits, joint: str, directions: Tensor) -> Tensor:
    """Degrees (...) by which directions (..., 3) of one joint leave its limits."""
    index = SKELETON.index(joint)
    p_l = directions.new_zeros(*directions.shape[:-1], len(SKELETON), 3)
    p_l[..., index, :] = directions
    return limits.excess(p_l)[..., index]


def _width(limits: JointLimits, joint: str) -> float:
    """Degrees beyond the limits that still count: none, but a range without width would not be seen."""
    joint_range = limits.ranges[joint]
    return _LINE if joint_range.elevation[0] == joint_range.elevation[1] or joint_range.width == 0 else 0.05
