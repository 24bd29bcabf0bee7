"""Sources of canonical poses: drawn from the joint limits, from unpaired motion capture, or from a mixture.

Every source has `sample(n, generator) -> (n, 15, 3)`: canonical poses in mm with the bone lengths of `SKELETON`, on the
generator's device. The same generator state gives the same poses. A source that refuses poses draws them again, and
raises an error where too many attempts fail: a refused pose is never returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mpose3d.geometry.constants import constant, like
from mpose3d.geometry.kinematics import canonical_to_local, canonicalize, local_to_canonical, mirrored
from mpose3d.geometry.precision import normalize
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.skeleton import SKELETON


class PoseSource(Protocol):
    def sample(self, n: int, generator: torch.Generator) -> Tensor: ...


# Limbs that poses may exchange; all other joints are the trunk, with number 0.
_LIMBS = (("r_elbow", "r_wrist"), ("l_elbow", "l_wrist"), ("r_knee", "r_ankle"), ("l_knee", "l_ankle"))
_LIMB_OF_JOINT = tuple(
    next((i for i, limb in enumerate(_LIMBS, start=1) if name in limb), 0) for name in SKELETON.names
)
_LIMB_ENDS = tuple(SKELETON.indices(*(limb[-1] for limb in _LIMBS)))
# hips, knees and ankles, right and left
_LEGS = tuple(tuple(SKELETON.indices(f"r_{joint}", f"l_{joint}")) for joint in ("hip", "knee", "ankle"))

_AT_ONCE = 256  # least number of poses worth drawing: fewer take as much time


class ArtificialPoses:
    """Every joint by itself uniform within its limits (source, section 3.1).

    Args:
        occupancy: arms and legs that it rules out are drawn again, each limb by itself.
        attempts: rounds in which limbs are drawn again at most.

    Raises:
        ValueError: by `sample`, where a limb is still refused after `attempts`.
    """

    def __init__(
        self, limits: JointLimits | None = None, occupancy: PoseOccupancy | None = None, attempts: int = 100
    ) -> None:
        self.limits = limits or JointLimits()
        self.occupancy, self.attempts = occupancy, attempts

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        if self.occupancy is None:
            return local_to_canonical(self.limits.sample(n, generator))
        ends = constant(_LIMB_ENDS, generator.device)

        def kept(p_l: Tensor) -> Tensor:
            """(..., 1 + limbs); the trunk, which has number 0, always is."""
            inside = self.occupancy.inside(local_to_canonical(p_l)).index_select(-1, ends)
            return functional.pad(inside, (1, 0), value=True)

        p_l = _drawn_until(kept, self.limits.sample, n, generator, _LIMB_OF_JOINT, self.attempts, "the occupancy")
        return local_to_canonical(p_l)


def local_poses(poses: Float[Tensor, "n 15 3"], what: str) -> Float[Tensor, "n 15 3"]:
    """Local poses p_l of poses of any lengths.

    Raises:
        ValueError: a limb has no length, in poses that the message calls `what`.
    """
    p_l = canonical_to_local(canonicalize(poses)[0])
    missing = p_l.square().sum(-1) < 0.5
    missing[:, SKELETON.root] = False
    if missing.any():
        joints = ", ".join(name for name, gone in zip(SKELETON.names, missing.any(0).tolist(), strict=True) if gone)
        raise ValueError(f"{what}: {int(missing.any(-1).sum())} poses have limbs of no length, at {joints}")
    return p_l


class MotionCapturePoses:
    """Poses of real people, unpaired with any image, with their bones set to the lengths of `SKELETON`.

    Args:
        poses: (N, 15, 3) in any units, position and rotation, in the joint order of `SKELETON`.
        mirror: show every second pose, by chance, in a mirror.
        recombine: chance that an arm, a leg or the trunk comes from another pose.
        interpolate: chance that a pose is blended, by a random share, with another: limb directions in between.

    Raises:
        ValueError: poses of the wrong shape, none at all, values that are not finite, or a limb without length.
    """

    def __init__(self, poses: Tensor, mirror: bool = True, recombine: float = 0.0, interpolate: float = 0.0) -> None:
        if poses.ndim != 3 or poses.shape[1:] != (len(SKELETON), 3) or len(poses) == 0:
            raise ValueError(f"motion capture must be (N, {len(SKELETON)}, 3) with N > 0, not {tuple(poses.shape)}")
        if not poses.isfinite().all():
            raise ValueError(
                f"motion capture has {int((~poses.isfinite()).any(-1).any(-1).sum())} poses with NaN or inf"
            )
        local = local_poses(poses, "motion capture")
        if mirror:
            local = torch.cat([local, canonical_to_local(mirrored(local_to_canonical(local)))])
        self.recombine, self.interpolate = recombine, interpolate
        self._local = local.float()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        self._local = self._local.to(generator.device)
        p_l = self._draw(n, generator)
        if self.interpolate:
            share = torch.rand(n, 1, 1, generator=generator, device=generator.device)
            blended = normalize(torch.lerp(p_l, self._draw(n, generator), share))
            p_l = torch.where(self._chance((n, 1, 1), self.interpolate, generator), blended, p_l)
        return local_to_canonical(p_l)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Local poses (n, 15, 3), limbs exchanged between poses."""
        device = generator.device
        frame = torch.randint(len(self._local), (n, 1), generator=generator, device=device)
        if not self.recombine:
            return self._local[frame[:, 0]]
        other = torch.randint(len(self._local), (n, 1 + len(_LIMBS)), generator=generator, device=device)
        frame = torch.where(self._chance(other.shape, self.recombine, generator), other, frame)
        frame = frame.index_select(1, constant(_LIMB_OF_JOINT, device))
        return self._local[frame, torch.arange(len(SKELETON), device=device)]

    @staticmethod
    def _chance(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device) < probability


