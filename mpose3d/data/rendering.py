"""The small world: D_syn scenes as images of clothed people made of capsules, every scene in another look.

Domain randomisation (Tobin et al., "Domain Randomization for Transferring Deep Neural Networks from Simulation to the
Real World", IROS 2017): bodies, clothes, light, background and lens are drawn anew for each scene, so that nothing but
the shape of people is worth learning.

    scenes -> landmarks -> painted capsules -> fragments (capsule x pixel) -> shaded surfaces over a background -> lens
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import canonicalize
from mpose3d.geometry.precision import normalize
from mpose3d.poses.scenes import Scenes
from mpose3d.skeleton import SKELETON

_TILE = 8  # px; side of the squares against which capsules are tested before pixels are
_LAYERS = 4  # surfaces that are blended in a pixel; behind them the background shows
_THINGS = 8  # capsules in a scene that are nobody's limbs
_SHAPES = 8  # flat rectangles and ellipses in the background
_TRUNK = (110.0, 170.0)  # mm; half axes of a trunk, forward and sideways
_SPINE = SKELETON.bone_lengths[SKELETON.index("neck")]

# columns of a person's palette
_SKIN, _HAIR, _SHIRT, _TROUSERS, _SHOES = range(5)
# dyes of the right and left limbs of people whose sides are told apart, and how much of a limb's own colour they cover
_SIDES = {"r_": (0.9, 0.15, 0.1), "l_": (0.1, 0.25, 0.95)}
_DYE = 0.75


class _Part(NamedTuple):
    """A capsule of the body: two landmarks, its radius (mm) at each, and what covers it.

    `high` covers the upper end (of a limb: towards `start`), `low` the lower one. Where they meet depends on the
    region: on limbs on the length of sleeves and trousers, on the torso on the hem, on the head on the hairline.
    """

    start: str
    end: str
    radii: tuple[float, float]
    high: int
    low: int
    region: str = "plain"


def _both_sides(part: _Part) -> tuple[_Part, _Part]:
    right, left = (part._replace(start=part.start.format(side), end=part.end.format(side)) for side in "rl")
    return right, left


_PARTS = (
    _Part("skull_top", "skull_base", (78, 76), _HAIR, _SKIN, "head"),
    _Part("nose_root", "nose_tip", (10, 14), _SKIN, _SKIN, "head"),
    _Part("back_of_head", "hair_end", (78, 62), _HAIR, _HAIR, "head"),
    _Part("skull_base", "throat", (50, 55), _SKIN, _SKIN),
    _Part("chest", "belly", (100, 98), _SHIRT, _TROUSERS, "torso"),
    _Part("r_seat", "l_seat", (92, 92), _SHIRT, _TROUSERS, "torso"),
    *_both_sides(_Part("throat", "{}_collar", (58, 50), _SHIRT, _TROUSERS, "torso")),
    *_both_sides(_Part("{}_breast", "{}_seat", (92, 80), _SHIRT, _TROUSERS, "torso")),
    *_both_sides(_Part("{}_shoulder", "{}_elbow", (52, 42), _SHIRT, _SKIN, "upper limb")),
    *_both_sides(_Part("{}_elbow", "{}_wrist", (42, 30), _SHIRT, _SKIN, "lower limb")),
    *_both_sides(_Part("{}_palm", "{}_fingers", (36, 28), _SKIN, _SKIN)),
    *_both_sides(_Part("{}_hip", "{}_knee", (84, 57), _TROUSERS, _SKIN, "upper limb")),
    *_both_sides(_Part("{}_knee", "{}_ankle", (58, 40), _TROUSERS, _SKIN, "lower limb")),
    *_both_sides(_Part("{}_heel", "{}_toes", (40, 32), _SHOES, _SHOES)),
)


class _Capsules(NamedTuple):
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


class _Random:
    """Draws of one generator, on its device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, *shape: int, of: float) -> Tensor:
        return self.uniform(*shape) < of

    def colours(self, *shape: int) -> Tensor:
        """Colours (*shape, 3), most of them duller than random ones are."""
        vivid = self.uniform(*shape, 3)
        return torch.lerp(vivid.mean(-1, keepdim=True), vivid, self.uniform(*shape, 1))

    def between(self, *shape: int, colours: tuple[tuple[float, float, float], ...]) -> Tensor:
        """Colours (*shape, 3) around the line from one of `colours` to another."""
        known = torch.tensor(colours, device=self.device)
        a, b = (known[torch.randint(len(known), shape, generator=self.generator, device=self.device)] for _ in "ab")
        return (torch.lerp(a, b, self.uniform(*shape, 1)) + 0.04 * self.normal(*shape, 3)).clamp(0, 1)


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
    random = _Random(generator)
    with torch.autocast(random.device.type, enabled=False):
        joints, valid = scenes.joints.to(random.device, torch.float32), scenes.valid.to(random.device)
        people, things = _people(joints, valid, dyed, random), _things(len(joints), random)
        capsules = _Capsules(*(torch.cat(pair, dim=1) for pair in zip(people, things, strict=True)))
        background = _background(len(joints), size, random)
        return _through_lens(_draw(capsules, background, camera, random), random)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _orthogonal(v: Tensor, unit: Tensor) -> Tensor:
    """Unit vector along the part of v orthogonal to `unit`."""
    return normalize(v - _dot(v, unit)[..., None] * unit)


