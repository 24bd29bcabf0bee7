"""Scenes of D_syn."""

from __future__ import annotations

import math

import pytest
import torch

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import bone_lengths, canonicalize, rotation_to_euler
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import SceneSampler
from mpose3d.skeleton import SKELETON

CAMERA = Camera.for_image(224, 224)


def sampler(**changes) -> SceneSampler:
    return SceneSampler(ArtificialPoses(), CAMERA, 224, **changes)


def test_roots_lie_in_the_image_and_nobody_behind_the_lens(generator):
    scenes = sampler().sample(200, generator)
    roots = CAMERA.project(scenes.joints[..., SKELETON.root, :])[scenes.valid]
    assert ((roots > -0.51) & (roots < 223.51)).all()
    assert scenes.joints[scenes.valid][..., 2].min() > 299


def test_roots_keep_the_margin(generator):
    scenes = sampler(margin=0.25).sample(200, generator)
    roots = CAMERA.project(scenes.joints[..., SKELETON.root, :])[scenes.valid]
    assert ((roots > 55) & (roots < 168)).all() and roots.std() > 20


def test_bodies_keep_their_proportions(generator):
    scenes = sampler().sample(20, generator)
    lengths = bone_lengths(scenes.joints[scenes.valid])
    torch.testing.assert_close(lengths, torch.tensor(SKELETON.bone_lengths).expand_as(lengths), rtol=1e-3, atol=0.1)
    varied = sampler(stature=0.1).sample(20, generator)
    ratio = bone_lengths(varied.joints[varied.valid])[:, :-1] / torch.tensor(SKELETON.bone_lengths)[:-1]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert 0.05 < ratio[:, 0].std() < 0.15
    # nobody is turned inside out
    small = bone_lengths(sampler(stature=0.9).sample(40, generator).joints)[..., :-1].amin((0, 1))
    torch.testing.assert_close(small, torch.tensor(SKELETON.bone_lengths)[:-1] / 2, rtol=1e-3, atol=0.1)


def test_both_sides_of_a_body_are_alike_and_its_bones_are_not(generator):
    scenes = sampler(proportions=0.1).sample(40, generator)
    ratio = bone_lengths(scenes.joints[scenes.valid])[:, :-1] / torch.tensor(SKELETON.bone_lengths)[:-1]
    torch.testing.assert_close(ratio, ratio[:, list(SKELETON.mirror)[:-1]], rtol=1e-3, atol=1e-3)
    assert 0.08 < ratio.std() < 0.12 and (ratio[:, 0] - ratio[:, 1]).std() > 0.1
    shortest = bone_lengths(sampler(proportions=0.9).sample(40, generator).joints)[..., :-1].amin((0, 1))
    torch.testing.assert_close(shortest, torch.tensor(SKELETON.bone_lengths)[:-1] / 2, rtol=1e-3, atol=0.1)


def test_apparent_heights_are_log_uniform(generator):
    scenes = sampler(height=(0.1, 0.9), crowding=0.0).sample(300, generator)
    height = CAMERA.focal * SKELETON.stature / scenes.joints[scenes.valid][:, SKELETON.root, 2] / 224
    place = (height / 0.1).log() / math.log(9)
    quantiles = torch.linspace(0.1, 0.9, 5)
    torch.testing.assert_close(place.quantile(quantiles), quantiles, atol=0.05, rtol=0)


def turns(generator, **changes) -> torch.Tensor:
    """Rotations (n, 3, 3) of people whom nothing turns but what is given."""
    still = {"tilt": 0.0, "free_rotation": 0.0}
    scenes = sampler(**still | changes).sample(200, generator)
    return canonicalize(scenes.joints[scenes.valid])[1]


