"""One colour for each person, the same on the photograph, in the 3D view and on the page."""

from __future__ import annotations

import numpy as np

from mpose3d.skeleton import SKELETON

# strong on photographs and on white, neighbours in the list far apart in hue
_PEOPLE = np.array(
    [
        (230, 57, 70), (29, 120, 200), (46, 160, 67), (245, 150, 20), (140, 70, 200),
        (0, 165, 165), (215, 70, 160), (140, 140, 0), (120, 85, 60), (90, 105, 130),
    ],
    dtype=float,
)  # fmt: skip
_LIGHT, _DARK = 0.45, 0.4


def person_colour(person: int) -> tuple[int, int, int]:
    """RGB, 0 to 255; repeats after ten people."""
    return tuple(int(c) for c in _PEOPLE[person % len(_PEOPLE)])


def limb_colours(person: int) -> list[tuple[int, int, int]]:
    """RGB of each of `SKELETON.limbs`: left limbs lighter than the person's colour, right limbs darker."""
    colour = _PEOPLE[person % len(_PEOPLE)]
    shades = {"l_": colour + _LIGHT * (255 - colour), "r_": colour * (1 - _DARK)}
    return [tuple(int(c) for c in shades.get(SKELETON.names[end][:2], colour)) for _, end in SKELETON.limbs]


def rim_colour(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """RGB of the rim of a limb in a 3D view, which keeps limbs that cross apart."""
    return tuple(int(0.45 * c) for c in colour)
