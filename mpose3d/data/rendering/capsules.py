"""Painted capsules -> images: which show in which pixels, and in what colour."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mpose3d.data.rendering.chance import Random
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.precision import normalize

_TILE = 8  # px; side of the squares against which capsules are tested before pixels are
_LAYERS = 4  # surfaces that are blended in a pixel; behind them the background shows
_TRUNK = (110.0, 170.0)  # mm; half axes of a trunk, forward and sideways


class Capsules(NamedTuple):
    """Capsules in camera space (mm) and their paint, k in each of b scenes.

    A point P of the surface has paint coordinates `axes` (P - origin): forward, left and up on torso and head, and up
    along a limb. Above `split` along `seam`, in these coordinates, the colour is `high`, with a pattern of the
    frequencies (rad/mm) leftwards and upwards; below it is `low`. Marks are ellipses of (left, up, half width, half
    height) on the front. `fused` is how far the surface is shaded as one trunk of elliptic section around the origin's
    up axis, and not as the single capsule that it is made of.
    """

    start: Float[Tensor, "b k 3"]
    end: Float[Tensor, "b k 3"]
    radii: Float[Tensor, "b k 2"]
    exists: Bool[Tensor, "b k"]
    origin: Float[Tensor, "b k 3"]
    axes: Float[Tensor, "b k 3 3"]
    seam: Float[Tensor, "b k 3"]
    split: Float[Tensor, "b k"]
    low: Float[Tensor, "b k 3"]
    high: Float[Tensor, "b k 3"]
    pattern: Float[Tensor, "b k 3"]
    frequency: Float[Tensor, "b k 2"]
    fused: Float[Tensor, "b k"]
    marks: Float[Tensor, "b k 3 4"]
    mark_colours: Float[Tensor, "b k 3 3"]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def meet(
    start: Tensor, end: Tensor, radii: Tensor, x: Tensor, y: Tensor, focal: float, margin: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Rays z (x, y, 1) against capsules: the depth (mm) at which they meet, and the share of a pixel that is covered.

    A ray meets a capsule where its distance from the axis is below the radius (there, between the radii of the ends),
    so that the silhouette is right under perspective; its edge is a pixel wide. The surface is taken to lie in front
    of the point of the axis that the ray passes closest: exact for spheres and for limbs seen from the side.

    Args:
        start, end, radii: (..., 3), (..., 3), (..., 2).
        x, y: broadcast to (..., n), n rays for a capsule.
        focal: px.
        margin: (..., 1) px by which silhouettes are widened.
    """
    ax, ay, az = start[..., None].unbind(-2)
    bx, by, bz = (end - start)[..., None].unbind(-2)
    r_start, r_end = radii[..., None].unbind(-2)
    aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz

    # the closest points z (x, y, 1) of the ray and a + t b of the axis
    dd, da, db = x * x + y * y + 1, ax * x + ay * y + az, bx * x + by * y + bz
    t = ((da * db - ab * dd) / (dd * bb - db * db).clamp_min(1e-3)).clamp(0, 1)
    z = (da + t * db) / dd
    squared_distance = aa + t * (2 * ab + t * bb) - z * z * dd

    radius = r_start + t * (r_end - r_start)
    outside = (squared_distance.clamp_min(0).sqrt() - radius) * (focal / z)
    coverage = torch.where(z > 1, (0.5 + margin - outside).clamp(0, 1), 0)
    depth = z - ((radius * radius - squared_distance).clamp_min(0) / dd).sqrt()
    return depth.clamp_min(1), coverage


class _Fragments(NamedTuple):
    """What shows of capsules: n pairs of a pixel and a capsule that is seen in it.

    `capsule` counts through all scenes, `pixel` through the rows of all images, whose sides are rounded up to whole
    tiles. `layer` numbers the fragments of a pixel from the front; `weight` is the share of the pixel that a fragment
    fills, less what is in front of it; `point` (mm) is where it lies.
    """

    scene: Int[Tensor, " n"]
    capsule: Int[Tensor, " n"]
    pixel: Int[Tensor, " n"]
    layer: Int[Tensor, " n"]
    weight: Float[Tensor, " n"]
    point: Float[Tensor, "n 3"]


