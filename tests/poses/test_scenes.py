"""Scenes of D_syn."""

from __future__ import annotations

import pytest
import torch

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import bone_lengths
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
    ratio = bone_lengths(varied.joints[varied.valid])[:, SKELETON.index("r_knee")] / 425
    assert 0.05 < ratio.std() < 0.15


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
    dropped = sampler(dropped=0.5).sample(100, generator)
    kept = dropped.drawn[dropped.valid].float().mean() / scenes.drawn[scenes.valid].float().mean()
    assert 0.4 < kept < 0.6


def test_a_person_hides_what_is_behind(generator):
    scenes = sampler(people=(2, 2), crowding=0.0, occlusion=60.0).sample(1, generator)
    joints = scenes.joints.clone()
    joints[0, 1] = joints[0, 0] * 1.5  # the same picture, half as far again
    hidden = sampler(occlusion=60.0)._hidden(joints, torch.ones(1, 2, dtype=torch.bool))
    assert hidden[0, 1].all() and not hidden[0, 0].any()


def test_the_same_seed_gives_the_same_scenes():
    one, two = (sampler().sample(10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("wrong", [{"people": (0, 3)}, {"people": (4, 2)}, {"height": (0.0, 1.0)}, {"margin": 0.5}])
def test_impossible_scenes_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        sampler(**wrong)
