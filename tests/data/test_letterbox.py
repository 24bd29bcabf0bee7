"""Letterboxing: where a picture's pixels land, what files are refused, and that huge ones stay small in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mpose3d.data.letterbox import (
    Letterbox,
    Picture,
    check_header,
    from_reduced,
    letterbox,
    read_picture,
    same_proportions,
    trimmed,
    warp,
)
from mpose3d.geometry.camera import Camera
from tests.data.official_layouts import write_picture

sizes = st.integers(1, 5000)


@settings(deadline=None)
@given(width=sizes, height=sizes, side=st.sampled_from([224, 368]))
def test_there_and_back(width: int, height: int, side: int) -> None:
    box = Letterbox.fit(width, height, side)
    pixels = torch.tensor([[0.0, 0.0], [width - 1, height - 1], [width / 3, height / 2]], dtype=torch.float64)
    torch.testing.assert_close(box.to_image(box.to_input(pixels)), pixels)
    np.testing.assert_allclose(box.to_input(pixels.numpy()), box.to_input(pixels).numpy())
    whole = pixels.round().long()
    for way in (box.to_input, box.to_image):
        torch.testing.assert_close(way(whole), way(whole.float()))
        np.testing.assert_allclose(way(whole.numpy()), way(whole.double().numpy()))
    # the edges of the longer side, half a pixel outside its centres, meet the edges of the square
    edges = box.to_input(torch.tensor([[-0.5, -0.5], [width - 0.5, height - 0.5]], dtype=torch.float64))
    longer = 0 if width >= height else 1
    assert edges[:, longer].tolist() == pytest.approx([-0.5, side - 0.5], abs=1e-6)
    # the picture is centred
    assert edges.mean(dim=0).tolist() == pytest.approx([(side - 1) / 2] * 2, abs=1e-6)


@pytest.mark.parametrize(
    ("width", "height"), [(1000, 700), (374, 211), (90, 60), (701, 1303), (2048, 2048), (448, 448)]
)
def test_picture_lies_where_the_letterbox_says(width: int, height: int) -> None:
    """A soft blob is found again in the square, at most half a pixel of the square off; here a twentieth."""
    y, x = np.mgrid[:height, :width]
    sigma = 6 * max(width, height) / 224
    for fraction in (0.25, 0.5, 0.8):
        centre = np.array([fraction * width, (1 - fraction) * height])
        blob = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
        square, box = letterbox(Picture.whole(np.repeat(blob.astype(np.uint8)[..., None], 3, axis=2)), 224)
        assert square.shape == (224, 224, 3) and square.dtype == np.uint8
        left, top = np.rint(box.to_input(centre)).astype(int) - 8
        patch = square[top : top + 17, left : left + 17, 0].astype(float)
        found = [(patch.sum(0) * np.arange(17)).sum() / patch.sum(), (patch.sum(1) * np.arange(17)).sum() / patch.sum()]
        # the truth, measured in the same window
        yy, xx = np.mgrid[top : top + 17, left : left + 17]
        cx, cy = box.to_input(centre)
        ideal = np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * (sigma * box.scale) ** 2))
        expected = [
            (ideal.sum(0) * np.arange(17)).sum() / ideal.sum(),
            (ideal.sum(1) * np.arange(17)).sum() / ideal.sum(),
        ]
        assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("width", "height", "border"), [(200, 100, (-0.5, 24.5, 99.5, 74.5)), (30, 60, (24.5, -0.5, 74.5, 99.5))]
)
def test_border_of_the_picture(width: int, height: int, border: tuple[float, ...]) -> None:
    assert Letterbox.fit(width, height, 100).border == pytest.approx(border)


def test_camera_of_the_square() -> None:
    """Points seen by the photograph's camera and by that of the square are the same pixels."""
    camera, box = Camera.for_image(1920, 1080), Letterbox.fit(1920, 1080, 224)
    points = torch.tensor([[100.0, -300, 3000], [-900, 500, 5000]])
    torch.testing.assert_close(Camera.for_image(224, 224).project(points), box.to_input(camera.project(points)))


