"""What the noise does to 2D joints, in the amounts that it names."""

from __future__ import annotations

import torch

from mpose3d.poses.keypoint_noise import KeypointNoise
from mpose3d.skeleton import MIDPOINTS, SKELETON
from tests.bodies import with_midpoints

NONE = {"jitter": 0.0, "outliers": 0.0, "swapped": 0.0, "missing": 0.0, "headless": 0.0, "half": 0.0}


def people(generator: torch.Generator, n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    return with_midpoints(100 * torch.randn(n, 15, 2, generator=generator)), torch.ones(n, 15, dtype=torch.bool)


def test_no_noise_changes_nothing(generator):
    joints, visible = people(generator)
    noisy, seen = KeypointNoise(**NONE)(joints, visible, generator)
    torch.testing.assert_close(noisy, joints)
    assert torch.equal(seen, visible)


def test_the_same_generator_gives_the_same_noise(generator):
    joints, visible = people(generator)
    first, second = (KeypointNoise()(joints, visible, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_pelvis_and_neck_stay_midpoints(generator):
    joints, visible = people(generator)
    noisy, seen = KeypointNoise()(joints, visible, generator)
    torch.testing.assert_close(noisy, with_midpoints(noisy))
    for middle, sides in MIDPOINTS.items():
        assert torch.equal(seen[:, middle], seen[:, sides].all(1))


def test_fractions_are_those_that_were_asked_for(generator):
    joints, visible = people(generator)
    knee, elbow, head = (SKELETON.index(name) for name in ("r_knee", "r_elbow", "head_top"))
    _, seen = KeypointNoise(**NONE | {"half": 0.25})(joints, visible, generator)
    assert abs((~seen[:, knee]).float().mean() - 0.25) < 0.03 and seen[:, elbow].all()
    _, seen = KeypointNoise(**NONE | {"headless": 0.5})(joints, visible, generator)
    assert abs((~seen[:, head]).float().mean() - 0.5) < 0.03
    _, seen = KeypointNoise(**NONE | {"missing": 0.4})(joints, visible, generator)
    assert abs((~seen[:, elbow]).float().mean() - 0.2) < 0.03
    noisy, _ = KeypointNoise(**NONE | {"swapped": 0.2})(joints, visible, generator)
    exchanged = (noisy[:, knee] == joints[:, SKELETON.index("l_knee")]).all(-1)
    assert abs(exchanged.float().mean() - 0.2) < 0.03
    assert torch.equal(exchanged, (noisy[:, SKELETON.index("r_ankle")] == joints[:, SKELETON.index("l_ankle")]).all(-1))


def of_size(noisy: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
    """Distances (n, 15) of joints from where they were, in root mean square distances of a person's joints."""
    size = (joints - joints.mean(1, keepdim=True)).square().sum((1, 2)).div(15).sqrt()
    return (noisy - joints).norm(dim=-1) / size[:, None]


def test_jitter_is_in_sizes_of_the_person_and_each_person_has_their_own(generator):
    joints, visible = people(generator)
    noisy, _ = KeypointNoise(**NONE | {"jitter": 0.2}, midpoints=False)(joints, visible, generator)
    deviation = of_size(noisy, joints).square().mean(1).div(2).sqrt()
    assert abs(deviation.mean() - 0.1) < 0.005 and abs(deviation.std() - 0.2 / 12**0.5) < 0.005


def test_outliers_are_thrown_one_by_one(generator):
    joints, visible = people(generator)
    noise = KeypointNoise(**NONE | {"outliers": 0.1, "throw": 0.5}, midpoints=False)
    off = of_size(noise(joints, visible, generator)[0], joints)
    thrown = off > 0
    assert abs(thrown.float().mean() - 0.1) < 0.005 and thrown.sum(1).max() < 10
    assert abs(off[thrown].square().mean().div(2).sqrt() - 0.5) < 0.02


def test_each_person_misses_joints_by_their_own_chance(generator):
    joints, visible = people(generator)
    seen = KeypointNoise(**NONE | {"missing": 0.4}, midpoints=False)(joints, visible, generator)[1]
    # the chance is uniform up to 0.4, and by it each of 15 joints is missing
    expected = (0.4**2 / 12 + (0.4 / 2 - 0.4**2 / 3) / 15) ** 0.5
    assert abs((~seen).float().mean(1).std() - expected) < 0.01


def test_arms_and_legs_are_exchanged_each_as_a_whole_and_halves_are_hidden(generator):
    joints, visible = people(generator)
    noisy, _ = KeypointNoise(**NONE | {"swapped": 0.2})(joints, visible, generator)
    exchanged = (noisy == joints[:, list(SKELETON.mirror)]).all(-1)
    arms, legs = (
        exchanged[:, SKELETON.indices(*(f"{side}_{joint}" for side in "rl" for joint in names))]
        for names in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
    )
    for limbs in (arms, legs):
        assert abs(limbs.float().mean() - 0.2) < 0.03 and (limbs.all(1) == limbs.any(1)).all()
    assert abs((arms.all(1) & legs.all(1)).float().mean() - 0.04) < 0.02
    _, seen = KeypointNoise(**NONE | {"half": 0.25}, midpoints=False)(joints, visible, generator)
    lower = [SKELETON.names[j].rpartition("_")[2] in ("hip", "knee", "ankle", "pelvis") for j in range(15)]
    lower = torch.tensor(lower)
    assert seen[:, ~lower].all() and (seen[:, lower].all(1) == seen[:, lower].any(1)).all()


def test_inverted_joints_are_where_their_twins_are(generator):
    joints, visible = people(generator)
    noisy, _ = KeypointNoise(**NONE | {"inverted": 0.3}, midpoints=False)(joints, visible, generator)
    knees = [
        (noisy[:, a] == joints[:, b]).all(-1)
        for a, b in (SKELETON.indices("r_knee", "l_knee"), SKELETON.indices("l_knee", "r_knee"))
    ]
    assert all(abs(inverted.float().mean() - 0.3) < 0.03 for inverted in knees)
    assert abs((knees[0] & ~knees[1]).float().mean() - 0.21) < 0.03  # both in one place
    assert torch.equal(noisy[:, SKELETON.root], joints[:, SKELETON.root])


def test_pelvis_and_neck_may_be_joints_like_others(generator):
    joints, visible = people(generator)
    noisy, seen = KeypointNoise(jitter=0.1, missing=0.4, midpoints=False)(joints, visible, generator)
    pair = SKELETON.indices("r_hip", "l_hip")
    assert not torch.allclose(noisy[:, SKELETON.root], noisy[:, pair].mean(1))
    assert (seen[:, SKELETON.root] & ~seen[:, pair].all(1)).any()


def test_what_was_hidden_stays_hidden(generator):
    """Wherever a hidden joint was, no joint is seen; and one that is taken for its twin is as visible as that."""
    joints, visible = people(generator)
    visible[:, 3] = False
    noise = KeypointNoise(**NONE | {"swapped": 0.3, "inverted": 0.3}, midpoints=False)
    noisy, seen = noise(joints, visible, generator)
    there = (noisy == joints[:, 3, None]).all(-1)
    assert there[:, SKELETON.mirror[3]].any() and not (there & seen).any()
    assert torch.equal(seen, ~there)
    assert not KeypointNoise()(joints, visible & False, generator)[1].any()
