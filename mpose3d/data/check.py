"""What a folder of data lacks, and what it holds: `mpose3d data check NAME --root DIR`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from mpose3d.data import coco, mupots, threedpw
from mpose3d.data.images import find_photographs
from mpose3d.data.letterbox import IMAGE_SUFFIXES
from mpose3d.data.mocap import SUFFIXES, find_motion_capture, read_motion_capture

TREES = {
    "mupots": """{root}/
  MultiPersonTestSet/
    TS1/ ... TS20/
      annot.mat  occlusion.mat  img_000000.jpg ...""",
    "3dpw": """{root}/
  sequenceFiles/
    train/  validation/  test/
      downtown_arguing_00.pkl ...
  imageFiles/
    downtown_arguing_00/
      image_00000.jpg ...""",
    "coco": """{root}/
  annotations/
    person_keypoints_train2017.json  person_keypoints_val2017.json
  train2017/
    000000000009.jpg ...
  val2017/
    000000000139.jpg ...""",
    "images": "{root}/\n  any folders of images (" + " ".join(IMAGE_SUFFIXES) + ") and videos",
    "mocap": "{root}/\n  any folders of " + " ".join(SUFFIXES) + " (an .amc beside its .asf)",
}


@dataclass
class Report:
    """Counts by what is counted, and one line for each thing that is missing or broken."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, **counts: int) -> None:
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


def check(name: str, root: Path | str) -> Report:
    """Reads the annotations below `root`, and the names of its pictures.

    Raises:
        ValueError: `name` is none of `TREES`.
    """
    checks = {"mupots": _mupots, "3dpw": _threedpw, "coco": _coco, "images": _images, "mocap": _mocap}
    if name not in checks:
        raise ValueError(f"unknown data set {name!r}, known are {', '.join(checks)}")
    report, root = Report(), Path(root)
    try:
        checks[name](root, report)
    except (FileNotFoundError, ImportError, ValueError) as error:
        report.problems.append(str(error))
    return report


def check_dataset(name: str, root: Path | str) -> int:
    """Prints what the folder holds; what is missing or broken, and the expected tree, to the standard error.

    Returns:
        Exit status: 0, or 1 if the folder is not complete.

    Raises:
        ValueError: `name` is none of `TREES`.
    """
    report = check(name, root)
    if report.counts:
        print(f"{name} in {root}: " + ", ".join(f"{count:,} {what}" for what, count in report.counts.items()))
    if not report.problems:
        return 0
    problems = "\n".join(f"  - {problem}" for problem in report.problems)
    tree = TREES[name].format(root=root)
    print(f"{name} in {root} is not complete:\n{problems}\nexpected:\n{tree}", file=sys.stderr)
    return 1


def _mupots(root: Path, report: Report) -> None:
    folders = mupots.find_sequences(root)
    for folder in folders:
        try:
            sequence = mupots.read_sequence(folder)
        except (ImportError, ValueError) as error:
            report.problems.append(str(error))
            continue
        pictures = mupots.find_pictures(folder)
        report.add(sequences=1, frames=len(sequence.valid), people=int(sequence.valid.sum()), images=len(pictures))
        missing = len(set(range(len(sequence.valid))) - pictures.keys())
        if missing:
            report.problems.append(f"{folder}: {missing} of {len(sequence.valid)} pictures are missing")
        beyond = max(pictures, default=0)
        if beyond >= len(sequence.valid):
            report.problems.append(f"{pictures[beyond]}: the annotations have {len(sequence.valid)} frames, from 0")
        if sequence.occluded is None:
            report.problems.append(f"{folder / 'occlusion.mat'} is missing")
    absent = {f"TS{i}" for i in range(1, 21)} - {folder.name for folder in folders}
    if absent:
        names = ", ".join(sorted(absent, key=lambda name: int(name[2:])))
        report.problems.append(f"{folders[0].parent}: no annot.mat of {names}")


def _threedpw(root: Path, report: Report) -> None:
    for split in threedpw.SPLITS:
        try:
            files = threedpw.find_sequences(root, split)
        except FileNotFoundError as error:
            report.problems.append(str(error))
            continue
        for file in files:
            try:
                sequence = threedpw.read_sequence(file)
                report.add(
                    sequences=1, frames=len(sequence.cam_poses), people=int(sequence.campose_valid.sum()), images=0
                )
                report.add(images=len(threedpw.find_pictures(root, sequence)))
            except (FileNotFoundError, ValueError) as error:
                report.problems.append(str(error))


def _coco(root: Path, report: Report) -> None:
    files = sorted((root / "annotations").glob("person_keypoints_*.json"))
    if not files:
        report.problems.append(f"{root / 'annotations'}: no person_keypoints_*.json")
    for file in files:
        # person_keypoints_train2017.json, or a part of it: person_keypoints_train2017_mini.json
        split = file.stem.removeprefix("person_keypoints_").split("_")[0]
        try:
            images = coco.read_images(file, root / split)
        except (FileNotFoundError, ValueError) as error:
            report.problems.append(str(error))
            continue
        report.add(images=len(images), people=sum(len(image.boxes) for image in images))
    for split in ("train2017", "val2017"):
        if not any(split in file.stem for file in files):
            report.problems.append(f"{root / 'annotations'}: no person_keypoints_{split}.json")


def _images(root: Path, report: Report) -> None:
    sources, unreadable = find_photographs([root])
    report.add(files=len(sources), images=sum(source.frames for source in sources))
    report.problems += unreadable.values()


def _mocap(root: Path, report: Report) -> None:
    for file in find_motion_capture(root):
        try:
            clips = read_motion_capture(file)
        except (FileNotFoundError, ImportError, ValueError) as error:
            report.problems.append(str(error))
            continue
        report.add(files=1, clips=len(clips), frames=sum(map(len, clips.values())))
