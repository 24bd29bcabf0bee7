"""Where the people of photographs and videos are written, so that nothing is lost there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpose3d.data.images import VIDEO_SUFFIXES, is_video
from mpose3d.data.letterbox import IMAGE_SUFFIXES
from mpose3d.files import files_below
from mpose3d.people import check_place


def output_places(paths: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """Photographs and videos below `paths`, and where the output of each belongs, relative to `out`, less suffix.

    What lies in `out`, where that is a folder below one of the paths, is output of another time.

    Raises:
        FileNotFoundError: a path does not exist, or there is nothing to read.
        ValueError: two files would be written to the same place.
    """
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    folders, out = [path for path in paths if path.is_dir()], out.resolve()
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no photograph, video or folder at {path}")
        if not path.is_dir():
            found.append((path, Path(path.stem)))
            continue
        keep = Path(path.resolve().name) if len(folders) > 1 else Path()
        inside = [file for file in files_below(path) if file.suffix.lower() in suffixes]
        if path.resolve() in out.parents:
            inside = [file for file in inside if out not in file.resolve().parents]
        if not inside:
            raise FileNotFoundError(f"no photograph or video ({', '.join(suffixes)}) in {path}")
        found += [(file, keep / file.relative_to(path).with_suffix("")) for file in inside]
    found = list(dict.fromkeys(found))
    taken: dict[tuple[Path, bool], Path] = {}
    for source, place in found:
        other = taken.setdefault((place, is_video(source)), source)
        if other != source:
            written = f"{place}/" if is_video(source) else f"{place}.json"
            raise ValueError(f"{source} and {other} would both be written to {written}: rename one")
    for source, place in found:
        video = taken.get((place.parent, True))
        if video and place.name.isdecimal() and not is_video(source):
            raise ValueError(f"{source} and a frame of {video} would both be written to {place}.json: rename one")
    return found


def spare_files(places: list[tuple[Path, Path]], out: Path, suffixes: Sequence[str]) -> None:
    """Refuse to write over photographs and what no earlier run wrote (`check_place`).

    Args:
        places: as of `output_places`.
        out: the folder.
        suffixes: of the files that will be written for a picture.

    Raises:
        ValueError: there is such a file.
    """
    sources = {source.resolve() for source, _ in places}
    for source, place in places:
        pictures = [out / place]
        if is_video(source):
            pictures = [out / place / frame for frame in sorted(frames_in(out / place))]
        for picture in pictures:
            check_place(picture, suffixes, sources)


def frames_in(folder: Path) -> set[str]:
    """Names of a video's frames, less suffix, of which there are files in the folder."""
    names = {file.name.partition(".")[0] for file in folder.glob("[0-9]*.*")}
    return {name for name in names if name.isdecimal()}


def spare_teacher_people(places: list[tuple[Path, Path]]) -> None:
    """Refuse a photograph whose people would be written where the teacher's people of another are."""
    sources = {place: source for source, place in places}
    for place, source in sources.items():
        other = sources.get(place.with_name(f"{place.name}.teacher"))
        if other:
            raise ValueError(f"{source} and {other} would both be written to {place}.teacher.json: rename one")
