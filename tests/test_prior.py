"""The commands of the prior, from files to figures: what they write and print, and what they say of bad files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import roma
import torch

from mpose3d.assets import weights_file
from mpose3d.cli import main
from mpose3d.data.mocap import read_motion_capture, split_clips
from mpose3d.geometry.kinematics import bone_lengths, canonical_to_local, canonicalize, local_to_canonical
from mpose3d.networks.autoencoder import PoseAutoEncoder
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.prior import draw, make
from mpose3d.skeleton import SKELETON


@pytest.fixture(scope="module")
def network() -> PoseAutoEncoder:
    torch.manual_seed(0)
    return PoseAutoEncoder(8).eval()


@pytest.fixture
def weights(tmp_path, network) -> str:
    network.save(tmp_path / "untrained.safetensors")
    return str(tmp_path / "untrained.safetensors")


@pytest.fixture
def poses() -> torch.Tensor:
    return ArtificialPoses().sample(90, torch.Generator().manual_seed(7))


@pytest.fixture
def clips(tmp_path, poses) -> str:
    """Three recordings of 17 joints, of a body of another size, anywhere, in any rotation."""
    generator = torch.Generator().manual_seed(1)
    rotation = roma.random_rotmat(90, generator=generator)
    moved = 0.9 * poses @ rotation.mT + 1000 * torch.randn(90, 1, 3, generator=generator)
    arrays = torch.cat([moved, moved[:, :2]], dim=1).numpy()
    np.savez(tmp_path / "clips.npz", walk_1=arrays[:40], run_1=arrays[40:60], jump_1=arrays[60:])
    return str(tmp_path / "clips.npz")


def in_file_order(poses: torch.Tensor) -> torch.Tensor:
    """As `clips` holds them: recordings by name."""
    return torch.cat([poses[60:], poses[40:60], poses[:40]])


def run(*words: object) -> None:
    assert main(["prior", *map(str, words)]) == 0


def load(path: Path | str) -> torch.Tensor:
    with np.load(path) as archive:
        assert archive.files == ["poses"] and archive["poses"].dtype == np.float32
        return torch.from_numpy(archive["poses"])


class TestSample:
    def test_any_number_from_the_embedding(self, tmp_path, weights, network, monkeypatch):
        monkeypatch.setattr(make, "BATCH", 64)
        for count in (1, 64, 150):
            run("sample", "--count", count, "--out", tmp_path / "s.npz", "--weights", weights)
            poses = load(tmp_path / "s.npz")
            assert poses.shape == (count, 15, 3)
            torch.testing.assert_close(canonicalize(poses)[0], poses, atol=1e-2, rtol=0)
            lengths = torch.tensor(SKELETON.bone_lengths)
            torch.testing.assert_close(bone_lengths(poses), lengths.expand(count, -1), atol=1e-2, rtol=0)
        # phi ~ U[-1, 1], batch by batch from one generator
        generator = torch.Generator().manual_seed(0)
        phi = torch.cat([2 * torch.rand(n, 8, generator=generator) - 1 for n in (64, 64, 22)])
        with torch.no_grad():
            torch.testing.assert_close(poses, local_to_canonical(network.psi(phi)), atol=1e-2, rtol=0)
        assert not list(tmp_path.glob("*.part"))

    def test_the_seed_decides(self, tmp_path):
        def sample(seed: int) -> bytes:
            run("sample", "--count", 50, "--out", tmp_path / "s.npz", "--source", "limits", "--seed", seed)
            return load(tmp_path / "s.npz").numpy().tobytes()

        first = sample(3)
        assert sample(3) == first != sample(4)

    def test_files_are_read_by_the_project_and_by_numpy(self, tmp_path):
        run("sample", "--count", 20, "--out", tmp_path / "sub" / "s.npz", "--source", "limits")
        assert zipfile.ZipFile(tmp_path / "sub" / "s.npz").testzip() is None
        assert torch.equal(read_motion_capture(tmp_path / "sub" / "s.npz")["s"], load(tmp_path / "sub" / "s.npz"))

    def test_sources_with_rules(self, tmp_path, clips, poses):
        table = PoseOccupancy.fit(poses, bins=60)
        table.save(tmp_path / "occupancy.npz")
        out = ["--count", 80, "--out", tmp_path / "s.npz"]
        run("sample", *out, "--source", "limits", "--occupancy", tmp_path / "occupancy.npz", "--max_penetration", 0)
        drawn = load(tmp_path / "s.npz")
        assert table.inside(drawn).all() and (self_intersection(drawn) <= 0).all()
        motion = ["--motion_capture", clips]
        run("sample", *out, "--source", "motion_capture", *motion)
        # every pose is a recorded one or its mirror image
        near = torch.cdist(load(tmp_path / "s.npz").flatten(1), poses.flatten(1)).amin(-1) < 1
        assert 0.25 < near.float().mean() < 0.75
        run("sample", *out, "--source", "mixed", *motion, "--artificial", 1)
        assert (torch.cdist(load(tmp_path / "s.npz").flatten(1), poses.flatten(1)).amin(-1) > 1).all()
        run("sample", *out, "--source", "mixed", *motion, "--recombine", 0.5, "--max_penetration", 0)
        mixed = load(tmp_path / "s.npz")
        assert (self_intersection(mixed) <= 0).all() and JointLimits().inside(canonical_to_local(mixed)).all()

    @pytest.mark.parametrize(
        ("flags", "complaint"),
        [
            (["--count", "0"], "ask for at least one pose"),
            (["--count", "5", "--source", "mixed"], "the source mixed needs --motion_capture"),
            (["--count", "5", "--max_penetration", "0"], "--max_penetration is for poses that are drawn"),
            (["--count", "5", "--weights", "none.safetensors"], "none.safetensors"),
            (["--count", "5", "--source", "limits", "--limits", "none.yaml"], "none.yaml"),
            (["--count", "5", "--source", "limits", "--max_penetration=-1000"], "poses break the rules"),
        ],
    )
    def test_mistakes_are_one_line_and_leave_nothing(self, tmp_path, capsys, flags, complaint):
        assert main(["prior", "sample", *flags, "--out", str(tmp_path / "s.npz")]) == 1
        told = capsys.readouterr().err.strip()
        assert complaint in told and "\n" not in told
        assert not list(tmp_path.iterdir())


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


class TestPlot:
    @pytest.mark.parametrize("kind", ["poses", "limits", "interpolation", "neighbours"])
    def test_every_kind(self, tmp_path, clips, weights, kind):
        flags = ["--kind", kind, "--count", 3, "--weights", weights]
        run("plot", clips, "--out", tmp_path / "a.png", *flags)
        run("plot", clips, "--out", tmp_path / "b.png", *flags)
        picture = cv2.imread(str(tmp_path / "a.png"))
        assert picture.std() > 5
        assert np.array_equal(picture, cv2.imread(str(tmp_path / "b.png")))
        if kind in ("interpolation", "neighbours"):
            assert picture.shape == (3 * 160, 8 * 160, 3)

    def test_interpolation_goes_from_the_one_to_the_other(self, network, poses):
        ends = poses[:6].view(3, 2, 15, 3)
        rows = draw._interpolated(network, ends)
        assert rows.shape == (3, 8, 15, 3)
        assert torch.equal(rows[:, [0, -1]], ends)
        with torch.no_grad():
            torch.testing.assert_close(rows[:, [1, -2]], network(ends), atol=1e-2, rtol=0)
        torch.testing.assert_close(bone_lengths(rows)[..., :14], bone_lengths(poses[:1])[0, :14].expand(3, 8, 14))

    def test_neighbours_are_nearest_and_of_other_recordings(self, network, poses):
        recording = torch.arange(3).repeat_interleave(30)
        queries = torch.tensor([0, 45, 89])
        found = draw._neighbours(network, poses, recording, queries)
        assert found.shape == (3, 7)
        with torch.no_grad():
            phi = network.phi(canonical_to_local(poses))
        for query, row in zip(queries.tolist(), found.tolist(), strict=True):
            others = [i for i in range(90) if recording[i] != recording[query]]
            expected = sorted(others, key=lambda i: float((phi[i] - phi[query]).norm()))[:7]
            assert row == expected
        # of one recording all but the pose itself; of few poses as many as there are
        alone = draw._neighbours(network, poses[:5], torch.zeros(5), torch.tensor([2]))
        assert sorted(alone[0].tolist()) == [0, 1, 3, 4]

    def test_a_picture_needs_a_suffix(self, tmp_path, clips, capsys):
        assert main(["prior", "plot", clips, "--out", str(tmp_path / "a.pdf")]) == 1
        assert "name the picture .png or .jpg" in capsys.readouterr().err


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


def test_occupancy_is_learned_and_measured(tmp_path, clips, poses, capsys):
    run("occupancy", "--motion_capture", clips, "--out", tmp_path / "occupancy.npz", "--bins", 60, "--held_out", 0.3)
    printed = capsys.readouterr().out
    assert "motion held out" in printed and "artificial" in printed
    train, _ = split_clips(read_motion_capture(clips), 0.3, 4)
    expected = PoseOccupancy.fit(canonicalize(torch.cat(list(train.values())))[0], bins=60)
    assert torch.equal(PoseOccupancy.from_file(tmp_path / "occupancy.npz").inside(poses), expected.inside(poses))


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
    ("arrays", "complaint"),
    [
        ({"poses": np.zeros((4, 15, 3))}, "legs of 0 mm"),
        ({"poses": np.full((4, 15, 3), np.nan)}, "NaN or infinite"),
        ({"poses": np.zeros((4, 15, 2))}, "has shape"),
        ({"poses": np.zeros((0, 15, 3))}, "no frame"),
    ],
)
def test_broken_poses_are_one_line(tmp_path, capsys, arrays, complaint):
    np.savez(tmp_path / "a.npz", **arrays)
    assert main(["prior", "check", str(tmp_path / "a.npz")]) == 1
    told = capsys.readouterr().err.strip()
    assert "a.npz" in told and complaint in told and "\n" not in told


def test_limbs_without_length_are_named(tmp_path, capsys, poses):
    poses[3, SKELETON.index("r_wrist")] = poses[3, SKELETON.index("r_elbow")]
    np.savez(tmp_path / "a.npz", poses=poses.numpy())
    assert main(["prior", "check", str(tmp_path / "a.npz")]) == 1
    assert "1 poses have limbs of no length, at r_wrist" in capsys.readouterr().err
