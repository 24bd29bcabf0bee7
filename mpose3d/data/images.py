"""Photographs without annotation: folders of images, and videos."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from mpose3d.data.augmentation import Augmentation
from mpose3d.data.epochs import StreamLoader
from mpose3d.data.letterbox import IMAGE_SUFFIXES, Picture, check_header, letterbox, read_picture, to_tensor
from mpose3d.data.shards import members, read_member
from mpose3d.files import files_below
from mpose3d.sample import Photographs

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Source:
    """An image, or every `step`-th frame of a video: `frames` pictures.

    Of an image inside a tar file `place` is (tar file, offset, size), and `path` the tar file's with the name in it.
    """

    path: Path
    frames: int = 1
    step: int = 1
    place: tuple[Path, int, int] | None = None

    def read(self, frame: int) -> Picture:
        """Picture number `frame` of this source. Raises as `read_picture`."""
        if is_video(self.path):
            return Picture.whole(read_video_frame(self.path, frame * self.step))
        return read_picture(self.path, None if self.place is None else read_member(*self.place))

    def pictures(self) -> Iterator[Picture]:
        """All pictures in turn. Of a video faster than one `read` after another, and to where it really ends.

        Raises:
            ValueError: an image that cannot be read (as `read_picture`), or a video without a frame.
        """
        if not is_video(self.path):
            yield self.read(0)
            return
        with _opened(self.path) as video:
            number = 0
            while video.grab():
                if number % self.step == 0:
                    yield Picture.whole(_retrieve(video, self.path, number))
                number += 1
        if number == 0:
            raise ValueError(f"{self.path}: no frame of this video can be decoded")


def find_photographs(folders: Sequence[Path | str], video_step: int = 1) -> tuple[list[Source], dict[Path, str]]:
    """Images and videos below `folders`, sorted by path, and those that do not open with the reason.

    Only headers are read. A folder may also be a single file. Images in tar files are found by their names alone
    (`data.shards`).

    Raises:
        FileNotFoundError: a folder is absent, or there is no image or video in all of them.
        ValueError: none of the files opens.
    """
    files: list[Path] = []
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, ".tar", *_COMPRESSED)
    for folder in map(Path, folders):
        if not folder.exists():
            raise FileNotFoundError(f"{folder}: no such folder of photographs")
        inside = files_below(folder) if folder.is_dir() else [folder]
        files += [path for path in inside if path.name.lower().endswith(suffixes)]
    if not files:
        raise FileNotFoundError(
            f"no image ({', '.join(IMAGE_SUFFIXES)}), video ({', '.join(VIDEO_SUFFIXES)}) or .tar file "
            f"in {', '.join(str(folder) for folder in folders)}"
        )
    sources, unreadable = [], {}
    for path in files:
        try:
            if path.name.lower().endswith(_COMPRESSED):
                raise ValueError(f"{path}: a compressed tar file cannot be read at any place: unpack it")
            if path.suffix.lower() == ".tar":
                sources += [Source(path / m.name, place=(path, m.offset, m.size)) for m in members(path)]
            else:
                sources.append(open_source(path, video_step))
        except ValueError as error:
            unreadable[path] = str(error)
    if not sources:
        first = next(iter(unreadable.values()), f"{files[0]}: no image inside")
        raise ValueError(f"none of {len(files)} files is readable, the first: {first}")
    return sources, unreadable


def open_source(path: Path, video_step: int = 1) -> Source:
    """An image or a video, of which only the header is read, if that tells how many frames there are.

    Raises ValueError where it is neither.
    """
    if is_video(path):
        if video_step < 1:
            raise ValueError(f"{path}: video_step is at least 1, not {video_step}")
        with _opened(path) as video:
            frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            if frames < 1:  # what a browser records does not tell
                frames = sum(1 for _ in iter(video.grab, False))
        if frames < 1:
            raise ValueError(f"{path}: not a readable video")
        return Source(path, -(-frames // video_step), video_step)
    check_header(path)
    return Source(path)


def read_video_frame(path: Path, frame: int) -> np.ndarray:
    """Frame number `frame` of a video, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the video has no such frame, or it cannot be decoded.
    """
    with _opened(path) as video:
        video.set(cv2.CAP_PROP_POS_FRAMES, frame)
        video.grab()
        return _retrieve(video, path, frame)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(str(path))
    try:
        yield video
    finally:
        video.release()


def _retrieve(video: cv2.VideoCapture, path: Path, frame: int) -> np.ndarray:
    found, image = video.retrieve()
    if not found:
        raise ValueError(f"{path}: frame {frame} cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class PhotographDataset(Dataset[Photographs]):
    """Pictures of `sources` as square inputs.

    A key (epoch, index) gives the picture augmented, in a way that depends on seed, epoch and index alone; a plain
    index gives it whole. In place of a picture that turns out to be broken the next good one is given, with a warning;
    `index` of the sample says which.
    """

    def __init__(
        self, sources: Sequence[Source], image_size: int, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.sources = list(sources)
        self.image_size = image_size
        self.augmentation = augmentation
        self.seed = seed
        self._ends = list(accumulate(source.frames for source in self.sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[Source, int]:
        """The source of a picture and the number of its frame there."""
        at = bisect_right(self._ends, index)
        return self.sources[at], index - (self._ends[at] - self.sources[at].frames)

    def __getitem__(self, key: int | tuple[int, int]) -> Photographs:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        if not 0 <= index < len(self):
            raise IndexError(index)
        for candidate in ((index + i) % len(self) for i in range(len(self))):
            source, frame = self.locate(candidate)
            try:
                picture = source.read(frame)
                break
            except (ValueError, FileNotFoundError) as error:
                warnings.warn(f"skipped: {error}", stacklevel=2)
        else:
            raise ValueError(f"none of {len(self)} photographs is readable, the first: {self.sources[0].path}")
        if epoch is not None and self.augmentation is not None:
            rng = np.random.default_rng((self.seed, epoch, index))
            square, *_ = self.augmentation.square(picture, self.image_size, rng)
        else:
            square, _ = letterbox(picture, self.image_size)
        return Photographs(to_tensor(square), torch.tensor(candidate))


class ImageFolderDataModule(LightningDataModule):
    """Photographs of any size in folders, for the stages that learn from images without annotation, and for predict.

    Give whole recordings to either side: frames of one video in both `train` and `val` would make validation blind.

    Args:
        train: folders (or files) of images and videos to learn from, searched recursively; packed ones too
            (`mpose3d data pack`).
        val: the same, for validation.
        predict: the same, for prediction.
        image_size: side of the square input in pixels.
        batch_size: pictures in a batch.
        num_workers: processes that read pictures; batches do not depend on it.
        augmentation: how training pictures vary; null for none.
        video_step: take one frame in so many of a video.
        seed: of the order and the augmentation.
    """

    def __init__(
        self,
        train: list[str] | None = None,
        val: list[str] | None = None,
        predict: list[str] | None = None,
        image_size: int = 224,
        batch_size: int = 8,
        num_workers: int = 0,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008 (frozen)
        video_step: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folders = {"train": train, "val": val, "predict": predict}
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.augmentation = augmentation
        self.video_step = video_step
        self.seed = seed
        self.datasets: dict[str, PhotographDataset] = {}

    def setup(self, stage: str | None = None) -> None:
        """Finds the photographs that `stage` needs. Files that do not open are left out; one warning lists them.

        Raises:
            FileNotFoundError: a folder is absent or holds no photograph.
            ValueError: no file of a split opens.
        """
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("val",), "predict": ("predict",)}
        for split in splits.get(stage, self.folders):
            folders = self.folders[split]
            if folders is None or split in self.datasets:
                continue
            sources, unreadable = find_photographs(folders, self.video_step)
            if unreadable:
                names = ", ".join(str(path) for path in unreadable)
                warnings.warn(f"{len(unreadable)} photographs do not open and are left out: {names}", stacklevel=2)
            augmentation = self.augmentation if split == "train" else None
            self.datasets[split] = PhotographDataset(sources, self.image_size, augmentation, self.seed)

    def train_dataloader(self) -> DataLoader[Photographs]:
        dataset = self._dataset("train")
        return StreamLoader(dataset, self.batch_size, self.trainer, self.seed, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Photographs] | list:
        return self._loader(self.datasets["val"]) if "val" in self.datasets else []

    def test_dataloader(self) -> DataLoader[Photographs] | list:
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Photographs]:
        return self._loader(self._dataset("predict"))

    def _dataset(self, split: str) -> PhotographDataset:
        if split not in self.datasets:
            raise ValueError(f"no folders of photographs given for {split!r}: set ImageFolderDataModule({split}=[...])")
        return self.datasets[split]

    def _loader(self, dataset: PhotographDataset) -> DataLoader[Photographs]:
        return DataLoader(dataset, batch_size=self.batch_size, num_workers=self.num_workers)
