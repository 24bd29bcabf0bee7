"""D_syn before it is drawn: several artificial people placed before the fixed camera (source, sections 2.2 and 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.constants import constant, like, take
from mpose3d.geometry.kinematics import canonical_to_local, euler_to_rotation, local_to_canonical, rotate, translate
from mpose3d.poses.artificial import PoseSource
from mpose3d.skeleton import SKELETON


class Scenes(NamedTuple):
    """People in camera space (mm), padded to the same number in every scene.

    `drawn` says which joints a picture of the scene shows: false for padding, for joints outside the image, hidden
    behind somebody, or dropped. `known` says which joints are those of the source of the pose; others are a guess,
    and no target.
    """

    joints: Float[Tensor, "b p 15 3"]
    valid: Bool[Tensor, "b p"]
    drawn: Bool[Tensor, "b p 15"]
    known: Bool[Tensor, "b p 15"]


@dataclass(frozen=True)
class SceneSampler:
    """Places people drawn from a pose source in the view of a camera.

    Args:
        source: gives canonical poses.
        camera: the fixed camera.
        image_size: side of the square image in pixels; roots lie inside it, limbs may not (truncation).
        people: fewest and most people drawn for a scene; `crowding` then leaves some of them out.
        height: smallest and largest apparent height of a standing person, as a fraction of the image's side;
            log-uniform, and with it the depth.
        margin: least distance between a root and the border, as a fraction of the image's side.
        tilt: standard deviation in degrees of pitch and roll about upright; yaw is uniform.
        looking_down: mean and standard deviation in degrees of the angle by which the camera looks down on people.
        free_rotation: fraction of people whose rotation is uniform over all rotations (lying, upside down).
        stature: standard deviation of a person's size about the skeleton's, as a fraction.
        proportions: standard deviation of the length of each bone about the skeleton's, as a fraction; both sides of a
            body are alike.
        crowding: smallest distance between two roots in the image, as a fraction of the image's side; of two that are
            closer, the farther person is left out.
        occlusion: a joint within this many mm (across the line of sight) of a limb of a person nearer to the camera
            is hidden; 0 hides none.
        dropped: fraction of joints that are left out of the drawing at random.
    """

    source: PoseSource
    camera: Camera
    image_size: int
    people: tuple[int, int] = (1, 8)
    height: tuple[float, float] = (0.15, 1.2)
    margin: float = 0.0
    tilt: float = 20.0
    looking_down: tuple[float, float] = (0.0, 0.0)
    free_rotation: float = 0.1
    stature: float = 0.0
    proportions: float = 0.0
    crowding: float = 1 / 14
    occlusion: float = 0.0
    dropped: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.people[0] <= self.people[1]:
            raise ValueError(f"people must be (fewest, most) with 1 <= fewest <= most, not {self.people}")
        if not 0 < self.height[0] <= self.height[1]:
            raise ValueError(f"height must be (smallest, largest) fractions of the image, not {self.height}")
        if not 0 <= self.margin < 0.5:
            raise ValueError(f"margin must be in [0, 0.5), not {self.margin}")

    def sample(self, scenes: int, generator: torch.Generator) -> Scenes:
        """Scenes on the generator's device; the same state of the generator gives the same scenes."""
        device, most = generator.device, self.people[1]
        shape = (scenes, most)

        def uniform(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
            return low + (high - low) * torch.rand(size, generator=generator, device=device)

        # how many, where, how far
        count = torch.randint(self.people[0], most + 1, (scenes, 1), generator=generator, device=device)
        valid = torch.arange(most, device=device) < count
        height = torch.exp(uniform(*shape, low=math.log(self.height[0]), high=math.log(self.height[1])))
        depth = self.camera.focal * SKELETON.stature / (height * self.image_size)
        border = self.margin * self.image_size - 0.5
        root_px = uniform(*shape, 2, low=border, high=self.image_size - 1 - border)
        valid = valid & ~self._crowded(root_px, depth, valid)

        # who, turned how
        p_c = self.source.sample(scenes * most, generator).view(*shape, len(SKELETON), 3)
        if self.proportions > 0:
            bones = 1 + self.proportions * torch.randn(*shape, len(SKELETON), generator=generator, device=device)
            bones = bones.clamp_min(0.5)[..., constant(SKELETON.right, device)] * like(SKELETON.bone_lengths, p_c)
            p_c = local_to_canonical(canonical_to_local(p_c), bones)
        stature = 1 + self.stature * torch.randn(*shape, 1, 1, generator=generator, device=device)
        p_c = p_c * stature.clamp_min(0.5)
        p_r = rotate(p_c, self._rotations(shape, generator))
        # every joint stays 300 mm or more before the camera
        depth = torch.maximum(depth, 300.0 - p_r[..., 2].amin(-1))
        joints = translate(p_r, root_px, depth, self.camera)

        pixels = self.camera.project(joints)
        inside = ((pixels > -0.5) & (pixels < self.image_size - 0.5)).all(-1)
        drawn = valid[..., None] & inside & (uniform(*shape, len(SKELETON)) >= self.dropped)
        if self.occlusion > 0:
            drawn = drawn & ~self._hidden(joints, valid)
        return Scenes(joints, valid, drawn, valid[..., None].expand_as(drawn))

    def _rotations(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        device = generator.device
        yaw = 2 * math.pi * torch.rand(*shape, 1, generator=generator, device=device)
        lean = math.radians(self.tilt) * torch.randn(*shape, 2, generator=generator, device=device)
        angles = torch.cat([yaw, lean], dim=-1)
        upright = euler_to_rotation(angles.sin(), angles.cos())
        if any(self.looking_down):
            mean, deviation = self.looking_down
            down = (mean + deviation * torch.randn(shape, generator=generator, device=device)).deg2rad()
            upright = roma.rotvec_to_rotmat(torch.nn.functional.pad(down[..., None], (0, 2))) @ upright
        # a normalised Gaussian quaternion is uniform over rotations
        quaternion = torch.randn(*shape, 4, generator=generator, device=device)
        free = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=-1))
        is_free = torch.rand(shape, generator=generator, device=device) < self.free_rotation
        return torch.where(is_free[..., None, None], free, upright)

    def _crowded(self, root_px: Tensor, depth: Tensor, valid: Tensor) -> Tensor:
        """People (b, p) whose root is too close to that of somebody nearer to the camera, who may be left out too."""
        apart = torch.cdist(root_px, root_px, p=torch.inf)
        # [b, i, j]: j stands before i; equal depths are settled by order
        place = torch.arange(depth.shape[1], device=depth.device)
        before = (depth[:, None, :] < depth[:, :, None]) | (
            (depth[:, None, :] == depth[:, :, None]) & (place[None, :] < place[:, None])
        )
        return (before & valid[:, None, :] & (apart < self.crowding * self.image_size)).any(-1)

    def _hidden(self, joints: Tensor, valid: Tensor) -> Tensor:
        """Joints (b, p, 15) that a limb of a nearer person covers."""
        ray = joints[..., :2] / joints[..., 2:].clamp_min(1.0)
        start, end = (take(joints, ends) for ends in zip(*SKELETON.limbs, strict=True))
        a, b = (point[..., :2] / point[..., 2:].clamp_min(1.0) for point in (start, end))
        # every joint (b, p, 15, 1, 1) against every limb (b, 1, 1, q, 14), on the plane at distance 1
        a, b = a[:, None, None], b[:, None, None]
        point = ray[:, :, :, None, None]
        along = (((point - a) * (b - a)).sum(-1) / (b - a).square().sum(-1).clamp_min(1e-12)).clamp(0, 1)
        distance = (point - a - along[..., None] * (b - a)).norm(dim=-1)
        z_start, z_end = start[:, None, None, ..., 2], end[:, None, None, ..., 2]
        limb_depth = z_start + along * (z_end - z_start)
        covers = (distance * limb_depth < self.occlusion) & (
            limb_depth < joints[:, :, :, None, None, 2] - self.occlusion
        )
        other = ~torch.eye(joints.shape[1], dtype=torch.bool, device=joints.device)
        return (covers & other[:, None, :, None] & valid[:, None, None, :, None]).any((-1, -2))