def _landmarks(
    joints: Tensor, body: Tensor, head: Tensor, scale: Tensor, hair: Tensor
) -> dict[str, Float[Tensor, "b p 3"]]:
    """The joints by name, and the points of the surface model that hang on them.

    Args:
        joints: (b, p, 15, 3).
        body: (b, p, 3, 3), rows forward, left, up of the torso.
        head: likewise of the head.
        scale: (b, p, 1) size of the body.
        hair: (b, p, 1) mm by which the hair reaches below the skull.
    """
    at = dict(zip(SKELETON.names, joints.unbind(2), strict=True))
    forward, _, up = body.unbind(-2)
    face, _, crown = head.unbind(-2)

    neck, top = at["neck"], at["head_top"]
    at["throat"] = neck + 30 * scale * up
    at["skull_top"] = top - 76 * scale * crown
    at["skull_base"] = torch.lerp(neck, top, 0.5)
    centre = (at["skull_top"] + at["skull_base"]) / 2
    at["nose_root"] = centre + scale * (72 * face + 5 * crown)
    at["nose_tip"] = centre + scale * (82 * face - 14 * crown)
    at["back_of_head"] = at["skull_top"] - 12 * scale * face
    at["hair_end"] = torch.lerp(at["skull_base"], at["skull_top"], 0.3) - scale * (22 * face + hair * crown)

    at["chest"] = neck - 90 * scale * up
    at["belly"] = at["pelvis"] + scale * (60 * up + 8 * forward)
    for side in "rl":
        shoulder, hip, knee = at[f"{side}_shoulder"], at[f"{side}_hip"], at[f"{side}_knee"]
        at[f"{side}_collar"] = torch.lerp(neck, shoulder, 0.85) - 12 * scale * up
        at[f"{side}_breast"] = torch.lerp(neck, shoulder, 0.5) - 75 * scale * up
        at[f"{side}_seat"] = torch.lerp(at["pelvis"], hip, 0.8)

        wrist = at[f"{side}_wrist"]
        forearm = normalize(wrist - at[f"{side}_elbow"])
        at[f"{side}_palm"] = wrist + 25 * scale * forearm
        at[f"{side}_fingers"] = wrist + 110 * scale * forearm

        ankle = at[f"{side}_ankle"]
        shin = normalize(ankle - knee)
        # toes point where the knee bends to, and forward where it is straight
        toes = _orthogonal(forward + 2 * normalize(knee - hip), shin)
        at[f"{side}_heel"] = ankle + scale * (45 * shin - 25 * toes)
        at[f"{side}_toes"] = ankle + scale * (55 * shin + 140 * toes)
    return at


