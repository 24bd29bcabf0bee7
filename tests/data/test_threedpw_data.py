"""3DPW: the official pickles, read without running code, and their pictures."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mpose3d.data.lsp14 import regress_lsp14
from mpose3d.data.smpl import HEAD_TOP_VERTEX
from mpose3d.data.threedpw import ThreeDPWDataModule, find_sequences, read_sequence
from mpose3d.sample import AnnotatedPhotographs
from mpose3d.skeleton import LSP_14, SMPL_24
from tests.data.official_layouts import STANDING, python2_pickle, threedpw_content, write_smpl_model


def test_fields_are_those_of_the_file(threedpw_root: Path) -> None:
    file = threedpw_root / "sequenceFiles" / "test" / "office_00.pkl"
    sequence, content = read_sequence(file), threedpw_content("office_00")
    assert sequence.name == "office_00" and sequence.genders == ("m", "f")
    for p in range(2):
        joints = content["jointPositions"][p].reshape(-1, 24, 3)
        np.testing.assert_allclose(sequence.joint_positions[:, p].numpy(), 1000 * joints)
        np.testing.assert_allclose(sequence.poses[:, p].numpy(), content["poses"][p])
        np.testing.assert_allclose(sequence.poses2d[:, p].numpy(), content["poses2d"][p].transpose(0, 2, 1))
    assert sequence.campose_valid.tolist() == [[True, True], [False, False], [True, True]]
    # the camera stands 4 m away, and looks at the origin
    camera = sequence.to_camera(sequence.joint_positions)
    torch.testing.assert_close(camera, sequence.joint_positions + torch.tensor([0.0, 0, 4000]).double())
    centre = sequence.to_image(torch.tensor([0.0, 0, 4000]).double().expand(3, 1, 1, 3))
    assert centre[0, 0, 0].tolist() == [540, 960]


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_of_python_3(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "office_00.pkl"
    path.write_bytes(pickle.dumps(threedpw_content("office_00"), protocol=protocol))
    assert read_sequence(path).joint_positions.shape == (3, 2, 24, 3)


class _Touch:
    """Would create a file when unpickled by an unpickler that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


class _Shell(_Touch):
    def __reduce__(self) -> tuple:
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("payload", [_Touch, _Shell])
def test_a_pickle_that_tries_to_run_code(tmp_path: Path, payload: type[_Touch]) -> None:
    target, path = tmp_path / "touched", tmp_path / "office_00.pkl"
    path.write_bytes(pickle.dumps(threedpw_content("office_00") | {"betas": payload(target)}))
    with pytest.raises(
        ValueError, match=r"office_00\.pkl: not a readable pickle of arrays \(it wants to load [\w.]+; only arrays"
    ):
        read_sequence(path)
    assert not target.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "numpy.load", "builtins.getattr"])
def test_only_arrays_are_admitted(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pkl"
    module, attribute = name.split(".")
    path.write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(ValueError, match=f"it wants to load {name}"):
        read_sequence(path)


def _without(name: str):
    return lambda content: {key: value for key, value in content.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("cam_poses"), "not a 3DPW sequence, it lacks cam_poses"),
        (lambda content: [content], "not a 3DPW sequence"),
        (lambda content: content | {"poses": [np.zeros((3, 69))] * 2}, "poses is not 2 actors in 3 frames"),
        (lambda content: content | {"trans": [np.full((3, 3), np.nan)] * 2}, "NaN or infinite values in trans"),
        (lambda content: content | {"cam_poses": np.zeros((3, 3, 3))}, "camera, betas or genders of another shape"),
        (lambda content: content | {"betas": [np.zeros(8)] * 2}, "betas or genders of another shape"),
        (lambda content: content | {"betas": [np.zeros(10)]}, "betas or genders of another shape"),
        (lambda content: content | {"genders": ["m"]}, "1 genders of 2 actors"),
        (lambda content: content | {"genders": None}, "genders of another shape"),
        (lambda content: content | {"poses": None}, "poses, camera, betas or genders of another shape"),
    ],
)
def test_malformed_content(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "office_00.pkl"
    path.write_bytes(python2_pickle(change(threedpw_content("office_00"))))
    with pytest.raises(ValueError, match=message) as raised:
        read_sequence(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_truncated_and_absent_files(threedpw_root: Path) -> None:
    path = find_sequences(threedpw_root)[0]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"office_00\.pkl: not a readable pickle of arrays"):
        read_sequence(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"office_00\.pkl: no such file"):
        read_sequence(path)


def test_batches(threedpw_root: Path) -> None:
    data = ThreeDPWDataModule(str(threedpw_root), image_size=64, batch_size=4)
    data.setup("test")
    batches = list(data.test_dataloader())
    assert [len(batch.index) for batch in batches] == [4, 2]
    batch = batches[0]
    assert isinstance(batch, AnnotatedPhotographs)
    assert batch.image.shape == (4, 3, 64, 64) and batch.joints.shape == (4, 2, 24, 3)
    sequence, frame = data.dataset.locate(3)
    assert (sequence.name, frame) == ("yard_01", 0)
    assert batch.valid[:, 0].tolist() == [True, False, True, True]


def test_pictures_of_another_size(threedpw_root: Path) -> None:
    data = ThreeDPWDataModule(str(threedpw_root), image_size=64)
    data.setup()
    before, path = data.dataset[0], data.dataset._pictures[0][data.dataset.frames[0][1]]
    picture = cv2.imread(str(path))
    cv2.imwrite(str(path), cv2.resize(picture, None, fx=2, fy=2))
    after = data.dataset[0]
    for name in ("scale", "offset"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name))
    cv2.imwrite(str(path), cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE))
    with pytest.raises(ValueError, match=rf"{path.name}: .* is not a smaller copy of the official"):
        data.dataset[0]


