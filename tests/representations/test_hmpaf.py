from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mpose3d.representations import hmpaf
from mpose3d.representations.hmpaf import (
    HMPAF,
    _group,
    _largest_near,
    draw,
    limb_integrals,
    parse,
    peaks,
    select_supplied,
)
from mpose3d.skeleton import COCO_17, COCO_18, MPI_15, MPOSE3D, Layout

LAYOUTS = [MPOSE3D, MPI_15, COCO_18]
STRIDE = 8

# a person facing the camera, arms away from the body, in units of its height
FIGURE = {
    "head_top": (0, 0), "nose": (0, 0.07), "r_eye": (-0.03, 0.05), "l_eye": (0.03, 0.05),
    "r_ear": (-0.07, 0.06), "l_ear": (0.07, 0.06), "neck": (0, 0.18), "chest": (0, 0.33), "pelvis": (0, 0.5),
    "r_shoulder": (-0.12, 0.19), "r_elbow": (-0.2, 0.33), "r_wrist": (-0.22, 0.47),
    "l_shoulder": (0.12, 0.19), "l_elbow": (0.2, 0.33), "l_wrist": (0.22, 0.47),
    "r_hip": (-0.08, 0.5), "r_knee": (-0.1, 0.74), "r_ankle": (-0.1, 0.98),
    "l_hip": (0.08, 0.5), "l_knee": (0.1, 0.74), "l_ankle": (0.1, 0.98),
}  # fmt: skip