def test_bars_are_grey_and_the_picture_is_whole() -> None:
    square, _ = letterbox(Picture.whole(np.full((50, 100, 3), 255, dtype=np.uint8)), 64)
    assert (square[:15] == 128).all() and (square[49:] == 128).all() and (square[17:47] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(160, 90), (90, 160), (100, 100), (300, 7)])
def test_trimmed_of_bars_the_picture_is_whole_and_where_the_letterbox_says(width: int, height: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    square, box = letterbox(Picture.whole(picture), 128)
    part, of_part = trimmed(square, box, 32)
    assert max(part.shape) == 128 and part.shape[0] % 32 == 0 == part.shape[1] % 32
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    low, high = of_part.to_input(corners)
    assert (low >= -0.5 - 1e-9).all() and (high <= np.array(part.shape[1::-1]) - 0.5 + 1e-9).all()
    assert min(part.shape[:2]) - (high - low).min() < 32
    wider, of_wider = trimmed(square, box, 32, margin=20)
    assert wider.shape[0] % 32 == 0 == wider.shape[1] % 32
    kept, whole = of_wider.to_input(corners[0]) + 0.5, box.to_input(corners[0]) + 0.5
    assert (kept >= np.minimum(20, whole) - 1e-9).all()
    # the same pixel of the picture is the same pixel
    x, y = np.round(box.to_input(np.array([width / 2, height / 2]))).astype(int)
    left, top = np.round(np.array([x, y]) + np.array(of_part.offset) - np.array(box.offset)).astype(int)
    assert (part[top, left] == square[y, x]).all()


def test_of_a_side_that_is_no_multiple_all_is_kept() -> None:
    square, box = letterbox(Picture.whole(np.full((50, 100, 3), 255, dtype=np.uint8)), 100)
    part, of_part = trimmed(square, box, 32)
    assert part.shape == (64, 100, 3) and of_part.offset == (box.offset[0], box.offset[1] - 18)


def test_shrinking_averages_areas() -> None:
    """A fine checkerboard becomes grey, not a moiré."""
    board = (np.indices((1600, 1600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for side in (200, 320, 230):
        square, _ = letterbox(Picture.whole(np.repeat(board[..., None], 3, axis=2)), side)
        assert np.abs(square.astype(int) - 127).max() <= 11
    # what is left over at the edge of a white picture is not mixed with anything
    white, _ = letterbox(Picture.whole(np.full((1001, 1001, 3), 255, dtype=np.uint8)), 100)
    assert (white == 255).all()


def test_map_of_the_reduced_picture() -> None:
    matrix = np.array([[0.3, 0.1, 7.0], [-0.1, 0.3, 5.0]])
    whole = np.array([[12.0, 30.0], [101.0, 4.0]])
    reduced = (whole + 0.5) / 4 - 0.5
    scaled = from_reduced(matrix, 4)
    np.testing.assert_allclose(reduced @ scaled[:, :2].T + scaled[:, 2], whole @ matrix[:, :2].T + matrix[:, 2])


def test_warp_mirrors() -> None:
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    image[:, 3] = 200
    assert (warp(image, np.array([[-1.0, 0, 19], [0, 1, 0]]), 20)[:, 16] == 200).all()


def test_exif_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:20, :30, 0] = 255
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
        reference = cv2.cvtColor(cv2.imread(str(tmp_path / "a.jpg")), cv2.COLOR_BGR2RGB)
        ours = read_picture(tmp_path / "a.jpg")
        assert ours.size == ours.pixels.shape[1::-1] == reference.shape[1::-1]
        assert np.abs(ours.pixels.astype(int) - reference).max() < 8
        # Pillow turns a TIFF by itself
        Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif)
        turned = read_picture(tmp_path / "a.tif")
        assert turned.size == ours.size and np.abs(turned.pixels.astype(int) - reference).max() < 20


def test_copies_have_the_proportions_of_the_picture_but_for_rounding() -> None:
    for copy, same in (((960, 540), True), ((99, 56), True), ((1920, 1020), False), ((540, 960), False)):
        assert same_proportions((1920, 1080), copy) == same_proportions(copy, (1920, 1080)) == same


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("size", [(36, 24), (24, 36)])
def test_the_focal_length_that_exif_tells(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    """On 36 x 24 mm of film it is what it is; the diagonal counts where the sides are others."""
    exif = Image.Exif()
    exif[0x0112], exif[0x8769] = 1, {0xA405: 50}
    exif = exif.tobytes()  # made of an `Exif`, a TIFF would have no focal length
    Image.new("RGB", size).save(tmp_path / f"a.{suffix}", exif=exif)
    assert read_picture(tmp_path / f"a.{suffix}").focal_ratio == pytest.approx(50 / 36)
    Image.new("RGB", (40, 30)).save(tmp_path / f"b.{suffix}", exif=exif)
    assert read_picture(tmp_path / f"b.{suffix}").focal_ratio == pytest.approx(50 / 43.2666 * 50 / 40, rel=1e-5)


@pytest.mark.parametrize("focal", [0, b"wide", None])
def test_a_focal_length_that_is_none(tmp_path: Path, focal: object) -> None:
    exif = Image.Exif()
    if focal is not None:
        exif.get_ifd(0x8769)[0xA405] = focal
    Image.new("RGB", (7, 5)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").focal_ratio is None


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (7, 5)).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.pixels.shape == (5, 7, 3) and picture.size == (7, 5)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_any_kind_of_picture_is_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode).save(path)
    image = read_picture(path).pixels
    assert image.shape == (5, 7, 3) and image.dtype == np.uint8 and (image > 250).all()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("a.jpg", lambda data: data[: len(data) // 2]),
        ("a.jpg", lambda data: data[:100]),
        ("a.png", lambda data: data[: len(data) // 2]),
        ("a.jpg", lambda data: b""),
        ("a.jpg", lambda data: b"<html>not found</html>"),
    ],
    ids=["half a jpeg", "head of a jpeg", "half a png", "empty", "a web page"],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, damage) -> None:
    path = tmp_path / name
    write_picture(path, 300, 200)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="not a readable image") as raised:
        read_picture(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_header_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(ValueError, match=r"link\.jpg: not a readable image \(.*No such file"):
        check_header(tmp_path / "link.jpg")


def test_absent_and_deep_pictures(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg: no such image"):
        read_picture(tmp_path / "absent.jpg")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png.*8 bits per channel"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(("limit", "factor", "shape"), [(300_000, 2, (401, 601, 3)), (100_000, 4, (201, 301, 3))])
def test_a_large_picture_is_reduced_and_lies_in_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, limit: int, factor: int, shape: tuple[int, ...]
) -> None:
    path = tmp_path / f"large{suffix}"
    write_picture(path, 1201, 801)
    whole, whole_box = letterbox(read_picture(path), 224)
    monkeypatch.setattr("mpose3d.data.letterbox._DECODED_PIXELS", limit)
    picture = read_picture(path)
    assert picture.factor == factor and picture.size == (1201, 801) and picture.pixels.shape == shape
    square, box = letterbox(picture, 224)
    assert box == whole_box
    # within the picture: at its edge the two mix in the bars a little differently
    left, top = np.ceil(box.to_input(np.zeros(2))).astype(int) + 1
    difference = np.abs(square.astype(int) - whole)[top:-top, left:-left]
    assert difference.shape == (148, 222, 3) and difference.max() <= 3


def test_memory_is_bounded(tmp_path: Path) -> None:
    """144 megapixels, more than 1 GB in all when decoded whole, take less than 0.5 GB."""
    code = (
        "import sys; from resource import RUSAGE_SELF, getrusage; "
        "from mpose3d.data.letterbox import letterbox, read_picture; "
        "before = getrusage(RUSAGE_SELF).ru_maxrss; _, box = letterbox(read_picture(sys.argv[1]), 224); "
        "print(box.size[0], getrusage(RUSAGE_SELF).ru_maxrss - before)"
    )
    Image.new("L", (12_000, 12_000), 90).save(tmp_path / "huge.jpg")
    command = [sys.executable, "-c", code, str(tmp_path / "huge.jpg")]
    width, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(width) == 12_000 and int(kilobytes) < 500_000
