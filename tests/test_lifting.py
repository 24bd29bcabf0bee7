"""2D people in, 3D people out: who is who, where they are, what is missing, and the files of `mpose3d lift`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.mupots_keypoints import keypoints
from mpose3d import lifting
from mpose3d.cli import main
from mpose3d.data.predictions import read_mupots_people, read_picture_people
from mpose3d.evaluation.mupots import score_mupots
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import bone_lengths
from mpose3d.lifting import lift_people, lift_pictures
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import REFINE, KeypointLifter, enough_joints
from mpose3d.representations.neural import NeuralGrid
from mpose3d.skeleton import SKELETON, find_layout
from tests.bodies import with_midpoints
from tests.data.official_layouts import write_mupots

SHIPPED = Path(lifting.__file__).parent / "weights"
PELVIS = SKELETON.root
CAMERA = Camera.for_image(640, 480)


@pytest.fixture
def network(tmp_path: Path) -> CrossModalNetwork:
    torch.manual_seed(0)
    network = CrossModalNetwork("mpose3d", v_channels=8, stride=4, input_size=64, g_width=4, h_width=16, sigma=2.0)
    network.save(tmp_path / "network.safetensors")
    return network.eval()


def people(count: int, seed: int = 0) -> torch.Tensor:
    """(count, 15, 2) px of people in a picture of 640 x 480; neck and pelvis are midpoints."""
    draw = torch.Generator().manual_seed(seed)
    place = torch.tensor([100.0, 80.0]) + torch.tensor([440.0, 320.0]) * torch.rand(count, 1, 2, generator=draw)
    return with_midpoints((place + 30 * torch.randn(count, 15, 2, generator=draw)).double())


@pytest.fixture
def lifter(tmp_path: Path) -> KeypointLifter:
    torch.manual_seed(0)
    lifter = KeypointLifter(width=32, blocks=1)
    torch.nn.init.normal_(lifter.code.weight, std=0.3)  # people differ
    lifter.save(tmp_path / "lifter.safetensors")
    return lifter.eval()


def lifted(network, joints, visible=None, picture=None, cameras=(CAMERA,), **how):
    visible = torch.ones(joints.shape[:2], dtype=torch.bool) if visible is None else visible
    picture = torch.zeros(len(joints), dtype=torch.long) if picture is None else picture
    return lift_people(network, joints, visible, picture, list(cameras), **how)


class TestEachByItself:
    """`KeypointLifter`"""

    def test_steps_of_refinement_are_none_or_more(self, lifter):
        with pytest.raises(ValueError, match="refine is a number of steps, not -1"):
            lift_people(lifter, people(2), torch.ones(2, 15, dtype=torch.bool), torch.zeros(2).long(), [CAMERA], -1)

    def test_as_the_network_reads_each_with_its_own_camera(self, lifter, monkeypatch):
        joints, visible = people(7), torch.rand(7, 15, generator=torch.Generator().manual_seed(1)) > 0.3
        filled = torch.where(visible[..., None], joints, torch.nan)
        picture = torch.tensor([2, 0, 2, 1, 0, 2, 0])
        cameras = [CAMERA, Camera.for_image(640, 480, 1.3), Camera(300.0, (300.0, 260.0)), CAMERA]
        monkeypatch.setattr(lifting, "_PEOPLE", 3)
        found = lifted(lifter, filled, visible, picture, cameras)
        for p, which in enumerate(picture.tolist()):
            with torch.no_grad():
                expected = lifter(joints[p : p + 1].float(), visible[p : p + 1], cameras[which], REFINE, True)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one[p : p + 1], other.to(one), atol=0.5, rtol=1e-3)
            projected = cameras[which].project(found.joints[p].double())
            torch.testing.assert_close(found.joints_px[p], projected, atol=0.01, rtol=0)
        assert found.joints[:, 0].std() > 10
        with torch.no_grad():
            expected = lifter(joints[:1].float(), visible[:1], CAMERA, 1, True)
        found = lift_people(lifter, joints[:1], visible[:1], torch.tensor([0]), [CAMERA], refine=1)
        torch.testing.assert_close(found.joints, expected.joints, atol=0.5, rtol=1e-3)
        own = [lift_people(lifter, joints, visible, picture, cameras, 1, fit) for fit in (False, True)]
        assert (bone_lengths(own[0].joints)[:, :-1].std(0) < 0.1).all()
        assert (bone_lengths(own[1].joints)[:, :-1].std(0) > 0.1).all()

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_people_may_lie_on_another_device_than_the_network(self, lifter):
        joints, visible, picture = people(2), torch.ones(2, 15, dtype=torch.bool), torch.zeros(2, dtype=torch.long)
        found = lift_people(lifter, joints.cuda(), visible.cuda(), picture.cuda(), [CAMERA])
        torch.testing.assert_close(found.joints, lifted(lifter, joints).joints)

    def test_nobody(self, lifter):
        found = lifted(lifter, people(0))
        assert found.joints.shape == (0, 15, 3) and found.embedding.shape == (0, 32)


class TestThroughMaps:
    """`CrossModalNetwork`"""

    def test_everybody_stands_at_their_own_pelvis(self, network):
        """In the order given, however pictures are mixed, each by its own camera."""
        joints = people(7)
        picture = torch.tensor([2, 0, 2, 1, 0, 2, 0])
        cameras = [CAMERA, Camera.for_image(640, 480, 1.3), Camera(300.0, (300.0, 260.0))]
        found = lifted(network, joints, picture=picture, cameras=cameras)
        for p, which in enumerate(picture.tolist()):
            pelvis = cameras[which].project(found.joints[p, PELVIS].double())
            torch.testing.assert_close(pelvis, joints[p, PELVIS], atol=0.01, rtol=0)
            torch.testing.assert_close(found.joints_px[p, PELVIS], joints[p, PELVIS], atol=0.01, rtol=0)
            weak = cameras[which].project_weak(found.joints[p].double(), PELVIS)
            torch.testing.assert_close(found.joints_px[p], weak, atol=0.02, rtol=0)

    def test_the_size_of_the_picture_is_nothing_to_the_people(self, network):
        joints = people(3)
        small = Camera.for_image(64, 48)
        scaled = (joints + 0.5) / 10 - 0.5
        one, other = lifted(network, joints), lifted(network, scaled, cameras=[small])
        torch.testing.assert_close(one.joints, other.joints, atol=0.1, rtol=0)
        torch.testing.assert_close((one.joints_px + 0.5) / 10 - 0.5, other.joints_px, atol=1e-3, rtol=0)

    def test_batches_change_nothing(self, network, monkeypatch):
        joints, visible = people(9), torch.rand(9, 15, generator=torch.Generator().manual_seed(1)) > 0.3
        picture = torch.tensor([4, 0, 4, 1, 0, 4, 0, 2, 2])
        cameras = [CAMERA] * 6  # two pictures have nobody
        whole = lifted(network, joints, visible, picture, cameras)
        for pictures, places in ((2, 512), (32, 3), (1, 1)):
            monkeypatch.setattr(lifting, "_PICTURES", pictures)
            monkeypatch.setattr(lifting, "_PLACES", places)
            parts = lifted(network, joints, visible, picture, cameras)
            for one, other in zip(whole, parts, strict=True):
                torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-4)

    def test_batches_are_bounded(self):
        """By pictures, and by the places for people that padding makes; a picture of more stands alone."""
        sizes = [1] * 70 + [300, 2, 600, 0, 2]
        batches = list(lifting._batches(torch.arange(sum(sizes)).split(sizes)))
        assert torch.cat([group for batch in batches for group in batch]).tolist() == list(range(sum(sizes)))
        assert [[len(group) for group in batch] for batch in batches] == [
            [1] * 32, [1] * 32, [1] * 6, [300], [2], [600], [2],
        ]  # fmt: skip

    def test_a_picture_shows_its_own_people_alone(self, network):
        """Others in another picture change nothing; in the same picture they do: they are drawn beside."""
        joints = people(4)
        cameras = [CAMERA, CAMERA]
        apart = lifted(network, joints, picture=torch.tensor([0, 1, 1, 1]), cameras=cameras)
        alone = lifted(network, joints[:1])
        torch.testing.assert_close(apart.joints[:1], alone.joints, atol=1e-2, rtol=1e-4)
        assert (lifted(network, joints).joints[:1] - alone.joints).abs().max() > 1

    def test_missing_joints_may_hold_anything(self, network):
        joints, visible = people(3), torch.ones(3, 15, dtype=torch.bool)
        visible[0, 3] = visible[1, PELVIS] = False
        filled = joints.clone()
        filled[~visible] = torch.nan
        one, other = lifted(network, joints, visible), lifted(network, filled, visible)
        assert other.joints.isfinite().all() and other.joints_px.isfinite().all()
        torch.testing.assert_close(one.joints, other.joints)
        assert (lifted(network, joints).joints[0] - one.joints[0]).abs().max() > 0.1

    def test_an_unseen_pelvis_is_where_h_sees_a_root(self, network):
        """The best root in reach of the joints that is not somebody else's, and not a better one far away."""
        logits = torch.full((1, 1, 8, 8), -5.0)
        logits[0, 0, 1, 1] = 5.0  # far from the person
        logits[0, 0, 5, 5] = 4.0  # the root of somebody whose pelvis is seen
        logits[0, 0, 4, 5] = 3.0
        logits[0, 0, 2, 5] = 0.0  # among the joints, and less likely than one just below them
        offset = torch.zeros(1, 2, 8, 8)
        offset[0, :, 4, 5] = torch.tensor([0.25, -0.25])
        grid = NeuralGrid(torch.zeros(1, network.representation.channels, 8, 8), logits, offset)
        network.h.forward = lambda v: grid
        joints = torch.full((2, 15, 2), 43.0, dtype=torch.float64)  # cell (5, 5) has its centre at 43.5 px
        joints[0, :, 1] = torch.linspace(14, 28, 15)  # above
        visible = torch.ones(2, 15, dtype=torch.bool)
        visible[0, [PELVIS, *SKELETON.indices("r_hip", "l_hip")]] = False
        found = lifted(network, joints, visible, cameras=[network.representation.camera])
        expected = torch.tensor([[43.5 + 2, 35.5 - 2], [43.0, 43.0]]).double()
        torch.testing.assert_close(found.joints_px[:, PELVIS], expected, atol=1e-3, rtol=0)
        # nor if it is the surest in reach
        logits[0, 0, 3, 5] = 4.0
        joints[1] = expected[1] = torch.tensor([43.0, 27.0])
        found = lifted(network, joints, visible, cameras=[network.representation.camera])
        torch.testing.assert_close(found.joints_px[:, PELVIS], expected, atol=1e-3, rtol=0)
        # what is not seen stands in no cell, that of the corner neither
        logits[0, 0, 0, 0], logits[0, 0, 1, 1] = 5.0, 4.0
        joints[0] = torch.tensor([3.0, 9.0])
        found = lifted(network, joints[:1], visible[:1], cameras=[network.representation.camera])
        torch.testing.assert_close(found.joints_px[0, PELVIS], torch.tensor([3.5, 3.5]).double(), atol=1e-3, rtol=0)

    def test_nobody(self, network):
        found = lifted(network, people(0))
        assert found.joints.shape == (0, 15, 3) and found.joints_px.shape == (0, 15, 2)
        assert found.embedding.shape == (0, 32)