class SeatedPoses:
    """Poses of another source with the legs of people who sit, squat or crouch, which motion capture hardly holds.

    Both thighs are raised together, by 45 to 120 degrees from hanging, and both knees bent together, by 10 to 140;
    each leg has its own share of every angle (standard deviations of 10 degrees), and knees part by 8 and 12 degrees on
    average and standard deviation. Sitting is 90 and 90; the ranges end where the joint limits do.
    """

    def __init__(self, source: PoseSource) -> None:
        self.source = source

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        p_c = self.source.sample(n, generator)

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, 1, generator=generator, device=p_c.device)

        def normal(mean: float, deviation: float) -> Tensor:
            return mean + deviation * torch.randn(n, 2, generator=generator, device=p_c.device)

        # (n, 2): right leg, left leg
        raised = (uniform(45, 120) + normal(0, 10)).deg2rad()
        bent = (uniform(10, 140) + normal(0, 10)).clamp(0, 150).deg2rad()
        outwards = like((-1.0, 1.0), p_c)
        parted, turned = normal(8, 12).deg2rad() * outwards, normal(0, 10).deg2rad() * outwards
        hips, knees, ankles = (constant(joints, p_c.device) for joints in _LEGS)

        def direction(angle: Tensor, aside: Tensor) -> Tensor:
            """Unit vectors (n, 2, 3): `angle` forward from hanging, in a plane turned by `aside` to the left."""
            return torch.stack([angle.sin() * aside.cos(), angle.sin() * aside.sin(), -angle.cos()], dim=-1)

        length = like(SKELETON.bone_lengths, p_c)[:, None]
        p_c = p_c.clone()
        p_c[:, knees] = p_c[:, hips] + length[knees] * direction(raised, parted)
        p_c[:, ankles] = p_c[:, knees] + length[ankles] * direction(raised - bent, parted + turned)
        return p_c


