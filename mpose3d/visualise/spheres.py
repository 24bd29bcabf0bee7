"""Joint limits drawn on spheres, with the directions of poses on them (source, Fig. 3A)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from mpose3d.geometry.kinematics import canonical_to_local, mirrored
from mpose3d.poses.limits import JointLimits
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.pictures import figure_picture

_PIXELS = 240  # side of a sphere's picture
_EYE = (1.0, -0.8, 0.6)  # where the first view looks from, in the local frame
_WITHIN, _BEYOND = (0.55, 0.73, 0.93), (0.90, 0.90, 0.88)
_DOT, _STRAY = (0.05, 0.15, 0.35), (0.85, 0.1, 0.1)
_LINE = 1.5  # degrees either side of a range without width
_EDGE = 1.02  # half the side of a picture, in radii


def limits_picture(limits: JointLimits, p_c: Float[Tensor, "n 15 3"] | None = None) -> np.ndarray:
    """The spheres of the right side's joints, each from two opposite sides, what the limits allow in blue.

    Axes are those of the joint's local frame (`geometry.kinematics`). Dots are the directions of canonical poses, those
    of left joints mirrored; red ones are outside.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    local = torch.zeros(0, len(SKELETON), 3)
    if p_c is not None:
        local = canonical_to_local(torch.cat([p_c, mirrored(p_c)]).float())
    strays = limits.excess(local)
    figure = Figure(figsize=(2.0 * len(limits.ranges), 4.3), dpi=110)
    for row, side in enumerate((1.0, -1.0)):
        view = _view(side)
        disc = _Disc(view, limits)
        for column, (name, joint_range) in enumerate(limits.ranges.items()):
            width = 1 / len(limits.ranges)
            axes = figure.add_axes((column * width, 0.46 * (1 - row), width, 0.46))
            j = SKELETON.index(name)
            # a range without width is drawn as a line
            beyond = _LINE if joint_range.coverage == 0 else 0.05
            axes.imshow(disc.picture(disc.excess[..., j] <= beyond), extent=(-_EDGE, _EDGE, -_EDGE, _EDGE))
            _arrows(axes, view)
            _dots(axes, local[:, j] @ view.T, strays[:, j] > beyond)
            axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
            axes.set_axis_off()
            if row == 0:
                axes.set_title(name, fontsize=10)
    return figure_picture(figure)


def _view(side: float) -> Tensor:
    """Rows right, up and towards the eye, in the local frame, seen from `_EYE` or from the opposite point."""
    towards = normalize(side * torch.tensor(_EYE), dim=0)
    right = normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), towards), dim=0)
    return torch.stack([right, torch.linalg.cross(towards, right), towards])


class _Disc:
    """The half of a sphere that faces the eye, pixel by pixel; `excess` are degrees beyond the limits of each joint."""

    def __init__(self, view: Tensor, limits: JointLimits) -> None:
        steps = torch.linspace(-_EDGE, _EDGE, _PIXELS)
        up, right = torch.meshgrid(-steps, steps, indexing="ij")
        self._height = (1 - right.square() - up.square()).clamp_min(0).sqrt()
        self._outside = right.square() + up.square() > 1
        directions = torch.stack([right, up, self._height], dim=-1) @ view
        self.excess = limits.excess(directions[..., None, :].expand(-1, -1, len(SKELETON), 3))

    def picture(self, within: Tensor) -> np.ndarray:
        colour = torch.where(within[..., None], torch.tensor(_WITHIN), torch.tensor(_BEYOND))
        shaded = colour * (0.55 + 0.45 * self._height)[..., None]
        return torch.where(self._outside[..., None], 1.0, shaded).numpy()


def _arrows(axes: Axes, view: Tensor) -> None:
    """The axes of the local frame that point to the eye's side."""
    for end, label in zip(view.T.tolist(), "xyz", strict=True):
        if end[2] > 0:
            axes.plot([0, _EDGE * end[0]], [0, _EDGE * end[1]], color="0.35", linewidth=0.8)
            axes.text(1.1 * end[0], 1.1 * end[1], label, ha="center", va="center", fontsize=8, color="0.25")


def _dots(axes: Axes, seen: Tensor, stray: Tensor) -> None:
    for colour, of_it in ((_DOT, ~stray), (_STRAY, stray)):
        shown = seen[of_it & (seen[:, 2] > 0)]
        axes.scatter(shown[:, 0], shown[:, 1], s=1.2, color=colour, linewidths=0)