def test_people_are_turned_as_asked(generator):
    up = torch.tensor([0.0, -1.0, 0.0])  # of the picture
    upright = turns(generator)
    torch.testing.assert_close(upright[..., 2], up.expand(len(upright), 3), atol=1e-4, rtol=0)
    assert upright[..., 0].mean(0).abs().max() < 0.1  # they face any side
    # a camera that looks down sees heads nearer than feet
    seen = turns(generator, looking_down=(30.0, 0.0))[..., 2]
    torch.testing.assert_close(seen, torch.tensor([0.0, -(0.75**0.5), -0.5]).expand_as(seen), atol=1e-4, rtol=0)
    angle = torch.atan2(*turns(generator, looking_down=(0.0, 10.0))[..., 2].unbind(-1)[:0:-1]).abs()
    assert (math.pi - angle).square().mean().sqrt().rad2deg().item() == pytest.approx(10, abs=1)
    sine, cosine = rotation_to_euler(turns(generator, tilt=8.0))
    lean = torch.atan2(sine, cosine)[:, 1:].rad2deg()
    assert lean.std(0).tolist() == pytest.approx([8, 8], abs=0.8)
    assert turns(generator, free_rotation=1.0)[..., 2].mean(0).abs().max() < 0.1
    half = turns(generator, free_rotation=0.5)[..., 2]
    assert ((half - up).norm(dim=-1) < 1e-3).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_number_of_people_is_as_asked(generator):
    scenes = sampler(people=(3, 3), crowding=0.0).sample(50, generator)
    assert (scenes.valid.sum(1) == 3).all()
    crowded = sampler(people=(1, 8)).sample(300, generator).valid.sum(1)
    assert crowded.min() >= 1 and crowded.max() > 5


def test_of_two_people_in_one_place_the_nearer_stays(generator):
    scenes = sampler(people=(8, 8)).sample(100, generator)
    roots = CAMERA.project(scenes.joints[..., SKELETON.root, :])
    apart = torch.cdist(roots, roots, p=torch.inf) + torch.eye(8) * 1e3
    apart = apart.masked_fill(~(scenes.valid[:, None] & scenes.valid[:, :, None]), torch.inf)
    assert apart.min() >= 224 / 14 - 1e-3
    nearest = scenes.joints[..., SKELETON.root, 2].argmin(1)
    assert scenes.valid.gather(1, nearest[:, None]).all()


def test_drawn_joints_are_those_in_the_image(generator):
    scenes = sampler().sample(100, generator)
    px = CAMERA.project(scenes.joints)
    inside = ((px > -0.5) & (px < 223.5)).all(-1)
    assert torch.equal(scenes.drawn, inside & scenes.valid[..., None])
    assert torch.equal(scenes.known, scenes.valid[..., None].expand_as(inside))
    dropped = sampler(dropped=0.5).sample(100, generator)
    kept = dropped.drawn[dropped.valid].float().mean() / scenes.drawn[scenes.valid].float().mean()
    assert 0.4 < kept < 0.6


def test_a_person_hides_what_is_behind(generator):
    scenes = sampler(people=(2, 2), crowding=0.0, occlusion=60.0).sample(1, generator)
    joints = scenes.joints.clone()
    joints[0, 1] = joints[0, 0] * 1.5  # the same picture, half as far again
    hidden = sampler(occlusion=60.0)._hidden(joints, torch.ones(1, 2, dtype=torch.bool))
    assert hidden[0, 1].all() and not hidden[0, 0].any()


def test_what_a_limb_hides_lies_behind_it_and_beside_it_by_no_more_than_its_width():
    """One limb, 200 mm long and 2 m away, of a person of whom nothing else is anywhere near."""
    joints = torch.zeros(1, 2, 15, 3)
    joints[0, 0] = torch.tensor([0.0, 0.0, 2000.0])
    joints[0, 0, SKELETON.index("head_top"), 0] = 200
    # where the ray meets the plane of the limb, and how far along it the joint is
    behind = {
        (100, 40): 1.5,
        (100, 80): 1.5,
        (250, 0): 1.5,
        (300, 0): 1.5,
        (-80, 0): 1.5,
        (100, 0): 1.02,
        (100, 1): 1.05,
    }
    joints[0, 1] = torch.tensor([0.0, 5000.0, 3000.0])
    for j, ((x, y), far) in enumerate(behind.items()):
        joints[0, 1, j] = far * torch.tensor([x, y, 2000.0])
    hidden = sampler(occlusion=60.0)._hidden(joints, torch.ones(1, 2, dtype=torch.bool))
    assert hidden[0, 1].tolist() == [True, False, True, False, False, False, True, *[False] * 8]
    assert not hidden[0, 0].any()
    assert not sampler(occlusion=60.0)._hidden(joints, torch.tensor([[False, True]])).any()


def test_the_same_seed_gives_the_same_scenes():
    one, two = (sampler().sample(10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("wrong", [{"people": (0, 3)}, {"people": (4, 2)}, {"height": (0.0, 1.0)}, {"margin": 0.5}])
def test_impossible_scenes_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        sampler(**wrong)
