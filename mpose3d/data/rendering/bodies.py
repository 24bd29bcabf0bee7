"""People of scenes as capsules: landmarks on the joints, and clothes, hair and faces of their own."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data.rendering.capsules import Capsules
from mpose3d.data.rendering.chance import Random
from mpose3d.geometry.directions import orthogonal
from mpose3d.geometry.kinematics import canonicalize
from mpose3d.geometry.precision import normalize
from mpose3d.skeleton import SKELETON

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
        # toes point where the knee bends to, and forward where it is straight, or up where the leg points forward
        toes = orthogonal(forward + 2 * normalize(knee - hip), shin, fallback=up)
        at[f"{side}_heel"] = ankle + scale * (45 * shin - 25 * toes)
        at[f"{side}_toes"] = ankle + scale * (55 * shin + 140 * toes)
    return at


def _of_region(region: str, device: torch.device) -> Bool[Tensor, " k"]:
    return torch.tensor([part.region == region for part in _PARTS], device=device)


def clothed_people(
    joints: Float[Tensor, "b p 15 3"], valid: Bool[Tensor, "b p"], dyed: bool, random: Random
) -> Capsules:
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

    capsules = Capsules(
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
    return Capsules(*(field.flatten(1, 2) for field in capsules))


def _head_axes(body: Tensor, crown: Tensor, turn: Tensor) -> Float[Tensor, "b p 3 3"]:
    """Rows forward, left, up of a head that is turned from the torso's forward by `turn` (b, p, 1) radians."""
    forward, _, up = body.unbind(-2)
    straight = orthogonal(forward, crown, fallback=-up)
    face = turn.cos() * straight + turn.sin() * torch.linalg.cross(crown, straight)
    return torch.stack([face, torch.linalg.cross(crown, face), crown], dim=-2)


def _palette(people: tuple[int, int], random: Random) -> Float[Tensor, "b p 5 3"]:
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


def _marks(palette: Tensor, random: Random) -> tuple[Float[Tensor, "b p k 3 4"], Float[Tensor, "b p k 3 3"]]:
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
