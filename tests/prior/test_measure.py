"""What is measured of poses and of the auto-encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mpose3d.assets import weights_file
from mpose3d.cli import main
from mpose3d.data.mocap import read_motion_capture, split_clips
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.skeleton import SKELETON
from tests.prior.commands import in_file_order, load, run


class TestReconstruct:
    def test_errors_are_those_of_the_network(self, tmp_path, clips, poses, weights, network, capsys):
        run("reconstruct", clips, "--out", tmp_path / "r.npz", "--weights", weights)
        decoded = load(tmp_path / "r.npz")
        poses = in_file_order(poses)
        with torch.no_grad():
            torch.testing.assert_close(decoded, network(poses), atol=0.1, rtol=0)
        errors = (decoded - poses).norm(dim=-1)
        printed = {
            cells[0]: cells[1:]
            for line in capsys.readouterr().out.splitlines()
            if len(cells := [cell.strip() for cell in line.strip("│").split("│")]) == 3
        }
        for name, part in {"r_wrist": errors[:, SKELETON.index("r_wrist")], "all joints": errors}.items():
            expected = [float(part.mean()), float(np.quantile(part.numpy(), 0.95))]
            assert [float(cell) for cell in printed[name]] == pytest.approx(expected, abs=0.11)
        assert printed["pelvis"] == ["0.0", "0.0"] and "free joints" in printed

    def test_only_what_training_holds_out(self, tmp_path, clips, poses, weights):
        held_out = split_clips(read_motion_capture(clips), 0.3, 4)[1]
        assert 0 < sum(map(len, held_out.values())) < 90
        run("reconstruct", clips, "--out", tmp_path / "r.npz", "--weights", weights, "--held_out", 0.3)
        assert len(load(tmp_path / "r.npz")) == sum(map(len, held_out.values()))

    def test_the_weights_that_ship_reconstruct(self, tmp_path, poses):
        weights_file("prior")
        np.savez(tmp_path / "p.npz", poses=poses.numpy())
        run("reconstruct", tmp_path / "p.npz", "--out", tmp_path / "r.npz")
        # artificial poses are far from motion, and still come back
        assert (load(tmp_path / "r.npz") - poses).norm(dim=-1).mean() < 80


class TestCheck:
    def test_shares_are_those_of_the_limits(self, tmp_path, clips, poses):
        (tmp_path / "limits.yaml").write_text("r_knee: {azimuth: [-100, 0]}\n")
        run("check", clips, "--limits", tmp_path / "limits.yaml", "--out", tmp_path / "out")
        content = json.loads((tmp_path / "out" / "prior_check.json").read_text())
        limits = JointLimits.from_file(tmp_path / "limits.yaml")
        inside = limits.inside(canonical_to_local(poses))
        assert content["poses"] == 90
        for name in ("r_knee", "l_knee", "l_wrist", "r_hip"):
            assert content["inside"][name] == pytest.approx(float(inside[:, SKELETON.index(name)].float().mean()))
        assert content["inside"]["r_knee"] < 1 == content["inside"]["l_wrist"]
        assert content["inside"]["all joints"] == pytest.approx(float(inside.all(-1).float().mean()))
        assert content["coverage"]["r_knee"] == pytest.approx(limits.coverage()["r_knee"])
        assert content["coverage"]["mean"] == pytest.approx(np.mean(list(limits.coverage().values())))
        clear = float((self_intersection(poses) <= 0).float().mean())
        assert content["without_intersection"] == pytest.approx(clear) and 0 < clear < 1
        assert "occupied" not in content
        assert (tmp_path / "out" / "prior_check.csv").read_text().startswith("joint,")

    def test_intersections_only_where_asked(self, tmp_path, clips):
        run("check", clips, "--intersections", "false", "--out", tmp_path / "out")
        assert "without_intersection" not in json.loads((tmp_path / "out" / "prior_check.json").read_text())

    def test_occupancy_is_a_column(self, tmp_path, clips, poses):
        table = PoseOccupancy.fit(poses[:10], bins=60)
        table.save(tmp_path / "occupancy.npz")
        run("check", clips, "--occupancy", tmp_path / "occupancy.npz", "--out", tmp_path / "out")
        occupied = json.loads((tmp_path / "out" / "prior_check.json").read_text())["occupied"]
        inside = table.inside(poses).float().mean(0)
        assert occupied["l_ankle"] == pytest.approx(float(inside[SKELETON.index("l_ankle")]), abs=0.02)
        assert occupied["r_knee"] == 1 and occupied["all joints"] < 1

    def test_any_rotation_and_any_recording(self, tmp_path, shared_data):
        run("check", shared_data / "mocap" / "clips_mpi17_mm.npz", "--out", tmp_path / "out")
        content = json.loads((tmp_path / "out" / "prior_check.json").read_text())
        assert content["poses"] == 16_842
        assert content["inside"]["all joints"] >= 0.99 and content["coverage"]["mean"] <= 0.60
        assert content["without_intersection"] > 0.99


class TestCompare:
    def test_motion_against_itself_and_against_artificial_poses(self, tmp_path, clips, poses):
        run("compare", clips, "--motion_capture", clips, "--out", tmp_path)
        same = json.loads((tmp_path / "prior_compare.json").read_text())
        assert same["poses"] == 90 and same["precision"] == same["recall"] == 1
        # a body that always stands still
        np.savez(tmp_path / "still.npz", poses=poses[:1].expand(90, -1, -1).numpy())
        run("compare", tmp_path / "still.npz", "--motion_capture", clips, "--count", 40, "--out", tmp_path)
        still = json.loads((tmp_path / "prior_compare.json").read_text())
        assert still["poses"] == 40 and still["recall"] < 0.1 and still["told apart"] > 0.9

    def test_held_out_motion(self, tmp_path, clips):
        run("compare", clips, "--motion_capture", clips, "--held_out", 0.3, "--out", tmp_path)
        assert json.loads((tmp_path / "prior_compare.json").read_text())["poses"] < 90


def test_an_auto_encoder_is_measured(tmp_path, clips, weights, network, poses):
    words = ["evaluate", "--motion_capture", clips, "--weights", weights, "--count", 200, "--held_out", 0]
    run(*words, "--out", tmp_path)
    content = json.loads((tmp_path / "prior.json").read_text())
    assert content["real"] == 90 and content["decoded"] == 200 and content["poses"] == 90
    with torch.no_grad():
        errors = (network(poses) - poses).norm(dim=-1)
        phi = 2 * torch.rand(200, 8, generator=torch.Generator().manual_seed(0)) - 1
        p_l = network.psi(phi)
        cycle = float((network.phi(p_l) - phi).abs().mean())
    assert content["reconstruction, mm"] == pytest.approx(float(errors.mean()), abs=0.1)
    assert content["embedding cycle"] == pytest.approx(cycle, abs=1e-4)
    clear = float((self_intersection(local_to_canonical(p_l)) <= 0).float().mean())
    assert content["no intersection"] == pytest.approx(clear)
    assert content["inside limits"] == 1  # by construction, untrained too


def test_the_prior_that_ships_keeps_what_is_claimed(tmp_path, shared_data):
    """Reconstruction, limits and clear bodies; docs/prior.md has the figures of all 20,000 samples."""
    motion = shared_data / "mocap" / "clips_mpi17_mm.npz"
    run("evaluate", "--motion_capture", motion, "--count", 3000, "--compared", 1000, "--out", tmp_path)
    content = json.loads((tmp_path / "prior.json").read_text())
    assert content["free joints, mm"] <= 25 and content["free p95, mm"] <= 60
    assert content["inside limits"] >= 0.98 and content["no intersection"] >= 0.97
    assert content["embedding cycle"] <= 0.05 and content["recall"] >= 0.90


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("compare {clips} --count -1", "--count -1: compare at least one pose"),
        ("evaluate --count -1", "--count -1: ask for at least one sample"),
        ("evaluate --compared 0", "--compared 0: compare at least one pose"),
    ],
)
def test_less_than_nothing_is_refused(clips, capsys, words, message):
    assert main(["prior", *words.format(clips=clips).split(), "--motion_capture", str(clips)]) == 1
    assert message in capsys.readouterr().err
