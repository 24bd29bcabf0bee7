"""The people of one photograph, and the files that are written of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpose3d.data.letterbox import Picture
from mpose3d.files import whole_or_none
from mpose3d.geometry.camera import Camera
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.page import write_page
from mpose3d.visualise.pictures import overlay as draw_overlay
from mpose3d.visualise.pictures import write_picture

#: version of the JSON that `infer` writes (docs/flow.md)
FORMAT = 1


def check_focal_ratio(focal_ratio: float) -> None:
    """Raises ValueError unless the number can be a focal length over a picture's side."""
    if not 0 < focal_ratio < math.inf:
        raise ValueError(f"--focal_ratio is focal length over picture side, a number above 0, not {focal_ratio}")


def check_score(threshold: float) -> None:
    """Raises ValueError unless the number can be a score of a person."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold is the least score of a person, 0 to 1, not {threshold}")


@dataclass(frozen=True)
class PhotographPeople:
    """The people of one photograph, best first.

    Args:
        size: (width, height) of the photograph.
        camera: the camera that its people are seen by.
        joints_px: (P, 15, 2) pixels of the photograph.
        joints_mm: (P, 15, 3) camera space.
        root_px: (P, 2) pixels of the photograph.
        score: (P,) how sure the person is: of `infer` 0 to 1, of the root or of the 2D person; of `lift` as given.
        embedding: (P, E) pose embeddings, of the width of the network's.
    """

    size: tuple[int, int]
    camera: Camera
    joints_px: np.ndarray
    joints_mm: np.ndarray
    root_px: np.ndarray
    score: np.ndarray
    embedding: np.ndarray

    def joints_in(self, picture: Picture) -> np.ndarray:
        """(P, 15, 2) in the pixels of the photograph as it was decoded."""
        return (self.joints_px + 0.5) / picture.factor - 0.5

    def to_json(self, image: str) -> dict[str, Any]:
        """What `infer` writes, `image` being the photograph's name."""

        def rounded(values: np.ndarray, digits: int) -> list:
            return np.round(values.astype(float), digits).tolist()

        return {
            "version": FORMAT,
            "image": image,
            "size": list(self.size),
            "camera": {"focal": self.camera.focal, "centre": list(self.camera.centre)},
            "skeleton": skeleton_json(),
            "people": [
                {
                    "joints_px": rounded(self.joints_px[p], 2),
                    "joints_mm": rounded(self.joints_mm[p], 1),
                    "root_px": rounded(self.root_px[p], 2),
                    "score": round(float(self.score[p]), 4),
                    "embedding": rounded(self.embedding[p], 4),
                }
                for p in range(len(self.score))
            ],
        }


def skeleton_json() -> dict[str, Any]:
    """Names of the joints, and the limbs between them, for who reads the file without us."""
    return {"names": list(SKELETON.names), "limbs": [list(limb) for limb in SKELETON.limbs]}


def check_place(place: Path, suffixes: Iterable[str], sources: Collection[Path] = ()) -> None:
    """Refuse to write over what `write_people` did not write: any file without people of ours beside it.

    Args:
        place, suffixes: where, and what, `write_people` will write.
        sources: resolved paths of files that are not to be written over in any case.

    Raises:
        ValueError: there is such a file.
    """
    ours = _is_people_file(place.with_name(f"{place.name}.json"))
    for suffix in suffixes:
        file = place.with_name(place.name + suffix)
        if file.exists() and (not ours or file.resolve() in sources):
            raise ValueError(f"{file} is another file and would be written over: name another folder, --out")


def _is_people_file(path: Path) -> bool:
    """Whether `write_people` wrote it, by its first words."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return re.match(rb'\{\s*"version": \d+,\s*"image": ', file.read(64)) is not None


def write_people(
    people: PhotographPeople,
    name: str,
    place: Path,
    overlay: Picture | None = None,
    page: Picture | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write the people of the photograph `name` to `place` with the suffix .json, whole or not at all.

    Args:
        overlay: the photograph, to be drawn with its people as .png.
        page: the photograph, for a page with its people as .html.
        extra: other texts to write, by suffix.
    """
    texts = {".json": json.dumps(people.to_json(name), indent=1)} | dict(extra or {})
    files = {suffix: partial(Path.write_text, data=text) for suffix, text in texts.items()}
    if overlay:
        files[".png"] = lambda path: write_picture(
            path, draw_overlay(overlay.pixels, people.joints_in(overlay), people.joints_mm)
        )
    if page:
        files[".html"] = lambda path: write_page(
            path, people.joints_mm, people.joints_in(page), page.pixels, title=name
        )
    for suffix, write in files.items():
        with whole_or_none(place.with_name(place.name + suffix)) as unfinished:
            write(unfinished)
