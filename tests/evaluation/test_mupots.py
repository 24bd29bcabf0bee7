"""MuPoTS-3D from files to tables, CSV and JSON, and what is said of files that are wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.data.mupots import find_sequences, read_sequence
from mpose3d.data.predictions import read_mupots_people
from mpose3d.evaluation.mupots import evaluate_mupots, score_mupots
from mpose3d.skeleton import MUPOTS_17, SKELETON
from tests.evaluation.samples import FRAMES, bodies, save, write_people


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
        exact = pytest.approx(0, abs=1e-3)
        assert content["people"] == {"annotated": 11 + 9, "found": 9 + 9, "pmpjpe": exact, "root_error": exact}
        assert content["frames"] == {"predicted": 11, "annotated": 12}
        assert content["sequences"]["TS11"]["frames"] == {"predicted": 5, "annotated": 6}
        expected = 100 * 9 / 11 if mode == "all" else 100
        assert content["sequences"]["TS3"]["pck"] == pytest.approx(expected)
        assert content["sequences"]["TS3"]["groups"]["Head"]["pck"] == pytest.approx(expected)
        assert content["mean"]["pck"] == pytest.approx((expected + 100) / 2)
        lines = (tmp_path / "out" / f"mupots_{mode}.csv").read_text().splitlines()
        assert lines[0].startswith("sequence,frames,annotated,found,pck,auc,mpjpe,pmpjpe,root_error,pck_Head")
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
        assert json.loads((tmp_path / "mupots_matched.json").read_text())["people"]["pmpjpe"] is None
        assert (tmp_path / "mupots_matched.csv").read_text().splitlines()[-1].startswith("mean,12,22,0,,,")

    def test_nobody_found_in_the_first_sequence(self, mupots, tmp_path: Path) -> None:
        root, arrays = mupots
        missed = {key: array[:0] if key.startswith("TS3") else array for key, array in arrays.items()}
        evaluate_mupots(root, save(tmp_path / "p.npz", missed), "matched", out=tmp_path)
        first, second, _ = csv.DictReader((tmp_path / "mupots_matched.csv").read_text().splitlines())
        assert first["found"] == "0" and first["mpjpe_r_wrist"] == ""
        assert float(second["mpjpe_r_wrist"]) == pytest.approx(0, abs=1e-3)

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

    @pytest.mark.parametrize("above", [0.0, 59.0])
    def test_a_neck_that_is_not_ours_is_left_where_it_is(self, tmp_path: Path, above: float) -> None:
        """An npz of 15 joints: its neck in the middle of the shoulders, or where MuPoTS-3D has it."""
        px, mm = bodies(3, 15, seed=1)
        neck, shoulders = SKELETON.index("neck"), SKELETON.indices("r_shoulder", "l_shoulder")
        for points in (px, mm):
            points[:, neck] = points[:, shoulders].mean(1)
        mm[:, neck, 1] -= above
        arrays = {
            f"TS1_img_00000{frame}/{kind}": x[: 2 + frame] for frame in (0, 1) for kind, x in (("px", px), ("mm", mm))
        }
        people = read_mupots_people(save(tmp_path / "p.npz", arrays), {"TS1": 3})["TS1"]
        assert people.present.tolist() == [[True, True, False], [True] * 3, [False] * 3]
        assert people.predicted.tolist() == [True, True, False]
        for read, given in ((people.px[1], px), (people.mm[1], mm)):
            expected = torch.from_numpy(given)
            if not above:
                expected = MUPOTS_17.from_skeleton(expected)[0][:, :15]
                assert (expected - torch.from_numpy(given)).norm(dim=-1)[:, neck].min() > 1
            torch.testing.assert_close(read, expected)

    def test_a_joint_that_is_missing_moves_no_neck(self, tmp_path: Path) -> None:
        px, mm = bodies(1, 15, seed=1)
        px[0, SKELETON.index("head_top")] = np.nan
        write_people(tmp_path / "TS1" / "img_000000.json", px, mm, (2048, 2048))
        read = read_mupots_people(tmp_path, {"TS1": 1})["TS1"].px[0, 0]
        neck = SKELETON.index("neck")
        assert (read[neck] == 0).all()  # absent, as the top of the head
        torch.testing.assert_close(read[neck + 1 :], torch.from_numpy(px[0, neck + 1 :]))

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
            ({"size": [640, 480]}, "640 x 480 is no copy of the annotated one, 2048 x 2048"),
            (
                {"people": [{**person, "joints_px": person["joints_px"][:14]}]},
                r"joints_px of shape \(14, 2\), expected",
            ),
            (
                {"people": [{**person, "joints_px": [[1, 2, 3]] * 10}]},
                r"joints_px of shape \(10, 3\), expected \(15, 2\)",
            ),
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
