"""Self-intersection of a body: its limbs as capsules that must not enter one another."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor

from mpose3d.geometry.constants import like, take
from mpose3d.geometry.precision import full_precision
from mpose3d.skeleton import SKELETON

# Radii (mm) of the hard core of each limb, below the flesh: hands rest on hips and legs cross in real motion
# (docs/prior.md says how much of it they take in).
_RADII = {
    "neck-head_top": 80.0,
    "pelvis-neck": 90.0,
    "shoulder-elbow": 30.0,
    "elbow-wrist": 25.0,
    "hip-knee": 60.0,
    "knee-ankle": 40.0,
}


def _capsules() -> tuple[list[int], list[int], list[float]]:
    """Start joint, end joint and radius of each capsule; shoulder and hip lines lie within the trunk."""
    start, end, radius = [], [], []
    for limb, size in _RADII.items():
        names = limb.split("-")
        for prefix in ("",) if names[0] in SKELETON.names else ("r_", "l_"):
            a, b = SKELETON.indices(*(prefix + name for name in names))
            start.append(a)
            end.append(b)
            radius.append(size)
    return start, end, radius


def _pairs(start: list[int], end: list[int]) -> tuple[list[int], list[int]]:
    """Capsules that may not touch: those that meet in a joint may, thighs start inside the trunk, and a hand rests on
    the thigh of its side, deep inside once bones have been set to one table."""
    touching = {
        frozenset(SKELETON.indices(*pair))
        for side in "rl"
        for pair in (("pelvis", f"{side}_hip"), (f"{side}_elbow", f"{side}_hip"))
    }
    apart = [
        (a, b)
        for a, b in combinations(range(len(start)), 2)
        if not {start[a], end[a]} & {start[b], end[b]} and frozenset((start[a], start[b])) not in touching
    ]
    return [a for a, _ in apart], [b for _, b in apart]


_START, _END, _RADIUS = _capsules()
_FIRST, _SECOND = _pairs(_START, _END)
_REACH = tuple(_RADIUS[a] + _RADIUS[b] for a, b in zip(_FIRST, _SECOND, strict=True))


def segment_distance(p: Tensor, u: Tensor, q: Tensor, v: Tensor) -> Tensor:
    """Least distance (...) between the segments p + s u and q + t v, with s and t in [0, 1]; all (..., 3).

    Ericson, Real-Time Collision Detection (2005), section 5.1.9. Differentiable; parallel segments are no exception.
    """
    apart = p - q
    uu, vv, uv = u.square().sum(-1), v.square().sum(-1), (u * v).sum(-1)
    up, vp = (u * apart).sum(-1), (v * apart).sum(-1)
    s = ((uv * vp - up * vv) / (uu * vv - uv.square()).clamp_min(1e-6)).clamp(0, 1)
    t = ((uv * s + vp) / vv.clamp_min(1e-6)).clamp(0, 1)
    s = ((uv * t - up) / uu.clamp_min(1e-6)).clamp(0, 1)
    return (apart + s[..., None] * u - t[..., None] * v).square().sum(-1).clamp_min(1e-6).sqrt()


@full_precision
def self_intersection(pose: Tensor) -> Tensor:
    """Depth (...) in mm to which the two limbs of a pose (..., 15, 3) that are worst off enter one another.

    0 or less where all are clear of one another; differentiable. The pose is in mm, in any frame, with the bone lengths
    of `SKELETON`.
    """
    base = take(pose, _START)
    along = take(pose, _END) - base
    a, b = ((take(base, capsules), take(along, capsules)) for capsules in (_FIRST, _SECOND))
    return (like(_REACH, pose) - segment_distance(*a, *b)).amax(-1)
