"""The lifter: closed-form places, views that do not depend on the camera, missing joints that may hold anything."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import jacfwd

from mpose3d.assets import weights_file
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import (
    bone_lengths,
    canonical_to_local,
    canonicalize,
    fit_translation,
    local_to_canonical,
    rotate,
)
from mpose3d.metrics.functional import pmpjpe
from mpose3d.networks import keypoint_lifter
from mpose3d.networks.keypoint_lifter import _REACH, KeypointLifter, _from_root, _look, _Seen, _size, _view
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import SceneSampler
from mpose3d.skeleton import SKELETON

CAMERA = Camera.for_image(640, 480)
#: the camera of the same picture by `pixel -> 3 pixel + 7`
LARGER = Camera(3 * CAMERA.focal, tuple(3 * c + 7 for c in CAMERA.centre))


@pytest.fixture
def people(generator) -> torch.Tensor:
    """(n, 15, 3) people before `CAMERA`."""
    scenes = SceneSampler(ArtificialPoses(), CAMERA, 480, height=(0.2, 1.0)).sample(40, generator)
    return scenes.joints[scenes.valid].double()


@pytest.fixture
def lifter() -> KeypointLifter:
    torch.manual_seed(0)
    lifter = KeypointLifter(width=32, blocks=1).double().eval()
    torch.nn.init.constant_(lifter.doubt.bias, -1.0)  # else a reading that says nothing is hardly held to
    return lifter


def test_the_place_of_a_known_body_is_found_from_its_projection(people):
    rays = (CAMERA.project(people) - people.new_tensor(CAMERA.centre)) / CAMERA.focal
    root = people[:, SKELETON.root]
    visible = torch.rand(people.shape[:2], generator=torch.Generator().manual_seed(1)) < 0.7
    visible[:, :4] = True
    rays = torch.where(visible[..., None], rays, 0)
    seen = torch.nn.functional.pad(rays, (0, 1), value=1.0) @ _view(rays, visible)
    size = _size(torch.where(visible[..., None], seen[..., :2] / seen[..., 2:], 0), visible)
    found = fit_translation(people - root[:, None], rays, visible, size)
    assert ((found - root).norm(dim=-1) / root[:, 2]).median() < 2e-3


def test_the_view_looks_at_the_middle_and_stays_level(people):
    rays = (CAMERA.project(people) - people.new_tensor(CAMERA.centre)) / CAMERA.focal
    visible = torch.ones(people.shape[:2], dtype=torch.bool)
    view = _view(rays, visible)
    torch.testing.assert_close(view.mT @ view, torch.eye(3, dtype=view.dtype).expand_as(view))
    assert (torch.linalg.det(view) > 0).all()
    assert (view[:, 1, 0] == 0).all()
    middle = torch.nn.functional.pad((rays.amin(1) + rays.amax(1)) / 2, (0, 1), value=1.0)
    torch.testing.assert_close(view[..., 2], torch.nn.functional.normalize(middle, dim=-1))


def test_the_same_rays_give_the_same_people_in_any_picture(lifter, people):
    visible = torch.ones(people.shape[:2], dtype=torch.bool)
    pixels = CAMERA.project(people)
    with torch.no_grad():
        here = lifter(pixels, visible, CAMERA)
        larger = lifter(3 * pixels + 7, visible, LARGER)
    torch.testing.assert_close(larger.joints, here.joints)
    torch.testing.assert_close(larger.joints_px, 3 * here.joints_px + 7)


def test_of_nothing_read_bodies_are_turned_as_they_are_looked_at(lifter, people):
    """The network speaks in the frame of the view; phi is bounded, whatever it says."""
    visible, pixels = torch.ones(people.shape[:2], dtype=torch.bool), CAMERA.project(people)
    with torch.no_grad():
        lifter.code.weight.zero_()
        lifter.code.bias.zero_()
        view = _view((pixels - pixels.new_tensor(CAMERA.centre)) / CAMERA.focal, visible)
        torch.testing.assert_close(lifter(pixels, visible, CAMERA).rotation, view)
        lifter.code.bias.fill_(-9.0)
        embedding = lifter(pixels, visible, CAMERA).embedding
    assert embedding.abs().max() <= 1 and (embedding < -0.99).all()


def test_a_person_is_read_alike_at_any_size(lifter, people):
    """But for the one number that says the size."""
    visible, pixels = torch.ones(people.shape[:2], dtype=torch.bool), CAMERA.project(people)
    low, high = pixels.amin(1, keepdim=True), pixels.amax(1, keepdim=True)
    centred = 0.2 * (pixels - (low + high) / 2)
    with torch.no_grad():
        lifter.read[0].weight[:, -1] = 0
        small, large = (lifter(size * centred + centred.new_tensor(CAMERA.centre), visible, CAMERA) for size in (1, 3))
    torch.testing.assert_close(large.embedding, small.embedding)
    torch.testing.assert_close(large.rotation, small.rotation)


def test_the_network_is_shown_joints_at_size_1_which_are_seen_and_the_logarithm_of_the_size(lifter, people):
    shown = []
    lifter.read.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    visible = torch.rand(people.shape[:2], generator=torch.Generator().manual_seed(5)) < 0.7
    pixels = CAMERA.project(people)
    with torch.no_grad():
        lifter(pixels, visible, CAMERA)
    joints, flags, size = shown[0].split([30, 15, 1], dim=-1)
    joints = joints.unflatten(-1, (15, 2))
    assert torch.equal(flags, visible.double()) and not joints[~visible].any()
    torch.testing.assert_close(joints.square().sum((1, 2)), visible.sum(-1).double())
    rays = torch.where(visible[..., None], (pixels - pixels.new_tensor(CAMERA.centre)) / CAMERA.focal, 0)
    seen = torch.nn.functional.pad(rays, (0, 1), value=1.0) @ _view(rays, visible)
    torch.testing.assert_close((size.exp()[..., None] * joints)[visible], (seen[..., :2] / seen[..., 2:])[visible])


def test_what_is_missing_may_hold_anything(lifter, people):
    pixels = CAMERA.project(people)
    visible = torch.rand(people.shape[:2], generator=torch.Generator().manual_seed(2)) < 0.6
    with torch.no_grad():
        one = lifter(torch.where(visible[..., None], pixels, torch.nan), visible, CAMERA)
        other = lifter(torch.where(visible[..., None], pixels, 1e9), visible, CAMERA)
    assert one.joints.isfinite().all() and one.joints_px.isfinite().all()
    torch.testing.assert_close(one.joints, other.joints)


def test_people_come_out_whole_and_in_front_of_the_camera(lifter, people):
    pixels, visible = CAMERA.project(people), torch.ones(people.shape[:2], dtype=torch.bool)
    visible[0], visible[1, 1:] = False, False  # nobody, and a single joint
    with torch.no_grad():
        found = lifter(pixels, visible, CAMERA)
    assert found.joints.isfinite().all()
    assert (found.joints[..., 2] > 0).all()
    torch.testing.assert_close(found.joints_px, CAMERA.project(found.joints))
    assert torch.equal(found.depth, found.joints[:, SKELETON.root, 2])


@pytest.mark.parametrize("shape", [(), (3, 2)])
def test_refined_people_project_closer_to_their_joints(lifter, people, shape):
    pixels = CAMERA.project(people[: max(1, math.prod(shape))]).reshape(*shape, 15, 2)
    visible = torch.rand(pixels.shape[:-1], generator=torch.Generator().manual_seed(3)) < 0.8
    with torch.no_grad():
        errors = [
            ((lifter(pixels, visible, CAMERA, refine).joints_px - pixels).norm(dim=-1) * visible).mean()
            for refine in (0, 1, 5)
        ]
    assert errors[0] > errors[1] > errors[2]


def test_refinement_follows_the_rays_and_ignores_what_is_missing(lifter, people):
    pixels = CAMERA.project(people)
    visible = torch.rand(people.shape[:2], generator=torch.Generator().manual_seed(4)) < 0.7
    visible[0], visible[1, 1:] = False, False  # nobody, and a single joint
    with torch.no_grad():
        here = lifter(torch.where(visible[..., None], pixels, torch.nan), visible, CAMERA, 3)
        larger = lifter(3 * pixels + 7, visible, LARGER, 3)
        alone = lifter(pixels[5], visible[5], CAMERA, 3)
    assert here.joints.isfinite().all() and (here.joints[..., 2] > 0).all()
    torch.testing.assert_close(larger.joints, here.joints)
    torch.testing.assert_close(alone.joints, here.joints[5])
    # still a body that Psi knows, turned and placed
    again = rotate(local_to_canonical(lifter.psi(here.embedding)), here.rotation)
    torch.testing.assert_close(again, here.joints - here.joints[:, SKELETON.root, None])


@pytest.mark.parametrize("exact", [False, True])
def test_steps_of_refinement_are_those_of_gauss_newton(lifter, people, exact):
    """Against derivatives by automatic differentiation, of one person at a time, whose reading is far off or close."""
    visible = torch.rand(6, 15, generator=torch.Generator().manual_seed(6)) < 0.8
    seen, _ = _look(CAMERA.project(people[:6]), visible, CAMERA)
    generator = torch.Generator().manual_seed(7)
    start = torch.randn(6, 38, generator=generator, dtype=torch.float64)
    doubt = torch.randn(6, generator=generator, dtype=torch.float64)
    factor = torch.randn(38, 60, generator=generator, dtype=torch.float64)
    lifter.covariance.copy_(factor @ factor.mT / 20000)
    if exact:
        joints = lifter._body(start, seen)[0].detach()
        error = 0.004 * seen.size[:, None, None] * torch.randn(6, 15, 2, generator=generator, dtype=torch.float64)
        seen = seen._replace(rays=torch.where(visible[..., None], joints[..., :2] / joints[..., 2:] + error, 0))
    with torch.no_grad():
        stepped = lifter._refined(start, doubt, seen, 2)
    precision = torch.linalg.inv(lifter.covariance)
    for p in range(6):
        one = _Seen(*(part[p] for part in seen))

        def off(code, one=one):
            joints = lifter._body(code, one)[0]
            return (joints[..., :2] / joints[..., 2:] - one.rays) / one.size

        code = start[p]
        for _ in range(2):
            slope, distance = jacfwd(off)(code).detach(), off(code).detach()
            weight = (visible[p] / visible[p].sum()) / (1 + (distance / 0.05).square().sum(-1))
            left = (weight * distance.square().sum(-1)).sum() / 0.02**2
            assert (left < 1) == exact
            trust = 0.01**2 * left.clamp(0.1, 1) * precision / doubt[p].exp()
            rows, weight = slope.flatten(0, 1), weight.repeat_interleave(2)
            normal = rows.mT @ (weight[:, None] * rows) + trust
            gradient = rows.mT @ (weight * distance.flatten()) + trust @ (code - start[p])
            code = code - torch.linalg.solve(normal, gradient)
        torch.testing.assert_close(stepped[p], code, rtol=0, atol=0.01)


def test_the_network_learns_how_far_off_it_is(lifter, people):
    """Of people whose true bodies are a known step of the code away from the reading."""
    people = people[:16]
    visible, pixels = torch.ones(people.shape[:2], dtype=torch.bool), CAMERA.project(people)
    generator = torch.Generator().manual_seed(8)
    seen, features = _look(pixels, visible, CAMERA)
    with torch.no_grad():
        code = lifter.code(lifter.read(features))
        direction = torch.zeros(38, dtype=torch.float64)
        direction[33] = 1  # of a column of the rotation, which nothing else stands for
        sizes = 0.02 * torch.exp(torch.randn(len(people), generator=generator, dtype=torch.float64) / 2)
        true = lifter._body(code + sizes[:, None] * direction, seen)[0] + 1000  # anywhere
        error = lifter._error(code, seen, true, visible)
    assert torch.nn.functional.cosine_similarity(error, direction[None]).quantile(0.05) > 0.9
    torch.testing.assert_close(error.norm(dim=-1).median(), sizes.median(), rtol=0.1, atol=0)
    # joints that nobody knows say nothing
    known = visible.clone()
    known[:, SKELETON.index("l_wrist")] = False
    with torch.no_grad():
        error_of_fewer = lifter._error(code, seen, torch.where(known[..., None], true, torch.nan), known)
        true[:, SKELETON.index("l_wrist")] += 500
        torch.testing.assert_close(error_of_fewer, lifter._error(code, seen, true, known))
        true[:, SKELETON.index("l_wrist")] -= 500
    torch.testing.assert_close(error_of_fewer.norm(dim=-1).median(), sizes.median(), rtol=0.1, atol=0)

    asked = pixels, visible, CAMERA, true, visible
    with torch.no_grad():
        lifter.doubt.weight.zero_()
        lifter.doubt.bias.fill_(math.log(0.02))
    off = (error.norm(dim=-1).log() - math.log(0.02)).square().mean()
    assert lifter.doubt_loss(*asked).item() == pytest.approx(off.item())
    torch.testing.assert_close(lifter.covariance, torch.eye(38, dtype=torch.float64) / 38)  # not while it is evaluated
    lifter.train()
    for _ in range(120):
        loss = lifter.doubt_loss(*asked)
    loss.backward()
    assert {name for name, p in lifter.named_parameters() if p.grad is not None} == {"doubt.weight", "doubt.bias"}
    values, axes = torch.linalg.eigh(lifter.covariance)
    assert axes[33, -1].abs() > 0.9 and values[-1] > 0.1 and values[-2] < 0.03
    with torch.no_grad():
        assert lifter.doubt_loss(*(part[:0] if torch.is_tensor(part) else part for part in asked)) == 0


def test_who_is_doubted_more_follows_the_joints_more(lifter, people):
    pixels, visible = CAMERA.project(people), torch.ones(people.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        lifter.doubt.weight.zero_()
        off = []
        for doubt in (-3.0, 0.0, 3.0):
            lifter.doubt.bias.fill_(doubt)
            off.append((lifter(pixels, visible, CAMERA, 3).joints_px - pixels).norm(dim=-1).median())
    assert off[0] > off[1] > off[2]


def test_proportions_are_found_of_people_who_are_not_the_skeleton(people):
    """Legs a fifth longer and shoulders a fifth narrower than its own; with the lifter that ships."""
    lifter = KeypointLifter.from_file(weights_file("lifter")).double().eval()
    table = people.new_tensor(SKELETON.bone_lengths)
    long, narrow = (
        people.new_tensor([name.split("_")[-1] in parts for name in SKELETON.names])
        for parts in (("knee", "ankle"), ("shoulder",))
    )
    lengths = table * (1 + 0.2 * long - 0.2 * narrow)
    canonical, rotation = canonicalize(people - people[:, SKELETON.root, None])
    own = rotate(local_to_canonical(canonical_to_local(canonical), lengths), rotation)
    own = own + people[:, SKELETON.root, None] * people.new_tensor([1.0, 1.0, 1.5])
    visible = torch.ones(own.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        fixed, fitted = (lifter(CAMERA.project(own), visible, CAMERA, 3, proportions).joints for proportions in (0, 1))
        none = lifter(CAMERA.project(own), visible, CAMERA, 0, True).joints
    found = bone_lengths(fitted)
    mirrored = found[:, list(SKELETON.mirror)]
    torch.testing.assert_close(bone_lengths(fixed), table.expand_as(found), check_stride=False)
    torch.testing.assert_close(bone_lengths(none), table.expand_as(found), check_stride=False)  # not without steps
    torch.testing.assert_close(found.sum(-1), table.sum().expand(len(found)))
    torch.testing.assert_close(found[:, : SKELETON.root], mirrored[:, : SKELETON.root])
    ratio = (found / table).nanmedian(0).values
    assert ratio[long.bool()].min() > 1.03 and ratio[narrow.bool()].max() < 0.98
    assert pmpjpe(fitted, own).mean() < pmpjpe(fixed, own).mean()


def test_one_joint_in_a_wrong_place_hardly_bends_the_body(lifter, people, monkeypatch):
    pixels, visible = CAMERA.project(people), torch.ones(people.shape[:2], dtype=torch.bool)
    wrist = SKELETON.index("l_wrist")
    wrong = pixels.clone()
    wrong[:, wrist] += 0.5 * (pixels.amax(1) - pixels.amin(1))
    seen, features = _look(pixels, visible, CAMERA)

    @torch.no_grad()
    def bent() -> torch.Tensor:
        """By the wrong wrist, from one reading: mm relative to the root, the median of everybody's joints."""
        read = lifter.read(features)
        codes = [
            lifter._refined(lifter.code(read), lifter.doubt(read)[..., 0], seen._replace(rays=CAMERA.rays(px)), 3)
            for px in (wrong, pixels)
        ]
        bodies = [_from_root(lifter._body(code, seen)[0]) * _REACH for code in codes]
        return (bodies[0] - bodies[1]).norm(dim=-1).median()

    robust = bent()
    monkeypatch.setattr(keypoint_lifter, "_JOINT_NOISE", 1e9)  # every joint counts as much as any other
    assert 20 * robust < bent()


def test_gradients_are_finite(lifter, people):
    visible = torch.ones(people.shape[:2], dtype=torch.bool)
    visible[0] = False
    found = lifter(CAMERA.project(people), visible, CAMERA)
    (found.joints.square().mean() / 1e6 + found.joints_px.square().mean() / 1e4).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in lifter.parameters())


def test_a_file_gives_the_same_lifter(lifter, people, tmp_path):
    lifter.float().save(tmp_path / "network.safetensors")
    pixels, visible = CAMERA.project(people).float(), torch.ones(people.shape[:2], dtype=torch.bool)
    (tmp_path / "other").touch()
    assert (tmp_path / "network.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    again = KeypointLifter.from_file(tmp_path / "network.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(pixels, visible, CAMERA), lifter(pixels, visible, CAMERA))
