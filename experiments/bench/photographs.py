"""Photographs from plain files and from tar files (`mpose3d data pack`): how soon found, and images per second.

    python -m experiments.bench.photographs [--images 400] [--folder DIR] [--out out/bench/photographs.json]

Without a folder, pictures of COCO's size (640x480, about 100 KB) are made up. Files are in the page cache: what is
compared is the work of opening and reading. Where opening is slow (a network file system), give a folder there; the tar
files are then written beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from experiments.bench.timing import interleaved, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.data.images import ImageFolderDataModule, Source, find_photographs
from mpose3d.data.shards import pack, read_member


def make_pictures(folder: Path, count: int) -> None:
    """Pictures with the detail of photographs: noise of several scales."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = np.zeros((480, 640, 3), np.float32)
        for scale in (4, 16, 64):
            small = rng.normal(0, 10 * scale**0.5, (480 // scale, 640 // scale, 3)).astype(np.float32)
            picture += cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC)
        picture = (128 + picture).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:06d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])


def a_pass(data: ImageFolderDataModule) -> None:
    for _ in data.train_dataloader():
        pass


def read_bytes(sources: list[Source]) -> None:
    for source in sources:
        source.path.read_bytes() if source.place is None else read_member(*source.place)


def rows(plain: Path, packed: Path, repeats: int, command: str) -> list[dict[str, Any]]:
    paths = {"plain": plain, "packed": packed}
    sources = {name: find_photographs([path])[0] for name, path in paths.items()}
    count = len(sources["packed"])
    common = {"table": f"{count:,} photographs", "against": "plain files", "command": command}
    times = interleaved({name: partial(find_photographs, [path]) for name, path in paths.items()}, 5)
    ours, other = times["packed"].median, times["plain"].median
    found = [{"row": "tar files: finding them", "ours": ours, "other": other, "ratio": ours / other, **common}]

    cases = {"reading the bytes": {name: partial(read_bytes, part) for name, part in sources.items()}}
    for workers in (0, 2):
        passes = cases[f"training batches of 8 at 224 px, {workers} workers"] = {}
        for name, path in paths.items():
            data = ImageFolderDataModule([str(path)], batch_size=8, num_workers=workers)
            data.setup("fit")
            passes[name] = partial(a_pass, data)
    for name, functions in cases.items():
        times = interleaved(functions, repeats, warmup=1)
        ours, other = count / times["packed"].median, count / times["plain"].median
        row = {"row": f"tar files: {name}", "ours": ours, "other": other, "unit": "images/s", "ratio": ours / other}
        found.append(row | common)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/bench/photographs.json"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=args.folder and args.folder.parent) as made:
        plain, packed = args.folder or Path(made) / "plain", Path(made) / "packed"
        if args.folder is None:
            make_pictures(plain, args.images)
        pack(str(plain), str(packed))
        found = rows(plain, packed, args.repeats, f"python -m experiments.bench.photographs --images {args.images}")
    print_rows(found)
    write_results(args.out, found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