def test_neck_and_pelvis_are_no_joints_of_their_own():
    visible = torch.zeros(3, 15, dtype=torch.bool)
    visible[0, SKELETON.indices("neck", "pelvis", "r_hip", "l_hip", "l_knee")] = True
    visible[1, SKELETON.indices("head_top", "r_hip", "l_hip", "l_knee")] = True
    assert enough_joints(visible).tolist() == [False, True, False]


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


class TestCommand:
    def lift(self, tmp_path: Path, keypoints: Path, out: str, *flags: str) -> int:
        weights = ["--weights", str(tmp_path / "network.safetensors")]
        return main(["lift", str(keypoints), "--out", str(tmp_path / out), "--through", "maps", *weights, *flags])

    def test_the_lifter_is_the_default(self, lifter, tmp_path: Path):
        joints = people(3)
        path = save(tmp_path / "k.npz", {"a/px": joints[1:].numpy(), "b/px": joints[:1].numpy()})
        weights = ["--weights", str(tmp_path / "lifter.safetensors"), "--size", "640", "480"]
        assert main(["lift", str(path), "--out", str(tmp_path / "out.npz"), *weights]) == 0
        expected = lifted(lifter, joints)
        with np.load(tmp_path / "out.npz") as content:
            np.testing.assert_allclose(content["a/mm"], expected.joints[1:].numpy(), atol=0.1)
            np.testing.assert_allclose(content["b/mm"], expected.joints[:1].numpy(), atol=0.1)
        assert main(["lift", str(path), "--out", str(tmp_path / "out.npz"), *weights, "--proportions=false"]) == 0
        with np.load(tmp_path / "out.npz") as content:
            expected = lifted(lifter, joints, proportions=False)
            np.testing.assert_allclose(content["a/mm"], expected.joints[1:].numpy(), atol=0.1)

    def test_pixels_are_those_given_and_projections_of_the_missing(self, lifter, tmp_path: Path):
        joints, visible = people(2), torch.ones(2, 15, dtype=torch.bool)
        visible[1, SKELETON.indices("l_knee", "l_hip", "pelvis")] = False
        path = save(tmp_path / "k.npz", {"a/px": torch.where(visible[..., None], joints, torch.nan).numpy()})
        weights = ["--weights", str(tmp_path / "lifter.safetensors"), "--size", "640", "480"]
        assert main(["lift", str(path), "--out", str(tmp_path / "out.npz"), *weights]) == 0
        expected = torch.where(visible[..., None], joints, lifted(lifter, joints, visible).joints_px)
        with np.load(tmp_path / "out.npz") as content:
            np.testing.assert_allclose(content["a/px"], expected.numpy(), atol=0.01)

    def test_pictures_of_mupots_of_another_size_are_told_of_in_an_npz(self, lifter, tmp_path: Path, capsys):
        path = save(tmp_path / "k.npz", {"TS1_img_000000/px": people(1).numpy(), "a/px": people(1).numpy()})
        weights = ["--weights", str(tmp_path / "lifter.safetensors"), "--size", "640", "480"]
        for out, told in (("out.npz", "1 pictures named as MuPoTS-3D's are not of its size"), ("out", "")):
            assert main(["lift", str(path), "--out", str(tmp_path / out), *weights]) == 0
            error = capsys.readouterr().err
            assert (told in error) if told else not error.strip()

    def test_weights_of_another_network_are_refused(self, lifter, network, tmp_path: Path, capsys):
        path = save(tmp_path / "k.npz", {"a/px": people(1).numpy()})
        flags = ["lift", str(path), "--size", "640", "480", "--out", str(tmp_path / "out.npz"), "--weights"]
        for through, weights in (("keypoints", "network"), ("maps", "lifter")):
            assert main([*flags, str(tmp_path / f"{weights}.safetensors"), "--through", through]) == 1
            told = capsys.readouterr().err.strip()
            assert f"{weights}.safetensors" in told and "is not of a" in told and "\n" not in told
        assert not (tmp_path / "out.npz").exists()

    def test_a_folder_that_is_a_file_is_told_before_anybody_is_lifted(self, tmp_path: Path, capsys):
        path = save(tmp_path / "k.npz", {"a/px": people(1).numpy()})
        (tmp_path / "out").write_text("mine")
        assert self.lift(tmp_path, path, "out", "--size", "640", "480") == 1
        assert "out is a file" in capsys.readouterr().err
        assert (tmp_path / "out").read_text() == "mine"

    @pytest.mark.parametrize("layout", ["mpose3d", "coco17", "openpose18"])
    def test_npz_to_npz(self, network, tmp_path: Path, capsys, layout: str):
        joints = people(5)
        of = find_layout(layout)
        given, there = of.from_skeleton(joints)
        pelvis = of.to_skeleton(given, there, estimate=True)[0][:, PELVIS]
        keys = {"b/1/px": given[:2].numpy(), "a/px": given[2:].numpy(), "c/px": given[:0].numpy()}
        path = save(tmp_path / "k.npz", keys)
        assert self.lift(tmp_path, path, "deep/out.npz", "--layout", layout, "--size", "640", "480") == 0
        with np.load(tmp_path / "deep/out.npz") as content:
            assert sorted(content.files) == sorted(
                f"{name}/{kind}" for name in ("b/1", "a", "c") for kind in ("px", "mm")
            )
            assert {key: content[key].shape for key in content.files} == {
                **{f"b/1/{kind}": (2, 15, size) for kind, size in (("px", 2), ("mm", 3))},
                **{f"a/{kind}": (3, 15, size) for kind, size in (("px", 2), ("mm", 3))},
                **{f"c/{kind}": (0, 15, size) for kind, size in (("px", 2), ("mm", 3))},
            }
            np.testing.assert_allclose(content["b/1/px"][:, PELVIS], pelvis[:2], atol=0.01)
            np.testing.assert_allclose(content["a/px"][:, PELVIS], pelvis[2:], atol=0.01)
        assert "5 of 5 people in 3 pictures lifted" in capsys.readouterr().out
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out.npz"]

    def test_a_folder_holds_the_json_of_infer(self, network, tmp_path: Path):
        joints = people(2)
        keys = {f"{name}/px": joints.numpy() for name in ("holiday/beach", "TS6_img_000012")}
        path = save(tmp_path / "k.npz", keys | {"nobody/px": np.zeros((0, 15, 2))})
        assert self.lift(tmp_path, path, "out", "--size", "640", "480", "--focal_ratio", "1.25") == 0
        out = tmp_path / "out"
        files = sorted(str(file.relative_to(out)) for file in out.rglob("*.*"))
        assert files == ["TS6/img_000012.json", "holiday/beach.json", "nobody.json"]
        content = json.loads((out / "holiday/beach.json").read_text())
        assert set(content) == {"version", "image", "size", "camera", "skeleton", "people"}
        assert content["size"] == [640, 480] and content["camera"] == {"focal": 800.0, "centre": [319.5, 239.5]}
        person = content["people"][1]
        assert {key: np.shape(value) for key, value in person.items()} == {
            "joints_px": (15, 2), "joints_mm": (15, 3), "root_px": (2,), "score": (), "embedding": (32,),
        }  # fmt: skip
        np.testing.assert_allclose(person["root_px"], joints[1, PELVIS], atol=0.02)
        assert read_picture_people(out / "nobody.json", (640, 480)).px.shape == (0, 15, 2)

    def test_unsure_joints_are_left_out_and_scores_are_those_of_who_is_lifted(self, lifter, tmp_path: Path):
        joints = np.concatenate([people(3).numpy(), np.full((3, 15, 1), 0.8)], axis=2)
        joints[0, :, 2], joints[1, 5, 2], joints[2, :, 2] = 0.1, 0.1, 0.6
        path = save(tmp_path / "k.npz", {"a/px": joints})
        flags = ["--weights", str(tmp_path / "lifter.safetensors"), "--size", "640", "480", "--threshold", "0.3"]
        assert main(["lift", str(path), "--out", str(tmp_path / "out"), *flags]) == 0
        one, other = json.loads((tmp_path / "out" / "a.json").read_text())["people"]
        assert (one["score"], other["score"]) == pytest.approx((0.8, 0.6))
        np.testing.assert_allclose(other["joints_px"], joints[2, :, :2], atol=0.02)
        assert np.abs(np.array(one["joints_px"]) - joints[1, :, :2]).max(1).argmax() == 5  # by projection

    def test_who_is_left_out_is_named(self, network, tmp_path: Path, capsys):
        joints = people(4).numpy()
        joints[1, 3:] = np.nan
        path = save(tmp_path / "k.npz", {"a/px": joints, "b/px": joints[1:2]})
        assert self.lift(tmp_path, path, "out.npz", "--size", "640", "480") == 0
        told = capsys.readouterr()
        assert "3 of 5 people in 2 pictures lifted" in told.out
        assert told.err.splitlines()[-2:] == [
            "left out, too few joints: a, person 1 (2 of 4)", "left out, too few joints: b, person 0 (2 of 4)",
        ]  # fmt: skip
        with np.load(tmp_path / "out.npz") as content:
            np.testing.assert_allclose(content["a/px"][:, PELVIS], joints[[0, 2, 3], PELVIS], atol=0.01)
            assert content["b/mm"].shape == (0, 15, 3)

    @pytest.mark.parametrize("out", ["out.npz", "out"])
    def test_what_is_wrong_is_one_line_and_nothing_is_written(self, network, tmp_path: Path, capsys, out: str):
        good = save(tmp_path / "k.npz", {"a/px": people(2).numpy()})
        nobody = save(tmp_path / "n.npz", {"a/px": np.full((2, 15, 2), np.nan)})
        outside = save(tmp_path / "o.npz", {"../../a/px": people(2).numpy()})
        absolute = save(tmp_path / "p.npz", {f"{tmp_path}/a/px": people(2).numpy()})
        names = ("TS1_img_000001", "TS1/img_000001")
        twice = save(tmp_path / "t.npz", {f"{name}/px": people(1).numpy() for name in names})
        size = ("--size", "640", "480")
        for path, flags, message in (
            (tmp_path / "none.json", size, "no such file or folder of keypoints"),
            (good, (), "the size of picture 'a' is not known: give --size"),
            (good, ("--size", "64", "48"), "lie outside their pictures: is the size right"),
            (good, (*size, "--layout", "coco17"), "people of 15 joints, and the layout coco17 has 17"),
            (good, (*size, "--images", "x.json"), "given twice"),
            (good, (*size, "--focal_ratio", "0"), "--focal_ratio is focal length over picture side, a number above 0"),
            (good, (*size, "--threshold=-1"), "--threshold is the least confidence of a joint"),
            (good, (*size, "--refine=-1"), "refine is a number of steps"),
            (good, (*size, "--refine=1"), "maps have no use for them"),
            (good, (*size, "--proportions=true"), "maps have no use for them"),
            (good, (*size, "--device", "abacus"), "--device abacus"),
            (nobody, size, "none of its 2 people has 4 joints beside neck and pelvis"),
            (good, (*size, "--weights", str(tmp_path / "no.safetensors")), "no weights at"),
            *([(outside, size, "would be written outside the output folder")] if out == "out" else []),
            *([(absolute, size, "would be written outside the output folder")] if out == "out" else []),
            *([(twice, size, "would both be written to TS1/img_000001.json")] if out == "out" else []),
        ):
            assert self.lift(tmp_path, path, out, *flags) == 1
            told = capsys.readouterr().err.strip().splitlines()
            assert len(told) == 1 and message in told[0], told
            assert not (tmp_path / out).exists()

    def test_2d_people_are_not_written_over(self, network, tmp_path: Path, capsys):
        arrays = save(tmp_path / "k.npz", {"a/px": people(2).numpy()})
        pose = {"pose_keypoints_2d": torch.cat([people(1)[0], torch.ones(15, 1)], 1).flatten().tolist()}
        openpose = tmp_path / "a.json"
        openpose.write_text(json.dumps({"version": 1.3, "people": [pose]}))
        for path, out in ((arrays, "k.npz"), (openpose, ".")):
            before = path.read_bytes()
            assert self.lift(tmp_path, path, out, "--size", "640", "480", "--layout", "mpose3d") == 1
            assert "would be written over" in capsys.readouterr().err and path.read_bytes() == before
        (tmp_path / "op").mkdir()
        inside = openpose.rename(tmp_path / "op" / "a_keypoints.json")  # whose 3D people are a.json
        for _ in range(2):
            assert self.lift(tmp_path, inside.parent, "op", "--size", "640", "480", "--layout", "mpose3d") == 0
        assert len(list(inside.parent.iterdir())) == 2

    def test_of_no_picture_there_is_nobody(self):
        assert lift_pictures(KeypointLifter(), []) == []

    def test_json_is_no_name_of_a_folder(self, network, tmp_path: Path, capsys):
        path = save(tmp_path / "k.npz", {"a/px": people(2).numpy()})
        assert self.lift(tmp_path, path, "out.json", "--size", "640", "480") == 1
        assert "expected FILE.npz, or a folder" in capsys.readouterr().err