def _of_region(region: str, device: torch.device) -> Bool[Tensor, " k"]:
    return torch.tensor([part.region == region for part in _PARTS], device=device)


def _people(joints: Float[Tensor, "b p 15 3"], valid: Bool[Tensor, "b p"], dyed: bool, random: _Random) -> _Capsules:
    """People as capsules, in clothes of their own: k = p times the parts of a body."""
    people, parts, device = valid.shape, len(_PARTS), random.device
    torso, head = _of_region("torso", device), _of_region("head", device)

    # frames of torso and head, sizes, landmarks
    body_axes = canonicalize(joints)[1].mT
    neck, top = joints[..., SKELETON.index("neck"), :], joints[..., SKELETON.index("head_top"), :]
    scale = (neck - joints[..., SKELETON.root, :]).norm(dim=-1, keepdim=True) / _SPINE
    head_axes = _head_axes(body_axes, normalize(top - neck), turn=random.normal(*people, 1) * 0.3)
    hair_below = 220 * random.uniform(*people, 1).square() - 40
    at = _landmarks(joints, body_axes, head_axes, scale, hair_below)
    start = torch.stack([at[part.start] for part in _PARTS], dim=2)
    end = torch.stack([at[part.end] for part in _PARTS], dim=2)
    length = (start - end).norm(dim=-1) / scale
    thickness = torch.where(head, 1.0, random.uniform(*people, 1, low=0.82, high=1.22))  # thin and stout people
    radii = torch.tensor([part.radii for part in _PARTS], device=device) * (scale * thickness)[..., None]

    # paint coordinates, in mm of a body of the skeleton's size
    origin = end.clone()
    origin[:, :, torso] = at["pelvis"][:, :, None]
    origin[:, :, head] = ((at["skull_top"] + at["skull_base"]) / 2)[:, :, None]
    axes = body_axes[:, :, None].repeat(1, 1, parts, 1, 1)
    axes[..., 2, :] = normalize(start - end)
    axes[:, :, torso] = body_axes[:, :, None]
    axes[:, :, head] = head_axes[:, :, None]
    axes = axes / scale[..., None, None]

    # where colours change; the hairline falls from the forehead to behind the ears
    seam = torch.tensor([(-1.2 if part.region == "head" else 0.0, 0.0, 1.0) for part in _PARTS], device=device)
    sleeves, trousers = random.uniform(*people, 1, low=0.3, high=2.2), random.uniform(*people, 1, low=0.5, high=2.3)
    arm = torch.tensor([part.high == _SHIRT for part in _PARTS], device=device)
    limbs_above = torch.tensor([2.0 if part.region == "lower limb" else 1.0 for part in _PARTS], device=device)
    split = length * (limbs_above - torch.where(arm, sleeves, trousers))
    split = torch.where(torso, random.uniform(*people, 1, low=-60, high=90), split)
    split = torch.where(head, random.uniform(*people, 1, low=-45, high=10), split)

    # colours and patterns
    palette = _palette(people, random)
    patterned = random.chance(*people, 5, 1, of=0.45)
    patterned[..., [_SKIN, _HAIR, _SHOES], :] = False
    pattern = torch.where(patterned, random.colours(*people, 5), palette)
    period = random.log_uniform(*people, 5, 2, low=50, high=200)
    # across, lengthwise, or both: checks
    frequency = torch.where(random.chance(*people, 5, 2, of=0.6), 2 * math.pi / period, 0.0)
    high, low = [part.high for part in _PARTS], [part.low for part in _PARTS]
    marks, mark_colours = _marks(palette, random)
    colours = palette[..., low, :], palette[..., high, :], pattern[..., high, :]
    if dyed:
        colours = tuple(_dyed(colour) for colour in colours)

    capsules = _Capsules(
        start=start,
        end=end,
        radii=radii,
        exists=valid[..., None].expand(*people, parts),
        origin=origin,
        axes=axes,
        seam=seam.expand(*people, parts, 3),
        split=split,
        low=colours[0],
        high=colours[1],
        pattern=colours[2],
        frequency=frequency[..., high, :],
        fused=torch.where(torso, 0.75, 0.0).expand(*people, parts),
        marks=marks,
        mark_colours=mark_colours,
    )
    return _Capsules(*(field.flatten(1, 2) for field in capsules))


