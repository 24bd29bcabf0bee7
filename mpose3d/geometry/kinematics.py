"""The four coordinate systems of a 3D pose, and the maps between them (source, section 1).

    p_g global (camera space)  --minus root-->  p_r root-relative  --canonicalize-->  p_c canonical  --T_L-->  p_l local
    p_g  <--T_G translate--  p_r  <--T_R rotate--  p_c  <--FK--  p_l

Poses are (..., 15, 3) in the order of `SKELETON`, millimetres. Every function takes any leading dimensions, float32
and float64 on any device, and is differentiable, with finite gradients everywhere but in `rotation_to_euler`.

Canonical frame: pelvis at the origin, +X along the normal of the plane (neck, l_hip, r_hip), which points forward,
+Z from pelvis to neck, +Y to the body's left.

Local frame of a joint: at its parent, z along the parent's own limb u, x along the torso normal n made orthogonal to u
(Gram-Schmidt), y = z x x. p_l holds unit directions in these frames. Where u is parallel to n, which leaves x free, x
is taken along the spine instead. The children of the pelvis, and the shoulders and the head whose parent limb is the
spine, thus have the canonical axes as their frame.

Degrees of freedom: neck 0, r_hip 1 (it lies in the plane YZ), l_hip 0 (mirror through the pelvis), l_shoulder 0
(mirror through the neck), every other joint 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import roma
import torch
from torch import Tensor

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.constants import constant, like, take
from mpose3d.geometry.directions import orthogonal
from mpose3d.geometry.precision import full_precision, normalize
from mpose3d.skeleton import SKELETON

# Weight, relative to the equations of the joints, of the depth at which a body looks as large as it is seen. It keeps
# the depth finite where all joints are seen in one place.
_PRIOR_WEIGHT = 1e-3

_PARENTS = tuple(SKELETON.parents)
_TORSO = SKELETON.indices("neck", "r_hip", "l_hip")
#: joints whose direction is not free: the mirror image of their twin, through the midpoint that is their parent
DETERMINED = {SKELETON.index(f"l_{name}"): SKELETON.index(f"r_{name}") for name in ("hip", "shoulder")}


def _levels() -> list[tuple[int, ...]]:
    """Joints by depth in the tree, so that FK takes one batched step per level."""
    levels, seen = [], {SKELETON.root}
    while len(seen) < len(SKELETON):
        level = tuple(j for j in range(len(SKELETON)) if j not in seen and _PARENTS[j] in seen)
        levels.append(level)
        seen.update(level)
    return levels


_LEVELS = _levels()

# Canonical axes -> camera axes of a person who stands upright and faces the camera: forward = -z, left = +x, up = -y.
_FACING_CAMERA = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))


@full_precision
def canonicalize(p_r: Tensor) -> tuple[Tensor, Tensor]:
    """p_r -> (p_c, R) with p_r = R p_c: the inverse of T_R.

    Poses in any position are taken relative to their pelvis first. R is (..., 3, 3). A body whose hips lie on its
    spine has no torso plane; an arbitrary one is chosen, and the round trip is exact all the same.
    """
    p_r = p_r - p_r[..., SKELETON.root, None, :]
    neck, r_hip, l_hip = (p_r[..., j, :] for j in _TORSO)
    no_spine = neck.square().sum(-1, keepdim=True) < 1e-12
    z = normalize(torch.where(no_spine, like((0.0, 0.0, 1.0), neck), neck))
    y = orthogonal(normalize(l_hip - r_hip), z)
    rotation = torch.stack([torch.linalg.cross(y, z), y, z], dim=-1)
    return p_r @ rotation, rotation


def limb_directions(pose: Tensor) -> Tensor:
    """Unit vectors (..., 15, 3) from each joint's parent to the joint, in the frame of `pose`; the root's is 0."""
    return normalize(pose - take(pose, _PARENTS))


def bone_lengths(pose: Tensor) -> Tensor:
    """Distances (..., 15) of each joint from its parent; the root's is 0."""
    return (pose - take(pose, _PARENTS)).norm(dim=-1)


def _local_frames(parent_limb: Tensor) -> Tensor:
    """Frames (..., 3, 3), columns x, y, z in canonical coordinates, of joints whose parents' limbs point along u."""
    canonical = torch.eye(3, dtype=parent_limb.dtype, device=parent_limb.device)
    normal, spine = canonical[0], canonical[2]
    x = orthogonal(normal.expand_as(parent_limb), parent_limb, spine.expand_as(parent_limb))
    return torch.stack([x, torch.linalg.cross(parent_limb, x), parent_limb], dim=-1)


def _parent_limb(directions: Tensor, joints: Sequence[int]) -> Tensor:
    """Direction of the limb that ends at each joint's parent; +Z where there is none (the root) or it has no length."""
    limb = take(directions, [_PARENTS[j] for j in joints])
    missing = limb.square().sum(-1, keepdim=True) < 0.5
    return torch.where(missing, like((0.0, 0.0, 1.0), directions), limb)


@full_precision
def directions_to_local(directions: Tensor) -> Tensor:
    """Unit directions (..., 15, 3) of limbs in the canonical frame -> p_l, the same in the local frames."""
    frames = _local_frames(_parent_limb(directions, range(len(SKELETON))))
    return (directions[..., None, :] @ frames).squeeze(-2)


