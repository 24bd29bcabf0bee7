"""The renderer of the small world: pictures whose people are where, and turned as, the scene says."""

from __future__ import annotations

import math

import pytest
import torch

from mpose3d.data.rendering import capsules, render
from mpose3d.data.rendering.capsules import meet
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import euler_to_rotation, rotate, translate
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import Scenes, SceneSampler
from mpose3d.skeleton import SKELETON

SIZE = 112
CAMERA = Camera.for_image(SIZE, SIZE)


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return SceneSampler(ArtificialPoses(), CAMERA, SIZE, people=(1, 4)).sample(24, seeded())


def standing(yaw: float, depth: float = 2000.0, x: float = 55.5) -> torch.Tensor:
    """A person (15, 3) with arms stretched out sideways, who faces the camera at yaw 0."""
    heights = {"head_top": 690, "neck": 440, "shoulder": 440, "elbow": 440, "wrist": 440, "knee": -425, "ankle": -825}
    outwards = {"shoulder": 165, "elbow": 445, "wrist": 685, "hip": 100, "knee": 110, "ankle": 120}
    canonical = torch.zeros(15, 3)
    for j, name in enumerate(SKELETON.names):
        side, joint = {"l_": 1, "r_": -1}.get(name[:2], 0), name.removeprefix("l_").removeprefix("r_")
        canonical[j] = torch.tensor([0.0, side * outwards.get(joint, 0), heights.get(joint, 0)])
    angles = torch.tensor([yaw, 0.0, 0.0])
    p_r = rotate(canonical, euler_to_rotation(angles.sin(), angles.cos()))
    return translate(p_r, torch.tensor([x, 55.5]), torch.tensor(depth), CAMERA)


def together(*people: torch.Tensor, copies: int) -> Scenes:
    """The same people (15, 3) in several scenes."""
    joints = torch.stack(people).expand(copies, -1, -1, -1)
    everything = torch.ones(joints.shape[:3], dtype=torch.bool)
    return Scenes(joints, everything[..., 0], everything, everything)


