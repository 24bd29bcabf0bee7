from __future__ import annotations

import cv2
import numpy as np
import pytest

from mpose3d.skeleton import SKELETON
from mpose3d.visualise.colours import limb_colours, person_colour
from mpose3d.visualise.pictures import (
    beside,
    curves,
    draw_people,
    hmpaf_picture,
    overlay,
    poses_grid,
    write_picture,
)
from mpose3d.visualise.view3d import floor_height, render_people
from tests.bodies import standing

CANONICAL = standing().double().numpy()
#: facing the camera, mm from the pelvis
STANDING = np.stack([CANONICAL[:, 1], -CANONICAL[:, 2], -CANONICAL[:, 0]], axis=-1)


def people(*places: tuple[float, float, float]) -> np.ndarray:
    return np.stack([STANDING + place for place in places]) if places else np.zeros((0, 15, 3))


def pixels_near(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(axis=-1) <= tolerance


def test_joints_carry_their_persons_colour():
    image = np.full((300, 400, 3), 90, dtype=np.uint8)
    joints = np.stack([STANDING[:, :2] * 0.15 + place for place in ((100, 140), (300, 140))])
    picture = draw_people(image, joints)
    assert (image == 90).all()
    for person, points in enumerate(joints):
        for x, y in np.rint(points).astype(int):
            assert pixels_near(picture[y - 1 : y + 2, x - 1 : x + 2], person_colour(person)).any()
    x, y = np.rint((joints[0, SKELETON.index("l_knee")] + joints[0, SKELETON.index("l_ankle")]) / 2).astype(int)
    shin = SKELETON.limbs.index(tuple(SKELETON.indices("l_knee", "l_ankle")))
    assert pixels_near(picture[y, x - 1 : x + 2], limb_colours(0)[shin]).any()


def test_sides_and_people_differ():
    left, right = (SKELETON.limbs.index(tuple(SKELETON.indices(f"{s}_hip", f"{s}_knee"))) for s in ("l", "r"))
    colours = limb_colours(0)
    assert sum(colours[left]) > sum(person_colour(0)) > sum(colours[right])
    assert len({person_colour(p) for p in range(10)}) == 10


def test_unseen_and_distant_joints():
    image = np.zeros((50, 60, 3), dtype=np.uint8)
    nobody = draw_people(image, np.full((1, 15, 2), np.nan))
    assert not nobody.any()
    far = np.full((2, 15, 2), 1e12)
    far[1, ::2] = -np.inf
    assert draw_people(image, far).shape == image.shape
    assert not draw_people(image, STANDING[None, :, :2] + 5000).any()


@pytest.mark.parametrize("size", [(40, 60), (480, 640), (1200, 2600), (90, 2000), (1, 1)])
@pytest.mark.parametrize("count", [0, 2])
def test_overlay_of_any_photograph(size, count):
    image = np.full((*size, 3), 128, dtype=np.uint8)
    joints_mm = people(*((600 * p, 0, 4000 + 500 * p) for p in range(count)))
    picture = overlay(image, joints_mm[..., :2] * 0.1 + 20, joints_mm)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    longer = np.clip(max(size), 640, 1280)
    photograph = np.maximum(np.round(np.array(size) * longer / max(size)), 1)
    side = max(photograph[0], 480)
    assert picture.shape[:2] == (side, photograph[1] + 8 + side)
    assert np.array_equal(picture, overlay(image, joints_mm[..., :2] * 0.1 + 20, joints_mm))


def test_view_stands_upright_and_keeps_sides():
    picture = render_people(people((0, 0, 4000)), (300, 300), azimuth=0, elevation=0, floor=False)
    colours = limb_colours(0)
    row, column = {}, {}
    for name in ("l_knee-l_ankle", "r_knee-r_ankle", "neck-pelvis"):
        limb = SKELETON.limbs.index(tuple(SKELETON.indices(*name.split("-"))))
        row[name], column[name] = (places.mean() for places in pixels_near(picture, colours[limb]).nonzero())
    assert row["neck-pelvis"] < row["l_knee-l_ankle"]
    assert column["r_knee-r_ankle"] < column["neck-pelvis"] < column["l_knee-l_ankle"]


def test_viewer_to_the_right_sees_the_far_person_move_right():
    both = people((0, 0, 3000), (0, 0, 6000))

    def places(azimuth: float) -> list[float]:
        picture = render_people(both, (300, 300), azimuth, 15, floor=False)
        trunk = SKELETON.limbs.index(tuple(SKELETON.indices("neck", "pelvis")))
        return [pixels_near(picture, limb_colours(p)[trunk]).nonzero()[1].mean() for p in (0, 1)]

    near, far = places(40)
    assert near < far
    near, far = places(-40)
    assert near > far


def test_viewer_looks_down_and_sees_the_far_person_stand_higher():
    picture = render_people(people((0, 0, 3000), (1500, 0, 6000)), (300, 300), azimuth=0, elevation=20, floor=False)
    shin = SKELETON.limbs.index(tuple(SKELETON.indices("r_knee", "r_ankle")))
    near, far = (pixels_near(picture, limb_colours(p)[shin]).nonzero()[0].max() for p in (0, 1))
    assert far < near


def test_the_floor_of_who_crouches_is_before_the_viewer(monkeypatch):
    lines, crouching = [], np.random.default_rng(0).uniform(-250, 250, (1, 15, 3))
    monkeypatch.setattr("mpose3d.visualise.view3d._line", lambda picture, ends, *_: lines.append(ends))
    for x in range(0, 1000, 50):
        for z in range(3000, 4000, 50):
            render_people(crouching + np.array([x, 0, z]), (100, 100))
            near, far = lines[0]  # of the grid's first line, along z
            assert far[1] < near[1]
            lines.clear()


def test_near_person_hides_the_far_one():
    picture = render_people(people((0, 0, 5000), (0, 0, 3000)), (300, 300), azimuth=0, elevation=0, floor=False)
    trunk = SKELETON.limbs.index(tuple(SKELETON.indices("neck", "pelvis")))
    near, far = (pixels_near(picture, limb_colours(p)[trunk], 2).sum() for p in (1, 0))
    assert near > 5 * far


def test_floor_is_under_most_people():
    feet = STANDING[:, 1].max()
    assert floor_height(people((0, 0, 3000))) == feet
    assert floor_height(people((0, 0, 3000), (0, 50, 4000))) == feet + 50
    standing = [(0, 0, 3000), (900, 10, 4000), (-900, -10, 4000)]
    assert floor_height(people(*standing, (0, 700, 6000))) == pytest.approx(feet, abs=10)
    assert floor_height(people(*standing, (0, -700, 6000))) == pytest.approx(feet, abs=10)


def test_view_without_people_and_with_a_broken_one():
    blank = render_people(people(), (50, 80))
    assert blank.shape == (50, 80, 3) and (blank == blank[0, 0]).all()
    broken = people((0, 0, 4000), (500, 0, 4000))
    broken[0, 3] = np.nan
    picture = render_people(broken, (200, 200))
    assert pixels_near(picture, person_colour(1)).any() and not pixels_near(picture, person_colour(0)).any()


def test_hmpaf_picture_shows_peak_and_direction():
    heatmaps, pafs = np.zeros((3, 4, 5)), np.zeros((4, 4, 5))
    heatmaps[1, 2, 3] = 1
    pafs[0, 1, 1] = 1  # to the right
    pafs[2, 3, 1] = -1  # to the left
    picture = hmpaf_picture(heatmaps, pafs)
    assert picture.shape == (32, 40 + 8 + 40, 3)
    assert picture[2 * 8 + 1, 3 * 8 + 1].sum() > 600 and picture[1, 1].sum() < 20
    red, cyan = picture[9, 48 + 9].astype(int), picture[25, 48 + 9].astype(int)
    assert red[0] > 200 > 100 > red[1] and cyan[0] < 100 < 200 < cyan[1]
    assert not picture[1, 48 + 1].any()


def test_poses_grid_faces_the_viewer():
    one = poses_grid(CANONICAL[None], columns=1)
    assert np.array_equal(one, render_people(STANDING[None], (160, 160), azimuth=-25, elevation=8, floor=False))
    assert poses_grid(np.repeat(CANONICAL[None], 5, axis=0), columns=3).shape == (320, 480, 3)
    assert poses_grid(np.zeros((0, 15, 3)), columns=3).shape == (160, 480, 3)


def test_curves():
    steps = np.arange(10)
    series = {
        "train/loss": (steps, 1 / (1 + steps)),
        "val/loss": (steps, 2 / (1 + steps)),
        "error_mm": (steps, steps + 1),
    }
    picture = curves(series)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.shape[1] > picture.shape[0]
    assert np.array_equal(picture, curves(series))
    assert not np.array_equal(picture, curves(series, log=True))
    assert curves({}).shape[2] == 3


def test_beside_pads_to_the_tallest():
    picture = beside(np.zeros((4, 3, 3), np.uint8), np.zeros((8, 2, 3), np.uint8))
    assert picture.shape == (8, 3 + 8 + 2, 3)
    assert (picture[0, :3] == 255).all() and not picture[2:6, :3].any() and (picture[:, 3:11] == 255).all()
    assert not picture[:, 11:].any()
    assert beside(np.zeros((4, 3, 3), np.uint8)).shape == (4, 3, 3)


def test_written_pictures_are_rgb(tmp_path):
    picture = np.zeros((5, 6, 3), dtype=np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / "deep" / "red.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "deep" / "red.png"))[..., ::-1], picture)
