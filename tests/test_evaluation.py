"""The evaluation commands from files to tables, CSV and JSON, and what they say of files that are wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from mpose3d.cli import main
from mpose3d.data.mupots import find_sequences, read_sequence
from mpose3d.evaluation.in_2d import compare_2d, evaluate_coco
from mpose3d.evaluation.mupots import evaluate_mupots, score_mupots
from mpose3d.evaluation.threedpw import evaluate_3dpw
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.poses.scenes import SceneSampler
from mpose3d.representations.neural import People
from mpose3d.skeleton import COCO_17, LSP_14, MUPOTS_17, SKELETON, SMPL_24
from tests.data.official_layouts import write_mocap

FRAMES = 6


def bodies(count: int, joints: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """px (count, joints, 2) of people who stand apart, and mm (count, joints, 3)."""
    draw = np.random.default_rng(seed)
    mm = 250 * draw.standard_normal((count, joints, 3)) + [0, 0, 3000]
    return mm[..., :2] / 2 + 500 * np.arange(1, count + 1)[:, None, None], mm


def write_mupots(root: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An official annot.mat of 2 people, of whom the second is not valid in frame 0; gives (F, 2, 17, .) px and mm."""
    (root / name).mkdir(parents=True)
    px, mm = (np.stack(x) for x in zip(*(bodies(2, 17, seed + frame) for frame in range(FRAMES)), strict=True))
    cells, occlusion = np.empty((FRAMES, 2), dtype=object), np.empty((FRAMES, 2), dtype=object)
    for frame in range(FRAMES):
        for person in range(2):
            cells[frame, person] = {
                "annot2": px[frame, person].T,
                "annot3": mm[frame, person].T,
                "univ_annot3": mm[frame, person].T,
                "isValidFrame": np.uint8((frame, person) != (0, 1)),
            }
            occlusion[frame, person] = np.zeros((1, 17), dtype=np.uint8)
    scipy.io.savemat(root / name / "annot.mat", {"annotations": cells})
    scipy.io.savemat(root / name / "occlusion.mat", {"occlusion_labels": occlusion})
    return px, mm