def colour_at(images: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Colours (b, 3) at the projection of a point (3,) mm."""
    x, y = CAMERA.project(point).round().int().tolist()
    return images[:, :, y, x]


def test_images_are_in_range_and_follow_the_generator(scenes):
    image = render(scenes, CAMERA, SIZE, seeded(1))
    assert image.shape == (24, 3, SIZE, SIZE) and image.dtype == torch.float32 and image.is_contiguous()
    assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1
    assert torch.equal(image, render(scenes, CAMERA, SIZE, seeded(1)))
    assert not torch.allclose(image, render(scenes, CAMERA, SIZE, seeded(2)), atol=0.1)


def test_padding_draws_nothing(scenes):
    nobody = torch.zeros_like(scenes.valid)
    empty = render(scenes._replace(valid=nobody), CAMERA, SIZE, seeded())
    for filler in (0.0, math.nan, 1e4):
        padding = Scenes(torch.full_like(scenes.joints, filler), nobody, scenes.drawn, scenes.known)
        assert torch.equal(empty, render(padding, CAMERA, SIZE, seeded()))


def test_drawn_does_not_matter(scenes):
    hidden = scenes._replace(drawn=torch.zeros_like(scenes.drawn))
    assert torch.equal(render(scenes, CAMERA, SIZE, seeded()), render(hidden, CAMERA, SIZE, seeded()))


def test_every_valid_joint_is_covered(scenes):
    lone = scenes._replace(valid=scenes.valid & (torch.arange(4) == 0))
    with_person = render(lone, CAMERA, SIZE, seeded())
    without = render(lone._replace(valid=torch.zeros_like(lone.valid)), CAMERA, SIZE, seeded())
    changed = (with_person - without).abs().amax(1) > 0.5 / 255

    pixels = CAMERA.project(lone.joints[:, 0]).round().long()
    inside = ((pixels >= 0) & (pixels < SIZE)).all(-1) & lone.valid[:, :1]
    scene = torch.arange(len(pixels))[:, None].expand_as(inside)[inside]
    x, y = pixels[inside].unbind(-1)
    assert inside.sum() > 100
    # the rest: a coloured post happens to stand in front, or an over-exposed body is as white as the wall
    assert changed[scene, y, x].float().mean() > 0.95
    # and nothing but the person has changed: far from every limb the picture is the same
    assert changed.float().mean() < 0.3


def test_tiles_leave_no_trace(monkeypatch):
    """Nothing is lost by testing capsules against tiles first, of people who reach for the camera either."""
    close_by = SceneSampler(ArtificialPoses(), CAMERA, SIZE, people=(4, 4), height=(0.5, 3.0)).sample(4, seeded())
    by_tiles = render(close_by, CAMERA, SIZE, seeded())
    monkeypatch.setattr(capsules, "_TILE", SIZE)
    torch.testing.assert_close(by_tiles, render(close_by, CAMERA, SIZE, seeded()), atol=1e-3, rtol=0)


def test_silhouette_is_that_of_the_capsule():
    """A rod seen along its length from close by, against points sampled on its surface."""
    generator = seeded()
    start, end, radii = torch.tensor([[200.0, 50, 1000]]), torch.tensor([[-100.0, 0, 3000]]), torch.tensor([[60.0, 60]])
    rays = torch.rand(2, 1, 5000, generator=generator) - 0.5
    depth, coverage = meet(start, end, radii, *rays, focal=1e6)  # an edge of nearly no width
    ray = torch.cat([rays, torch.ones(1, 1, 5000)])[:, 0].T.double()
    axis_points = torch.lerp(start, end, torch.linspace(0, 1, 2001)[:, None]).double()
    unit = ray / ray.norm(dim=-1, keepdim=True)
    off_ray = axis_points.square().sum(-1) - (unit @ axis_points.T).square()
    inside = off_ray.amin(1) < 60**2
    assert inside.sum() > 50 and (inside != (coverage[0] > 0.5)).float().mean() < 5e-4
    # the surface met lies within the capsule's skin, in front of its axis
    hit = (depth[0, inside, None] * ray[inside]).float()
    assert (torch.cdist(hit, axis_points.float()).amin(1) < 62).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_person_hides_the_farther(order):
    near, far = standing(0.0, depth=2000), standing(0.6, depth=4000, x=58)
    neck, pelvis = CAMERA.project(near[SKELETON.indices("neck", "pelvis")]).round().int().tolist()
    torso = (..., slice(neck[1] + 3, pelvis[1]), slice(neck[0] - 2, neck[0] + 3))
    both = together(*[(near, far)[i] for i in order], copies=6)
    valid = torch.tensor([order, [1 - i for i in order]]).bool()
    with_both = render(both, CAMERA, SIZE, seeded())
    only_far, only_near = (render(both._replace(valid=v.expand(6, 2)), CAMERA, SIZE, seeded()) for v in valid)
    assert torch.equal(with_both[torso], only_near[torso])
    assert not torch.allclose(with_both[torso], only_far[torso], atol=0.05)


def test_the_face_shows_from_in_front_and_the_hair_from_behind():
    """Hands are bare: a face has their colour, the back of a head has not."""
    contrast = []
    for yaw in (0.0, math.pi):
        joints = standing(yaw)
        neck, top, elbow, wrist = joints[SKELETON.indices("neck", "head_top", "r_elbow", "r_wrist")]
        images = render(together(joints, copies=48), CAMERA, SIZE, seeded())
        head, hand = torch.lerp(neck, top, 0.5), torch.lerp(elbow, wrist, 1.2)
        contrast.append((colour_at(images, head) - colour_at(images, hand)).abs().mean(1).median())
    assert contrast[0] < 0.6 * contrast[1]


def test_the_front_of_the_torso_differs_from_its_back():
    front, back = (render(together(standing(yaw), copies=24), CAMERA, SIZE, seeded()) for yaw in (0.0, math.pi))
    neck, pelvis = CAMERA.project(standing(0.0)[SKELETON.indices("neck", "pelvis")]).round().int().tolist()
    torso = (..., slice(neck[1], pelvis[1]), slice(neck[0] - 3, neck[0] + 4))
    assert ((front - back)[torso].abs().amax((1, 2, 3)) > 0.1).float().mean() > 0.8


@pytest.mark.parametrize("yaw", [0.0, math.pi])
def test_dyed_limbs_tell_the_sides_and_nothing_else_changes(yaw):
    person = standing(yaw)
    scenes = together(person, copies=24)
    plain, dyed = (render(scenes, CAMERA, SIZE, seeded(), dyed) for dyed in (False, True))
    for name in ("elbow", "wrist", "knee"):
        right, left = (colour_at(dyed, person[SKELETON.index(f"{side}_{name}")]) for side in "rl")
        assert (right[:, 0] > right[:, 2]).all() and (left[:, 2] > left[:, 0]).all()  # reddish, bluish
    for name in ("head_top", "pelvis"):
        point = person[SKELETON.index(name)]
        torch.testing.assert_close(colour_at(dyed, point), colour_at(plain, point), rtol=0, atol=0.02)
    torch.testing.assert_close(dyed[..., :10], plain[..., :10])


@pytest.mark.parametrize("depth", [1500.0, 3000.0])
def test_near_and_far_people_keep_their_size(depth):
    people = together(standing(0.0, depth=depth), copies=8)
    with_person = render(people, CAMERA, SIZE, seeded())
    without = render(people._replace(valid=~people.valid), CAMERA, SIZE, seeded())
    rows = ((with_person - without).abs().amax((0, 1)) > 0.02).any(1).sum()
    # 690 mm above the pelvis, 825 below, and the feet
    assert float(rows) * depth / CAMERA.focal == pytest.approx(1600, abs=100 + 2 * depth / CAMERA.focal)


def test_sizes_that_tiles_do_not_divide():
    camera = Camera.for_image(53, 53)
    scenes = SceneSampler(ArtificialPoses(), camera, 53, people=(1, 3)).sample(2, seeded())
    assert render(scenes, camera, 53, seeded()).shape == (2, 3, 53, 53)


def test_bad_arguments_are_named(scenes):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        render(scenes, CAMERA, 0, seeded())
    with pytest.raises(ValueError, match="people must be"):
        render(scenes._replace(joints=scenes.joints[:, 0]), CAMERA, SIZE, seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_runs_on_a_gpu(scenes):
    image = render(scenes, CAMERA, SIZE, seeded(device="cuda"))
    assert image.device.type == "cuda" and image.isfinite().all()
    assert torch.equal(image, render(scenes, CAMERA, SIZE, seeded(device="cuda")))
