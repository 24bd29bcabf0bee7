"""Many small images in a few tar files: `mpose3d data pack FOLDER --out DIR`, and how they are read.

File systems of clusters are slow at opening millions of small files, and quick at reading a place in a large one. The
tar files are ordinary ones (webdataset and `tar` read them too). An index beside them says where each image lies, so
that any image can be read at any time: the order, and with it every batch, is that of the plain folder.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from mpose3d.data.letterbox import IMAGE_SUFFIXES, check_header
from mpose3d.files import files_below, reading, whole_or_none

#: name of the index in a packed folder
INDEX = "shards.json"

_MB = 10**6


class Member(NamedTuple):
    """A file inside a tar file: its name there, and where its bytes are."""

    name: str
    offset: int
    size: int


def pack(folder: str, out: str, shard_mb: int = 256) -> None:
    """Pack the images of a folder into tar files that training reads in its place.

    Bytes are copied as they are. Files that do not open as images are left out, and so are videos; both are listed.

    Args:
        folder: searched recursively.
        out: folder to write, which must not exist; it appears when everything is in it.
        shard_mb: size of a tar file in MB.
    """
    source, target = Path(folder), Path(out)
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder of images")
    if target.exists():
        raise ValueError(f"{target} exists: give a folder that is not there yet")
    if shard_mb < 1:
        raise ValueError(f"shard_mb must be at least 1, not {shard_mb}")
    files = files_below(source)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise FileNotFoundError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {source}")

    whole, broken = _opening(images)
    if not whole:
        raise ValueError(f"none of {len(images)} images in {source} opens, the first: {images[0]}")

    divided = _divided(whole, shard_mb * _MB)
    with whole_or_none(target) as unfinished:
        unfinished.mkdir()
        shards = {
            f"{number:06d}.tar": _write(unfinished / f"{number:06d}.tar", part, source)
            for number, part in enumerate(track(divided, "packing", transient=True))
        }
        (unfinished / INDEX).write_text(json.dumps({"version": 1, "shards": shards}, separators=(",", ":")))

    print(f"{len(whole):,} images in {len(shards):,} files: {target}")
    for what, left_out in (("do not open", broken), ("are not images", sorted(set(files) - set(images)))):
        if left_out:
            shown = ", ".join(str(path.relative_to(source)) for path in left_out[:10])
            more = f", and {len(left_out) - 10} more" if len(left_out) > 10 else ""
            print(f"{len(left_out):,} files {what} and are left out: {shown}{more}")


def _opening(images: list[Path]) -> tuple[list[Path], list[Path]]:
    """Images that open, and those that do not."""
    whole, broken = [], []
    for path in track(images, "reading headers", transient=True):
        try:
            check_header(path)
            whole.append(path)
        except ValueError:
            broken.append(path)
    return whole, broken


def _divided(images: list[Path], size: int) -> list[list[Path]]:
    """The images in order, in parts of at most `size` bytes (or of one image)."""
    parts: list[list[Path]] = []
    filled = 0
    for path in images:
        filled += path.stat().st_size
        if filled > size or not parts:
            parts.append([])
            filled = path.stat().st_size
        parts[-1].append(path)
    return parts


def _write(shard: Path, images: list[Path], source: Path) -> list[Member]:
    written = []
    with tarfile.open(shard, "w") as tar:
        for path in images:
            content = path.read_bytes()
            info = tarfile.TarInfo(path.relative_to(source).as_posix())
            info.size, info.mtime = len(content), int(path.stat().st_mtime)
            tar.addfile(info, io.BytesIO(content))
            blocks = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            written.append(Member(info.name, tar.offset - blocks, len(content)))
    return written


def members(shard: Path) -> list[Member]:
    """The images in a tar file, by the index beside it, or by the headers within where there is none.

    Raises:
        ValueError: not a tar file, shorter than its index says, or a damaged index.
    """
    index = shard.with_name(INDEX)
    listed = _index(index, index.stat().st_mtime_ns).get(shard.name) if index.is_file() else None
    if listed is None:
        try:
            with tarfile.open(shard, "r:") as tar:
                found = [Member(info.name, info.offset_data, info.size) for info in tar if info.isfile()]
        except (tarfile.TarError, OSError) as error:
            raise ValueError(f"{shard}: not a readable tar file, or a compressed one ({error})") from error
        return [member for member in found if Path(member.name).suffix.lower() in IMAGE_SUFFIXES]
    end = max((member.offset + member.size for member in listed), default=0)
    if shard.stat().st_size < end:
        raise ValueError(f"{shard}: {shard.stat().st_size:,} bytes, {end:,} by {index}: copied in part? Copy it again")
    return listed


@cache
def _index(path: Path, written: int) -> dict[str, list[Member]]:
    with reading(path, "an index of tar files: pack the folder again"):
        content = json.loads(path.read_text())
        return {
            shard: [Member(name, int(offset), int(size)) for name, offset, size in found]
            for shard, found in content["shards"].items()
        }


def read_member(shard: Path, offset: int, size: int) -> bytes:
    """Bytes of a file inside a tar file."""
    content = os.pread(_descriptor(shard), size, offset)
    if len(content) < size:
        raise ValueError(f"{shard}: ends at {offset + len(content):,}, in the middle of an image")
    return content


@cache
def _descriptor(shard: Path) -> int:
    # open for as long as the process lives: opening is what is slow. `pread` moves no position that workers share
    return os.open(shard, os.O_RDONLY)
