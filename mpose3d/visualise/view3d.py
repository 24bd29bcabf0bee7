"""A view of 3D people from any side, drawn far to near with thick limbs, on a metre grid."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from mpose3d.skeleton import SKELETON
from mpose3d.visualise.colours import limb_colours, rim_colour

_BACKGROUND, _GRID, _SHADOW = (250, 250, 248), (222, 222, 218), (205, 205, 200)
_LIMB_MM = 70.0  # thickness of a limb
_FACE = 0.62  # middle of the head, a ball that ends at the top, on the way from the neck
_HEAD = tuple(SKELETON.indices("head_top", "neck"))
_MARGIN = 0.08  # of the picture, around the people
_SUBPIXEL = 4  # binary digits of a pixel that OpenCV is given


def render_people(
    joints_mm: np.ndarray,
    size: tuple[int, int],
    azimuth: float = -35.0,
    elevation: float = 15.0,
    floor: bool = True,
    first_colour: int = 0,
) -> np.ndarray:
    """People seen from aside, filling the picture.

    Args:
        joints_mm: (P, 15, 3) camera space (x right, y down, z forward); a person with a joint that is not finite is
            left out.
        size: height and width in px.
        azimuth: degrees by which the viewer walks round the people; 0 is the camera's own side, positive to its right.
        elevation: degrees by which the viewer looks down.
        floor: draw a grid of metres at `floor_height`, and shadows.
        first_colour: colour of the first person.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    picture = np.full((*size, 3), _BACKGROUND, dtype=np.uint8)
    kept = [p for p, person in enumerate(joints_mm) if np.isfinite(person).all()]
    if not kept:
        return picture
    people = np.asarray(joints_mm, dtype=float)[kept]

    low, high = people.min(axis=(0, 1)), people.max(axis=(0, 1))
    view = _View((low + high) / 2, np.linalg.norm(high - low) / 2, azimuth, elevation)
    view.fit(people.reshape(-1, 3), size)
    if floor:
        _floor(picture, view, people, low, high)

    # far limbs first
    strokes = []
    for person, joints in zip(kept, people, strict=True):
        colours = limb_colours(first_colour + person)
        for (a, b), colour in zip(SKELETON.limbs, colours, strict=True):
            if (a, b) == _HEAD:
                top, neck = joints[[a, b]]
                face = neck + _FACE * (top - neck)
                ball = 2 * (1 - _FACE) * float(np.linalg.norm(top - neck))
                strokes += [
                    (np.stack([neck, (neck + face) / 2]), colour, _LIMB_MM),
                    (np.stack([face] * 2), colour, ball),
                ]
            else:
                strokes.append((joints[[a, b]], colour, _LIMB_MM))
    strokes.sort(key=lambda stroke: -view.depth(stroke[0]).mean())
    for ends, colour, thickness in strokes:
        _stroke(picture, view, ends, colour, thickness)
    return picture


def grid_step(joints_mm: np.ndarray) -> float:
    """Side in mm of the squares on the floor: 1 m, or as many whole metres as keep the grid near a dozen squares."""
    if not joints_mm.size:
        return 1000.0
    extent = np.ptp(joints_mm[..., [0, 2]].reshape(-1, 2), axis=0).max()
    return 1000.0 * max(1, np.ceil(extent / 12000))


def floor_height(joints_mm: np.ndarray) -> float:
    """Where people (P, 15, 3) stand: y in mm of the floor under most of them, P at least 1.

    The median of each person's lowest joint, of two the lower: one who jumps, or whose distance is wrong, does not
    leave the others in the air.
    """
    lowest = np.sort(joints_mm[..., 1].max(axis=1))
    return float(lowest[len(lowest) // 2])


class _View:
    """A perspective camera that looks at `centre` from outside the ball of `radius` (mm) around it."""

    def __init__(self, centre: np.ndarray, radius: float, azimuth: float, elevation: float) -> None:
        self.rotation = Rotation.from_euler("yx", [azimuth, elevation], degrees=True).as_matrix()
        self.centre = centre
        # the floor ends up to 1.5 m beyond the people, and all of it is before the camera
        self.distance = max(4 * radius, 3000.0)
        self.focal, self.offset = 1.0, np.zeros(2)

    def fit(self, points: np.ndarray, size: tuple[int, int]) -> None:
        """Zoom and shift so that the points fill a picture of height and width `size`."""
        flat = self.project(points)
        low, high = flat.min(axis=0), flat.max(axis=0)
        room = np.array([size[1], size[0]]) * (1 - 2 * _MARGIN)
        self.focal = float((room / np.maximum(high - low, 1e-3)).min())
        self.offset = np.array([size[1], size[0]]) / 2 - self.focal * (low + high) / 2

    def depth(self, points: np.ndarray) -> np.ndarray:
        return (points - self.centre) @ self.rotation[2] + self.distance

    def project(self, points: np.ndarray) -> np.ndarray:
        turned = (points - self.centre) @ self.rotation.T
        return self.focal * turned[..., :2] / (turned[..., 2:] + self.distance) + self.offset

    def thickness(self, ends: np.ndarray, mm: float) -> int:
        return max(1, round(mm * self.focal / self.depth(ends).mean()))


def _floor(picture: np.ndarray, view: _View, people: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    ground = floor_height(people)
    step = grid_step(people)
    (x0, z0), (x1, z1) = (step * np.floor(low[[0, 2]] / step - 0.5), step * np.ceil(high[[0, 2]] / step + 0.5))
    for x in np.arange(x0, x1 + 1, step):
        _line(picture, view.project(np.array([(x, ground, z0), (x, ground, z1)])), _GRID, 1)
    for z in np.arange(z0, z1 + 1, step):
        _line(picture, view.project(np.array([(x0, ground, z), (x1, ground, z)])), _GRID, 1)
    shadows = people.copy()
    shadows[..., 1] = ground
    for joints in shadows:
        for a, b in SKELETON.limbs:
            _line(picture, view.project(joints[[a, b]]), _SHADOW, view.thickness(joints[[a, b]], _LIMB_MM))


def _stroke(picture: np.ndarray, view: _View, ends: np.ndarray, colour: tuple[int, int, int], mm: float) -> None:
    """A limb with its rim."""
    thickness, flat = view.thickness(ends, mm), view.project(ends)
    rim = max(1, thickness // 6)
    _line(picture, flat, rim_colour(colour), thickness + 2 * rim)
    _line(picture, flat, colour, thickness)


def _line(picture: np.ndarray, ends: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    start, end = (tuple(int(c) for c in np.rint(point * 2**_SUBPIXEL)) for point in ends)
    cv2.line(picture, start, end, colour, thickness, cv2.LINE_AA, _SUBPIXEL)