def _head_axes(body: Tensor, crown: Tensor, turn: Tensor) -> Float[Tensor, "b p 3 3"]:
    """Rows forward, left, up of a head that is turned from the torso's forward by `turn` (b, p, 1) radians."""
    straight = _orthogonal(body[..., 0, :], crown)
    face = turn.cos() * straight + turn.sin() * torch.linalg.cross(crown, straight)
    return torch.stack([face, torch.linalg.cross(crown, face), crown], dim=-2)


def _palette(people: tuple[int, int], random: _Random) -> Float[Tensor, "b p 5 3"]:
    """Colours of skin, hair, shirt, trousers and shoes."""
    skin = random.between(*people, colours=((0.24, 0.15, 0.11), (0.56, 0.37, 0.27), (0.94, 0.76, 0.66)))
    hair = random.between(*people, colours=((0.06, 0.05, 0.05), (0.3, 0.18, 0.1), (0.8, 0.65, 0.4), (0.6, 0.6, 0.6)))
    hair = torch.where(random.chance(*people, 1, of=0.05), skin, hair)
    return torch.cat([skin[..., None, :], hair[..., None, :], random.colours(*people, 3)], dim=-2)


def _dyed(colours: Float[Tensor, "b p k 3"]) -> Float[Tensor, "b p k 3"]:
    """Colours of parts, those of right and left limbs under the dye of their side."""
    dyes = torch.zeros(len(_PARTS), 4)
    for row, part in zip(dyes, _PARTS, strict=True):
        if part.region != "torso" and part.start[:2] in _SIDES:
            row[:] = torch.tensor([*_SIDES[part.start[:2]], _DYE])
    dyes = dyes.to(colours)
    return torch.lerp(colours, dyes[:, :3], dyes[:, 3:])


def _marks(palette: Tensor, random: _Random) -> tuple[Float[Tensor, "b p k 3 4"], Float[Tensor, "b p k 3 3"]]:
    """Eyes and mouth (or beard) of the head; neckline, print and stripe down or across the front of the shirt."""
    people, device = palette.shape[:2], palette.device
    marks = torch.zeros(*people, len(_PARTS), 3, 4, device=device)
    colours = torch.zeros(*people, len(_PARTS), 3, 3, device=device)

    head = _of_region("head", device)
    features = torch.tensor([(-30, 10, 14, 9), (30, 10, 14, 9), (0, -48, 26, 8)], dtype=torch.float32, device=device)
    beard = random.chance(*people, 1, of=0.15)
    features = features.repeat(*people, 1, 1)
    features[..., 2, :] = torch.where(beard, features.new_tensor([0, -62, 60, 34]), features[..., 2, :])
    lips = palette[..., _SKIN, :] * features.new_tensor([0.8, 0.5, 0.5])
    mouth = torch.where(beard, palette[..., _HAIR, :], lips)
    eyes = 0.15 * random.uniform(*people, 1, 3).expand(*people, 2, 3)
    marks[:, :, head] = features[:, :, None]
    colours[:, :, head] = torch.cat([eyes, mouth[..., None, :]], dim=-2)[:, :, None]

    torso = _of_region("torso", device)
    low = torch.tensor([(0, 450, 45, 30), (-60, 220, 30, 30), (-20, 150, 10, 10)], dtype=torch.float32, device=device)
    high = torch.tensor([(0, 470, 85, 130), (60, 320, 100, 90), (20, 300, 60, 260)], dtype=torch.float32, device=device)
    prints = torch.lerp(low, high, random.uniform(*people, 3, 4))
    shown = random.chance(*people, 3, 1, of=0.7)
    marks[:, :, torso] = torch.where(shown, prints, 0.0)[:, :, None]
    dyes = torch.cat([palette[..., [_SKIN], :], random.colours(*people, 2)], dim=-2)
    colours[:, :, torso] = dyes[:, :, None]
    return marks, colours