def figures(layout: Layout, people: int, seed: int, size: int = 46) -> Tensor:
    """(people, J, 2) px: figures of random height, place and bend, each in a column or two-row cell of its own."""
    generator = torch.Generator().manual_seed(seed)
    columns = max(1, (people + 1) // 2)
    rows = 1 if people == 1 else 2
    width, height = size * STRIDE / columns, size * STRIDE / rows
    tallest = min(height - 2 * STRIDE, 2 * (width - STRIDE))
    scale = tallest * (0.85 + 0.15 * torch.rand(people, 1, 1, generator=generator))
    place = torch.tensor([[(p % columns + 0.5) * width, (p // columns) * height + STRIDE] for p in range(people)])
    figure = torch.tensor([FIGURE[name] for name in layout.names])
    bend = 0.01 * torch.randn(people, len(layout), 2, generator=generator)
    return place[:, None] + scale * (figure + bend)


def random_points(layout: Layout, batch: int, people: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, people, len(layout), 2, generator=generator) * (size + 2) * STRIDE - STRIDE


def all_visible(points: Tensor) -> Tensor:
    return torch.ones(points.shape[:-1], dtype=torch.bool)


def naive_draw(
    points: np.ndarray,
    visible: np.ndarray,
    layout: Layout,
    size: tuple[int, int],
    sigma: float,
    width: float,
    edge: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One cell of one limb of one person of one image after the other."""
    batch, people = points.shape[:2]
    heatmaps = np.zeros((batch, len(layout), *size))
    pafs = np.zeros((batch, 2 * len(layout.limbs), *size))
    for image in range(batch):
        for row in range(size[0]):
            for column in range(size[1]):
                pixel = np.array([(column + 0.5) * STRIDE - 0.5, (row + 0.5) * STRIDE - 0.5])
                for joint in range(len(layout)):
                    for person in range(people):
                        if visible[image, person, joint]:
                            distance = np.linalg.norm(pixel - points[image, person, joint])
                            value = np.exp(-(distance**2) / (2 * sigma**2))
                            heatmaps[image, joint, row, column] = max(heatmaps[image, joint, row, column], value)
                for limb, (a, b) in enumerate(layout.limbs):
                    total, weights = np.zeros(2), 0.0
                    for person in range(people):
                        if not (visible[image, person, a] and visible[image, person, b]):
                            continue
                        start, end = points[image, person, a], points[image, person, b]
                        length = np.linalg.norm(end - start)
                        unit = (end - start) / length
                        nearest = start + unit * np.clip((pixel - start) @ unit, 0, length)
                        cells = np.linalg.norm(pixel - nearest) / STRIDE
                        weight = np.clip((width - cells) / edge + 0.5, 0, 1)
                        total, weights = total + weight * unit, weights + weight
                    pafs[image, 2 * limb : 2 * limb + 2, row, column] = total / max(1, weights)
    return heatmaps, pafs


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("edge", [1.0, 1e-6])
def test_equals_a_naive_loop(layout, edge, generator):
    points = random_points(layout, 2, 3, 8, generator).double()
    visible = torch.rand(points.shape[:-1], generator=generator) > 0.2
    drawn = draw(points, visible, layout, (8, 9), STRIDE, sigma=6.0, limb_width=1.2, limb_edge=edge)
    heatmaps, pafs = naive_draw(points.numpy(), visible.numpy(), layout, (8, 9), 6.0, 1.2, edge)
    np.testing.assert_allclose(drawn.heatmaps, heatmaps, atol=1e-12)
    np.testing.assert_allclose(drawn.pafs, pafs, atol=1e-6)


def test_shapes_values_and_types():
    points = torch.tensor([[[[35.5, 27.5]] * 15]], dtype=torch.float32)  # the centre of column 4, row 3
    points[..., 1, 0] += 4 * STRIDE
    heatmaps, pafs = draw(points, all_visible(points), MPOSE3D, (10, 12), STRIDE, limb_edge=1e-6)
    assert heatmaps.shape == (1, 15, 10, 12) and pafs.shape == (1, 28, 10, 12)
    assert heatmaps[0, 0, 3, 4] == 1
    assert heatmaps[0, 0, 3, 5] == pytest.approx(np.exp(-(8**2) / (2 * 7**2)))
    head_to_neck = pafs[0, :2]
    assert torch.equal(head_to_neck[:, 3, 4:9], torch.tensor([[1.0] * 5, [0.0] * 5]))
    assert not head_to_neck[:, 5].any() and not head_to_neck[:, 3, 10:].any()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = draw(points.bfloat16().float(), all_visible(points), MPOSE3D, (10, 12), STRIDE, limb_edge=1e-6)
    assert mixed.pafs.dtype == mixed.heatmaps.dtype == torch.float32
    torch.testing.assert_close(mixed.heatmaps, heatmaps)


def test_limbs_that_cross_the_picture_from_far_outside(generator):
    """Limbs are drawn in a box around them: one that is cut at every border, or misses the picture."""
    points = 500 * torch.randn(2, 4, 15, 2, generator=generator, dtype=torch.float64)
    points[0, 0] += 1e7  # nowhere near
    visible = all_visible(points)
    heatmaps, pafs = naive_draw(points.numpy(), visible.numpy(), MPOSE3D, (5, 7), 6.0, 1.2, 1.0)
    drawn = draw(points, visible, MPOSE3D, (5, 7), STRIDE, sigma=6.0, limb_width=1.2)
    np.testing.assert_allclose(drawn.heatmaps, heatmaps, atol=1e-12)
    np.testing.assert_allclose(drawn.pafs, pafs, atol=1e-9)
    assert pafs.any()


def test_unseen_joints_and_empty_images_draw_nothing():
    points = torch.full((2, 3, 15, 2), float("nan"))
    drawn = draw(points, torch.zeros(2, 3, 15, dtype=torch.bool), MPOSE3D, (8, 8))
    high = draw(points, torch.zeros(2, 3, 15, dtype=torch.bool), MPOSE3D, (8, 8), amplitude=torch.ones(2, 3, 15))
    nobody = draw(points[:, :0], torch.zeros(2, 0, 15, dtype=torch.bool), MPOSE3D, (8, 8))
    for maps in (*drawn, *high, *nobody):
        assert torch.equal(maps, torch.zeros_like(maps))
    assert nobody.pafs.shape == (2, 28, 8, 8)


def test_overlap_is_maximum_and_mean(generator):
    first, second = random_points(MPOSE3D, 1, 2, 8, generator).split(1, dim=1)
    both = torch.cat([first, second], dim=1)
    one, other, together = (draw(p, all_visible(p), MPOSE3D, (8, 8), limb_edge=1e-6) for p in (first, second, both))
    torch.testing.assert_close(together.heatmaps, torch.maximum(one.heatmaps, other.heatmaps))
    fields = torch.stack([one.pafs, other.pafs]).unflatten(2, (14, 2))
    count = fields.norm(dim=3, keepdim=True).round().sum(dim=0)
    assert count.max() == 2
    torch.testing.assert_close(together.pafs, (fields.sum(dim=0) / count.clamp_min(1)).flatten(1, 2))


def test_amplitude_and_sigma_per_joint(generator):
    points = random_points(COCO_18, 2, 1, 8, generator)
    amplitude = torch.rand(points.shape[:-1], generator=generator)
    plain = draw(points, all_visible(points), COCO_18, (8, 8))
    faint = draw(points, all_visible(points), COCO_18, (8, 8), amplitude=amplitude)
    torch.testing.assert_close(faint.heatmaps, plain.heatmaps * amplitude[:, 0, :, None, None])
    limbs = torch.tensor(COCO_18.limbs)
    lower = amplitude[:, 0][:, limbs].amin(dim=-1).repeat_interleave(2, dim=1)
    torch.testing.assert_close(faint.pafs, plain.pafs * lower[..., None, None])

    sigma = 4 + 6 * torch.rand(points.shape[:-1], generator=generator)
    wide = draw(points, all_visible(points), COCO_18, (8, 8), sigma=sigma)
    one = draw(points, all_visible(points), COCO_18, (8, 8), sigma=float(sigma[1, 0, 5]))
    torch.testing.assert_close(wide.heatmaps[1, 5], one.heatmaps[1, 5])


@given(seed=st.integers(0, 2**31), people=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_order_of_people_does_not_matter(seed, people):
    generator = torch.Generator().manual_seed(seed)
    points = random_points(MPI_15, 1, people, 10, generator)
    visible = torch.rand(points.shape[:-1], generator=generator) > 0.2
    order = torch.randperm(people, generator=generator)
    one = draw(points, visible, MPI_15, (10, 10))
    other = draw(points[:, order], visible[:, order], MPI_15, (10, 10))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_mirrored_people_draw_the_mirrored_maps(layout, generator):
    width = 9
    points = random_points(layout, 2, 2, width, generator)
    visible = torch.rand(points.shape[:-1], generator=generator) > 0.2
    mirror = list(layout.mirror)
    mirrored = (points * torch.tensor([-1, 1]) + torch.tensor([width * STRIDE - 1, 0]))[:, :, mirror]
    drawn = draw(points, visible, layout, (8, width))
    reflected = draw(mirrored, visible[:, :, mirror], layout, (8, width))
    torch.testing.assert_close(reflected.heatmaps, drawn.heatmaps[:, mirror].flip(-1))
    limb_mirror = [layout.limbs.index((mirror[a], mirror[b])) for a, b in layout.limbs]
    fields = drawn.pafs.unflatten(1, (-1, 2))[:, limb_mirror].flip(-1) * torch.tensor([-1, 1])[:, None, None]
    torch.testing.assert_close(reflected.pafs, fields.flatten(1, 2), atol=1e-5, rtol=1e-5)


def test_gradcheck(generator):
    points = random_points(MPOSE3D, 1, 2, 5, generator).double().requires_grad_()
    visible = torch.rand(1, 2, 15, generator=generator) > 0.2
    amplitude = torch.rand(1, 2, 15, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p: tuple(draw(p, visible, MPOSE3D, (5, 5), amplitude=amplitude)), points, fast_mode=True
    )


def test_limb_of_no_length_is_finite():
    points = torch.full((1, 1, 15, 2), 20.0, requires_grad=True)
    heatmaps, pafs = draw(points, all_visible(points), MPOSE3D, (6, 6))
    assert torch.equal(pafs, torch.zeros_like(pafs))
    ((heatmaps**2).sum() + pafs.square().sum() + pafs.sum()).backward()
    assert points.grad.isfinite().all()


def test_gradient_moves_a_limb_sideways():
    start = torch.tensor([[30.0, 10.0], [30.0, 60.0]])
    points = torch.zeros(1, 1, 15, 2)
    points[0, 0, :2] = start
    visible = torch.zeros(1, 1, 15, dtype=torch.bool)
    visible[..., :2] = True
    target = draw(points + torch.tensor([6.0, 0.0]), visible, MPOSE3D, (10, 10)).pafs
    points.requires_grad_()
    (draw(points, visible, MPOSE3D, (10, 10)).pafs - target).square().sum().backward()
    assert (points.grad[0, 0, :2, 0] < 0).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_supplied_channels_in_order(layout, generator):
    points = random_points(layout, 1, 2, 6, generator)
    drawn = draw(points, all_visible(points), layout, (6, 6))
    supplied = torch.cat(select_supplied(drawn, layout), dim=1)
    assert supplied.shape[1] == layout.supplied_channels
    joints = len(layout.supplied_joints)
    for channel, joint in enumerate(layout.supplied_joints):
        assert torch.equal(supplied[:, channel], drawn.heatmaps[:, joint])
    for place, limb in enumerate(layout.supplied_limbs):
        channel = joints + 2 * place
        assert torch.equal(supplied[:, channel : channel + 2], drawn.pafs[:, 2 * limb : 2 * limb + 2])


def assert_recovers(points: Tensor, visible: Tensor, layout: Layout, size: int) -> None:
    """Everyone drawn is found once, with the same joints, each within one cell (and 1 px on average)."""
    found = parse(draw(points[None], visible[None], layout, (size, size), STRIDE), layout, STRIDE)
    assert int(found.valid.sum()) == len(points)
    for truth, seen in zip(points, visible, strict=True):
        offset = (found.points[0] - truth).norm(dim=-1)
        person = torch.where(found.visible[0] & seen, offset, torch.inf).amin(dim=-1).argmin()
        assert torch.equal(found.visible[0, person], seen)
        assert offset[person][seen].max() < STRIDE
        assert offset[person][seen].mean() < 1.5


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@given(seed=st.integers(0, 2**31), people=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_drawn_people_are_recovered(layout, seed, people):
    points = figures(layout, people, seed)
    assert_recovers(points, all_visible(points), layout, 46)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_missing_joints_stay_missing(layout):
    points = figures(layout, 4, seed=3)
    visible = all_visible(points)
    for person, name in enumerate(["r_wrist", "l_ankle", "r_knee", "l_elbow"]):
        visible[person, layout.index(name)] = False
        for far in {"r_knee": ["r_ankle"], "l_elbow": ["l_wrist"]}.get(name, []):
            visible[person, layout.index(far)] = False
    assert_recovers(points, visible, layout, 46)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_crowd_of_twenty(layout):
    points = figures(layout, 20, seed=1, size=120)
    assert_recovers(points, all_visible(points), layout, 120)


def test_batch_is_padded_and_best_person_comes_first():
    sizes = [0, 1, 3]
    points = torch.zeros(3, 3, 15, 2)
    visible = torch.zeros(3, 3, 15, dtype=torch.bool)
    for image, people in enumerate(sizes):
        points[image, :people] = figures(MPOSE3D, people, seed=image) if people else 0
        visible[image, :people] = True
    visible[2, 0, 10] = False
    found = parse(draw(points, visible, MPOSE3D, (46, 46)), MPOSE3D)
    assert found.valid.sum(dim=1).tolist() == sizes
    assert found.points.shape == (3, 3, 15, 2)
    assert not found.points[~found.visible].any() and not found.scores[~found.visible].any()
    assert found.visible[2].sum(dim=-1).tolist() == [15, 15, 14]


def test_empty_maps_have_no_people():
    empty = HMPAF(torch.zeros(2, 15, 28, 28), torch.zeros(2, 28, 28, 28))
    found = parse(empty, MPOSE3D)
    assert found.points.shape == (2, 0, 15, 2) and found.valid.shape == (2, 0)
    assert parse(HMPAF(empty.heatmaps + 1, empty.pafs), MPOSE3D).valid.shape == (2, 0)


@given(layout=st.sampled_from(LAYOUTS), people=st.integers(0, 3), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_a_batch_of_no_images_is_drawn_and_parsed(layout, people, height, width):
    joints, limbs = len(layout), len(layout.limbs)
    points = torch.zeros(0, people, joints, 2)
    maps = draw(points, all_visible(points), layout, (height, width))
    assert maps.heatmaps.shape == (0, joints, height, width) and maps.pafs.shape == (0, 2 * limbs, height, width)
    assert torch.cat(select_supplied(maps, layout), 1).shape == (0, layout.supplied_channels, height, width)
    cells, heights = peaks(maps.heatmaps, 0.1, 4)
    assert cells.shape == (0, joints, 1, 2) and heights.shape == (0, joints, 1)
    assert limb_integrals(maps.pafs, cells, heights > 0, layout, 0.05, 0.8).shape == (0, limbs, 1, 1)
    found = parse(maps, layout)
    assert found.points.shape == (0, 0, joints, 2) and found.scores.shape == found.visible.shape == (0, 0, joints)
    assert found.valid.shape == (0, 0)


def test_what_parse_is_asked_for(monkeypatch):
    """Faint, broken and partial people come or stay away as its constants say."""
    points = figures(MPOSE3D, 5, seed=0)[None]
    visible = all_visible(points)
    visible[0, 0, 4:] = False  # four joints, and three limbs between them
    visible[0, 3, 3:] = False
    amplitude = torch.ones_like(points[..., 0])
    amplitude[0, 1], amplitude[0, 4] = 0.15, 0.3
    maps = draw(points, visible, MPOSE3D, (46, 46), amplitude=amplitude)
    head = [points[0, p, 0] for p in range(5)]

    def found(threshold: float = 0.1, **constants) -> list[bool]:
        with monkeypatch.context() as changed:
            for name, value in constants.items():
                changed.setattr(hmpaf, name, value)
            people = parse(maps, MPOSE3D, threshold=threshold)
        near = (people.points[:, :, None, 0] - torch.stack(head)).norm(dim=-1) < STRIDE
        return (near & people.visible[..., :1]).any(1)[0].tolist()

    assert found() == [True, False, True, False, True]
    assert found(_LEAST_HEIGHT=0.1) == [True, True, True, False, True]
    assert found(_LEAST_HEIGHT=0.1, threshold=0.2) == [True, False, True, False, True]
    assert found(_FEWEST_JOINTS=5) == [False, False, True, False, True]
    assert found(LEAST_FIELD=0.999) == [False] * 5
    monkeypatch.setattr(hmpaf, "_ENLARGED", 1)
    exact = parse(maps, MPOSE3D)
    off = (exact.points[0, 0] - points[0, 2])[exact.visible[0, 0]]
    assert off.abs().max() < 0.01  # of Gaussians as they were drawn


def test_of_two_peaks_on_one_limb_the_higher_is_the_joint():
    points = figures(MPOSE3D, 1, seed=0)
    maps = draw(points[None], all_visible(points[None]), MPOSE3D, (46, 46))
    elbow, wrist = (MPOSE3D.names.index(name) for name in ("l_elbow", "l_wrist"))
    nearer = points.clone()
    nearer[:, wrist] = points[:, [elbow, wrist]].mean(1)  # the field from the elbow to it is better than to the wrist
    heatmaps = maps.heatmaps.clone()
    lower = 0.4 * draw(nearer[None], all_visible(points[None]), MPOSE3D, (46, 46)).heatmaps
    heatmaps[:, wrist] = torch.maximum(heatmaps[:, wrist], lower[:, wrist])
    found = parse(HMPAF(heatmaps, maps.pafs), MPOSE3D)
    torch.testing.assert_close(found.points[0, 0, wrist], points[0, wrist], rtol=0, atol=STRIDE / 2)


def test_peaks_of_gaussians_are_exact_and_stay_on_the_map(generator, monkeypatch):
    monkeypatch.setattr(hmpaf, "_ENLARGED", 1)
    places = 1 + 10 * torch.rand(1, 5, 2, generator=generator)
    places[0, :2] = torch.tensor([[-0.4, 5.2], [6.3, 11.4]])  # beyond the first column, and the last row
    x, y = (torch.exp(-((torch.arange(12) - places[..., axis, None]) ** 2) / 2) for axis in (0, 1))
    cells, heights = peaks(y[..., :, None] * x[..., None, :], 0.1, 4)
    assert (heights > 0).sum(-1).tolist() == [[1] * 5]
    torch.testing.assert_close(cells[0, 2:, 0], places[0, 2:], atol=1e-4, rtol=0)
    torch.testing.assert_close(cells[0, :2, 0], torch.tensor([[0.0, 5.2], [6.3, 11.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("place", [5.0, 5.25, 5.5, 5.75])
def test_peaks_two_cells_apart_are_two(place):
    points = torch.zeros(1, 2, 15, 2)
    points[0, :, 0] = ((torch.tensor([[place, 5.0], [place + 2, 5.0]])) + 0.5) * STRIDE - 0.5
    heatmaps = draw(points, all_visible(points), MPOSE3D, (12, 16), STRIDE).heatmaps
    assert (peaks(heatmaps[:, :1], 0.1, 4)[1] > 0).sum() == 2


def test_a_plateau_is_one_peak():
    points = figures(MPOSE3D, 1, seed=0)
    points = (points / STRIDE).round() * STRIDE - 0.5  # on the corners of cells: four equal maxima
    assert_recovers(points, all_visible(points), MPOSE3D, 46)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 2), (46, 31)])
def test_largest_near_is_max_pooling(size, generator):
    maps = torch.randint(0, 9, (2, 3, *size), generator=generator).float()  # with plateaus
    expected = functional.max_pool2d(maps, 3, stride=1, padding=1)
    assert torch.equal(_largest_near(_largest_near(maps, -1), -2), expected)


def naive_integral(field: Tensor, first: Tensor, second: Tensor, samples: int) -> list[float]:
    """Field (2, h, w) along the line between two cells, each sample by four weighted neighbours."""
    unit = (second - first) / (second - first).norm().clamp_min(1e-6)
    along = []
    for step in torch.linspace(0, 1, samples):
        x, y = (first + step * (second - first)).tolist()
        x, y = min(max(x, 0), field.shape[2] - 1), min(max(y, 0), field.shape[1] - 1)
        value = torch.zeros(2)
        for row, height in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
            for column, width in ((math.floor(x), 1 - x % 1), (math.floor(x) + 1, x % 1)):
                if height * width:
                    value += height * width * field[:, row, column]
        along.append(float(value @ unit))
    return along


def test_limb_integrals_equal_a_naive_loop(generator):
    layout, size, peaks = MPOSE3D, (12, 17), 3
    pafs = torch.randn(2, 2 * len(layout.limbs), *size, generator=generator)
    pafs = functional.avg_pool2d(pafs + 0.3, 3, stride=1, padding=1)  # smooth enough for some limbs to agree
    cells = torch.rand(2, len(layout), peaks, 2, generator=generator) * torch.tensor([17.0, 12.0]) - 0.5
    exists = torch.rand(2, len(layout), peaks, generator=generator) < 0.8
    found = limb_integrals(pafs, cells, exists, layout, threshold=0.05, agreement=0.6)
    expected = torch.zeros_like(found)
    for image, limb, i, k in itertools.product(range(2), range(len(layout.limbs)), range(peaks), range(peaks)):
        a, b = layout.limbs[limb]
        if exists[image, a, i] and exists[image, b, k]:
            along = naive_integral(pafs[image, 2 * limb : 2 * limb + 2], cells[image, a, i], cells[image, b, k], 10)
            if sum(value > 0.05 for value in along) >= 6:
                expected[image, limb, i, k] = max(0, sum(along) / len(along))
    assert 0 < (expected > 0).float().mean() < 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_weak_limb_between_two_whole_people_joins_nobody():
    """The one's neck and the other's shoulder: each person's own are not joined but by the ear."""
    joins = np.tile(np.eye(2), (len(COCO_18.limbs), 1, 1))
    joins[COCO_18.limbs.index((COCO_18.index("neck"), COCO_18.index("r_shoulder")))] = [[0, 0.1], [0, 0]]
    people = _group(joins, np.ones((18, 2)), COCO_18)
    assert sorted(people, key=lambda person: person[0]) == [dict.fromkeys(range(18), peak) for peak in (0, 1)]


def test_half_a_field_is_no_limb():
    points = figures(MPOSE3D, 1, seed=0)[None]
    heatmaps, pafs = draw(points, all_visible(points), MPOSE3D, (46, 46), STRIDE)
    elbow, wrist = MPOSE3D.index("l_elbow"), MPOSE3D.index("l_wrist")
    below = (points[0, 0, [elbow, wrist], 1].mean() / STRIDE).round().long()
    limb = MPOSE3D.limbs.index((elbow, wrist))
    pafs[:, 2 * limb : 2 * limb + 2, below:] = 0
    assert parse(HMPAF(heatmaps, pafs), MPOSE3D).visible[0, 0].logical_not().nonzero().flatten().tolist() == [wrist]


def test_memory_layout_does_not_matter():
    """Teachers that are tuned give maps with their channels last, of which the background is cut off."""
    points = figures(COCO_18, 5, seed=1)[None]
    maps = draw(points, all_visible(points), COCO_18, (46, 46))
    padded = functional.pad(maps.heatmaps, (0, 0, 0, 0, 0, 1)).contiguous(memory_format=torch.channels_last)
    last = HMPAF(padded[:, :18], maps.pafs.contiguous(memory_format=torch.channels_last))
    assert all(torch.equal(a, b) for a, b in zip(parse(maps, COCO_18), parse(last, COCO_18), strict=True))


def test_misfits_are_refused():
    maps = HMPAF(torch.zeros(1, 15, 8, 8), torch.zeros(1, 28, 8, 8))
    with pytest.raises(ValueError, match="18 heatmaps and 38 PAF channels, got 15 and 28"):
        parse(maps, COCO_18)
    with pytest.raises(ValueError, match="'coco17' has no limbs"):
        parse(maps, COCO_17)
    with pytest.raises(ValueError, match="NaN"):
        parse(HMPAF(maps.heatmaps + torch.nan, maps.pafs), MPOSE3D)
    maps.pafs[0, 27, 7, 7] = -torch.inf
    with pytest.raises(ValueError, match="infinity"):
        parse(maps, MPOSE3D)
    maps = HMPAF(maps.heatmaps, torch.zeros(1, 28, 8, 8))
    with pytest.raises(ValueError, match="needs points"):
        draw(torch.zeros(1, 1, 15, 2), torch.ones(1, 1, 15, dtype=torch.bool), COCO_18, (8, 8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu():
    points = figures(COCO_18, 4, seed=0)[None]
    visible = all_visible(points)
    on_cpu = draw(points, visible, COCO_18, (46, 46))
    on_gpu = draw(points.cuda(), visible.cuda(), COCO_18, (46, 46))
    torch.testing.assert_close(tuple(m.cpu() for m in on_gpu), tuple(on_cpu), atol=1e-5, rtol=1e-4)
    found = parse(on_gpu, COCO_18)
    assert found.points.is_cuda
    torch.testing.assert_close(found.points.cpu(), parse(on_cpu, COCO_18).points, atol=1e-2, rtol=0)
