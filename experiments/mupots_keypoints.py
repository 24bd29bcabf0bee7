"""Annotated 2D people of MuPoTS-3D as a file for `mpose3d lift`: the joints of a perfect 2D detector.

python -m experiments.mupots_keypoints --annotations MultiPersonTestSet --out keypoints.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mpose3d.cli import plainly
from mpose3d.data.mupots import find_sequences, read_sequence
from mpose3d.files import whole_or_none


def keypoints(annotations: Path) -> dict[str, np.ndarray]:
    """TSn_img_NNNNNN/px (P, 17, 2): `annot2` of the people whose annotation counts, for every frame."""
    sequences = [read_sequence(folder) for folder in find_sequences(annotations)]
    return {
        f"{sequence.name}_img_{frame:06d}/px": sequence.annot2[frame, valid].numpy()
        for sequence in sequences
        for frame, valid in enumerate(sequence.valid)
    }


def write_once(file: Path, annotations: Path, images: Path | None = None) -> None:
    """`keypoints` as a file, unless there is one; with `images`, only of the frames that there are pictures of."""
    if file.is_file():
        return
    arrays = keypoints(annotations)
    if images is not None:
        pictures = {f"{picture.parent.name}_{picture.stem}/px" for picture in images.rglob("*.jpg")}
        arrays = {key: px for key, px in arrays.items() if key in pictures}
        if not arrays:
            raise FileNotFoundError(f"{images}: no pictures TSn/img_NNNNNN.jpg of the frames in {annotations}")
    write(file, arrays)


def write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """`keypoints`, or some of them, as an npz of just this name."""
    with whole_or_none(file) as unfinished, unfinished.open("wb") as content:
        np.savez(content, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="folder of TS*/annot.mat")
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz")
    arguments = parser.parse_args()
    arrays = keypoints(arguments.annotations)
    write(arguments.out, arrays)
    print(f"{sum(map(len, arrays.values()))} people in {len(arrays)} frames, written to {arguments.out}")


if __name__ == "__main__":
    raise SystemExit(plainly(main))
