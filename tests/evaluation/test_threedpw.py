"""3DPW from files to tables, CSV and JSON, and what is said of files that are wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.evaluation.threedpw import evaluate_3dpw
from mpose3d.skeleton import LSP_14, SMPL_24
from tests.evaluation.samples import FRAMES, bodies, save, write_people


@pytest.fixture
def threedpw(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """2 actors, camera = world; the camera is lost for actor 1 in frame 4. Gives joints (P, F, 24, 3) in metres."""
    px, mm = (np.stack(x, axis=1) for x in zip(*(bodies(2, 24, frame) for frame in range(FRAMES)), strict=True))
    metres = mm / 1000
    poses2d = np.zeros((2, FRAMES, 3, 18))
    # OpenPose's right shoulder, elbow, wrist ... left ankle
    smpl = [17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7]
    poses2d[:, :, :2, 2:14] = px[:, :, smpl].swapaxes(-1, -2)
    poses2d[:, :, 2, 2:14] = 0.9
    poses2d[0, 2] = 0
    valid = np.ones((2, FRAMES))
    valid[1, 4] = 0
    content = {
        "sequence": "downtown_arguing_00",
        "jointPositions": [m.reshape(FRAMES, 72) for m in metres],
        "poses": [np.zeros((FRAMES, 72))] * 2,
        "betas": [np.zeros(10)] * 2,
        "trans": [np.zeros((FRAMES, 3))] * 2,
        "genders": ["m", "f"],
        "poses2d": list(poses2d),
        "cam_poses": np.tile(np.eye(4), (FRAMES, 1, 1)),
        "cam_intrinsics": np.array([[2000.0, 0, 960], [0, 2000, 540], [0, 0, 1]]),
        "campose_valid": list(valid),
    }
    folder = tmp_path / "3DPW" / "sequenceFiles" / "test"
    folder.mkdir(parents=True)
    (folder / "downtown_arguing_00.pkl").write_bytes(pickle.dumps(content))
    return tmp_path / "3DPW", metres


class TestThreeDPW:
    def test_official_submission_and_npz(self, threedpw, tmp_path: Path, capsys) -> None:
        root, metres = threedpw
        turned = 1.5 * metres @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
        submission = tmp_path / "res"
        (submission / "test").mkdir(parents=True)
        (submission / "test" / "downtown_arguing_00.pkl").write_bytes(pickle.dumps({"jointPositions": turned}))
        npz = save(tmp_path / "p.npz", {"downtown_arguing_00/mm": 1000 * turned})
        results = []
        for path in (submission, npz):
            evaluate_3dpw(root, path, out=tmp_path / "out")
            results.append(json.loads((tmp_path / "out" / "3dpw_challenge.json").read_text()))
        assert results[0] == results[1]
        assert results[0]["people"] == {"annotated": 10, "found": 10}
        assert results[0]["all"]["pmpjpe"] == pytest.approx(0, abs=1e-3) and results[0]["all"]["mpjpe"] > 100
        assert "jointPositions" in capsys.readouterr().out

    def test_no_sequence_named_is_every_sequence(self, threedpw, tmp_path: Path) -> None:
        root, metres = threedpw
        npz = save(tmp_path / "p.npz", {"downtown_arguing_00/mm": 1000 * metres})
        evaluate_3dpw(root, npz, sequences=[], out=tmp_path)
        assert json.loads((tmp_path / "3dpw_challenge.json").read_text())["people"]["found"] == 10

    def test_infer_folder_by_14_joints(self, threedpw, tmp_path: Path, monkeypatch) -> None:
        root, metres = threedpw
        smpl = torch.from_numpy(1000 * metres)
        ours = {}
        for frame in range(FRAMES):
            px, mm = bodies(2, 24, frame)
            joints_px, joints_mm = (SMPL_24.to_skeleton(torch.from_numpy(x))[0].numpy() for x in (px, mm))
            path = tmp_path / "out" / "downtown_arguing_00" / f"image_{frame:05d}.json"
            # the second person is not found in frame 1
            count = 1 if frame == 1 else 2
            write_people(path, ((joints_px + 0.5) / 2 - 0.5)[:count], joints_mm[:count], (960, 540))
            ours[frame] = joints_mm
        target = torch.stack([LSP_14.from_skeleton(torch.from_numpy(mm))[0] for mm in ours.values()])
        assert target.shape[:2] == smpl.transpose(0, 1).shape[:2]
        monkeypatch.setattr("mpose3d.evaluation.threedpw.regress_lsp14", lambda sequence, body_models: target)
        evaluate_3dpw(root, tmp_path / "out", "lsp14", out=tmp_path)
        content = json.loads((tmp_path / "3dpw_lsp14.json").read_text())
        assert content["people"] == {"annotated": 10, "found": 9}
        assert content["all"] == pytest.approx({"mpjpe": 0, "pmpjpe": 0}, abs=1e-3)

    def test_bad_input_is_one_clear_error(self, threedpw, tmp_path: Path) -> None:
        root, metres = threedpw
        key = "downtown_arguing_00/mm"
        good = 1000 * metres
        for arrays, message in (
            ({"other/mm": good}, "no downtown_arguing_00/mm"),
            ({key: good[:1]}, r"expected \(2, 6"),
            ({key: good[:, :, :15]}, r"24\|14"),
            ({key: good[:, :, :14]}, "protocol challenge scores 24"),
            ({key: np.full_like(good, np.nan)}, "NaN"),
        ):
            with pytest.raises((ValueError, FileNotFoundError), match=message):
                evaluate_3dpw(root, save(tmp_path / "p.npz", arrays))
        (tmp_path / "infer" / "downtown_arguing_00").mkdir(parents=True)
        with pytest.raises(ValueError, match="--protocol lsp14"):
            evaluate_3dpw(root, tmp_path / "infer")
        with pytest.raises(FileNotFoundError, match=r"image_\*\.json"):
            evaluate_3dpw(root, tmp_path / "infer", "lsp14")
        (tmp_path / "infer" / "downtown_arguing_00" / "image_last.json").touch()
        with pytest.raises(ValueError, match=r"image_last\.json: expected a name like image_00000\.json"):
            evaluate_3dpw(root, tmp_path / "infer", "lsp14")

    def test_a_submission_that_hides_code_does_not_run_it(self, threedpw, tmp_path: Path) -> None:
        class Hidden:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        (tmp_path / "res" / "test").mkdir(parents=True)
        (tmp_path / "res" / "test" / "downtown_arguing_00.pkl").write_bytes(pickle.dumps(Hidden()))
        with pytest.raises(ValueError, match="only arrays"):
            evaluate_3dpw(threedpw[0], tmp_path / "res")
        assert not (tmp_path / "ran").exists()

    def test_14_joints_without_models_say_what_to_get(self, threedpw, tmp_path: Path) -> None:
        predictions = save(tmp_path / "p.npz", {"downtown_arguing_00/mm": 1000 * threedpw[1][:, :, :14]})
        with pytest.raises((ImportError, FileNotFoundError), match=r"smplx|J_regressor_h36m"):
            evaluate_3dpw(threedpw[0], predictions, "lsp14")
