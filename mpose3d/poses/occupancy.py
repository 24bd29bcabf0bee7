"""Pose-conditioned occupancy: where a forearm or a shin may point, given where the limb above it points.

A flat box per joint (`poses.limits`) cannot say that an elbow and a knee bend one way, because "one way" turns with the
upper arm and the thigh. This table, learned from motion capture, can. Directions are those in the canonical frame. The
sphere of the upper limb and that of the lower limb are divided into bins around quasi-uniform points, and a pair of
bins is occupied where some real pose comes close to both. Left limbs mirror right ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.files import open_npz, whole_or_none
from mpose3d.geometry.directions import turned
from mpose3d.geometry.kinematics import limb_directions, mirrored
from mpose3d.geometry.precision import full_precision
from mpose3d.skeleton import SKELETON

#: The pairs (upper, lower) of the right side, by the joints at which their limbs end.
_RIGHT = (SKELETON.indices("r_elbow", "r_wrist"), SKELETON.indices("r_knee", "r_ankle"))
_MIRROR = (1.0, -1.0, 1.0)


class PoseOccupancy:
    """Which directions of the lower limb are possible, given that of the upper one: arms and legs.

    Args:
        occupied: (2, B, B) bool, by arm or leg, bin of the upper limb, bin of the lower one. Bins belong to the points
            of `sphere_points(B)`. The lower limb's is counted after the turn that brings the upper limb, by the
            shortest way, to the centre of its bin, so that a wide bin does not blur the angle between the two.

    Raises:
        ValueError: a table of another shape or type.
    """

    def __init__(self, occupied: Tensor) -> None:
        bins = occupied.shape[-1] if occupied.ndim else 0
        if occupied.dtype != torch.bool or occupied.shape != (len(_RIGHT), bins, bins):
            raise ValueError(f"occupied must be bool (2, bins, bins), not {occupied.dtype} {tuple(occupied.shape)}")
        self._occupied = occupied
        self._points = sphere_points(bins)

    @classmethod
    def fit(
        cls,
        poses: Float[Tensor, "n 15 3"],
        bins: int = 400,
        upper_radius: float = 35.0,
        lower_radius: float = 25.0,
        least: int = 2,
    ) -> Self:
        """The table of canonical poses and their mirror images.

        Args:
            poses: canonical, of any bone lengths.
            bins: of each sphere; 400 are 10 degrees apart.
            upper_radius, lower_radius: degrees within which a real pose counts for the bins around it. Motion capture
                leaves gaps that people do not; docs/prior.md has what other radii let in and keep out.
            least: poses that make a pair of bins occupied; one alone may be a slip of the recording.

        Raises:
            ValueError: spheres without bins.
        """
        if bins < 1:
            raise ValueError(f"a sphere has a bin or more, not {bins}")
        points = sphere_points(bins)
        near_by = torch.zeros(len(_RIGHT), bins, bins, dtype=torch.long)
        both = limb_directions(torch.cat([poses, mirrored(poses)]).float())
        for table, (upper, lower) in zip(near_by, _RIGHT, strict=True):
            u, v = both[:, upper], both[:, lower]
            for row, centre in zip(table, points, strict=True):
                near = u @ centre >= math.cos(math.radians(upper_radius))
                for part_u, part_v in zip(u[near].split(8192), v[near].split(8192), strict=True):
                    lower_limb = turned(part_v, part_u, centre)
                    row += (lower_limb @ points.T >= math.cos(math.radians(lower_radius))).sum(0)
        return cls(near_by >= least)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The table that `save` wrote.

        Raises:
            FileNotFoundError, ValueError: one line that names the file.
        """
        with open_npz(path, "a file of occupancy, which `mpose3d prior occupancy` makes") as archive:
            return cls(torch.from_numpy(archive["occupied"]))

    def save(self, path: str | Path) -> None:
        """Write the table as npz, whole or not at all."""
        with whole_or_none(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, occupied=self._occupied.numpy())

    @property
    def coverage(self) -> dict[str, float]:
        """Fraction of all pairs of directions that is occupied."""
        return dict(zip(("arm", "leg"), self._occupied.float().mean((1, 2)).tolist(), strict=True))

    @full_precision
    def inside(self, p_c: Float[Tensor, "*n 15 3"]) -> Bool[Tensor, "*n 15"]:
        """Which joints of a canonical pose are possible; all are but r_wrist, l_wrist, r_ankle, l_ankle.

        A limb without a direction (zero or NaN) is not.
        """
        occupied, points = self._occupied.to(p_c.device), self._points.to(p_c)
        directions = limb_directions(p_c)
        result = torch.ones(p_c.shape[:-1], dtype=torch.bool, device=p_c.device)
        for table, right in zip(occupied, _RIGHT, strict=True):
            for (upper, lower), side in ((right, 1.0), ([SKELETON.mirror[j] for j in right], -1.0)):
                turn = p_c.new_tensor(_MIRROR) if side < 0 else 1.0
                u, v = directions[..., upper, :] * turn, directions[..., lower, :] * turn
                row = (u @ points.T).argmax(-1)
                column = (turned(v, u, points[row]) @ points.T).argmax(-1)
                exists = (u.square().sum(-1) > 0.5) & (v.square().sum(-1) > 0.5)
                result[..., lower] = table[row, column] & exists
        return result


def sphere_points(n: int) -> Float[Tensor, "n 3"]:
    """Quasi-uniform unit vectors: the Fibonacci lattice (Swinbank and Purser, Q. J. R. Meteorol. Soc. 132, 2006)."""
    index = torch.arange(n, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / n
    azimuth = math.pi * (1 + math.sqrt(5)) * index
    around = (1 - z.square()).sqrt()
    return torch.stack([around * azimuth.cos(), around * azimuth.sin(), z], dim=-1).float()