class TestMupots:
    def test_both_outputs_score_alike(self, network, tmp_path: Path):
        """Annotated 2D of every frame -> npz, and folder, as `evaluate mupots` reads them."""
        root = write_mupots(tmp_path / "mupots")
        arrays = keypoints(root)
        path = save(tmp_path / "k.npz", arrays)
        lift = TestCommand().lift
        assert lift(tmp_path, path, "out.npz", "--layout", "mupots") == 0
        assert lift(tmp_path, path, "out", "--layout", "mupots") == 0
        frames = {"TS1": 4, "TS6": 4}
        for name in frames:
            one, other = (read_mupots_people(tmp_path / out, frames)[name] for out in ("out.npz", "out"))
            assert one.predicted.all() and torch.equal(one.present, other.present)
            torch.testing.assert_close(one.px, other.px, atol=0.01, rtol=0)
            torch.testing.assert_close(one.mm, other.mm, atol=0.1, rtol=0)
        one, other = (score_mupots(root, tmp_path / out)[0] for out in ("out.npz", "out"))
        for name in frames:
            assert one.sequences[name].found == other.sequences[name].found
            assert one.sequences[name].pck == pytest.approx(other.sequences[name].pck, abs=2)

    @pytest.mark.parametrize("through", ["keypoints", "maps"])
    def test_real_people(self, shared_data: Path, tmp_path: Path, through: str):
        """The weights that ship, on annotated 2D: the people come out in the poses that they have."""
        if through == "keypoints" and not (SHIPPED / "lifter.safetensors").is_file():
            pytest.skip("no weights of the lifter ship with this version")
        root = shared_data / "mupots/MultiPersonTestSet"
        arrays = {key: array for key, array in keypoints(root).items() if key.startswith("TS1_")}
        path = save(tmp_path / "k.npz", arrays)
        flags = ["--layout", "mupots", "--through", through, "--out", str(tmp_path / "out.npz")]
        assert main(["lift", str(path), *flags]) == 0
        score, _ = score_mupots(root, tmp_path / "out.npz", "matched", ["TS1"])
        assert score.sequences["TS1"].found == score.sequences["TS1"].annotated == 402
        assert score.mean.pck > {"keypoints": 75, "maps": 60}[through]
