"""COCO keypoints: whose joints end where, which pixels count, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mpose3d.data.augmentation import Augmentation
from mpose3d.data.coco import CocoDataModule, CocoDataset, read_images, to_layout
from mpose3d.sample import LabelledPhotographs
from mpose3d.skeleton import COCO_17, COCO_18, MPI_15, MPOSE3D

_ANNOTATIONS = "annotations/person_keypoints_train2017.json"


def dataset(root: Path, augmentation: Augmentation | None = None, **options) -> CocoDataset:
    images = read_images(root / _ANNOTATIONS, root / "train2017")
    return CocoDataset(
        images, **{"layout": COCO_17, "image_size": 64, "most_people": 4, "augmentation": augmentation} | options
    )


def test_people_and_ignored_boxes(coco_root: Path) -> None:
    images = read_images(coco_root / _ANNOTATIONS, coco_root / "train2017")
    assert [len(image.boxes) for image in images] == [1, 2, 1, 1, 1]
    assert [len(image.ignored) for image in images] == [0, 0, 2, 0, 0]
    assert images[1].boxes[0, 2] > images[1].boxes[1, 2]  # largest first
    assert images[0].labelled.sum() == 16


def test_points_in_the_square(coco_root: Path) -> None:
    sample = dataset(coco_root)[1]
    # 64 x 48 in 64 x 64: 8 rows of grey above
    assert sample.points.shape == (4, 17, 2) and sample.counted.shape == (1, 64, 64)
    assert sample.points[0, 0].tolist() == [10, 16] and sample.points[1, 0].tolist() == [40, 18]
    assert sample.visible.sum(dim=1).tolist() == [16, 16, 0, 0]


def test_pictures_of_another_size_than_was_annotated(coco_root: Path) -> None:
    path = read_images(coco_root / _ANNOTATIONS, coco_root / "train2017")[1].path
    whole, picture = dataset(coco_root)[1], cv2.imread(str(path))
    cv2.imwrite(str(path), cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    twice = dataset(coco_root)[1]
    torch.testing.assert_close(twice.points, whole.points, atol=1e-3, rtol=0)
    assert torch.equal(twice.visible, whole.visible) and torch.equal(twice.counted, whole.counted)
    cv2.imwrite(str(path), cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE))
    with pytest.raises(ValueError, match=rf"{path.name}: 48 x 64, no copy of the 64 x 48 that was annotated"):
        dataset(coco_root)[1]


def test_images_in_folders_of_their_own(coco_root: Path) -> None:
    annotations, pictures = coco_root / _ANNOTATIONS, coco_root / "train2017"
    (pictures / "cam1").mkdir()
    content = json.loads(annotations.read_text())
    for image in content["images"]:
        if (file := pictures / image["file_name"]).is_file():
            file.rename(pictures / "cam1" / image["file_name"])
        image["file_name"] = f"cam1/{image['file_name']}"
    annotations.write_text(json.dumps(content))
    assert all(image.path.is_file() for image in read_images(annotations, pictures))


def test_layouts_of_teachers() -> None:
    points = torch.arange(34.0).reshape(1, 17, 2)
    visible = torch.ones(1, 17, dtype=torch.bool)
    visible[0, COCO_17.index("l_shoulder")] = False
    mapped, seen = to_layout(points, visible, COCO_18)
    for name in ("nose", "l_eye", "r_ear", "r_shoulder", "l_ankle"):
        assert torch.equal(mapped[0, COCO_18.index(name)], points[0, COCO_17.index(name)])
    # half a neck is no neck
    assert not seen[0, COCO_18.index("neck")] and not seen[0, COCO_18.index("l_shoulder")] and seen.sum() == 16
    mapped, seen = to_layout(points, ~torch.zeros_like(visible), COCO_18)
    shoulders = points[0, [COCO_17.index("l_shoulder"), COCO_17.index("r_shoulder")]]
    assert torch.equal(mapped[0, COCO_18.index("neck")], shoulders.mean(dim=0)) and seen.all()
    assert to_layout(points, visible, MPOSE3D)[0].shape == (1, 15, 2)
    assert not to_layout(points, visible, MPI_15)[1][0, MPI_15.index("head_top")]


def test_pixels_that_do_not_count(coco_root: Path) -> None:
    counted = dataset(coco_root)[2].counted[0]
    assert set(counted.unique().tolist()) == {0.0, 1.0}
    # boxes of image 3, eight rows lower: crowd at (50, 0), somebody without keypoints at (25, 10), labelled at (10, 8)
    assert counted[12, 55] == 0 and counted[30, 40] == 0
    assert counted[30, 28] == 1 and counted[50, 5] == 1
    assert (dataset(coco_root)[0].counted == 1).all()


def test_people_beyond_the_most_are_not_counted(coco_root: Path) -> None:
    sample = dataset(coco_root, most_people=1)[1]
    assert sample.points.shape[0] == 1 and sample.counted[0, 24, 44] == 0 and sample.counted[0, 30, 20] == 1


def test_points_move_with_the_picture(coco_root: Path) -> None:
    """A picture that is dark but for a white square at one keypoint shows it there in every view."""
    file = coco_root / "train2017" / "000000000001.jpg"
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    keypoint = json.loads((coco_root / _ANNOTATIONS).read_text())["annotations"][0]["keypoints"]
    elbow = COCO_17.index("l_elbow")
    x, y = keypoint[3 * elbow : 3 * elbow + 2]
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    cv2.imwrite(str(file), picture)
    data = dataset(coco_root, Augmentation(scale=(0.9, 1.2), colour=0), image_size=96)
    mirrored = 0
    for epoch in range(20):
        sample = data[(epoch, 0)]
        # a mirrored picture shows the mirrored person: its left elbow is now called the right one
        for joint in (elbow, COCO_17.index("r_elbow")):
            if not sample.visible[0, joint]:
                continue
            level = sample.image.mean(dim=0)
            weight = (level > 0.8).float()
            centre = (torch.stack(torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="xy")) * weight).sum(
                (1, 2)
            )
            if (sample.points[0, joint] - centre / weight.sum()).norm() < 0.6:
                mirrored += joint != elbow
                break
        else:
            pytest.fail(f"epoch {epoch}: no elbow where the white square is")
    assert 3 <= mirrored <= 17


def test_batches_do_not_depend_on_workers(coco_root: Path) -> None:
    def batches(workers: int) -> list[LabelledPhotographs]:
        data = CocoDataModule(str(coco_root), image_size=32, batch_size=2, num_workers=workers)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.position = 3 * len(loader)
        return list(loader) + list(data.val_dataloader())

    one, other = batches(0), batches(2)
    assert len(one) == 5 and isinstance(one[0], LabelledPhotographs)
    assert one[0].points.shape == (2, 20, 18, 2) and one[0].counted.shape == (2, 1, 32, 32)
    assert all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_missing_image(coco_root: Path) -> None:
    (coco_root / "train2017" / "000000000004.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images of .* are missing, first 000000000004\.jpg"):
        CocoDataModule(str(coco_root)).setup("fit")


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_training_pictures_are_needed_by_a_fit_alone(coco_root: Path, stage: str) -> None:
    (coco_root / "annotations" / "person_keypoints_train2017.json").unlink()
    data = CocoDataModule(str(coco_root))
    data.setup(stage)
    assert list(data.datasets) == ["val"]


def test_absent_files_and_layouts(coco_root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"person_keypoints_test2017\.json: no such file"):
        CocoDataModule(str(coco_root), train="test2017").setup("fit")
    with pytest.raises(ValueError, match="unknown layout 'coco', known are mpose3d, "):
        CocoDataModule(str(coco_root), layout="coco")


def test_real_annotations(shared_data: Path) -> None:
    data = CocoDataModule(
        str(shared_data / "coco"), val="train2017", annotations="annotations/person_keypoints_{split}_mini.json"
    )
    data.setup()
    batch = next(iter(data.val_dataloader()))
    assert len(data.datasets["train"]) == 28 and batch.visible.any(dim=-1).any(dim=-1).all()
    assert batch.points[batch.visible].min() > -0.5 and batch.points[batch.visible].max() < 223.5