@full_precision
def local_to_directions(p_l: Tensor) -> Tensor:
    """p_l of any lengths -> unit directions (..., 15, 3) in the canonical frame, those of `limb_directions`."""
    p_l = normalize(p_l)
    directions = torch.zeros_like(p_l)
    for level in _LEVELS:
        frames = _local_frames(_parent_limb(directions, level))
        along = (frames @ take(p_l, level)[..., None]).squeeze(-1)
        directions = directions.index_copy(-2, constant(level, p_l.device), along)
    return directions


@full_precision
def canonical_to_local(p_c: Tensor) -> Tensor:
    """T_L: canonical pose -> p_l, unit directions (..., 15, 3) in the local frames. The root's row is 0."""
    return directions_to_local(limb_directions(p_c))


@full_precision
def local_to_canonical(p_l: Tensor, lengths: Tensor | None = None) -> Tensor:
    """FK: directions in local frames -> canonical pose (..., 15, 3), the exact inverse of T_L.

    Directions may have any length but 0. `lengths` (..., 15) are the bone lengths in mm; by default those of
    `SKELETON` (one fixed table; source, section 1).
    """
    if lengths is None:
        lengths = like(SKELETON.bone_lengths, p_l)
    limbs = position = local_to_directions(p_l) * lengths[..., None]
    for _ in _LEVELS[1:]:
        position = take(position, _PARENTS) + limbs
    return position


@full_precision
def rotate(p_c: Tensor, rotation: Tensor) -> Tensor:
    """T_R: canonical -> root-relative, p_r = R p_c with R (..., 3, 3)."""
    return p_c @ rotation.mT


@full_precision
def translate(p_r: Tensor, root_px: Tensor, depth: Tensor, camera: Camera) -> Tensor:
    """T_G: root-relative -> global, by the translation that (r_x, r_y, d) name through the camera.

    Args:
        p_r: (..., 15, 3) mm.
        root_px: (..., 2) pixels.
        depth: (...) mm.
    """
    return p_r + camera.unproject(root_px, depth)[..., None, :]


@full_precision
def fit_translation(p_r: Tensor, rays: Tensor, visible: Tensor, size: Tensor) -> Tensor:
    """T_G (..., 3) mm in closed form: the translation of p_r whose projection comes closest to the visible rays.

    A joint (X, Y, Z) of p_r that is seen at (u, v) gives two equations, X + x = u (Z + z) and Y + y = v (Z + z), which
    are linear in the translation (x, y, z). They are solved by least squares; residuals are in mm across the line of
    sight. One more equation, of little weight, pulls z to the depth at which the body looks as large as it is seen.

    Args:
        p_r: (..., 15, 3) mm.
        rays: (..., 15, 2), pixels from the camera's centre over its focal length; 0 where not visible.
        visible: (..., 15).
        size: (...) root mean square distance of the visible rays from their middle, for which that of their angles will
            do.
    """
    size = size.clamp_min(1e-6)
    weight = visible.to(p_r)[..., None]
    offset = rays * p_r[..., 2:] - p_r[..., :2]  # x - u z = offset
    count = weight.sum(-2).clamp_min(1)
    mean_ray, mean_offset = (rays * weight).sum(-2) / count, (offset * weight).sum(-2) / count
    ray, difference = (rays - mean_ray[..., None, :]) * weight, (offset - mean_offset[..., None, :]) * weight
    spread = (p_r[..., :2] - ((p_r[..., :2] * weight).sum(-2) / count)[..., None, :]) * weight
    guess = spread.square().sum((-1, -2)).clamp_min(1.0).sqrt() / (size * count[..., 0].sqrt())
    pull = _PRIOR_WEIGHT * size.square() * count[..., 0]
    z = (pull * guess - (ray * difference).sum((-1, -2))) / (pull + ray.square().sum((-1, -2)))
    # every joint stays 100 mm or more before the camera
    z = torch.maximum(z, 100.0 - p_r[..., 2].amin(-1))
    return torch.cat([mean_offset + mean_ray * z[..., None], z[..., None]], dim=-1)


@full_precision
def euler_to_rotation(sine: Tensor, cosine: Tensor) -> Tensor:
    """Sine and cosine (..., 3) of three Euler angles -> R (..., 3, 3), canonical -> camera axes.

    Each (sine, cosine) pair is normalised first. The angles are yaw about the body's up axis, pitch about its left
    axis, roll about its forward axis (intrinsic, in this order); all zero is a person upright who faces the camera.
    """
    pair = torch.stack([sine, cosine], dim=-1)
    empty = pair.square().sum(-1, keepdim=True) < 1e-12
    sine, cosine = normalize(torch.where(empty, like((0.0, 1.0), pair), pair)).unbind(-1)
    (sz, sy, sx), (cz, cy, cx) = sine.unbind(-1), cosine.unbind(-1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    rotation = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return like(_FACING_CAMERA, rotation) @ rotation


@full_precision
def rotation_to_euler(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """R (..., 3, 3) -> sine, cosine (..., 3): the inverse of `euler_to_rotation`.

    At a pitch of 90 degrees its gradient is not defined.
    """
    facing = like(_FACING_CAMERA, rotation)
    angles = roma.rotmat_to_euler("ZYX", facing.mT @ rotation)
    return angles.sin(), angles.cos()


def mirrored(p_c: Tensor) -> Tensor:
    """The canonical pose seen in a mirror: left and right exchanged."""
    return take(p_c, SKELETON.mirror) * like((1.0, -1.0, 1.0), p_c)
