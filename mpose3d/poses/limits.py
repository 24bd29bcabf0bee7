"""Joint limits: ranges of azimuth and elevation in the local frames (source, section 3.1 and Fig. 3A).

Each joint has spherical coordinates of its own, laid into its local frame (`geometry.kinematics`) by a pole and by the
direction of zero azimuth. The pole stands where the limb rarely points, so that azimuth is well defined for the
directions that matter, and so that a box in (azimuth, elevation) fits closely. The table is of the right side; left
joints mirror right ones. docs/prior.md gives the published range of motion behind each number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from mpose3d.geometry.constants import constant, like, take
from mpose3d.geometry.kinematics import DETERMINED
from mpose3d.geometry.precision import full_precision, normalize
from mpose3d.skeleton import SKELETON

# Degrees of arc on the sphere: float32 resolves no better close to a pole.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class JointRange:
    """A box in the spherical coordinates of one joint, degrees.

    Args:
        azimuth: (theta1, theta2), turning from `zero` towards pole x zero. A range may pass 180: (120, 240) and
            (120, -120) are the same. (-180, 180) is the whole turn.
        elevation: (gamma1, gamma2) with 0 <= gamma1 <= gamma2 <= 180, the angle from `pole`.
        pole: axis of the spherical coordinates in the local frame; any length.
        zero: direction of azimuth 0 in the local frame, taken orthogonal to the pole; any length.

    Raises:
        ValueError: a number out of its range, an elevation that runs backwards, a pole along `zero`.
    """

    azimuth: Sequence[float]
    elevation: Sequence[float]
    pole: Sequence[float]
    zero: Sequence[float]

    def __post_init__(self) -> None:
        for name, length in (("azimuth", 2), ("elevation", 2), ("pole", 3), ("zero", 3)):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), length))
        low, high = self.elevation
        if not (0 <= low <= 180 and 0 <= high <= 180):
            raise ValueError(f"elevation {[low, high]} leaves 0 to 180 degrees")
        if low > high:
            raise ValueError(f"elevation {[low, high]} runs backwards: write the smaller angle first")
        start, end = self.azimuth
        if not (-180 <= start <= 360 and -180 <= end <= 360):
            raise ValueError(f"azimuth {[start, end]} leaves -180 to 360 degrees")
        if abs(end - start) > 360:
            raise ValueError(f"azimuth {[start, end]} is more than a whole turn: write [-180, 180] for no limit")
        if np.linalg.norm(np.cross(self.pole, self.zero)) < 1e-6:
            raise ValueError(f"pole {list(self.pole)} and zero {list(self.zero)} must be two different axes")

    @property
    def width(self) -> float:
        """Degrees of azimuth from theta1 round to theta2."""
        start, end = self.azimuth
        return end - start if end >= start else end - start + 360

    @property
    def coverage(self) -> float:
        """Fraction of the sphere's area inside."""
        low, high = (math.cos(math.radians(angle)) for angle in self.elevation)
        return self.width / 360 * (low - high) / 2


def _numbers(name: str, value: object, length: int) -> tuple[float, ...]:
    plain = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == length
    if not plain or not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value):
        raise ValueError(f"{name} must be {length} numbers, not {value!r}")
    return tuple(float(v) for v in value)


_X, _Y, _Z = (1, 0, 0), (0, 1, 0), (0, 0, 1)
_RIGHT, _FOLDED = (0, -1, 0), (0, 0, -1)
_ANY = (-180, 180)

#: Ranges of the right side. Axes of the local frames, in words, for a standing body: head_top, r_shoulder and r_hip
#: have x forward, y left, z up; r_elbow and r_knee x forward, y up, z outwards; r_wrist and r_ankle, while upper arm
#: and thigh hang, x forward, y right, z down.
DEFAULT_RANGES: Mapping[str, JointRange] = {
    # azimuth: forward (+) or backward of the spine; elevation: 90 upright, less towards the left shoulder
    "head_top": JointRange(azimuth=(-60, 95), elevation=(40, 140), pole=_Y, zero=_Z),
    # azimuth: the line of the shoulders turned against that of the hips; elevation: tilted, 90 level
    "r_shoulder": JointRange(azimuth=(-65, 65), elevation=(45, 135), pole=_Z, zero=_RIGHT),
    # the pole is behind, above and outside the shoulder, where the upper arm cannot go
    "r_elbow": JointRange(azimuth=(-178, 60), elevation=(25, 180), pole=(-1, 1, 1), zero=_X),
    # elevation: angle between upper arm and forearm, 180 straight
    "r_wrist": JointRange(azimuth=_ANY, elevation=(30, 180), pole=_FOLDED, zero=_X),
    # azimuth: the hips tilted in the plane YZ, their only degree of freedom
    "r_hip": JointRange(azimuth=(-50, 50), elevation=(90, 90), pole=_X, zero=_RIGHT),
    # azimuth: hip flexion, -90 hanging, 0 straight ahead; elevation: 90 less abduction
    "r_knee": JointRange(azimuth=(-130, 75), elevation=(20, 125), pole=_Z, zero=_X),
    # elevation: angle between thigh and shin, 180 straight
    "r_ankle": JointRange(azimuth=_ANY, elevation=(25, 180), pole=_FOLDED, zero=_X),
}

