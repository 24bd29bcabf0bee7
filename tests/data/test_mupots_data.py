"""MuPoTS-3D: annotations, pictures of any size, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from mpose3d.data.mupots import MupotsDataModule, find_sequences, read_sequence
from mpose3d.sample import AnnotatedPhotographs
from tests.data.official_layouts import write_picture


def cells(path: Path) -> np.ndarray:
    """Annotations (F, P) as dicts, by SciPy's own simplification."""
    people = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)["annotations"]
    return np.vectorize(lambda person: {name: getattr(person, name) for name in person._fieldnames})(people)


def test_fields_are_those_of_the_file(mupots_root: Path) -> None:
    folder = mupots_root / "MultiPersonTestSet" / "TS6"
    sequence = read_sequence(folder)
    assert sequence.name == "TS6" and sequence.annot3.shape == (4, 2, 17, 3) and sequence.annot3.dtype == torch.float64
    for f, row in enumerate(cells(folder / "annot.mat")):
        for p, person in enumerate(row):
            for field in ("annot2", "annot3", "univ_annot3"):
                np.testing.assert_array_equal(getattr(sequence, field)[f, p].numpy().T, person[field])
            assert bool(sequence.valid[f, p]) == bool(person["isValidFrame"])
    labels = scipy.io.loadmat(folder / "occlusion.mat")["occlusion_labels"]
    occluded = np.array([[np.ravel(cell) != 0 for cell in row] for row in labels])
    assert np.array_equal(sequence.occluded, occluded) and occluded.any() and not occluded.all()


def test_sequence_without_occlusion(mupots_root: Path) -> None:
    folder = mupots_root / "MultiPersonTestSet" / "TS1"
    (folder / "occlusion.mat").unlink()
    assert read_sequence(folder).occluded is None


def test_sequences_in_the_order_of_their_numbers(mupots_root: Path) -> None:
    parent = mupots_root / "MultiPersonTestSet"
    shutil.copytree(parent / "TS6", parent / "TS10")
    assert [path.name for path in find_sequences(mupots_root)] == ["TS1", "TS6", "TS10"]
    assert find_sequences(parent) == find_sequences(mupots_root)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_variable(path: Path) -> None:
    scipy.io.savemat(path, {"poses": np.zeros((3, 4))})


def _no_cells(path: Path) -> None:
    scipy.io.savemat(path, {"annotations": np.zeros((3, 4))})


def _other_fields(path: Path) -> None:
    people = np.empty((2, 1), dtype=object)
    people[:, 0] = [{"annot2": np.zeros((2, 17)), "isValidFrame": 1}] * 2
    scipy.io.savemat(path, {"annotations": people})


def _two_structs(path: Path) -> None:
    people = cells(path)
    one = np.array([(2.0,)], dtype=[("isValidFrame", object)])
    people[1, 0] = np.concatenate([one, one])
    scipy.io.savemat(path, {"annotations": people})


def _change(path: Path, field: str, value: np.ndarray) -> None:
    people = cells(path)
    people[1, 0][field] = value
    scipy.io.savemat(path, {"annotations": people})


def _other_joints(path: Path) -> None:
    _change(path, "annot3", np.zeros((3, 15)))


def _nan(path: Path) -> None:
    _change(path, "univ_annot3", np.full((3, 17), np.nan))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, "not a readable .mat file, truncated"),
        (_empty, "not a readable .mat file"),
        (_other_variable, "has poses, expected annotations"),
        (_no_cells, "expected frames x people cells"),
        (_other_fields, "an annotation has annot2, isValidFrame, expected annot2, annot3, univ_annot3, isValidFrame"),
        (_two_structs, "a cell of annotations holds 2 structs, expected 1"),
        (_other_joints, r"annot3 has shape \(3, 15\), expected \(3, 17\)"),
        (_nan, "univ_annot3 of frame 1, person 0 is NaN"),
    ],
)
def test_malformed_annotations(mupots_root: Path, spoil, message: str) -> None:
    path = mupots_root / "MultiPersonTestSet" / "TS1" / "annot.mat"
    spoil(path)
    with pytest.raises(ValueError, match=message) as raised:
        read_sequence(path.parent)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_nan_is_allowed_where_nothing_is_valid(mupots_root: Path) -> None:
    path = mupots_root / "MultiPersonTestSet" / "TS1" / "annot.mat"
    _nan(path)
    _change(path, "isValidFrame", np.uint8(0))
    assert not read_sequence(path.parent).valid[1, 0]


