"""2D people in the official formats of detectors -> joints of the skeleton, and what is said of wrong files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.data.keypoints import read_keypoints, with_sizes
from mpose3d.skeleton import BODY_25, COCO_17, COCO_18, LAYOUTS, MPI_15, MPOSE3D, MUPOTS_17, SKELETON, Layout
from tests.bodies import with_midpoints

PELVIS, NECK, HEAD = (SKELETON.index(name) for name in ("pelvis", "neck", "head_top"))


def bodies(people: int, seed: int = 0) -> torch.Tensor:
    """(people, 15, 2) pixels around (300, 200), neck and pelvis being midpoints."""
    draw = torch.Generator().manual_seed(seed)
    return with_midpoints(300 + 50 * torch.randn(people, 15, 2, generator=draw, dtype=torch.float64))


def in_layout(joints: torch.Tensor, layout: Layout, confidence: float = 0.7) -> np.ndarray:
    """(P, J, 3) in another layout; what the skeleton cannot supply (face, feet) is absent."""
    points, there = layout.from_skeleton(joints)
    return np.concatenate([points.numpy(), confidence * there.numpy()[..., None]], axis=-1)


def coco_results(path: Path, pictures: dict, **extra) -> Path:
    content = [
        {"image_id": image, "category_id": 1, "keypoints": person.ravel().tolist(), "score": 0.25 + number}
        | {key: values[number] for key, values in extra.items()}
        for image, people in pictures.items()
        for number, person in enumerate(people)
    ]
    path.write_text(json.dumps(content))
    return path


def openpose(path: Path, people: np.ndarray) -> Path:
    """A file as OpenPose 1.7 writes it with --write_json."""
    rest = {f"{part}_keypoints_2d": [] for part in ("face", "hand_left", "hand_right")}
    content = [{"person_id": [-1], "pose_keypoints_2d": person.ravel().tolist(), **rest} for person in people]
    path.write_text(json.dumps({"version": 1.3, "people": content}))
    return path


def check(picture, joints: torch.Tensor, absent: set[str], layout: Layout) -> None:
    """The joints as far as the layout has them, its hips where they are estimated to be."""
    estimated, known = layout.to_skeleton(*layout.from_skeleton(joints), estimate=True)
    joints = torch.where(known[..., None], estimated, joints)
    seen = torch.tensor([name not in absent for name in SKELETON.names]).expand(len(joints), -1)
    assert torch.equal(picture.visible, seen)
    torch.testing.assert_close(picture.px[seen], joints[seen])
    assert (picture.px[~seen] == 0).all()


class TestFormats:
    def test_coco_results(self, tmp_path: Path) -> None:
        """People of an image may lie anywhere in the file, and keep their order."""
        joints = bodies(3)
        people = in_layout(joints, COCO_17)
        path = coco_results(tmp_path / "results.json", {42: people[:1], 7: people[1:2]})
        more = json.loads(coco_results(tmp_path / "more.json", {42: people[2:]}).read_text())
        path.write_text(json.dumps(json.loads(path.read_text()) + more))
        first, second = read_keypoints(path)
        assert [first.name, second.name] == ["42", "7"]
        check(first, joints[[0, 2]], {"head_top"}, COCO_17)
        check(second, joints[[1]], {"head_top"}, COCO_17)
        assert first.score.tolist() == [0.25, 0.25]
        plain = [{key: value for key, value in person.items() if key != "score"} for person in more]
        path.write_text(json.dumps(plain))
        assert read_keypoints(path)[0].score.tolist() == pytest.approx([0.7])  # of the joints

    def test_pictures_of_one_name_are_refused(self, tmp_path: Path) -> None:
        people = in_layout(bodies(1), COCO_17)
        path = coco_results(tmp_path / "results.json", {"a.jpg": people, "a.png": people})
        with pytest.raises(ValueError, match="2 images are named a, without folder and suffix"):
            read_keypoints(path)

    @pytest.mark.parametrize(
        ("layout", "absent"),
        [(BODY_25, {"head_top"}), (COCO_18, {"head_top"}), (MPI_15, set())],
        ids=lambda x: str(x)[:9],
    )
    def test_openpose_knows_its_models_by_their_length(self, tmp_path: Path, layout: Layout, absent: set) -> None:
        joints = bodies(2)
        if layout is MPI_15:
            joints[:, NECK] = joints[:, SKELETON.indices("r_shoulder", "l_shoulder")].mean(1)
        openpose(tmp_path / "b_000000000012_keypoints.json", in_layout(joints, layout))
        openpose(tmp_path / "a_keypoints.json", np.zeros((0, 25, 3)))
        (tmp_path / "other.json").write_text("{}")
        nobody, picture = read_keypoints(tmp_path)
        assert (nobody.name, picture.name) == ("a", "b_000000000012")
        assert nobody.px.shape == (0, 15, 2) and nobody.visible.shape == (0, 15)
        check(picture, joints, absent, layout)
        torch.testing.assert_close(picture.score, torch.full((2,), 0.7).double())
        (alone,) = read_keypoints(tmp_path / "b_000000000012_keypoints.json")
        assert alone.name == "b_000000000012" and torch.equal(alone.px, picture.px)

    def test_somebody_of_whom_openpose_sees_a_hand_alone_keeps_a_place(self, tmp_path: Path) -> None:
        path = openpose(tmp_path / "a_keypoints.json", in_layout(bodies(2), BODY_25))
        content = json.loads(path.read_text())
        content["people"][0]["pose_keypoints_2d"] = []
        path.write_text(json.dumps(content))
        (picture,) = read_keypoints(path)
        assert picture.visible.any(1).tolist() == [False, True]

    @pytest.mark.parametrize("layout", [MPOSE3D, MUPOTS_17, COCO_17, COCO_18], ids=lambda layout: layout.name)
    @pytest.mark.parametrize("columns", [2, 3])
    def test_npz(self, tmp_path: Path, layout: Layout, columns: int) -> None:
        joints = bodies(2)
        array = in_layout(joints, layout)
        array[array[..., 2] == 0] = 0  # how an absent joint is written
        keys = {"TS1_img_000003/px": array[..., :columns], "TS1_img_000003/mm": np.zeros(3), "x/y/px": array[:0]}
        np.savez(tmp_path / "k.npz", **keys)
        picture, nobody = read_keypoints(tmp_path / "k.npz", layout.name)
        assert (picture.name, nobody.name) == ("TS1_img_000003", "x/y") and len(nobody.px) == 0
        check(picture, joints, {"head_top"} if layout in (COCO_17, COCO_18) else set(), layout)
        torch.testing.assert_close(picture.score, torch.full((2,), 0.7 if columns == 3 else 1.0).double())

    def test_the_first_15_joints_of_mupots(self, tmp_path: Path) -> None:
        """The neck of MuPoTS-3D is not ours: the same numbers mean another neck."""
        array = in_layout(bodies(2), MUPOTS_17)
        array[:, :, 2] = 1
        np.savez(tmp_path / "17.npz", **{"a/px": array})
        np.savez(tmp_path / "15.npz", **{"a/px": array[:, :15]})
        (whole,), (part,) = (read_keypoints(tmp_path / f"{n}.npz", "mupots") for n in (17, 15))
        assert torch.equal(whole.px, part.px) and part.visible.all()
        (ours,) = read_keypoints(tmp_path / "15.npz", "mpose3d")
        assert (ours.px - part.px).abs()[:, NECK].max() > 1

    def test_every_layout_can_be_named(self, tmp_path: Path) -> None:
        for layout in LAYOUTS.values():
            np.savez(tmp_path / "k.npz", **{"a/px": in_layout(bodies(1), layout)})
            assert read_keypoints(tmp_path / "k.npz", layout.name)[0].visible.sum() >= 12


class TestMissingJoints:
    def read(self, tmp_path: Path, array: np.ndarray, threshold: float = 0.0):
        np.savez(tmp_path / "k.npz", **{"a/px": array})
        return read_keypoints(tmp_path / "k.npz", "mpose3d", threshold)[0]

    @pytest.mark.parametrize(
        "mark",
        [[np.nan, 5, 1], [5, np.inf, 1], [0, 0, 1], [-1, -1, 1], [5, 5, 0], [5, 5, np.nan], [5, 5, np.inf], [5, 5, -1]],
    )
    def test_marks(self, tmp_path: Path, mark: list[float]) -> None:
        array = in_layout(bodies(1), MPOSE3D)
        knee = SKELETON.index("r_knee")
        array[0, knee] = mark
        picture = self.read(tmp_path, array)
        assert [j for j, seen in enumerate(picture.visible[0]) if not seen] == [knee]
        assert picture.px.isfinite().all()
        torch.testing.assert_close(picture.score, torch.tensor([0.7]).double())

    def test_a_joint_on_the_border_is_there(self, tmp_path: Path) -> None:
        array = in_layout(bodies(1), MPOSE3D)
        array[0, 3, 0] = array[0, 4, 1] = 0
        assert self.read(tmp_path, array).visible.all()

    def test_threshold(self, tmp_path: Path) -> None:
        array = in_layout(bodies(1), MPOSE3D)
        array[0, :, 2] = np.linspace(0.1, 0.9, 15)
        array[0, HEAD, 2] = 0.5
        kept = self.read(tmp_path, array, 0.5).visible[0].nonzero().flatten().tolist()
        assert kept == [HEAD, *range(7, 15)]  # the middle one has exactly 0.5

    def test_midpoints_are_known_where_their_sides_are(self, tmp_path: Path) -> None:
        array = in_layout(bodies(1), MPOSE3D)
        array[0, [NECK, PELVIS], 2] = 0
        array[0, SKELETON.index("l_hip"), 2] = 0
        picture = self.read(tmp_path, array)
        assert picture.visible[0, NECK] and not picture.visible[0, PELVIS]
        torch.testing.assert_close(picture.px[0, NECK], bodies(1)[0, NECK])


class TestSizes:
    def pictures(self, tmp_path: Path, *names: str):
        np.savez(tmp_path / "k.npz", **{f"{name}/px": bodies(1).numpy() for name in names})
        return read_keypoints(tmp_path / "k.npz")

    def test_one_for_all(self, tmp_path: Path) -> None:
        sized = with_sizes(self.pictures(tmp_path, "a", "TS1_img_000000"), (640, 480))
        assert [picture.size for picture in sized] == [(640, 480)] * 2

    def test_joints_outside_are_those_of_another_shape(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "k.npz", **{"a/px": bodies(1).numpy() * np.array([3.0, 1.0])})
        (picture,) = read_keypoints(tmp_path / "k.npz")
        with_sizes([picture], (1200, 480))
        with pytest.raises(ValueError, match="lie outside their pictures"):
            with_sizes([picture], (480, 1200))

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [({"height": 0}, "an image of no size, b"), ({"file_name": "a.jpg"}, "two images of one file name, a")],
    )
    def test_images_that_cannot_be(self, tmp_path: Path, spoil: dict, message: str) -> None:
        images = [{"id": i, "file_name": f"{name}.jpg", "width": 640, "height": 480} for i, name in enumerate("ab")]
        (tmp_path / "images.json").write_text(json.dumps({"images": [images[0], images[1] | spoil]}))
        with pytest.raises(ValueError, match=message):
            with_sizes(self.pictures(tmp_path, "a"), images=tmp_path / "images.json")

    def test_whom_the_picture_cuts_has_joints_outside(self, tmp_path: Path) -> None:
        (picture,) = self.pictures(tmp_path, "a")
        middle = int(picture.px[0, :, 0].median())  # 7 of 15 lie to the right of it
        with_sizes([picture], (middle + 2, 9999))
        with pytest.raises(ValueError, match="lie outside their pictures"):
            with_sizes([picture], (middle - 1, 9999))

    def test_mupots_has_official_ones(self, tmp_path: Path) -> None:
        sized = with_sizes(self.pictures(tmp_path, "TS5_img_000000", "TS6_img_000000"))
        assert [picture.size for picture in sized] == [(2048, 2048), (1920, 1080)]

    def test_images_of_coco(self, tmp_path: Path) -> None:
        """An image is found by its number or its file's name, and has the latter from then on."""
        images = [
            {"id": 42, "file_name": "val2017/000000000042.jpg", "width": 640, "height": 480},
            {"id": 7, "file_name": "street.png", "width": 500, "height": 600},
        ]
        (tmp_path / "images.json").write_text(json.dumps({"images": images, "annotations": []}))
        people = in_layout(bodies(1), COCO_17)
        path = coco_results(tmp_path / "results.json", {42: people, "street.png": people})
        sized = with_sizes(read_keypoints(path), images=tmp_path / "images.json")
        assert [(p.name, p.size) for p in sized] == [("000000000042", (640, 480)), ("street", (500, 600))]
        path = coco_results(tmp_path / "results.json", {"val2017/000000000042.jpg": people})
        (found,) = with_sizes(read_keypoints(path), images=tmp_path / "images.json")
        assert (found.name, found.size) == ("000000000042", (640, 480))
        path = coco_results(tmp_path / "results.json", {42: people, "000000000042.jpg": people})
        with pytest.raises(ValueError, match=r"images\.json: 2 images are named 000000000042"):
            with_sizes(read_keypoints(path), images=tmp_path / "images.json")
        path = coco_results(tmp_path / "results.json", {42: people, 8: people})
        with pytest.raises(ValueError, match=r"images\.json: no image '8', and so for 1 of 2 pictures"):
            with_sizes(read_keypoints(path), images=tmp_path / "images.json")

    def test_images_of_one_name_in_several_folders_keep_them(self, tmp_path: Path) -> None:
        names = ["left/0.jpg", "right/0.jpg", "right/1.jpg"]
        images = [{"id": 5 + i, "file_name": name, "width": 640, "height": 480} for i, name in enumerate(names)]
        (tmp_path / "images.json").write_text(json.dumps({"images": images}))
        people = in_layout(bodies(1), COCO_17)
        for given in ((5, 6, 7), names):
            path = coco_results(tmp_path / "results.json", dict.fromkeys(given, people))
            sized = with_sizes(read_keypoints(path), images=tmp_path / "images.json")
            assert [picture.name for picture in sized] == ["left/0", "right/0", "1"]
        path = coco_results(tmp_path / "results.json", {"0.jpg": people})
        with pytest.raises(ValueError, match="no image '0'"):
            with_sizes(read_keypoints(path), images=tmp_path / "images.json")

    def test_pictures_are_ids_or_file_names_but_not_by_chance(self, tmp_path: Path) -> None:
        """Numbers from 0 and files from 1: either is clear from what it lacks; where both fit, neither is taken."""
        people = in_layout(bodies(1), COCO_17)

        def sized(first: int, names: tuple[int, ...]) -> list[str]:
            images = [{"id": first + i, "file_name": f"{1 + i}.jpg", "width": 640, "height": 480} for i in range(3)]
            (tmp_path / "images.json").write_text(json.dumps({"images": images}))
            path = coco_results(tmp_path / "results.json", dict.fromkeys(names, people))
            return [picture.name for picture in with_sizes(read_keypoints(path), images=tmp_path / "images.json")]

        assert sized(0, (0, 1, 2)) == ["1", "2", "3"] and sized(0, (1, 2, 3)) == ["1", "2", "3"]
        assert sized(1, (1, 2)) == ["1", "2"]
        with pytest.raises(ValueError, match="named as ids and as file names of other images"):
            sized(0, (1, 2))

    def test_no_joint_is_a_million_pixels_away(self, tmp_path: Path) -> None:
        people = in_layout(bodies(2), COCO_17)
        people[1, 5, 0] = 1e30
        pictures = read_keypoints(coco_results(tmp_path / "results.json", {7: people}))
        with pytest.raises(ValueError, match=r"picture 7: a joint at 1e\+30 px"):
            with_sizes(pictures, (640, 480))

    def test_unknown_or_at_odds(self, tmp_path: Path) -> None:
        pictures = self.pictures(tmp_path, "TS1_img_000000", "holiday")
        with pytest.raises(ValueError, match="size of picture 'holiday' is not known: give --size WIDTH HEIGHT"):
            with_sizes(pictures)
        with pytest.raises(ValueError, match="given twice"):
            with_sizes(pictures, (640, 480), "images.json")
        with pytest.raises(ValueError, match="width and height in pixels, not 640 -1"):
            with_sizes(pictures, (640, -1))
        with pytest.raises(ValueError, match=r"30 of 30 joints lie outside .* \(TS1_img_000000: 64 x 48\)"):
            with_sizes(pictures, (64, 48))
        fractions = [picture._replace(px=picture.px / 640) for picture in pictures]
        with pytest.raises(ValueError, match="must be pixels, not fractions"):
            with_sizes(fractions, (640, 480))


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


class TestBadFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[{", "not a JSON file"),
            (
                {"people": [{"keypoints": []}]},
                "not OpenPose JSON, nor a list of COCO results (no 'pose_keypoints_2d')",
            ),
            ({"annotations": []}, "not OpenPose JSON, nor"),
            ("3", "not OpenPose JSON, nor"),
            ([3], "not a list of COCO results"),
            ([{"image_id": 1}], "not a list of COCO results (no 'keypoints')"),
            ([{"image_id": 1, "keypoints": [1.0] * 50}], "keypoints of [50] numbers, expected 3 for each joint"),
            ([{"image_id": 1, "keypoints": ["x"] * 51}], "not a list of COCO results (could not convert"),
            ([{"image_id": 1, "keypoints": [1.0] * 48}], "image 1: people of 16 joints, expected 15 (mpose3d), 17"),
            ([{"image_id": 1, "keypoints": [1.0] * n} for n in (51, 54)], "keypoints of [51, 54] numbers"),
            (
                {"people": [{"pose_keypoints_2d": [1.0] * 51}]},
                "17 joints are coco17 or mupots: say which with --layout",
            ),
        ],
    )
    def test_json(self, tmp_path: Path, content: object, message: str) -> None:
        path = write(tmp_path / "k.json", content)
        with pytest.raises(ValueError) as error:
            read_keypoints(path)
        assert str(path) in str(error.value) and message in str(error.value)

    def test_npz(self, tmp_path: Path) -> None:
        path = tmp_path / "k.npz"
        for arrays, message in (
            ({"a/px": np.ones((1, 17, 2))}, "a/px: 17 joints are coco17 or mupots: say which with --layout"),
            ({"a/px": np.ones((17, 2))}, r"a/px has shape \(17, 2\), expected \(people, joints, 2 or 3\)"),
            ({"a/px": np.array([None])}, "not an npz of keypoints"),
            ({"a/mm": np.ones((1, 17, 3))}, "no key like TS1_img_000000/px"),
        ):
            np.savez(path, **arrays)
            with pytest.raises(ValueError, match=message):
                read_keypoints(path)
        np.savez(path, **{"a/px": np.ones((1, 18, 2))})
        with pytest.raises(ValueError, match="people of 18 joints, and the layout coco17 has 17"):
            read_keypoints(path, "coco17")
        with pytest.raises(ValueError, match="unknown layout 'coco', known are mpose3d"):
            read_keypoints(path, "coco")
        np.savez(path, **{"a/px": np.ones((0, 18, 2))})
        with pytest.raises(ValueError, match="unknown layout 'coco', known are mpose3d"):
            read_keypoints(path, "coco")
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ValueError, match=r"k\.npz: not an npz of keypoints"):
            read_keypoints(path)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nothing\.json: no such file or folder of keypoints"):
            read_keypoints(tmp_path / "nothing.json")
        with pytest.raises(FileNotFoundError, match=r"no NAME_keypoints\.json of OpenPose in this folder"):
            read_keypoints(tmp_path)
