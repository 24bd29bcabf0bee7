"""COCO keypoints 2017: photographs with the 2D keypoints of people, for the stages `teacher` and `chooser`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mpose3d.data.augmentation import Augmentation
from mpose3d.data.coco_json import read_annotations
from mpose3d.data.epochs import StreamLoader
from mpose3d.data.letterbox import from_reduced, letterbox, read_picture, same_proportions, to_tensor
from mpose3d.sample import LabelledPhotographs
from mpose3d.skeleton import COCO_17, Layout, find_layout


@dataclass(frozen=True)
class CocoImage:
    """A photograph and its people, in pixels of the photograph.

    Args:
        path: the file.
        size: (width, height) of the photograph that was annotated.
        keypoints: (P, 17, 2) of the people that have keypoints, largest first; joints of `COCO_17`.
        labelled: (P, 17) whether the keypoint was annotated, hidden ones included.
        boxes: (P, 4) x, y, width, height of the same people.
        ignored: (N, 4) boxes of crowds and of people without keypoints.
    """

    path: Path
    size: tuple[int, int]
    keypoints: np.ndarray
    labelled: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray


def read_images(annotations: Path | str, images: Path | str) -> list[CocoImage]:
    """Every photograph of the annotation file on which somebody has keypoints, in the order of the file.

    Raises:
        FileNotFoundError: the file, the folder of images, or one of the images is absent.
        ValueError: not COCO keypoints JSON.
    """
    annotations, images = Path(annotations), Path(images)
    content = read_annotations(annotations)
    entries = {entry["id"]: entry for entry in content["images"]}
    people: dict[int, list[dict]] = defaultdict(list)
    for person in content["annotations"]:
        people[person["image_id"]].append(person)
    labelled = {i: p for i, p in people.items() if any(_has_keypoints(person) for person in p)}

    if not images.is_dir():
        raise FileNotFoundError(f"{images}: no such folder of COCO images")
    missing = [entries[i]["file_name"] for i in labelled if not (images / entries[i]["file_name"]).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{images}: {len(missing)} of {len(labelled)} images of {annotations.name} are missing, first {missing[0]}"
        )
    return [
        _image(images / entry["file_name"], (entry["width"], entry["height"]), labelled[i])
        for i, entry in entries.items()
        if i in labelled
    ]


def _has_keypoints(person: dict) -> bool:
    return not person["iscrowd"] and person["num_keypoints"] > 0


def _image(path: Path, size: tuple[int, int], people: list[dict]) -> CocoImage:
    drawn = sorted(filter(_has_keypoints, people), key=lambda person: -person["bbox"][2] * person["bbox"][3])
    keypoints = np.array([person["keypoints"] for person in drawn], dtype=np.float64).reshape(-1, len(COCO_17), 3)
    return CocoImage(
        path,
        size,
        keypoints[..., :2],
        keypoints[..., 2] > 0,
        np.array([person["bbox"] for person in drawn]).reshape(-1, 4),
        np.array([person["bbox"] for person in people if not _has_keypoints(person)]).reshape(-1, 4),
    )


def to_layout(
    points: Float[Tensor, "*p 17 2"], visible: Bool[Tensor, "*p 17"], layout: Layout
) -> tuple[Float[Tensor, "*p J 2"], Bool[Tensor, "*p J"]]:
    """Keypoints of `COCO_17` in another layout: by way of the skeleton, and the face (which it lacks) by name."""
    mapped, mapped_visible = layout.from_skeleton(*COCO_17.to_skeleton(points, visible))
    shared = [(layout.index(name), j) for j, name in enumerate(COCO_17.names) if name in layout.names]
    to, of = (list(column) for column in zip(*shared, strict=True))
    mapped[..., to, :] = torch.where(visible[..., of, None], points[..., of, :], 0)
    mapped_visible[..., to] = visible[..., of]
    return mapped, mapped_visible


class CocoDataset(Dataset[LabelledPhotographs]):
    """Samples of `LabelledPhotographs` without the batch dimension, keyed as in `images.PhotographDataset`."""

    def __init__(
        self,
        images: list[CocoImage],
        layout: Layout,
        image_size: int,
        most_people: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.layout = layout
        self.image_size = image_size
        self.most_people = most_people
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> LabelledPhotographs:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        sample = self.images[index]
        picture = read_picture(sample.path)
        if epoch is not None and self.augmentation is not None:
            rng = np.random.default_rng((self.seed, epoch, index))
            square, matrix, mirrored = self.augmentation.square(picture, self.image_size, rng)
        else:
            square, box = letterbox(picture, self.image_size)
            matrix, mirrored = box.matrix, False

        if not same_proportions(picture.size, sample.size):
            (width, height), annotated = picture.size, " x ".join(map(str, sample.size))
            raise ValueError(f"{sample.path}: {width} x {height}, no copy of the {annotated} that was annotated")
        # photograph as annotated -> photograph -> square -> the teacher's joints
        matrix = from_reduced(matrix, np.divide(picture.size, sample.size))
        shown, left_out = sample.boxes[: self.most_people], sample.boxes[self.most_people :]
        points = sample.keypoints[: self.most_people] @ matrix[:, :2].T + matrix[:, 2]
        visible = sample.labelled[: self.most_people]
        if mirrored:
            points, visible = points[:, COCO_17.mirror], visible[:, COCO_17.mirror]
        inside = ((points > -0.5) & (points < self.image_size - 0.5)).all(axis=-1)
        mapped, mapped_visible = to_layout(
            torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(visible & inside), self.layout
        )
        padded = torch.zeros(self.most_people, len(self.layout), 2)
        padded_visible = torch.zeros(self.most_people, len(self.layout), dtype=torch.bool)
        padded[: len(mapped)], padded_visible[: len(mapped)] = mapped, mapped_visible
        ignored = np.concatenate([sample.ignored, left_out])
        return LabelledPhotographs(to_tensor(square), padded, padded_visible, self._counted(ignored, shown, matrix))

    def _counted(self, ignored: np.ndarray, shown: np.ndarray, matrix: np.ndarray) -> Tensor:
        """(1, h, w): 0 in the boxes of people without keypoints, but 1 in those of people who are trained on."""
        counted = np.ones((self.image_size, self.image_size), dtype=np.float32)
        for boxes, value in ((ignored, 0.0), (shown, 1.0)):
            x, y, width, height = boxes.T
            corners = np.stack([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]).transpose(2, 0, 1)
            # COCO's keypoints are indices of pixels, as ours, but the origin of its boxes is the corner of the picture
            corners = (corners - 0.5) @ matrix[:, :2].T + matrix[:, 2]
            for corner in np.rint(corners).astype(np.int32):
                cv2.fillConvexPoly(counted, corner, value)
        return torch.from_numpy(counted)[None]


class CocoDataModule(LightningDataModule):
    """COCO keypoints 2017 in its official layout (docs/data.md).

    Args:
        root: folder that holds `annotations/` and the folders of images.
        layout: joints of the targets, a key of `LAYOUTS`: those of the teacher that is trained.
        image_size: side of the square input in pixels.
        batch_size: pictures in a batch.
        num_workers: processes that read pictures; batches do not depend on it.
        most_people: largest number of people in a picture; of more, the smallest are not counted.
        augmentation: how training pictures vary; null for none.
        train: image folder to learn from.
        val: image folder for validation.
        annotations: annotation file below `root`, where {split} is the image folder.
        seed: of the order and the augmentation.
    """

    def __init__(
        self,
        root: str,
        layout: str = "openpose18",
        image_size: int = 224,
        batch_size: int = 8,
        num_workers: int = 0,
        most_people: int = 20,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008 (frozen)
        train: str = "train2017",
        val: str = "val2017",
        annotations: str = "annotations/person_keypoints_{split}.json",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.layout = find_layout(layout)
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.most_people = most_people
        self.augmentation = augmentation
        self.splits = {"train": train, "val": val}
        self.annotations = annotations
        self.seed = seed
        self.datasets: dict[str, CocoDataset] = {}

    def setup(self, stage: str | None = None) -> None:
        """Reads the annotations of what `stage` needs; raises as `read_images`."""
        for split in ("val",) if stage in ("validate", "test") else ("train", "val"):
            if split in self.datasets:
                continue
            folder = self.splits[split]
            images = read_images(self.root / self.annotations.format(split=folder), self.root / folder)
            augmentation = self.augmentation if split == "train" else None
            self.datasets[split] = CocoDataset(
                images, self.layout, self.image_size, self.most_people, augmentation, self.seed
            )

    def train_dataloader(self) -> DataLoader[LabelledPhotographs]:
        dataset = self.datasets["train"]
        return StreamLoader(dataset, self.batch_size, self.trainer, self.seed, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[LabelledPhotographs]:
        return DataLoader(self.datasets["val"], batch_size=self.batch_size, num_workers=self.num_workers)

    def test_dataloader(self) -> DataLoader[LabelledPhotographs]:
        return self.val_dataloader()