_CIRCLE = "r_hip"
_LEFT = tuple(j for j, name in enumerate(SKELETON.names) if name.startswith("l_") and j not in DETERMINED)
_NECK = SKELETON.index("neck")


class JointLimits:
    """Limits of every joint of `SKELETON`.

    Args:
        ranges: joint of the right side, or head_top -> range, in place of the one in `DEFAULT_RANGES`.

    Raises:
        ValueError: a joint that has no limits of its own (left joints mirror right ones; neck and pelvis are fixed).
    """

    def __init__(self, ranges: Mapping[str, JointRange] | None = None) -> None:
        for name in ranges or {}:
            _check_joint(name)
        self.ranges: dict[str, JointRange] = {**DEFAULT_RANGES, **(ranges or {})}
        joints = [(SKELETON.index(name), r, 1.0) for name, r in self.ranges.items()]
        joints += [(j, self.ranges[SKELETON.names[SKELETON.mirror[j]]], -1.0) for j in _LEFT]
        self._joints = tuple(j for j, _, _ in joints)
        with torch.device("cpu"):  # networks that hold limits may be built on the device meta, which has no numbers
            self._axes = _numbers_of(torch.stack([_axes(r, side) for _, r, side in joints]))
            start, width, low, high = torch.tensor(
                [(r.azimuth[0], r.width, *r.elevation) for _, r, _ in joints], dtype=torch.float64
            ).T
            self._low, self._high, self._centre = (_numbers_of(table) for table in (low, high, start + width / 2))
            # a whole turn has no ends to come near
            self._half_width = _numbers_of(torch.where(width == 360, 360.0, width / 2))

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Limits from a YAML or JSON mapping: joint -> {azimuth, elevation, and where they change, pole and zero}.

        Joints and axes that are absent keep their defaults.

        Raises:
            FileNotFoundError, ValueError: one line that names the file, the joint and the mend.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file of joint limits")
        try:
            table = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not readable as YAML or JSON: {' '.join(str(error).split())}") from None
        if not isinstance(table, Mapping) or not table:
            raise ValueError(f"{path}: must map joints to ranges, such as r_knee: {{azimuth: [-135, 60]}}")
        ranges = {}
        for name, entry in table.items():
            try:
                _check_joint(name)
                if not isinstance(entry, Mapping):
                    raise ValueError(f"must be a mapping with azimuth and elevation, not {entry!r}")
                ranges[name] = replace(DEFAULT_RANGES[name], **_known_fields(entry))
            except ValueError as error:
                raise ValueError(f"{path}: {name}: {error}") from None
        return cls(ranges)

    @full_precision
    def excess(self, p_l: Tensor) -> Tensor:
        """Degrees of arc (..., 15) by which each joint of a local pose (..., 15, 3) oversteps its limits.

        0 or less within them; differentiable. Neck and pelvis have -inf; l_hip and l_shoulder what r_hip and r_shoulder
        have. A joint without a direction (zero or NaN) has inf.
        """
        direction = normalize(take(p_l, self._joints))
        turn, elevation, around = self._angles(direction)
        half, low, high = (like(v, p_l) for v in (self._half_width, self._low, self._high))
        beyond = torch.stack([(turn.abs() - half) * around, low - elevation, elevation - high]).amax(0)
        beyond = torch.where(direction.square().sum(-1) > 0.5, beyond, torch.inf)
        result = p_l.new_full(p_l.shape[:-1], -torch.inf)
        result = result.index_copy(-1, constant(self._joints, p_l.device), beyond)
        determined, twins = (constant(tuple(joints), p_l.device) for joints in (DETERMINED, DETERMINED.values()))
        return result.index_copy(-1, determined, result.index_select(-1, twins))

    def _angles(self, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Azimuth from the middle of the range, elevation (degrees) and sine of the elevation, of unit directions."""
        x, y, z = (direction[..., None, :] @ like(self._axes, direction)).squeeze(-2).unbind(-1)
        around = x.square() + y.square()
        # at the pole azimuth means nothing: any will do, as long as its gradient is finite
        x, y = torch.where(around < 1e-12, 1.0, x), torch.where(around < 1e-12, 0.0, y)
        around = around.clamp(min=1e-12).sqrt()
        turn = (torch.atan2(y, x).rad2deg() - like(self._centre, direction) + 180) % 360 - 180
        return turn, torch.atan2(around, z).rad2deg(), around

    @full_precision
    def clamp(self, p_l: Tensor) -> Tensor:
        """Local poses (..., 15, 3) whose joints outside their limits are moved to the near border; lengths are kept.

        Joints inside stay as they are, bit for bit. Differentiable along the border.
        """
        direction = normalize(take(p_l, self._joints))
        turn, elevation, _ = self._angles(direction)
        half, low, high = (like(v, p_l) for v in (self._half_width, self._low, self._high))
        azimuth, polar = torch.clamp(turn, -half, half), torch.clamp(elevation, low, high)
        # rounding is no reason to move
        outside = (azimuth - turn).abs() + (polar - elevation).abs() > _TOLERANCE / 10
        azimuth, polar = (azimuth + like(self._centre, p_l)).deg2rad(), polar.deg2rad()
        border = torch.stack([polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos()], dim=-1)
        rows = take(p_l, self._joints)
        border = (like(self._axes, p_l) @ border[..., None]).squeeze(-1) * rows.norm(dim=-1, keepdim=True)
        rows = torch.where(outside[..., None], border, rows)
        clamped = p_l.index_copy(-2, constant(self._joints, p_l.device), rows)
        return _with_determined(clamped)

    def inside(self, p_l: Tensor) -> Tensor:
        """Which joints of a local pose (..., 15, 3) keep their limits: bool (..., 15), by `excess`."""
        return self.excess(p_l) <= _TOLERANCE

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Local poses (n, 15, 3) on the generator's device, each joint by itself uniform within its limits.

        Uniform means by area on the sphere, not by angle: equal angles would crowd directions around the poles, which
        are our choice and say nothing about bodies.
        """
        draw = torch.rand(2, n, len(self._joints), generator=generator, device=generator.device)
        centre, half, low, high = (like(v, draw) for v in (self._centre, self._half_width, self._low, self._high))
        azimuth = (centre + half.clamp(max=180) * (2 * draw[0] - 1)).deg2rad()
        top, bottom = low.deg2rad().cos(), high.deg2rad().cos()
        z = top + (bottom - top) * draw[1]
        around = (1 - z.square()).clamp(min=0).sqrt()
        spherical = torch.stack([around * azimuth.cos(), around * azimuth.sin(), z], dim=-1)
        rows = (like(self._axes, draw) @ spherical[..., None]).squeeze(-1)
        p_l = draw.new_zeros(n, len(SKELETON), 3).index_copy_(1, constant(self._joints, draw.device), rows)
        p_l[:, _NECK, 2] = 1
        return _with_determined(p_l)

    def coverage(self) -> dict[str, float]:
        """Fraction of its sphere that each joint may reach, for the joints of the table with two degrees of freedom."""
        return {name: joint_range.coverage for name, joint_range in self.ranges.items() if name != _CIRCLE}


def _with_determined(p_l: Float[Tensor, "*n 15 3"]) -> Float[Tensor, "*n 15 3"]:
    """Joints that are determined by their twins, opposite to them."""
    determined = constant(tuple(DETERMINED), p_l.device)
    return p_l.index_copy(-2, determined, -take(p_l, tuple(DETERMINED.values())))


def _axes(joint_range: JointRange, side: float) -> Tensor:
    """Columns: zero azimuth, 90 degrees, pole, in the local frame; mirrored for side -1."""
    pole = torch.tensor(joint_range.pole, dtype=torch.float64)
    zero = torch.tensor(joint_range.zero, dtype=torch.float64)
    pole = pole / pole.norm()
    zero = zero - (zero @ pole) * pole
    zero = zero / zero.norm()
    axes = torch.stack([zero, torch.linalg.cross(pole, zero), pole], dim=-1)
    return axes * torch.tensor([1.0, side, 1.0], dtype=torch.float64)[:, None]


def _numbers_of(table: Tensor) -> tuple:
    return tuple(map(_numbers_of, table)) if table.ndim else table.item()


def _check_joint(name: object) -> None:
    if name not in DEFAULT_RANGES:
        raise ValueError(
            f"no limits for a joint {name!r}: name one of {', '.join(DEFAULT_RANGES)} (left joints mirror right ones)"
        )


def _known_fields(entry: Mapping) -> Mapping:
    fields = ("azimuth", "elevation", "pole", "zero")
    for key in entry:
        if key not in fields:
            raise ValueError(f"unknown field {key!r}; fields are {', '.join(fields)}")
    return entry
