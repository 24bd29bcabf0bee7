"""Folders of photographs and videos: which are found, how they vary, and what happens to broken ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from mpose3d.data import images
from mpose3d.data.augmentation import Augmentation, compose
from mpose3d.data.images import ImageFolderDataModule, PhotographDataset, Source, find_photographs, open_source
from mpose3d.sample import Photographs
from tests.data.official_layouts import write_picture


def module(root: Path, **options) -> ImageFolderDataModule:
    data = ImageFolderDataModule(**{"train": [str(root)], "image_size": 32, "batch_size": 4} | options)
    data.setup("fit")
    return data


def epoch(data: ImageFolderDataModule, number: int = 0) -> list[Photographs]:
    loader = data.train_dataloader()
    loader.position = number * len(loader)
    return list(loader)


def equal(one: list[Photographs], other: list[Photographs]) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_batches(images_root: Path) -> None:
    data = module(images_root)
    batches = epoch(data)
    assert len(batches) == 2 and isinstance(batches[0], Photographs)  # 6 pictures and 5 frames
    assert batches[0].image.shape == (4, 3, 32, 32) and batches[0].image.dtype == torch.float32
    assert batches[0].image.min() >= 0 and batches[0].image.max() <= 1
    dataset = data.datasets["train"]
    assert sorted(dataset.locate(i)[0].path.name for i in range(len(dataset))).count("walk.avi") == 5


def test_frames_of_a_video(images_root: Path) -> None:
    sources, _ = find_photographs([images_root / "walk.avi"], video_step=2)
    dataset = PhotographDataset(sources, 32)
    assert len(dataset) == 3
    # frame i of the video is a plain grey of 40 i + 20
    levels = [float(dataset[i].image[:, 16, 16].mean()) * 255 for i in range(3)]
    assert levels == pytest.approx([20, 100, 180], abs=4)
    in_turn = list(sources[0].pictures())
    for i, picture in enumerate(in_turn):
        assert picture.size == (64, 48) and (picture.pixels == sources[0].read(i).pixels).all()
    assert len(in_turn) == 3
    with pytest.raises(ValueError, match=r"walk\.avi: video_step is at least 1, not 0"):
        open_source(images_root / "walk.avi", 0)


def test_a_video_that_does_not_tell_its_length(images_root: Path, monkeypatch) -> None:
    class Untold:
        """As what a browser records."""

        def __init__(self, video: cv2.VideoCapture) -> None:
            self.grab, self.get, self.retrieve = video.grab, lambda _: -9.2e16, video.retrieve

    opened = images._opened

    @contextmanager
    def untold(path: Path) -> Iterator[Untold]:
        with opened(path) as video:
            yield Untold(video)

    monkeypatch.setattr(images, "_opened", untold)
    source = open_source(images_root / "walk.avi", 2)
    assert source.frames == 3 and len(list(source.pictures())) == 3


def test_a_video_may_be_shorter_than_its_header_says(images_root: Path) -> None:
    walk = images_root / "walk.avi"
    assert len(list(Source(walk, frames=9).pictures())) == 5
    walk.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"walk\.avi: no frame of this video can be decoded"):
        list(Source(walk, frames=9).pictures())


def test_epochs_differ_and_repeat(images_root: Path) -> None:
    data = module(images_root)
    first, second = epoch(data, 0), epoch(data, 1)
    assert equal(first, epoch(data, 0)) and not equal(first, second)
    assert equal(second, epoch(module(images_root), 1))
    assert not equal(first, epoch(module(images_root, seed=1), 0))


def test_batches_do_not_depend_on_workers(images_root: Path) -> None:
    assert equal(epoch(module(images_root), 1), epoch(module(images_root, num_workers=2), 1))


def test_lightning_counts_the_epochs(images_root: Path) -> None:
    """Fit for two epochs sees exactly what epochs 0 and 1 are by hand."""

    class Listener(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen: list[Photographs] = []

        def training_step(self, batch: Photographs, batch_index: int) -> torch.Tensor:
            self.seen.append(batch)
            return self.weight * batch.image.mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    listener, data = Listener(), module(images_root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
        )
        trainer.fit(listener, datamodule=data)
    by_hand = module(images_root)
    assert equal(listener.seen, epoch(by_hand, 0) + epoch(by_hand, 1))


def test_validation_and_prediction_show_whole_pictures_in_order(images_root: Path) -> None:
    data = ImageFolderDataModule(val=[str(images_root)], predict=[str(images_root / "day0")], image_size=32)
    data.setup()
    assert [int(i) for batch in data.val_dataloader() for i in batch.index] == list(range(11))
    assert len(list(data.predict_dataloader())) == 1
    with pytest.raises(ValueError, match=r"no folders of photographs given for 'train'"):
        data.train_dataloader()


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_training_pictures_are_needed_by_a_fit_alone(images_root: Path, stage: str) -> None:
    data = ImageFolderDataModule(train=[str(images_root / "absent")], val=[str(images_root)])
    data.setup(stage)
    assert list(data.datasets) == ["val"]


def test_broken_files_among_good_ones(images_root: Path) -> None:
    half = images_root / "day0" / "0.png"
    (images_root / "day0" / "broken.jpg").write_bytes(b"not an image")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"1 photographs do not open and are left out: .*broken\.jpg"):
        data = module(images_root, augmentation=None)
    dataset = data.datasets["train"]
    at = [dataset.locate(i)[0].path for i in range(len(dataset))].index(half)
    # only its header is whole: the next good picture stands in, and says so
    with pytest.warns(UserWarning, match=r"skipped: .*0\.png: not a readable image"):
        sample = dataset[at]
    assert int(sample.index) == at + 1 and torch.equal(sample.image, dataset[at + 1].image)


def test_a_folder_that_is_called_as_a_video_is_searched_and_not_read_itself(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    write_picture(tmp_path / "clip.mp4" / "000000.jpg", 8, 8)
    sources, unreadable = find_photographs([tmp_path])
    assert [source.path.name for source in sources] == ["000000.jpg"] and not unreadable


def test_nothing_but_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"none of 1 files is readable, the first: .*a\.jpg"):
        module(tmp_path)
    write_picture(tmp_path / "a.jpg", 300, 200)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:2000])
    data = module(tmp_path)
    with pytest.raises(ValueError, match=r"none of 1 photographs is readable"), pytest.warns(UserWarning):
        data.datasets["train"][0]


def test_empty_and_absent_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no image \(.*\), video .* or .tar file in ") as raised:
        module(tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        module(tmp_path / "nowhere")


def test_view_mirrors_turns_and_zooms() -> None:
    rng = np.random.default_rng(0)
    exact = Augmentation(flip=1, scale=(2, 2), rotation=0, shift=0)
    matrix, mirrored = exact.view(33, rng)
    assert mirrored
    np.testing.assert_allclose(matrix, [[-2, 0, 48], [0, 2, -16]], atol=1e-9)  # about the middle pixel, (16, 16)
    views = [Augmentation().view(33, rng) for _ in range(300)]
    assert 0.35 < np.mean([mirrored for _, mirrored in views]) < 0.65
    for matrix, mirrored in views:
        determinant = np.linalg.det(matrix[:, :2])
        assert (determinant < 0) == mirrored and 0.7**2 <= abs(determinant) <= 1.5**2
    with pytest.raises(ValueError, match="scale must be"):
        Augmentation(scale=(2, 1))


def test_maps_compose_in_the_order_of_their_names() -> None:
    double, shift = np.array([[2.0, 0, 0], [0, 2, 0]]), np.array([[1.0, 0, 5], [0, 1, 0]])
    np.testing.assert_allclose(compose(double, shift)[:, 2], [10, 0])  # shift, then double


def test_recolour_keeps_the_picture() -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert (Augmentation(colour=0).recolour(image, np.random.default_rng(0)) == image).mean() > 0.9
    changed = Augmentation().recolour(image, np.random.default_rng(0))
    assert changed.dtype == np.uint8 and changed.shape == image.shape and (changed != image).any()
