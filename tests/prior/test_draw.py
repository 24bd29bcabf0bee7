"""Pictures of poses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mpose3d.cli import main
from mpose3d.geometry.kinematics import bone_lengths, canonical_to_local
from mpose3d.prior import draw
from tests.prior.commands import run


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