def _things(scenes: int, random: _Random) -> _Capsules:
    """Posts, bars and sticks that look like limbs and belong to nobody, most of them behind the people."""
    shape = (scenes, _THINGS)
    depth = random.log_uniform(*shape, 1, low=3000, high=20000)
    ray = torch.cat([random.uniform(*shape, 2, low=-0.7, high=0.7), torch.ones(*shape, 1, device=random.device)], -1)
    half = random.log_uniform(*shape, 1, low=80, high=1200) * normalize(random.normal(*shape, 3))
    radius = random.log_uniform(*shape, 1, low=25, high=110)
    axes = torch.eye(3, device=random.device).repeat(*shape, 1, 1)
    axes[..., 2, :] = normalize(half)
    zeros = torch.zeros(*shape, 3, 4, device=random.device)
    return _Capsules(
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


def _background(scenes: int, size: int, random: _Random) -> Float[Tensor, "b 3 size size"]:
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


def _meet(
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


def _fragments(capsules: _Capsules, camera: Camera, size: int) -> _Fragments:
    """Which capsules show in which pixels: a capsule is tested against tiles, then against the pixels of its tiles."""
    start, end, radii = capsules.start, capsules.end, capsules.radii
    tiles = -(-size // _TILE)
    steps = torch.arange(tiles * _TILE, device=start.device, dtype=torch.float32)
    x, y = ((steps - centre).view(tiles, _TILE) / camera.focal for centre in camera.centre)

    # tiles that a capsule may touch: the margin is half a diagonal at the depth of its near end
    z = torch.stack([start[..., 2], end[..., 2]], dim=-1).clamp_min(1)
    margin = 0.75 * _TILE * z.amax(-1, keepdim=True) / z.amin(-1, keepdim=True)
    tile_x, tile_y = x.mean(1).repeat(tiles), y.mean(1).repeat_interleave(tiles)
    _, coverage = _meet(start, end, radii, tile_x, tile_y, camera.focal, margin)
    scene, capsule, tile = ((coverage > 0) & capsules.exists[..., None]).nonzero(as_tuple=True)

    # pixels of these tiles
    x = x[tile % tiles, None, :].expand(-1, _TILE, -1).flatten(1)
    y = y[tile // tiles, :, None].expand(-1, -1, _TILE).flatten(1)
    depth, coverage = _meet(*(field[scene, capsule] for field in (start, end, radii)), x, y, camera.focal)
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


def _draw(capsules: _Capsules, background: Tensor, camera: Camera, random: _Random) -> Float[Tensor, "b 3 h w"]:
    """Capsules before the background, in the light of one lamp, mostly above and on the camera's side."""
    scenes, _, size, _ = background.shape
    light = normalize(random.normal(scenes, 3) + background.new_tensor([0.0, -0.8, -0.6]))
    ambient = random.uniform(scenes, low=0.3, high=0.7)

    seen = _fragments(capsules, camera, size)
    paint = _Capsules(*(field.flatten(0, 1)[seen.capsule] for field in capsules))
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


def _shade(paint: _Capsules, point: Tensor, light: Tensor, ambient: Tensor, focal: float) -> Float[Tensor, "n 3"]:
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


def _through_lens(image: Float[Tensor, "b 3 h w"], random: _Random) -> Float[Tensor, "b 3 h w"]:
    """Blur, exposure, contrast, colour cast and noise."""
    shape = (len(image), 1, 1, 1)
    blurred = functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    image = torch.lerp(image, blurred, random.uniform(*shape))
    cast = random.log_uniform(len(image), 3, 1, 1, low=0.88, high=1.13)
    exposure = cast * random.log_uniform(*shape, low=0.7, high=1.5)
    contrast = random.uniform(*shape, low=0.75, high=1.2)
    image = 0.5 + contrast * (exposure * image - 0.5)
    return (image + 0.04 * random.uniform(*shape).square() * random.normal(*image.shape)).clamp(0, 1)