def test_matlab_73(mupots_root: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = mupots_root / "MultiPersonTestSet" / "TS1"
    expected = read_sequence(folder)
    people = cells(folder / "annot.mat")
    with h5py.File(folder / "annot.mat", "w", userblock_size=512) as file:
        references = np.empty(people.T.shape, dtype=h5py.ref_dtype)
        for (f, p), person in np.ndenumerate(people):
            group = file.create_group(f"#refs#/{f}_{p}")
            for field, value in person.items():
                group[field] = np.atleast_2d(value).T
            references[p, f] = group.ref
        file.create_dataset("annotations", data=references, dtype=h5py.ref_dtype)
    with open(folder / "annot.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    found = read_sequence(folder)
    assert torch.equal(found.annot3, expected.annot3) and torch.equal(found.valid, expected.valid)


def test_batches(mupots_root: Path) -> None:
    data = MupotsDataModule(str(mupots_root), image_size=64, batch_size=3)
    data.setup("test")
    batches = list(data.test_dataloader())
    assert [len(batch.index) for batch in batches] == [3, 3, 2]
    batch = batches[0]
    assert isinstance(batch, AnnotatedPhotographs)
    assert batch.image.shape == (3, 3, 64, 64) and batch.image.min() >= 0 and batch.image.max() <= 1
    assert batch.points.shape == (3, 2, 17, 2) and batch.joints.shape == (3, 2, 17, 3)
    sequence, frame = data.dataset.locate(int(batch.index[1]))
    assert (sequence.name, frame) == ("TS1", 1)
    torch.testing.assert_close(batch.joints[1], sequence.univ_annot3[1].float())
    # corner of the official 2048 x 2048 picture, a tenth of it on disk, is the corner of the square
    corner = batch.scale[0] * torch.tensor([2047.5, 2047.5]) + batch.offset[0]
    torch.testing.assert_close(corner, torch.tensor([63.5, 63.5]))


def test_batches_do_not_depend_on_workers(mupots_root: Path) -> None:
    def batches(workers: int) -> list[AnnotatedPhotographs]:
        data = MupotsDataModule(str(mupots_root), image_size=32, batch_size=3, num_workers=workers)
        data.setup("test")
        return list(data.test_dataloader())

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_pictures_may_lie_in_a_folder_of_their_own(mupots_root: Path, tmp_path: Path) -> None:
    for name, size in (("TS1", (102, 102)), ("TS6", (96, 54))):
        write_picture(tmp_path / "small" / name / "img_000002.png", *size)
    data = MupotsDataModule(str(mupots_root), str(tmp_path / "small"), image_size=32)
    data.setup()
    assert [(data.dataset.locate(i)[0].name, data.dataset.locate(i)[1]) for i in range(len(data.dataset))] == [
        ("TS1", 2), ("TS6", 2),
    ]  # fmt: skip


def test_no_names_are_all_sequences(mupots_root: Path) -> None:
    for names in (None, []):
        data = MupotsDataModule(str(mupots_root), sequences=names)
        data.setup()
        assert [sequence.name for sequence in data.dataset.sequences] == ["TS1", "TS6"]


def test_missing_sequences_and_pictures(mupots_root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no annotation of TS7, only of TS1, TS6"):
        MupotsDataModule(str(mupots_root), sequences=["TS1", "TS7"]).setup()
    with pytest.raises(FileNotFoundError, match=r"expected .*MultiPersonTestSet/TS1/annot\.mat"):
        MupotsDataModule(str(tmp_path / "mupots" / "nowhere")).setup()
    folder = mupots_root / "MultiPersonTestSet" / "TS6"
    for picture in folder.glob("img_*"):
        picture.unlink()
    with pytest.raises(FileNotFoundError, match=r"no picture .* of TS6"):
        MupotsDataModule(str(mupots_root)).setup()
    write_picture(folder / "img_000004.jpg", 192, 108)
    with pytest.raises(ValueError, match=r"img_000004\.jpg: the annotations have 4 frames only"):
        MupotsDataModule(str(mupots_root)).setup()


def test_picture_of_another_shape(mupots_root: Path) -> None:
    write_picture(mupots_root / "MultiPersonTestSet" / "TS6" / "img_000000.jpg", 100, 100)
    data = MupotsDataModule(str(mupots_root), sequences=["TS6"])
    data.setup()
    with pytest.raises(
        ValueError, match=r"img_000000\.jpg: 100 x 100 is not a smaller copy of the official 1920 x 1080"
    ):
        data.dataset[0]


def test_real_annotations(shared_data: Path) -> None:
    sequences = [read_sequence(folder) for folder in find_sequences(shared_data / "mupots")]
    assert [sequence.name for sequence in sequences] == [f"TS{i}" for i in range(1, 11)]
    assert sum(int(sequence.valid.sum()) for sequence in sequences) == 7811
    # the pelvis is the midpoint of the hips
    annot3 = sequences[0].annot3
    torch.testing.assert_close(annot3[:, :, 14], (annot3[:, :, 8] + annot3[:, :, 11]) / 2, atol=0.1, rtol=0)


def test_real_pictures(shared_data: Path) -> None:
    root = shared_data / "mupots"
    data = MupotsDataModule(str(root), str(root / "images_small"), ["TS1", "TS6", "TS10"])
    data.setup()
    assert len(data.dataset) == 75
    sample = data.dataset[len(data.dataset) - 1]
    inside = sample.scale * sample.points[sample.valid] + sample.offset
    assert (inside > 0).all() and (inside < 224).all()