class MixedPoses:
    """A mixture: each pose from one of `sources`, chosen with chances in proportion to `weights`.

    Raises:
        ValueError: a weight for each source is missing, negative, or all are zero.
    """

    def __init__(self, sources: Sequence[PoseSource], weights: Sequence[float]) -> None:
        if len(sources) != len(weights) or not sources or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"{len(sources)} pose sources need as many weights, none negative, not {list(weights)}")
        self.sources, self.weights = list(sources), list(weights)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        weights = constant(tuple(self.weights), generator.device, torch.float32)
        # one at least, which `multinomial` asks for: a mixture within a mixture may have to give none
        choice = torch.multinomial(weights, max(1, n), replacement=True, generator=generator)[:n]
        counts = choice.bincount(minlength=len(self.sources)).tolist()
        poses = torch.cat([s.sample(count, generator) for s, count in zip(self.sources, counts, strict=True)])
        # `poses` run source by source; `order` lists the places of each source's poses in the same run
        order = choice.argsort(stable=True)
        return torch.empty_like(poses).index_copy_(0, order, poses)


class ValidPoses:
    """The poses of another source that keep the rules; others are drawn again.

    Args:
        limits: which joints may not leave; None asks nothing.
        max_penetration: mm by which two limbs may run into each other (`self_intersection`); None asks nothing.
        attempts: rounds in which poses are drawn again at most.

    Raises:
        ValueError: by `sample`, where a pose is still refused after `attempts`.
    """

    def __init__(
        self,
        source: PoseSource,
        limits: JointLimits | None = None,
        max_penetration: float | None = None,
        attempts: int = 100,
    ) -> None:
        self.source = source
        self.limits, self.max_penetration, self.attempts = limits, max_penetration, attempts

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        rules, whole = "joint limits and max_penetration", (0,) * len(SKELETON)
        return _drawn_until(self._kept, self.source.sample, n, generator, whole, self.attempts, rules)

    def _kept(self, p_c: Tensor) -> Tensor:
        """Which of the canonical poses (..., 15, 3) keep the rules: bool (..., 1)."""
        kept = p_c.new_ones(p_c.shape[:-2], dtype=torch.bool)
        if self.limits is not None:
            kept = self.limits.inside(canonical_to_local(p_c)).all(-1)
        if self.max_penetration is not None:
            kept = kept & (self_intersection(p_c) <= self.max_penetration)
        return kept[..., None]


def _drawn_until(
    kept: Callable[[Tensor], Tensor],
    sample: Callable[[int, torch.Generator], Tensor],
    n: int,
    generator: torch.Generator,
    part_of_joint: tuple[int, ...],
    attempts: int,
    rules: str,
) -> Float[Tensor, "n 15 3"]:
    """Poses of `sample`, of which parts that break the rules are drawn again, each by itself.

    Args:
        kept: which parts keep the rules: poses (..., 15, 3) -> bool (..., parts).
        sample, n, generator: as of `PoseSource`.
        part_of_joint: number of the part to which each joint belongs.
        attempts: rounds at most.
        rules: what the error says is too tight.

    Raises:
        ValueError: a pose still breaks the rules after so many rounds.
    """
    poses = sample(n, generator)
    part, good = constant(part_of_joint, poses.device), kept(poses)
    left = (~good.all(-1)).nonzero().flatten()
    for _ in range(attempts):
        if len(left) == 0:
            break
        candidates = max(1, _AT_ONCE // len(left))
        again = sample(len(left) * candidates, generator).unflatten(0, (len(left), candidates))
        again = torch.where(good[left, None][..., part, None], poses[left, None], again)
        better = kept(again)
        # of each part the first candidate that will do
        first = better.long().argmax(1)[:, part, None].expand(-1, -1, 3)[:, None]
        poses[left], good[left] = again.gather(1, first)[:, 0], better.any(1)
        left = left[~good[left].all(-1)]
    if len(left):
        raise ValueError(
            f"{len(left)} of {n} poses break the rules after {attempts} attempts: loosen {rules}, or allow more "
            "attempts"
        )
    return poses
