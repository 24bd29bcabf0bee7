"""Poses and occupancies that are made: what is written and printed, and what is said of mistakes."""

from __future__ import annotations

import re
import zipfile

import pytest
import torch

from mpose3d.cli import main
from mpose3d.data.mocap import read_motion_capture, split_clips
from mpose3d.geometry.kinematics import bone_lengths, canonical_to_local, canonicalize, local_to_canonical
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.prior import make
from mpose3d.skeleton import SKELETON
from tests.prior.commands import load, run


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
        ("source", "unread"),
        [
            ("embedding", "motion_capture artificial recombine interpolate seated limits occupancy max_penetration"),
            ("limits", "weights motion_capture artificial recombine interpolate seated"),
            ("motion_capture", "weights artificial occupancy"),
            ("mixed", "weights"),
        ],
    )
    def test_what_a_source_does_not_read_is_refused(self, tmp_path, source, unread):
        given = dict.fromkeys(("artificial", "recombine", "interpolate", "seated", "max_penetration"), 0.0)
        given |= dict.fromkeys(("weights", "motion_capture", "limits", "occupancy"), tmp_path / "none")
        with pytest.raises(ValueError) as refusal:
            make.sample_poses(5, tmp_path / "s.npz", source, **given)
        assert set(re.findall(r"--(\w+)", str(refusal.value))) == {"source", *unread.split()}

    @pytest.mark.parametrize(
        ("flags", "complaint"),
        [
            (["--count", "0"], "ask for at least one pose"),
            (["--count", "5", "--source", "mixed"], "the source mixed needs --motion_capture"),
            (["--count", "5", "--seated", "0.3", "--max_penetration", "0"], "not read --seated, --max_penetration"),
            (["--count", "5", "--source", "motion_capture", "--motion_capture", "a", "--limits", "b"], "give both"),
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


def test_occupancy_is_learned_and_measured(tmp_path, clips, poses, capsys):
    run("occupancy", "--motion_capture", clips, "--out", tmp_path / "occupancy.npz", "--bins", 60, "--held_out", 0.3)
    printed = capsys.readouterr().out
    assert "motion held out" in printed and "artificial" in printed
    train, _ = split_clips(read_motion_capture(clips), 0.3, 4)
    expected = PoseOccupancy.fit(canonicalize(torch.cat(list(train.values())))[0], bins=60)
    assert torch.equal(PoseOccupancy.from_file(tmp_path / "occupancy.npz").inside(poses), expected.inside(poses))
