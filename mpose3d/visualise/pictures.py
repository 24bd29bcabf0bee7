"""People, maps and curves as pictures: (H, W, 3) uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpose3d.skeleton import SKELETON
from mpose3d.visualise.colours import limb_colours, person_colour
from mpose3d.visualise.view3d import render_people

_LONGER_SIDE = (640, 1280)  # px of the photograph in an overlay
_VIEW = 480  # least side of the 3D view beside it, px
_SUBPIXEL = 4  # binary digits of a pixel that OpenCV is given
_FAR = 1e5  # px; what lies farther out is drawn there
_GAP = 8  # between pictures side by side, px
_ZOOM = 8  # px per cell of a map
_TILE = 160  # side of a pose's tile, px


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB array; the suffix of the path says how (.png, .jpg).

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(picture[..., ::-1]))
    if not done:
        raise OSError(f"{path}: cannot write this picture")
    path.write_bytes(data.tobytes())


def draw_people(image: np.ndarray, joints_px: np.ndarray) -> np.ndarray:
    """A copy of the photograph with 2D skeletons on it, the first person on top.

    Args:
        image: (H, W, 3) uint8 RGB.
        joints_px: (P, 15, 2) px; joints that are not finite, and their limbs, are left out.
    """
    picture = image.copy()
    thickness = max(2, round(max(image.shape[:2]) / 220))
    for person in reversed(range(len(joints_px))):
        joints = np.asarray(joints_px[person], dtype=float)
        seen = np.isfinite(joints).all(axis=-1)
        points = np.rint(np.where(seen[:, None], joints, 0).clip(-_FAR, _FAR) * 2**_SUBPIXEL).astype(int).tolist()
        limbs = [
            (points[a], points[b], colour)
            for (a, b), colour in zip(SKELETON.limbs, limb_colours(person), strict=True)
            if seen[a] and seen[b]
        ]
        for a, b, colour in limbs:  # a rim first, so that skeletons stay visible on any ground
            cv2.line(picture, a, b, tuple(c // 3 for c in colour), thickness + 2, cv2.LINE_AA, _SUBPIXEL)
        for a, b, colour in limbs:
            cv2.line(picture, a, b, colour, thickness, cv2.LINE_AA, _SUBPIXEL)
        for joint in np.flatnonzero(seen):
            radius = round(0.8 * thickness * 2**_SUBPIXEL)
            cv2.circle(picture, points[joint], radius, (255, 255, 255), -1, cv2.LINE_AA, _SUBPIXEL)
            cv2.circle(picture, points[joint], radius * 2 // 3, person_colour(person), -1, cv2.LINE_AA, _SUBPIXEL)
    return picture


def overlay(image: np.ndarray, joints_px: np.ndarray, joints_mm: np.ndarray) -> np.ndarray:
    """The photograph with 2D skeletons, and beside it the same people in 3D, seen from aside, in the same colours.

    The photograph is scaled so that its longer side has 640 to 1280 px.

    Args:
        image: (H, W, 3) uint8 RGB.
        joints_px: (P, 15, 2) px of the photograph.
        joints_mm: (P, 15, 3) camera space.
    """
    longer = max(image.shape[:2])
    scale = float(np.clip(longer, *_LONGER_SIDE)) / longer
    if scale != 1:
        (height, width), image = image.shape[:2], scaled(image, scale)
        joints_px = (np.asarray(joints_px) + 0.5) * (image.shape[1] / width, image.shape[0] / height) - 0.5
    side = max(image.shape[0], _VIEW)
    return beside(draw_people(image, joints_px), render_people(joints_mm, (side, side)))


def scaled(image: np.ndarray, scale: float) -> np.ndarray:
    """An image (H, W, 3) at `scale` times its size, of at least one row and column."""
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Pictures from left to right, centred in height, on white."""
    height = max(picture.shape[0] for picture in pictures)
    columns = []
    for picture in pictures:
        above = (height - picture.shape[0]) // 2
        below = height - picture.shape[0] - above
        columns.append(np.pad(picture, ((above, below), (0, _GAP), (0, 0)), constant_values=255))
    return np.concatenate(columns, axis=1)[:, :-_GAP]


def hmpaf_picture(heatmaps: np.ndarray, pafs: np.ndarray) -> np.ndarray:
    """Heatmaps beside part-affinity fields of one image.

    On the left the highest of all joints' maps, dark 0 to light 1; on the right the strongest of all limbs' fields, hue
    by direction (red to the right, then yellow down, cyan left, violet up) and brightness by length.

    Args:
        heatmaps: (J, h, w).
        pafs: (2L, h, w), x then y of each limb.
    """
    height, width = heatmaps.shape[1:]
    highest = np.clip(heatmaps.max(axis=0, initial=0), 0, 1)
    heat = matplotlib.colormaps["magma"](highest, bytes=True)[..., :3]

    x, y = np.moveaxis(pafs.reshape(-1, 2, height, width), 1, 0)
    strongest = (x**2 + y**2).argmax(axis=0)[None]
    x, y = (np.take_along_axis(part, strongest, axis=0)[0] for part in (x, y))
    hue = np.rad2deg(np.arctan2(y, x)) % 360
    hsv = np.stack([hue, np.full_like(hue, 0.85), np.clip(np.hypot(x, y), 0, 1)], axis=-1).astype(np.float32)
    wheel = np.rint(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).astype(np.uint8)
    return beside(*(np.kron(panel, np.ones((_ZOOM, _ZOOM, 1), dtype=np.uint8)) for panel in (heat, wheel)))


def poses_grid(poses: np.ndarray, columns: int, row_colours: bool = False) -> np.ndarray:
    """Many poses, one in each square tile, seen from the front, a little aside, and each filling its tile.

    Args:
        poses: (N, 15, 3) canonical, mm.
        columns: tiles in a row.
        row_colours: one colour for each row, not for each pose.
    """
    poses = np.asarray(poses, dtype=float)
    # facing the camera: the left side to the right of the picture
    poses = np.stack([poses[..., 1], -poses[..., 2], -poses[..., 0]], axis=-1)
    colours = [n // columns if row_colours else n for n in range(len(poses))]
    tiles = [
        render_people(pose[None], (_TILE, _TILE), azimuth=-25, elevation=8, floor=False, first_colour=colour)
        for pose, colour in zip(poses, colours, strict=True)
    ]
    rows = max(1, -(-len(tiles) // columns))
    tiles += [np.full((_TILE, _TILE, 3), 255, dtype=np.uint8)] * (rows * columns - len(tiles))
    return np.concatenate([np.concatenate(tiles[r * columns :][:columns], axis=1) for r in range(rows)])


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], log: bool = False) -> np.ndarray:
    """Losses and errors over steps.

    Names with the same part after their first "/" share a panel, so that `train/loss` and `val/loss` are compared.

    Args:
        series: name -> (steps, values).
        log: logarithmic values.
    """
    panels: dict[str, list[str]] = {}
    for name in series:
        panels.setdefault(name.partition("/")[2] or name, []).append(name)
    columns = min(3, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), dpi=110, layout="constrained")
    for place, (panel, names) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        for name in names:
            axes.plot(*series[name], label=name.partition("/")[0], linewidth=1.4)
        axes.set(title=panel, xlabel="step", yscale="log" if log else "linear")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axes.legend(frameon=False)
    return figure_picture(figure)


def figure_picture(figure: Figure) -> np.ndarray:
    """What Matplotlib draws."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
