"""Scenes of motion capture: a seed is its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mpose3d.cli import main
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.poses.scenes import SceneSampler
from mpose3d.representations.neural import People
from mpose3d.skeleton import SKELETON
from tests.data.official_layouts import write_mocap


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

    def test_figures_of_a_known_answer(self, network: str, tmp_path: Path, monkeypatch, capsys) -> None:
        """Everybody half as large and 30 mm aside, but where the picture does not show enough of them."""
        seen = []
        sample = SceneSampler.sample

        def recorded(self, *arguments):
            scenes = sample(self, *arguments)
            scenes.drawn[0, :, 3:] = False  # a scene of heads
            seen.append(scenes)
            return scenes

        def lift(network, joints_px, visible, picture, cameras, refine, proportions):
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
        size = (truth - truth[:, SKELETON.root, None]).norm(dim=-1).mean(-1)
        assert figures["mpjpe"] == pytest.approx(size.mean().item() / 2, rel=1e-4)
        whole = scenes.drawn[1:][scenes.valid[1:]].all(-1)
        told = f"{int(whole.sum())} people are wholly in the picture: MPJPE {size[whole].mean() / 2:.1f}, PMPJPE 0.0."
        assert whole.any() and told in " ".join(capsys.readouterr().out.split())
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
