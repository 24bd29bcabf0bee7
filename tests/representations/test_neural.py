"""s, its codes, and M."""

from __future__ import annotations

import pytest
import roma
import torch

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import canonical_to_local
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.representations.neural import NeuralGrid, NeuralRepresentation, Roots
from mpose3d.skeleton import SKELETON

CAMERA = Camera.for_image(224, 224)


def representation(**changes) -> NeuralRepresentation:
    return NeuralRepresentation(CAMERA, **changes)


def test_39_channels_and_16_pixels_as_in_the_source():
    assert representation().channels == 39
    assert representation().stride == 16


def test_cells_and_offsets_give_the_root_back(generator):
    s = representation()
    px = torch.rand(5, 8, 2, generator=generator) * 224 - 0.5
    cells, offset = s.cell_of(px)
    assert offset.abs().max() <= 0.5 + 1e-5
    centre = torch.stack([cells % 14, cells // 14], dim=-1) + 0.5
    torch.testing.assert_close((centre + offset) * 16 - 0.5, px, atol=1e-4, rtol=0)


def test_roots_outside_the_grid_are_given_its_nearest_cell():
    px = torch.tensor([[-40.0, 100.0], [230.0, 300.0], [100.0, -1.0]])
    cells, offset = representation().cell_of(px)
    assert cells.tolist() == [6 * 14, 14 * 14 - 1, 6]
    centre = torch.stack([cells % 14, cells // 14], dim=-1) + 0.5
    torch.testing.assert_close((centre + offset) * 16 - 0.5, px, atol=1e-4, rtol=0)


def test_no_more_roots_are_found_than_asked_for_and_none_below_the_threshold():
    root = torch.full((1, 1, 14, 14), -5.0)
    root[0, 0, 2, [1, 4, 7, 10]] = torch.tensor([0.3, 0.8, 0.4, 0.9]).logit()
    grid = NeuralGrid(torch.zeros(1, 39, 14, 14), root, torch.zeros(1, 2, 14, 14))
    for most, threshold, expected in ((9, 0.5, [0.9, 0.8]), (9, 0.35, [0.9, 0.8, 0.4]), (1, 0.1, [0.9])):
        roots = representation().find_roots(grid, most, threshold)
        assert roots.score.shape == (1, most)
        assert roots.score[roots.valid].tolist() == pytest.approx(expected)
    assert representation().find_roots(grid, 999).valid.shape == (1, 14 * 14)  # a root or none in every cell


def test_targets_are_found_again(generator):
    """Root map and offsets drawn from people, read back to a fraction of a pixel."""
    s = representation()
    px = torch.tensor([[[40.0, 50.0], [130.3, 60.9], [200.0, 210.0], [0.0, 0.0]]])
    valid = torch.tensor([[True, True, True, False]])
    mask, offset = s.root_targets(px, valid)
    assert mask.sum() == 3
    grid = NeuralGrid(torch.zeros(1, 39, 14, 14), (mask * 2 - 1) * 5, offset)
    roots = s.find_roots(grid, max_people=6)
    assert roots.valid.sum() == 3 and not roots.px[~roots.valid].any() and not roots.score[~roots.valid].any()
    found = roots.px[roots.valid]
    torch.testing.assert_close(found[found[:, 0].argsort()], px[0, :3], atol=1e-3, rtol=0)


def test_the_cells_of_boxes_are_those_whose_centres_they_hold():
    boxes = torch.full((2, 3, 4), torch.nan)
    boxes[0, :2] = torch.tensor([[20.0, 40.0, 60.0, 60.0], [-99.0, 200.0, 10.0, 999.0]])
    expected = torch.zeros(2, 1, 14, 14, dtype=torch.bool)
    expected[0, 0, 3, 1:4] = expected[0, 0, 13, 0] = True
    assert torch.equal(representation().cells_in(boxes), expected)


def test_no_images_have_no_targets():
    mask, offset = representation().root_targets(torch.zeros(0, 3, 2), torch.zeros(0, 3, dtype=torch.bool))
    assert mask.shape == (0, 1, 14, 14) and offset.shape == (0, 2, 14, 14)


def test_equal_neighbours_are_one_root():
    root = torch.full((1, 1, 14, 14), -5.0)
    root[0, 0, 4:6, 4:6] = 5.0
    grid = NeuralGrid(torch.zeros(1, 39, 14, 14), root, torch.zeros(1, 2, 14, 14))
    assert representation().find_roots(grid, 10).valid.sum() == 1


@pytest.mark.parametrize("rotation", ["euler", "6d"])
@pytest.mark.parametrize("perspective", ["weak", "full"])
def test_code_then_people_is_the_person(rotation, perspective, generator):
    """M inverts the code: same pose, place and projection. Psi is stood in for by the pose itself."""
    s = representation(rotation=rotation, perspective=perspective)
    p_l = canonical_to_local(ArtificialPoses().sample(20, generator))
    turn, depth = roma.random_rotmat(20), 1000 + 9000 * torch.rand(20, generator=generator)
    root_px = 224 * torch.rand(20, 2, generator=generator)
    people = s.people(s.code(torch.zeros(20, 32), turn, depth), root_px, lambda _: p_l)
    torch.testing.assert_close(people.rotation, turn, atol=1e-4, rtol=0)
    torch.testing.assert_close(people.depth, depth, rtol=1e-4, atol=0)
    root = people.joints[:, SKELETON.root]
    torch.testing.assert_close(s.camera.project(root), root_px, atol=1e-2, rtol=0)
    torch.testing.assert_close(people.joints_px[:, SKELETON.root], root_px, atol=1e-2, rtol=0)


def test_the_projection_is_the_one_asked_for(generator):
    joints = 300 * torch.randn(4, 15, 3, generator=generator) + torch.tensor([0.0, 0, 3000])
    for perspective, expected in (
        ("weak", CAMERA.project_weak(joints, SKELETON.root)),
        ("full", CAMERA.project(joints)),
    ):
        assert torch.equal(representation(perspective=perspective).project(joints), expected)


def test_depth_code_spans_near_to_far():
    s = representation()
    assert s.depth_code(torch.tensor([-5.0, 0.0])).isfinite().all()  # behind the camera
    depth = torch.tensor([s.near, (s.near * s.far) ** 0.5, s.far])
    torch.testing.assert_close(s.depth_code(depth), torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6, rtol=0)


def test_gather_reads_the_named_cells(generator):
    s = representation()
    grid = torch.randn(2, 39, 14, 14, generator=generator)
    cells = torch.randint(196, (2, 5), generator=generator)
    for b in range(2):
        for p in range(5):
            row, column = divmod(int(cells[b, p]), 14)
            torch.testing.assert_close(s.gather(grid, cells)[b, p], grid[b, :, row, column])


@pytest.mark.parametrize("rotation", ["euler", "6d"])
def test_gradients_reach_the_code_and_stay_finite(rotation, generator):
    s = representation(rotation=rotation)
    p_l = canonical_to_local(ArtificialPoses().sample(6, generator))
    code = torch.randn(6, 39, generator=generator)
    code[0] = 0  # no direction at all
    code.requires_grad_()
    people = s.people(code, torch.full((6, 2), 100.0), lambda _: p_l)
    (gradient,) = torch.autograd.grad(people.joints.sum() + people.joints_px.sum(), code)
    assert gradient.isfinite().all() and gradient[1:, 32:].abs().sum(0).gt(0).all()


def test_m_runs_in_float32_under_autocast(generator):
    s = representation()
    p_l = canonical_to_local(ArtificialPoses().sample(3, generator))
    code = torch.randn(3, 39, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        people = s.people(code.bfloat16(), torch.zeros(3, 2), lambda _: p_l)
    assert people.joints.dtype is torch.float32
    reference = s.people(code.bfloat16().float(), torch.zeros(3, 2), lambda _: p_l)
    torch.testing.assert_close(people.joints, reference.joints)


def test_decode_reads_only_root_cells(generator):
    s = representation()
    grid = NeuralGrid(torch.randn(2, 39, 14, 14, generator=generator).tanh(), None, None)
    px = torch.tensor([[[20.0, 30.0], [100.0, 200.0]], [[5.0, 5.0], [220.0, 10.0]]])
    asked = []

    def psi(embedding):
        asked.append(embedding.shape[:-1])
        return canonical_to_local(ArtificialPoses().sample(4, generator)).view(2, 2, 15, 3)

    people = s.decode(grid, Roots(px, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool)), psi)
    assert asked == [torch.Size([2, 2])] and people.joints.shape == (2, 2, 15, 3)
