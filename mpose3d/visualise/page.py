"""One self-contained HTML page on which 3D people can be turned."""

from __future__ import annotations

import base64
import html
import json
import re
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from mpose3d.skeleton import SKELETON
from mpose3d.visualise.colours import limb_colours, person_colour, rim_colour
from mpose3d.visualise.pictures import draw_people, scaled
from mpose3d.visualise.view3d import floor_height, grid_step

_LONGER_SIDE = 1280  # px of the photograph on the page
_JPEG_QUALITY = 85


def write_page(
    path: str | Path,
    joints_mm: np.ndarray,
    joints_px: np.ndarray | None = None,
    image: np.ndarray | None = None,
    *,
    title: str,
) -> None:
    """Write the people as a page that needs nothing else: no network, no other file.

    Args:
        path: the .html file; its folder is made.
        joints_mm: (P, 15, 3) camera space; a person with a joint that is not finite is left out.
        joints_px: (P, 15, 2) px, the skeletons to draw on the photograph.
        image: (H, W, 3) uint8 RGB, the photograph to show beside the people; it is embedded, scaled to at most 1280 px.
        title: plain text.
    """
    joints_mm = np.asarray(joints_mm, dtype=float).reshape(-1, len(SKELETON), 3)
    kept = [p for p, joints in enumerate(joints_mm) if np.isfinite(joints).all()]
    photograph = None
    if image is not None:
        photograph = _data_uri(image if joints_px is None else draw_people(image, joints_px))
    metres = round(grid_step(joints_mm[kept]) / 1000)
    data = {
        "limbs": SKELETON.limbs,
        "head": SKELETON.limbs.index(tuple(SKELETON.indices("head_top", "neck"))),
        "metres": metres,
        "floor": round(floor_height(joints_mm[kept]), 1) if kept else 0,
        "people": [
            {
                "joints": joints_mm[p].round(1).tolist(),
                "colour": _css(person_colour(p)),
                "colours": [(_css(rim_colour(colour)), _css(colour)) for colour in limb_colours(p)],
            }
            for p in kept
        ],
        "photograph": photograph,
    }
    # "<" would let data end the script element that holds it
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = resources.files("mpose3d.visualise").joinpath("page.html").read_text(encoding="utf-8")
    values = {"__METRES__": str(metres), "__TITLE__": html.escape(title), "__DATA__": text}
    # in one pass, so that a title that looks like a mark stays a title
    page = re.sub("|".join(values), lambda mark: values[mark.group()], page)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a title may be the name of a file that is no text in any encoding
    path.write_text(page, encoding="utf-8", errors="replace")


def _data_uri(image: np.ndarray) -> str:
    scale = _LONGER_SIDE / max(image.shape[:2])
    if scale < 1:
        image = scaled(image, scale)
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _css(colour: tuple[int, ...]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