def _fragments(capsules: Capsules, camera: Camera, size: int) -> _Fragments:
    """Which capsules show in which pixels: a capsule is tested against tiles, then against the pixels of its tiles."""
    start, end, radii = capsules.start, capsules.end, capsules.radii
    tiles = -(-size // _TILE)
    steps = torch.arange(tiles * _TILE, device=start.device, dtype=torch.float32)
    x, y = ((steps - centre).view(tiles, _TILE) / camera.focal for centre in camera.centre)

    # tiles that a capsule may touch: the margin is half a diagonal at the depth of its near end
    z = torch.stack([start[..., 2], end[..., 2]], dim=-1).clamp_min(1)
    margin = 0.75 * _TILE * z.amax(-1, keepdim=True) / z.amin(-1, keepdim=True)
    tile_x, tile_y = x.mean(1).repeat(tiles), y.mean(1).repeat_interleave(tiles)
    _, coverage = meet(start, end, radii, tile_x, tile_y, camera.focal, margin)
    scene, capsule, tile = ((coverage > 0) & capsules.exists[..., None]).nonzero(as_tuple=True)

    # pixels of these tiles
    x = x[tile % tiles, None, :].expand(-1, _TILE, -1).flatten(1)
    y = y[tile // tiles, :, None].expand(-1, -1, _TILE).flatten(1)
    depth, coverage = meet(*(field[scene, capsule] for field in (start, end, radii)), x, y, camera.focal)
    hit = coverage.flatten().nonzero()[:, 0]
    depth, coverage = depth.flatten()[hit], coverage.flatten()[hit]
    pair, inner = hit // _TILE**2, hit % _TILE**2
    row = (scene * tiles + tile // tiles)[pair] * _TILE + inner // _TILE
    pixel = row * tiles * _TILE + (tile % tiles)[pair] * _TILE + inner % _TILE

    # from the front in each pixel: the bits of positive floats sort as the floats do
    order = (pixel << 32 | depth.view(torch.int32).long()).argsort(stable=True)
    pixel, coverage = pixel[order], coverage[order]
    place = torch.arange(len(pixel), device=pixel.device)
    is_front = torch.ones_like(pixel, dtype=torch.bool)
    is_front[1:] = pixel[1:] != pixel[:-1]
    layer = place - torch.where(is_front, place, 0).cummax(0).values
    # what the fragments before it, which stand before it in the list, leave of each
    weight = coverage.clone()
    for before in range(1, _LAYERS):
        weight[before:] *= torch.where(layer[before:] >= before, 1 - coverage[:-before], 1)

    # what shows by more than a grey level
    shows = (layer < _LAYERS) & (weight > 1 / 256)
    order = order[shows]
    depth, pair, hit = depth[order], pair[order], hit[order]
    return _Fragments(
        scene=scene[pair],
        capsule=scene[pair] * start.shape[1] + capsule[pair],
        pixel=pixel[shows],
        layer=layer[shows],
        weight=weight[shows],
        point=torch.stack([x.flatten()[hit] * depth, y.flatten()[hit] * depth, depth], dim=-1),
    )


def draw(capsules: Capsules, background: Tensor, camera: Camera, random: Random) -> Float[Tensor, "b 3 h w"]:
    """Capsules before the background, in the light of one lamp, mostly above and on the camera's side."""
    scenes, _, size, _ = background.shape
    light = normalize(random.normal(scenes, 3) + background.new_tensor([0.0, -0.8, -0.6]))
    ambient = random.uniform(scenes, low=0.3, high=0.7)

    seen = _fragments(capsules, camera, size)
    paint = Capsules(*(field.flatten(0, 1)[seen.capsule] for field in capsules))
    colour = _shade(paint, seen.point, light[seen.scene], ambient[seen.scene], camera.focal)

    # colours and their weight; a pixel occurs once in a layer
    drawn = seen.weight[:, None] * torch.cat([colour, torch.ones_like(colour[:, :1])], dim=1)
    side = -(-size // _TILE) * _TILE
    canvas = background.new_zeros(scenes * side * side, 4)
    for layer in range(_LAYERS):
        here = (seen.layer == layer).nonzero()[:, 0]
        canvas[seen.pixel[here]] += drawn[here]
    canvas = canvas.view(scenes, side, side, 4).movedim(-1, 1)[..., :size, :size].contiguous()
    return canvas[:, :3] + (1 - canvas[:, 3:]) * background


def _shade(paint: Capsules, point: Tensor, light: Tensor, ambient: Tensor, focal: float) -> Float[Tensor, "n 3"]:
    """Colours of points (n, 3) on capsules, one capsule (n, ...) for each."""
    axis = paint.end - paint.start
    t = (_dot(point - paint.start, axis) / _dot(axis, axis).clamp_min(1e-3)).clamp(0, 1)
    pixel = point[:, 2] / focal  # mm
    local = (paint.axes @ (point - paint.origin)[..., None])[..., 0]
    of_capsule = normalize(point - paint.start - t[:, None] * axis)
    of_trunk = normalize((local[:, None, :2] * local.new_tensor(_TRUNK).pow(-2) @ paint.axes[:, :2])[:, 0])
    normal = normalize(torch.lerp(of_capsule, of_trunk, paint.fused[:, None]))

    # cloth or skin, hair or skin, shirt or trousers
    wave = (paint.frequency * local[:, 1:]).cos().prod(-1)
    fineness = (paint.frequency.amax(-1) * pixel).clamp_min(1e-3)
    pattern = (0.5 + wave / fineness).clamp(0, 1)
    high = torch.lerp(paint.high, paint.pattern, pattern[:, None])
    above = (0.5 + (_dot(local, paint.seam) - paint.split) / pixel).clamp(0, 1)
    colour = torch.lerp(paint.low, high, above[:, None])

    front = (4 * _dot(normal, paint.axes[:, 0])).clamp(0, 1)
    for mark in range(paint.marks.shape[1]):
        centre, half = paint.marks[:, mark].split(2, dim=-1)
        half = half.clamp_min(1e-3)
        radius = ((local[:, 1:] - centre) / half).norm(dim=-1)
        inside = (0.5 + (1 - radius) * half.amin(-1) / pixel).clamp(0, 1) * front
        colour = torch.lerp(colour, paint.mark_colours[:, mark], inside[:, None])

    # diffuse light, softened past the terminator, and darker where the surface turns away from the eye
    diffuse = ((_dot(normal, light) + 0.25) / 1.25).clamp_min(0)
    facing = -_dot(normal, normalize(point)).clamp(-1, 0)
    return colour * ((ambient + (1 - ambient) * diffuse) * (0.65 + 0.35 * facing))[:, None]