@pytest.fixture
def mupots(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Annotations of TS3 and TS11, and predictions that are those annotations, as arrays of an npz."""
    root = tmp_path / "MultiPersonTestSet"
    arrays = {}
    for seed, name in enumerate(("TS3", "TS11")):
        px, mm = write_mupots(root, name, 100 * seed)
        for frame in range(FRAMES):
            arrays[f"{name}_img_{frame:06d}/px"], arrays[f"{name}_img_{frame:06d}/mm"] = px[frame], mm[frame]
    return root, arrays


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


def write_people(path: Path, px: np.ndarray, mm: np.ndarray | None, size: tuple[int, int]) -> None:
    """The JSON of `infer`; NaN in px becomes null."""
    people = [{"joints_px": [None if np.isnan(joint).any() else joint.tolist() for joint in person]} for person in px]
    if mm is not None:
        for person, joints in zip(people, mm, strict=True):
            person["joints_mm"] = joints.tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    skeleton = {"names": list(SKELETON.names), "limbs": [list(limb) for limb in SKELETON.limbs]}
    path.write_text(json.dumps({"image": path.stem, "size": list(size), "skeleton": skeleton, "people": people}))


class TestMupots:
    @pytest.mark.parametrize("mode", ["all", "matched"])
    def test_files_hold_what_is_documented(self, mupots, tmp_path: Path, capsys, mode: str) -> None:
        root, arrays = mupots
        del arrays["TS11_img_000003/px"], arrays["TS11_img_000003/mm"]
        arrays["TS3_img_000002/px"] = np.zeros((0, 17, 2))
        arrays["TS3_img_000002/mm"] = np.zeros((0, 17, 3))
        evaluate_mupots(root.parent, save(tmp_path / "p.npz", arrays), mode, out=tmp_path / "out")
        content = json.loads((tmp_path / "out" / f"mupots_{mode}.json").read_text())
        assert list(content["sequences"]) == ["TS3", "TS11"]
        assert content["people"] == {"annotated": 11 + 9, "found": 9 + 9}
        assert content["frames"] == {"predicted": 11, "annotated": 12}
        assert content["sequences"]["TS11"]["frames"] == {"predicted": 5, "annotated": 6}
        expected = 100 * 9 / 11 if mode == "all" else 100
        assert content["sequences"]["TS3"]["pck"] == pytest.approx(expected)
        assert content["sequences"]["TS3"]["groups"]["Head"]["pck"] == pytest.approx(expected)
        assert content["mean"]["pck"] == pytest.approx((expected + 100) / 2)
        lines = (tmp_path / "out" / f"mupots_{mode}.csv").read_text().splitlines()
        assert lines[0].startswith("sequence,frames,annotated,found,pck,auc,mpjpe,pmpjpe,pck_Head")
        assert [line.split(",")[0] for line in lines[1:]] == ["TS3", "TS11", "mean"]
        printed = capsys.readouterr().out
        assert "11 of 12" in printed and "…" not in printed

    def test_undefined_is_null_and_an_empty_cell(self, mupots, tmp_path: Path) -> None:
        root, arrays = mupots
        nobody = {key: array[:0] for key, array in arrays.items()}
        evaluate_mupots(root, save(tmp_path / "p.npz", nobody), "matched", out=tmp_path)
        assert json.loads((tmp_path / "mupots_matched.json").read_text())["mean"] == dict.fromkeys(
            ["pck", "auc", "mpjpe"]
        )
        assert (tmp_path / "mupots_matched.csv").read_text().splitlines()[-1].startswith("mean,12,22,0,,,")

    def test_a_folder_of_infer_equals_the_npz_of_15_joints(self, mupots, tmp_path: Path) -> None:
        root, arrays = mupots
        ours = {}
        for key, array in arrays.items():
            points = torch.from_numpy(array)
            ours[key] = MUPOTS_17.to_skeleton(points)[0].numpy() + 3
        sizes = {"TS3": (512, 512), "TS11": (374, 211)}
        official = {"TS3": (2048, 2048), "TS11": (1920, 1080)}
        for key in ours:
            if key.endswith("px"):
                name, frame = key.split("_", 1)
                scale = np.array(sizes[name]) / np.array(official[name])
                small = (ours[key] + 0.5) * scale - 0.5
                write_people(tmp_path / "out" / name / f"{frame[:-3]}.json", small, ours[key[:-2] + "mm"], sizes[name])
        (tmp_path / "out/TS3/img_000000.teacher.json").write_text("{}")  # not a prediction
        (from_folder, _), (from_npz, _) = (
            score_mupots(root, path) for path in (tmp_path / "out", save(tmp_path / "p.npz", ours))
        )
        assert from_folder.mean == pytest.approx(from_npz.mean)
        assert from_folder.sequences["TS3"].found == 11
        assert list(from_folder.sequences["TS3"].joints) == list(SKELETON.names)

    def test_the_neck_of_15_joints(self, shared_data: Path, tmp_path: Path) -> None:
        """Real annotations as predictions: with our neck they score as well as with MuPoTS-3D's own."""
        annotations = shared_data / "mupots"
        own, ours = {}, {}
        sequence = read_sequence(find_sequences(annotations)[0])
        for frame, valid in enumerate(sequence.valid):
            for kind, points in (("px", sequence.annot2), ("mm", sequence.annot3)):
                key = f"{sequence.name}_img_{frame:06d}/{kind}"
                own[key] = points[frame, valid, :15].numpy()
                ours[key] = MUPOTS_17.to_skeleton(points[frame, valid])[0].numpy()
        errors = []
        for arrays in (own, ours):
            score, _ = score_mupots(annotations, save(tmp_path / "p.npz", arrays), sequences=[sequence.name])
            errors.append(score.mean.mpjpe)
        assert errors[0] < 1e-3 and errors[1] < 15

    def test_bad_predictions_are_one_clear_error(self, mupots, tmp_path: Path) -> None:
        root, arrays = mupots
        first = "TS3_img_000000"

        def error(changes: dict, drop: str = "-") -> pytest.ExceptionInfo:
            kept = {key: array for key, array in arrays.items() if not key.startswith(drop)}
            with pytest.raises((ValueError, FileNotFoundError)) as caught:
                score_mupots(root, save(tmp_path / "p.npz", kept | changes))
            assert "p.npz" in str(caught.value)
            return caught

        broken = arrays[f"{first}/mm"].copy()
        broken[0, 3, 1] = np.nan
        assert error({f"{first}/mm": broken}).match(f"{first}/mm holds NaN")
        assert error({}, drop="TS11").match("nothing predicted for TS11")
        assert error({}, drop=f"{first}/px").match("only mm")
        assert error({f"{first}/px": arrays[f"{first}/px"][:1]}).match("1 people in px and 2 in mm")
        assert error({f"{first}/px": arrays[f"{first}/px"][:, :15]}).match(r"\[15, 17\] joints")
        assert error({key: array[:, :14] for key, array in arrays.items()}).match(r"\[14\] joints")
        assert error({"TS3_000000/px": broken}).match("TS3_000000/px")
        assert error({f"TS3_img_{FRAMES:06d}/{kind}": arrays[f"{first}/{kind}"] for kind in ("px", "mm")}).match(
            "6 frames"
        )
        assert error({f"{first}/mm": arrays[f"{first}/px"]}).match("shape")
        (tmp_path / "p.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:500])
        with pytest.raises(ValueError, match=r"p\.npz: not an npz"):
            score_mupots(root, tmp_path / "p.npz")
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            score_mupots(root, tmp_path / "absent")
        with pytest.raises(FileNotFoundError, match="no annotation of TS7"):
            score_mupots(root, tmp_path / "p.npz", sequences=["TS7"])

    def test_bad_folders_are_one_clear_error(self, mupots, tmp_path: Path) -> None:
        root, arrays = mupots
        out = tmp_path / "out"
        px, mm = arrays["TS3_img_000000/px"][:, :15], arrays["TS3_img_000000/mm"][:, :15]
        write_people(out / "TS3" / "img_000000.json", px, mm, (2048, 2048))
        with pytest.raises(FileNotFoundError, match="nothing predicted for TS11"):
            score_mupots(root, out)
        file = out / "TS3" / "img_000001.json"
        good = json.loads((out / "TS3" / "img_000000.json").read_text())
        person = good["people"][0]
        for change, message in (
            ({"size": [640, 480]}, "is not of TS3"),
            ({"people": [{**person, "joints_px": person["joints_px"][:14]}]}, "14 joints"),
            ({"people": [{**person, "joints_mm": [[float("nan")] * 3] * 15}]}, "NaN"),
            ({"people": [{"joints_px": person["joints_px"]}]}, "no joints_mm"),
            ({"skeleton": {"names": ["nose"]}}, "expected"),
            ({"people": 3}, "not the JSON"),
        ):
            file.write_text(json.dumps(good | change))
            with pytest.raises(ValueError, match=message) as caught:
                score_mupots(root, out)
            assert "img_000001.json" in str(caught.value)
        file.write_text(json.dumps(good)[:100])
        with pytest.raises(ValueError, match="not the JSON"):
            score_mupots(root, out)

    def test_a_truncated_mat_is_an_error(self, mupots, tmp_path: Path) -> None:
        root, arrays = mupots
        path = root / "TS3" / "annot.mat"
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(ValueError, match=r"annot\.mat"):
            score_mupots(root, save(tmp_path / "p.npz", arrays))


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


def test_coco_writes_its_figures(shared_data: Path, tmp_path: Path) -> None:
    annotations = shared_data / "coco" / "annotations" / "person_keypoints_train2017_mini.json"
    people = [p for p in json.loads(annotations.read_text())["annotations"] if p["num_keypoints"]]
    (tmp_path / "results.json").write_text(json.dumps([{**person, "score": 1.0} for person in people]))
    evaluate_coco(annotations, tmp_path / "results.json", out=tmp_path)
    assert json.loads((tmp_path / "coco.json").read_text())["AP"] == 1


class TestTeacherAgainstStudent:
    @pytest.fixture
    def folders(self, mupots, tmp_path: Path) -> tuple[Path, Path]:
        """A teacher without head top, 3 px off, who misses a wrist; a student 8 px off, who misses a person."""
        root, arrays = mupots
        predictions = tmp_path / "people"
        for key, array in arrays.items():
            if key.startswith("TS3") and key.endswith("px"):
                points = MUPOTS_17.to_skeleton(torch.from_numpy(array))[0].numpy()
                name = f"TS3/{key[4:-3]}"
                parse = points + np.array([3.0, 0.0])
                parse[:, SKELETON.index("head_top")] = np.nan
                if key.endswith("000001/px"):
                    parse[0, SKELETON.index("r_wrist")] = np.nan
                write_people(predictions / f"{name}.teacher.json", parse, None, (2048, 2048))
                found = points[:1] if key.endswith("000002/px") else points
                write_people(predictions / f"{name}.json", found + np.array([0.0, 8.0]), None, (2048, 2048))
        return root, predictions

    def test_same_people_and_joints_for_both(self, folders, tmp_path: Path) -> None:
        compare_2d(*folders, out=tmp_path)
        content = json.loads((tmp_path / "2d.json").read_text())
        assert content["pictures"] == FRAMES and "head_top" not in content["joints"] and len(content["joints"]) == 14
        teacher, student = content["teacher"], content["student"]
        assert teacher["annotated"] == student["annotated"] == 11
        assert (teacher["found"], student["found"]) == (11, 10)
        assert teacher["mpjpe_2d"] == pytest.approx(3) and student["mpjpe_2d"] == pytest.approx(8)
        assert 0.9 < student["iou"] < teacher["iou"] < 1
        # absent joints and people are misses: mean over 11 people
        assert teacher["pck_2d"] == pytest.approx(100 * (10 + 13 / 14) / 11)
        assert student["pck_2d"] == pytest.approx(100 * 10 / 11)

    def test_coco_annotations(self, tmp_path: Path) -> None:
        keypoints = [v for j in range(17) for v in (20 + 10 * j, 30 + 7 * (j % 5), 2)]
        content = {
            "images": [{"id": 7, "file_name": "bus.jpg", "width": 400, "height": 200}],
            "annotations": [{"id": 1, "image_id": 7, "keypoints": keypoints, "num_keypoints": 17}],
            "categories": [{"id": 1}],
        }
        (tmp_path / "coco.json").write_text(json.dumps(content))
        points, visible = COCO_17.to_skeleton(torch.tensor(keypoints).reshape(1, 17, 3)[..., :2])
        half = ((points + 0.5) / 2 - 0.5).numpy()
        half[~visible.numpy()] = np.nan
        for name in ("bus.json", "bus.teacher.json"):
            write_people(tmp_path / "people" / name, half, None, (200, 100))
        compare_2d(tmp_path / "coco.json", tmp_path / "people", out=tmp_path)
        result = json.loads((tmp_path / "2d.json").read_text())
        assert result["teacher"] == result["student"]
        assert result["teacher"]["mpjpe_2d"] == pytest.approx(0, abs=1e-4) and result["teacher"]["pck_2d"] == 100

    def test_no_common_picture_is_an_error(self, folders, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no picture"):
            compare_2d(folders[0], tmp_path / "empty")


class TestScenes:
    @pytest.fixture
    def network(self, tmp_path: Path) -> str:
        torch.manual_seed(0)
        network = CrossModalNetwork("mpose3d", v_channels=8, stride=4, input_size=64, g_width=4, h_width=16, sigma=2.0)
        network.save(tmp_path / "network.safetensors")
        return str(tmp_path / "network.safetensors")

    def run(self, tmp_path: Path, mocap: Path, network: str, *flags: str) -> dict:
        place = ["--mocap", str(mocap), "--out", str(tmp_path / "out"), "--through", "maps", "--weights", network]
        assert main(["evaluate", "scenes", *place, "--scenes", "12", *flags]) == 0
        return json.loads((tmp_path / "out/scenes.json").read_text())

    def test_a_seed_is_its_figures(self, network: str, tmp_path: Path, capsys, monkeypatch) -> None:
        mocap = write_mocap(tmp_path / "mocap")
        figures = self.run(tmp_path, mocap, network)
        assert list(figures) == ["mpjpe", "pmpjpe", "root_error", "found", "annotated"]
        assert 12 <= figures["found"] <= figures["annotated"] <= 48 and figures["pmpjpe"] < figures["mpjpe"]
        assert f"{figures['pmpjpe']:.2f}" in capsys.readouterr().out
        assert (tmp_path / "out/scenes.csv").read_text().startswith("mpjpe,pmpjpe,root_error,found,annotated\n")
        assert self.run(tmp_path, mocap, network) == figures
        assert self.run(tmp_path, mocap, network, "--seed", "1") != figures
        assert self.run(tmp_path, mocap, network, "--people", "3", "3")["annotated"] > figures["annotated"]

    def test_figures_of_a_known_answer(self, network: str, tmp_path: Path, monkeypatch) -> None:
        """Everybody half as large and 30 mm aside, but where the picture does not show enough of them."""
        seen = []
        sample = SceneSampler.sample

        def recorded(self, *arguments):
            scenes = sample(self, *arguments)
            scenes.drawn[0, :, 3:] = False  # a scene of heads
            seen.append(scenes)
            return scenes

        def lift(network, joints_px, visible, picture, cameras, refine):
            (scenes,) = seen
            assert len(cameras) == 12 and 0 not in picture
            kept = scenes.valid.clone()
            kept[0] = False
            truth = scenes.joints[kept]
            torch.testing.assert_close(cameras[0].project(truth), joints_px)
            inside = ((joints_px > -0.5) & (joints_px < 999.5)).all(-1)
            assert torch.equal(visible, inside) and not inside.all()
            root = truth[:, SKELETON.root, None]
            joints = (truth - root) / 2 + root + torch.tensor([18.0, 0.0, 24.0])
            return People(joints, joints_px, joints[:, 0], joints[:, :3], joints[:, 0, 2])

        monkeypatch.setattr(SceneSampler, "sample", recorded)
        monkeypatch.setattr("mpose3d.evaluation.scenes.lift_people", lift)
        monkeypatch.setattr("mpose3d.evaluation.scenes.enough_joints", lambda drawn: drawn[:, :, 3:].any(-1))
        figures = self.run(tmp_path, write_mocap(tmp_path / "mocap"), network, "--people", "2", "4")
        (scenes,) = seen
        assert figures["found"] == int(scenes.valid[1:].sum()) and figures["annotated"] == int(scenes.valid.sum())
        truth = scenes.joints[1:][scenes.valid[1:]]
        size = (truth - truth[:, SKELETON.root, None]).norm(dim=-1).mean().item()
        assert figures["mpjpe"] == pytest.approx(size / 2, rel=1e-4)
        assert figures["pmpjpe"] == pytest.approx(0, abs=0.1)
        assert figures["root_error"] == pytest.approx(30, rel=1e-3)

    def test_what_is_wrong_is_one_line(self, network: str, tmp_path: Path, capsys) -> None:
        mocap = write_mocap(tmp_path / "mocap")
        for path, flags, message in (
            (tmp_path / "none", (), "no such motion capture file or folder"),
            (mocap, ("--scenes", "0"), "--scenes is how many scenes to make, not 0"),
            (mocap, ("--people", "3", "2"), "people must be (fewest, most)"),
        ):
            place = ["--mocap", str(path), "--out", str(tmp_path / "out"), "--through", "maps", "--weights", network]
            assert main(["evaluate", "scenes", *place, *flags]) == 1
            told = capsys.readouterr().err.strip().splitlines()
            assert len(told) == 1 and message in told[0]
            assert not (tmp_path / "out").exists()