def test_batches_do_not_depend_on_workers(threedpw_root: Path) -> None:
    def batches(workers: int) -> list[AnnotatedPhotographs]:
        data = ThreeDPWDataModule(str(threedpw_root), image_size=32, batch_size=4, num_workers=workers)
        data.setup("test")
        return list(data.test_dataloader())

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_is_missing_is_named(threedpw_root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no 3DPW sequence of the split 'test'; expected .*sequenceFiles/test"):
        ThreeDPWDataModule(str(tmp_path / "nowhere")).setup()
    with pytest.raises(ValueError, match="no split 'val', only train, validation, test"):
        ThreeDPWDataModule(str(threedpw_root), split="val").setup()
    with pytest.raises(FileNotFoundError, match="split 'test' of 3DPW: no annotation of sea_00"):
        ThreeDPWDataModule(str(threedpw_root), sequences=["sea_00"]).setup()
    (threedpw_root / "imageFiles" / "office_00" / "image_00001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"office_00: 1 of 3 pictures are missing, first image_00001\.jpg"):
        ThreeDPWDataModule(str(threedpw_root)).setup()


def test_smpl_joints_without_model_files(threedpw_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("smplx")
    sequence = read_sequence(find_sequences(threedpw_root)[0])
    with pytest.raises(FileNotFoundError, match=r"SMPL_MALE\.pkl: no such SMPL model"):
        sequence.smpl_joint_positions(tmp_path)


def test_14_joints_are_those_of_the_meshes(threedpw_root: Path, tmp_path: Path) -> None:
    """Bodies at rest, each where it was moved to, through a regressor that takes vertices as they are."""
    pytest.importorskip("smplx")
    for gender in ("MALE", "FEMALE"):
        write_smpl_model(tmp_path / "smpl" / f"SMPL_{gender}.pkl")
    sequence = read_sequence(find_sequences(threedpw_root)[0])
    sequence = replace(sequence, poses=torch.zeros_like(sequence.poses), betas=torch.zeros_like(sequence.betas))
    with pytest.raises(FileNotFoundError, match=r"J_regressor_h36m\.npy: no such file; expected .*SPIN"):
        regress_lsp14(sequence, tmp_path)
    (tmp_path / "J_regressor_h36m.npy").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"J_regressor_h36m\.npy: not DIR/J_regressor_h36m\.npy from .*SPIN"):
        regress_lsp14(sequence, tmp_path)
    vertices = {name: j for j, name in enumerate(SMPL_24.names)} | {"head_top": HEAD_TOP_VERTEX}
    legs = [f"{side}_{joint}" for side in "lr" for joint in ("hip", "knee", "ankle")]
    arms = [f"{side}_{joint}" for side in "lr" for joint in ("shoulder", "elbow", "wrist")]
    regressor = np.zeros((17, 6890))
    for row, name in enumerate(["pelvis", *legs, "spine", "neck", "nose", "head_top", *arms]):
        regressor[row, vertices.get(name, 0)] = 1
    np.save(tmp_path / "J_regressor_h36m.npy", regressor)
    joints = regress_lsp14(sequence, tmp_path)
    expected = np.stack([STANDING.get(name, np.zeros(3)) for name in LSP_14.names]) + sequence.trans.numpy()[:, :, None]
    np.testing.assert_allclose(joints, expected, atol=0.1)
