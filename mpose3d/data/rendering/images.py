"""Scenes -> images: their people among things, before a background, through a lens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mpose3d.data.rendering.bodies import clothed_people
from mpose3d.data.rendering.capsules import Capsules, draw
from mpose3d.data.rendering.chance import Random
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.precision import normalize
from mpose3d.poses.scenes import Scenes
from mpose3d.skeleton import SKELETON

_THINGS = 8  # capsules in a scene that are nobody's limbs
_SHAPES = 8  # flat rectangles and ellipses in the background


@torch.no_grad()
def render(
    scenes: Scenes, camera: Camera, size: int, generator: torch.Generator, dyed: bool = False
) -> Float[Tensor, "b 3 size size"]:
    """Images of scenes: float32 RGB in [0, 1] on the generator's device.

    Every joint of valid people is drawn, whatever `scenes.drawn` says; what the border cuts off or a nearer body hides
    is missing of itself. The same state of the generator gives the same look whoever is valid: a person can be taken
    away, and nothing else changes.

    Args:
        scenes: people in camera space.
        camera: the camera of an image of `size` pixels.
        size: side of the images in pixels.
        dyed: arms and legs are reddish on the right and bluish on the left, so that sides can be told where a person is
            too small for the face to be seen. Else nothing else changes.

    Raises:
        ValueError: `size` is not positive, or the people are not (b, p, 15, 3).
    """
    if size < 1:
        raise ValueError(f"images need a side of at least 1 pixel, not {size}")
    if scenes.joints.ndim != 4 or scenes.joints.shape[2:] != (len(SKELETON), 3):
        raise ValueError(f"people must be (b, p, {len(SKELETON)}, 3), not {tuple(scenes.joints.shape)}")
    random = Random(generator)
    with torch.autocast(random.device.type, enabled=False):
        joints, valid = scenes.joints.to(random.device, torch.float32), scenes.valid.to(random.device)
        people, things = clothed_people(joints, valid, dyed, random), _things(len(joints), random)
        capsules = Capsules(*(torch.cat(pair, dim=1) for pair in zip(people, things, strict=True)))
        background = _background(len(joints), size, random)
        return _through_lens(draw(capsules, background, camera, random), random)


def _things(scenes: int, random: Random) -> Capsules:
    """Posts, bars and sticks that look like limbs and belong to nobody, most of them behind the people."""
    shape = (scenes, _THINGS)
    depth = random.log_uniform(*shape, 1, low=3000, high=20000)
    ray = torch.cat([random.uniform(*shape, 2, low=-0.7, high=0.7), torch.ones(*shape, 1, device=random.device)], -1)
    half = random.log_uniform(*shape, 1, low=80, high=1200) * normalize(random.normal(*shape, 3))
    radius = random.log_uniform(*shape, 1, low=25, high=110)
    axes = torch.eye(3, device=random.device).repeat(*shape, 1, 1)
    axes[..., 2, :] = normalize(half)
    zeros = torch.zeros(*shape, 3, 4, device=random.device)
    return Capsules(
        start=depth * ray + half,
        end=depth * ray - half,
        radii=radius * random.uniform(*shape, 2, low=0.7, high=1.0),
        exists=random.chance(*shape, of=0.5),
        origin=depth * ray,
        axes=axes,
        seam=axes.new_tensor([0.0, 0.0, 1.0]).expand(*shape, 3),
        split=random.uniform(*shape, low=-1500, high=1500),
        low=random.colours(*shape),
        high=random.colours(*shape),
        pattern=random.colours(*shape),
        frequency=2 * math.pi / random.log_uniform(*shape, 2, low=50, high=1000),
        fused=zeros[..., 0, 0],
        marks=zeros,
        mark_colours=zeros[..., :3],
    )


def _background(scenes: int, size: int, random: Random) -> Float[Tensor, "b 3 size size"]:
    """Noise of several wavelengths, the longest of them a gradient, and flat shapes on it."""
    image = random.colours(scenes)[..., None, None]
    for cells, contrast in ((2, 0.9), (4, 0.4), (9, 0.3), (24, 0.2)):
        noise = random.colours(scenes, cells, cells).movedim(-1, 1) - 0.5
        image = _resized(image, cells) + contrast * random.uniform(scenes, 1, 1, 1) * noise
    image = _resized(image, size)

    y, x = torch.meshgrid(*[torch.arange(size, device=random.device, dtype=torch.float32)] * 2, indexing="ij")
    for _ in range(_SHAPES):
        left, top = random.uniform(2, scenes, 1, 1, high=size)
        half_width, half_height = random.log_uniform(2, scenes, 1, 1, low=0.03 * size, high=0.5 * size)
        angle = random.normal(scenes, 1, 1) * random.uniform(scenes, 1, 1)
        across = (angle.cos() * (x - left) + angle.sin() * (y - top)).abs() / half_width
        along = (angle.cos() * (y - top) - angle.sin() * (x - left)).abs() / half_height
        is_ellipse = random.chance(scenes, 1, 1, of=0.4)
        radius = torch.where(is_ellipse, (across.square() + along.square()).sqrt(), torch.maximum(across, along))
        inside = ((1 - radius) * torch.minimum(half_width, half_height) + 0.5).clamp(0, 1)
        opacity = random.uniform(scenes, 1, 1, 1, low=0.2, high=1.0) * random.chance(scenes, 1, 1, 1, of=0.7)
        image.lerp_(random.colours(scenes)[..., None, None], opacity * inside[:, None])
    return image.clamp(0, 1)


def _resized(image: Tensor, size: int) -> Tensor:
    return functional.interpolate(image, (size, size), mode="bilinear", align_corners=False)


def _through_lens(image: Float[Tensor, "b 3 h w"], random: Random) -> Float[Tensor, "b 3 h w"]:
    """Blur, exposure, contrast, colour cast and noise."""
    shape = (len(image), 1, 1, 1)
    blurred = functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    image = torch.lerp(image, blurred, random.uniform(*shape))
    cast = random.log_uniform(len(image), 3, 1, 1, low=0.88, high=1.13)
    exposure = cast * random.log_uniform(*shape, low=0.7, high=1.5)
    contrast = random.uniform(*shape, low=0.75, high=1.2)
    image = 0.5 + contrast * (exposure * image - 0.5)
    return (image + 0.04 * random.uniform(*shape).square() * random.normal(*image.shape)).clamp(0, 1)
