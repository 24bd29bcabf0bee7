"""People whom the border of a picture cuts in two: what it gains that MoveNet's joints near the border are not seen.

python -m experiments.cut_off --annotations MultiPersonTestSet --images images_small --sequences TS1 TS6 TS10 --every 3

Pictures of MuPoTS-3D are cut through each of their people, from aside and from below, and read again. All 15 joints of
the person count, those beyond the border too.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mpose3d.cli import plainly
from mpose3d.data.letterbox import Picture, letterbox, read_picture
from mpose3d.data.mupots import find_pictures, official_size, read_sequence
from mpose3d.inference import default_teacher, read_network
from mpose3d.metrics.functional import mpjpe, pmpjpe
from mpose3d.networks.cross_modal import Detection
from mpose3d.readers import KeypointReader
from mpose3d.skeleton import MUPOTS_17, SKELETON
from mpose3d.visualise.tables import print_table

# parts of a person's width or height that stay in the picture, in turn
_KEPT = (0.25, 0.5, 0.75)

# a person is found if half of the joints inside the picture are this near, in diagonals of the person's box
_NEAR = 0.2


class Borderless(KeypointReader):
    """Takes every picture to go on beyond its border."""

    def detect(
        self, image: Tensor, border: Sequence[float] | None = None, focal_ratio: float | None = None
    ) -> Detection:
        return super().detect(image, (-math.inf, -math.inf, math.inf, math.inf), focal_ratio)


def cut_people(annotations: Path, pictures: Path, every: int) -> Iterator[tuple[Picture, Tensor, Tensor]]:
    """Every picture that ends amid a person, and that person: joints (15, 2) px and (15, 3) mm."""
    sequence, number = read_sequence(annotations), 0
    found = list(find_pictures(pictures).items())
    if not found:
        raise FileNotFoundError(f"{pictures}: no pictures img_NNNNNN.jpg of {sequence.name}")
    for frame, path in found[::every]:
        picture = read_picture(path)
        scale = torch.tensor(picture.size) / torch.tensor(official_size(sequence.name))
        for p in sequence.valid[frame].nonzero().flatten().tolist():
            px, _ = MUPOTS_17.to_skeleton((sequence.annot2[frame, p] + 0.5) * scale - 0.5)
            mm, _ = MUPOTS_17.to_skeleton(sequence.univ_annot3[frame, p])
            for axis in (0, 1):
                low, high = px[:, axis].aminmax()
                end = int(low + _KEPT[number % len(_KEPT)] * (high - low))
                number += 1
                if end > 0:
                    pixels = picture.pixels[:end] if axis else picture.pixels[:, :end]
                    yield Picture.whole(np.ascontiguousarray(pixels)), px, mm


def read_person(reader: KeypointReader, picture: Picture, px: Tensor) -> Tensor:
    """Joints (15, 3) mm of whoever lies where the joints px (15, 2) do; NaN if nobody does."""
    people = reader.read(*letterbox(picture, reader.side))
    inside = (px < torch.tensor(picture.size) - 0.5).all(-1)
    if not len(people.score) or not inside.any():
        return torch.full((len(SKELETON), 3), torch.nan, dtype=torch.float64)
    apart = (torch.from_numpy(people.joints_px)[:, inside] - px[inside]).norm(dim=-1).median(-1).values
    near = apart.min() < _NEAR * (px.amax(0) - px.amin(0)).norm()
    return torch.where(near, torch.from_numpy(people.joints_mm[apart.argmin()]).double(), torch.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="folder of TS*/annot.mat")
    parser.add_argument("--images", type=Path, required=True, help="folder of TSn/img_NNNNNN.jpg")
    parser.add_argument("--sequences", nargs="+", required=True, metavar="TSn")
    parser.add_argument("--every", type=int, default=1, help="take one picture in so many")
    args = parser.parse_args()
    teacher, network = default_teacher("keypoints"), read_network("keypoints")
    readers = {
        "seen as MoveNet says": Borderless(teacher, network),
        "not seen at the border": KeypointReader(teacher, network),
    }

    truth, read = [], {name: [] for name in readers}
    for name in args.sequences:
        for picture, px, mm in cut_people(args.annotations / name, args.images / name, args.every):
            truth.append(mm)
            for kind, reader in readers.items():
                read[kind].append(read_person(reader, picture, px))
    joints = {kind: torch.stack(people) for kind, people in read.items()}
    found = {kind: people.isfinite().all(-1).all(-1) for kind, people in joints.items()}
    both = torch.stack(list(found.values())).all(0)
    rows = [
        {
            "joints": kind,
            "found": int(found[kind].sum()),
            "MPJPE": float(mpjpe(people[both], torch.stack(truth)[both], root=SKELETON.root).mean()),
            "PMPJPE": float(pmpjpe(people[both], torch.stack(truth)[both]).mean()),
        }
        for kind, people in joints.items()
    ]
    notes = [f"Of {len(truth)} people who are cut in two; errors (mm) of the {int(both.sum())} whom both find."]
    print_table("People at the border of a picture", rows, list(rows[0]), notes)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
