"""Photographs in, files out."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from mpose3d import inference
from mpose3d.data.letterbox import Picture
from mpose3d.geometry.camera import Camera
from mpose3d.inference import default_teacher, infer, read_network
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.movenet import MoveNet
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.teacher import SmallTeacher
from mpose3d.people import PhotographPeople
from mpose3d.readers import KeypointReader
from mpose3d.skeleton import SKELETON


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "TS12").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in {"a.jpg": (40, 90, 3), "TS12/img_000000.png": (64, 64, 3)}.items():
        cv2.imwrite(str(folder / name), rng.integers(0, 255, shape, np.uint8))
    return folder


def run(folder, tmp_path, **arguments) -> int:
    weights = str(tmp_path / "network.safetensors")
    given = {"weights": weights, "teacher": SmallTeacher(width=8), "pathway": "hmpaf", "out": str(tmp_path / "out")}
    return infer([str(folder)], **given | arguments)


def test_a_folder_becomes_files_of_people(network, folder, tmp_path):
    assert run(folder, tmp_path) == 0
    out = tmp_path / "out"
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == [f"{name}.{s}" for name in ("TS12/img_000000", "a") for s in ("html", "json", "png")]
    content = json.loads((out / "a.json").read_text())
    assert set(content) == {"version", "image", "size", "camera", "skeleton", "people"}
    assert content["image"] == "a.jpg" and content["size"] == [90, 40]
    assert content["skeleton"]["names"] == list(SKELETON.names)
    person = content["people"][0]
    shapes = {key: np.shape(value) for key, value in person.items()}
    assert shapes == {"joints_px": (15, 2), "joints_mm": (15, 3), "root_px": (2,), "score": (), "embedding": (32,)}


def test_files_that_are_none_of_ours_stay(network, folder, tmp_path):
    (folder / "clip.avi").touch()
    for name in ("a.png", "a.json", "a.html", "clip/000000.png", "clip/000000.json"):
        mine = tmp_path / "out" / name
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(b"mine")
        with pytest.raises(ValueError, match=rf"{mine.name} is another file and would be written over: name another"):
            run(folder, tmp_path)
        assert mine.read_bytes() == b"mine"
        mine.unlink()


def test_a_picture_beside_other_people_than_ours_stays(network, folder, tmp_path):
    mine = tmp_path / "out" / "a.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    mine.with_suffix(".json").write_text('{"version": "5.0", "shapes": []}')  # as annotation tools write beside it
    with pytest.raises(ValueError, match=r"a\.json is another file"):
        run(folder, tmp_path)
    assert mine.read_bytes() == b"mine"


def test_teacher_people_of_one_name_are_refused(network, folder, tmp_path):
    (folder / "a.teacher.jpg").write_bytes((folder / "a.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.teacher\.jpg would both be written to a\.teacher\.json"):
        run(folder, tmp_path, teacher_people=True)


def test_output_of_another_time_is_no_photograph_and_overwrites_none(network, folder, tmp_path):
    for _ in range(2):
        assert run(folder, tmp_path, out=str(folder / "out")) == 0
        assert len(list((folder / "out").rglob("*.json"))) == 2
    photograph = folder / "TS12" / "img_000000.png"
    before = photograph.read_bytes()
    with pytest.raises(ValueError, match=r"img_000000\.png is another file and would be written over"):
        run(folder / "TS12", tmp_path, out=str(folder / "TS12"))
    # people of ours beside it make it no picture of ours
    assert run(folder / "TS12", tmp_path, out=str(folder / "TS12"), overlay=False, page=False) == 0
    with pytest.raises(ValueError, match=r"img_000000\.png is another file and would be written over"):
        run(folder / "TS12", tmp_path, out=str(folder / "TS12"))
    assert photograph.read_bytes() == before


def test_names_with_dots_are_kept_whole(network, folder, tmp_path):
    (folder / "a.jpg").rename(folder / "a.1.jpg")
    assert run(folder, tmp_path) == 0
    mine = tmp_path / "out" / "a.1.json"
    mine.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a\.1\.json is another file and would be written over"):
        run(folder, tmp_path)
    assert mine.read_bytes() == b"mine"


def test_people_are_drawn_where_they_are_on_a_picture_that_was_decoded_small():
    joints = np.array([[[0.0, 3.0], [9.5, 6.25]]])
    people = PhotographPeople((40, 20), Camera.for_image(40, 20), 4 * joints + 1.5, *[np.zeros(0)] * 4)
    small = Picture(np.zeros((5, 10, 3), np.uint8), 4, (40, 20))
    np.testing.assert_allclose(people.joints_in(small), joints)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"max_people": 0}, r"max_people \(0\) .* at least 1"),
        ({"threshold": 30.0}, "--threshold is the least score of a person, 0 to 1, not 30"),
        ({"threshold": math.nan}, "--threshold is the least score of a person, 0 to 1, not nan"),
        ({"teacher_size": 0}, r"photograph \(0\) are at least 1"),
        ({"refine": 2}, "'hmpaf' has no use for them"),
        ({"turned": True}, "'hmpaf' has no use for them"),
        ({"chooser": "network.safetensors"}, "'hmpaf' has no use for them"),
        ({"focal_ratio": 1.2}, "'hmpaf' has no use for them"),
        ({"pathway": "keypoints", "focal_ratio": 0.0}, "--focal_ratio is focal length over picture side, a number abo"),
        ({"device": "abacus"}, "--device abacus: "),
        ({"scales": []}, "--scales is for the default teacher"),
        ({"video_step": 0}, "--video_step is at least 1"),
        ({"out": __file__}, "is a file, people are written to a folder"),
        ({"pathway": "image", "teacher": None}, "reads the very teacher that its network was trained with"),
    ],
)
def test_numbers_and_devices_that_cannot_be_are_refused(network, folder, tmp_path, argument, message):
    with pytest.raises(ValueError, match=message):
        run(folder, tmp_path, **argument)


def test_bad_photographs_are_listed_and_good_ones_done(network, folder, tmp_path, capsys):
    (folder / "broken.jpg").write_bytes(b"not an image")
    whole = (folder / "TS12/img_000000.png").read_bytes()
    (folder / "short.png").write_bytes(whole[: len(whole) // 2])
    assert run(folder, tmp_path, overlay=False, page=False) == 1
    out = tmp_path / "out"
    assert sorted(path.name for path in out.rglob("*.*")) == ["a.json", "img_000000.json"]
    told = capsys.readouterr()
    assert "2 of 4 photographs read" in told.out
    assert "broken.jpg" in told.err and "short.png" in told.err


def test_what_a_video_lacks_is_told(network, tmp_path, capsys):
    film, rng = tmp_path / "walk.avi", np.random.default_rng(0)
    video = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(8):
        video.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    video.release()
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    assert run(film, tmp_path) == 0
    frames = len(list((tmp_path / "out" / "walk").glob("*.json")))
    told = capsys.readouterr()
    assert 0 < frames < 8 and "1 of 1 photographs and videos read" in told.out
    assert f"walk.avi: only {frames} of the 8 frames that its header tells of" in told.err


def test_frames_of_a_video_are_read_into_a_folder(network, folder, tmp_path, capsys):
    video = cv2.VideoWriter(str(folder / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for level in range(5):
        video.write(np.full((48, 64, 3), 50 * level, np.uint8))
    video.release()
    (folder / "broken.mp4").write_bytes(b"no video")
    assert run(folder, tmp_path, video_step=2, teacher_people=True) == 1
    told = capsys.readouterr()
    assert "3 of 4 photographs and videos read" in told.out and "broken.mp4: not a readable video" in told.err
    written = sorted(path.name for path in (tmp_path / "out/walk").iterdir())
    assert written == [f"{n:06d}.{s}" for n in (0, 2, 4) for s in ("json", "png", "teacher.json")]
    content = json.loads((tmp_path / "out/walk/000004.json").read_text())
    assert content["image"] == "walk.avi" and content["size"] == [64, 48]
    assert (tmp_path / "out/a.html").exists() and "another run" not in told.err
    # frames of another step are still there
    (tmp_path / "out/walk/notes.txt").touch()
    run(folder / "walk.avi", tmp_path, video_step=3, teacher_people=True)
    assert f"{tmp_path / 'out/walk'}: 2 frames of another run are there, too" in capsys.readouterr().err


def test_an_empty_folder_is_an_error(network, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no photograph .* in .*empty"):
        run(tmp_path / "empty", tmp_path)
    assert not (tmp_path / "out").exists()


def test_nobody_is_an_answer(network, folder, tmp_path):
    assert run(folder, tmp_path, threshold=1.0) == 0
    assert json.loads((tmp_path / "out/a.json").read_text())["people"] == []


def test_weights_that_are_not_a_network_are_refused(folder, tmp_path):
    (tmp_path / "network.safetensors").write_bytes(b"12345678 no weights")
    with pytest.raises(ValueError, match=r"network\.safetensors is not a file of network weights"):
        run(folder, tmp_path)


def test_infer_takes_a_chooser_from_a_file(folder, tmp_path):
    KeypointLifter(width=16, blocks=1).save(tmp_path / "lifter.safetensors")
    PeakChooser(width=16, blocks=1).save(tmp_path / "chooser.safetensors")
    files = {"weights": str(tmp_path / "lifter.safetensors"), "chooser": str(tmp_path / "chooser.safetensors")}
    assert run(folder, tmp_path, pathway="keypoints", teacher_size=64, **files) == 0
    files["chooser"] = files["weights"]
    with pytest.raises(ValueError, match=r"lifter\.safetensors is not of a PeakChooser"):
        run(folder, tmp_path, pathway="keypoints", teacher_size=64, **files)


def test_scales_are_of_the_default_teacher(folder, tmp_path):
    for other in ({"teacher": MoveNet()}, {"pathway": "image"}):
        with pytest.raises(ValueError, match="--scales is for the default teacher of the pathway keypoints"):
            infer([str(folder)], out=str(tmp_path / "out"), scales=[1.0, 0.8], **other)


def test_the_default_teacher_has_places_and_scales_as_asked(monkeypatch):
    monkeypatch.setattr(inference, "MoveNet", lambda *given: given)
    monkeypatch.setattr(inference.assets, "teacher_file", lambda name: name)
    assert default_teacher("keypoints", 50, (1.0,)) == ("movenet", 50, (1.0,))
    assert default_teacher("keypoints", 5, (1.0, 2.0)) == ("movenet", 20, (1.0, 2.0))


@pytest.mark.parametrize("upright_only", [True, False])
def test_infer_reads_as_it_is_asked_to(folder, tmp_path, monkeypatch, upright_only):
    given, teacher = [], SmallTeacher(width=8)
    teacher.upright_only = upright_only

    class Reader(KeypointReader):
        def __init__(self, teacher, network, teacher_size, **how):
            given.append({"teacher_size": teacher_size} | how)
            super().__init__(teacher, network, teacher_size, **how | {"backend": "eager", "precision": "float32"})

    monkeypatch.setattr(inference, "KeypointReader", Reader)
    KeypointLifter(width=16, blocks=1).save(tmp_path / "network.safetensors")
    asked = {"teacher_size": 64, "max_people": 7, "threshold": 0.3, "refine": 2, "backend": "compile"}
    run(folder, tmp_path, teacher=teacher, pathway="keypoints", precision="bfloat16", **asked)
    assert given == [asked | {"turned": upright_only, "precision": "bfloat16", "chooser": None}]


@pytest.mark.parametrize(("asked", "film", "ratio"), [(None, None, 0.8), (None, 72, 2.0), (1.5, 72, 1.5)])
def test_people_are_seen_by_the_camera_that_is_known(tmp_path, monkeypatch, asked, film, ratio):
    """By that asked for, or that of the EXIF, or the one of 0.8."""
    seen, exif = [], Image.Exif()
    if film:
        exif.get_ifd(0x8769)[0xA405] = film
    Image.new("RGB", (48, 32)).save(tmp_path / "a.jpg", exif=exif)

    def forward(self, joints_px, visible, camera, *how):
        seen.append(camera.focal)
        return lift(self, joints_px, visible, camera, *how)

    lift = KeypointLifter.forward
    monkeypatch.setattr(KeypointLifter, "forward", forward)
    KeypointLifter(width=16, blocks=1).save(tmp_path / "network.safetensors")
    teacher, how = SmallTeacher(width=8), {"teacher_size": 64, "focal_ratio": asked}
    run(tmp_path / "a.jpg", tmp_path, teacher=teacher, pathway="keypoints", **how)
    assert seen == [pytest.approx(64 * ratio)]
    assert json.loads((tmp_path / "out/a.json").read_text())["camera"]["focal"] == pytest.approx(48 * ratio)


def test_h_sees_by_its_own_camera(network, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 72
    Image.new("RGB", (48, 32)).save(tmp_path / "a.jpg", exif=exif)
    run(tmp_path / "a.jpg", tmp_path)
    assert json.loads((tmp_path / "out/a.json").read_text())["camera"]["focal"] == pytest.approx(48 * 0.8)


def test_a_pathway_takes_the_weights_of_its_own_network(network, folder, tmp_path):
    with pytest.raises(ValueError, match=r"network\.safetensors is not of a KeypointLifter"):
        run(folder, tmp_path, pathway="keypoints")


def test_weights_ship_for_every_pathway():
    assert isinstance(read_network("keypoints"), KeypointLifter)
    image, hmpaf = read_network("image"), read_network("hmpaf")
    assert image.h_of_g is not image.h  # H is left to photographs
    assert (image.representation.grid, hmpaf.representation.grid) == (14, 28)
