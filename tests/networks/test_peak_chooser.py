"""The chooser: candidates of one person among a crowd's, people that do not depend on each other, learning to undo."""

from __future__ import annotations

import pytest
import torch

from mpose3d import losses
from mpose3d.geometry.extent import spread
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.representations.hmpaf import HMPAF, People2D, draw, parse
from mpose3d.skeleton import LAYOUTS

LAYOUT, STRIDE = LAYOUTS["mpose3d"], 4


def maps_of(points: torch.Tensor) -> HMPAF:
    return draw(points, torch.ones(points.shape[:3], dtype=torch.bool), LAYOUT, (40, 40), STRIDE)


@pytest.fixture
def points() -> torch.Tensor:
    """(2, 3, 15, 2) px: three people in each of two images, apart from one another."""
    generator = torch.Generator().manual_seed(0)
    middle = torch.tensor([[30.0, 40.0], [80.0, 90.0], [120.0, 40.0]])
    return middle[:, None] + 35 * torch.rand(2, 3, 15, 2, generator=generator) - 17


@pytest.fixture
def found(points) -> People2D:
    """The people as they are, but for a place at the end that holds nobody."""
    points = torch.cat([points, torch.zeros_like(points[:, :1])], dim=1)
    visible = torch.ones(points.shape[:3], dtype=torch.bool)
    visible[:, -1] = False
    return People2D(points, visible.float(), visible, visible.any(-1))


@pytest.fixture
def chooser() -> PeakChooser:
    torch.manual_seed(0)
    return PeakChooser(width=32, blocks=1).eval()


def test_every_joint_finds_its_peak_among_the_candidates(points, chooser):
    maps = maps_of(points)
    people = parse(maps, LAYOUT, STRIDE)
    scores, places, heights = chooser(maps, people, STRIDE)
    assert scores.shape == heights.shape == (int(people.valid.sum()), 15, 5) and places.shape[-2:] == (5, 2)
    off = (places[:, :, :-1] - people.points[people.valid][:, :, None]).norm(dim=-1).amin(-1)
    assert off[people.visible[people.valid]].max() < 0.1
    # a peak that does not exist cannot be chosen, an estimate always can
    assert ((heights[..., :-1] == 0) == scores[..., :-1].isinf()).all() and scores[..., -1].isfinite().all()


def test_in_a_crowd_the_peak_that_was_taken_is_kept(points):
    """One candidate a joint, among three people's."""
    chooser, maps = PeakChooser(width=32, blocks=1, peaks=1).eval(), maps_of(points)
    people = parse(maps, LAYOUT, STRIDE)
    places = chooser(maps, people, STRIDE).places_px[:, :, 0]
    seen = people.visible[people.valid]
    torch.testing.assert_close(places[seen], people.points[people.valid][seen], atol=1e-3, rtol=0)


@torch.no_grad()
def test_peaks_are_seen_with_the_maps_at_their_places_and_in_sizes_of_the_person(points, found, chooser):
    cells = ((found.points + 0.5) / STRIDE).round()
    found = found._replace(points=(cells + 0.5) * STRIDE - 0.5)  # in the middle of cells
    maps, seen = maps_of(found.points[:, :3]), {}
    for name in ("read_maps", "read_peak"):
        getattr(chooser, name).register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    places = chooser(maps, found, STRIDE).places_px[:, :, :-1]
    image, person = found.valid.nonzero(as_tuple=True)
    middle, size = spread(found.points[image, person])
    offset, _, taken = seen["read_peak"].split([2, 1, 1], dim=-1)
    own = taken[..., 0] == 1
    torch.testing.assert_close(offset[own], ((places - middle[:, None, None]) / size[:, None, None, None])[own])
    x, y = cells[image, person].long().unbind(-1)
    expected = torch.cat(maps, dim=1)[image[:, None], :, y, x]  # (n, J, channels)
    assert own.sum(-1).max() == 1 and own.any(-1).float().mean() > 0.9
    torch.testing.assert_close(seen["read_maps"][own], expected[own.any(-1)], atol=0.02, rtol=0)


@torch.no_grad()
def test_peaks_of_people_far_away_are_no_candidates(chooser):
    body = 4 * torch.randn(15, 2, generator=torch.Generator().manual_seed(3))
    points = torch.stack([body + 30, body + torch.tensor([44.0, 30]), body + 120])[None]
    seen = torch.ones(1, 3, 15, dtype=torch.bool)
    heights = chooser(maps_of(points), People2D(points, seen.float(), seen, seen.all(-1)), STRIDE).heights
    candidates = (heights > 0).sum(-1).float().mean(-1)
    assert candidates[2] == 1 and (candidates[:2] > 1.5).all()


@torch.no_grad()
def test_of_a_single_joint_a_person_has_a_size(points, found, chooser):
    visible = found.visible.clone()
    visible[..., 1:] = False
    choice = chooser(maps_of(points), found._replace(visible=visible), STRIDE)
    assert choice.places_px.isfinite().all() and not choice.scores.isnan().any()


@torch.no_grad()
def test_estimates_are_in_sizes_of_the_person_from_the_middle(points, found, chooser):
    chooser.estimate.weight.zero_()
    chooser.estimate.bias.copy_(torch.tensor([0.5, -1.0]))
    middle, size = spread(found.points[found.valid])
    expected = (middle + size[:, None] * torch.tensor([0.5, -1.0]))[:, None].expand(-1, 15, -1)
    torch.testing.assert_close(chooser(maps_of(points), found, STRIDE).places_px[:, :, -1], expected)


@torch.no_grad()
def test_room_for_more_peaks_than_there_are_changes_nothing(points, found, chooser):
    wide = PeakChooser(width=32, blocks=1, peaks=9).eval()
    wide.load_state_dict(chooser.state_dict())
    few, many = (each(maps_of(points), found, STRIDE).scores for each in (chooser, wide))
    assert many[..., 4:-1].isinf().all()
    torch.testing.assert_close(many[..., [0, 1, 2, 3, -1]], few)


def test_the_field_between_two_tokens_is_the_same_either_way(chooser):
    joins = torch.rand(2, len(LAYOUT.limbs), 4, 4, generator=torch.Generator().manual_seed(4))
    fields = chooser._fields(joins)
    assert torch.equal(fields, fields.mT)
    fields = fields.unflatten(2, (15, 5)).unflatten(1, (15, 5))  # joint, peak; joint, peak
    for limb, (a, b) in enumerate(LAYOUT.limbs):
        assert torch.equal(fields[:, a, :4, b, :4], joins[:, limb])
    assert fields.count_nonzero() == 2 * joins.numel()


@torch.no_grad()
def test_each_person_is_chosen_alone(points, found, chooser):
    """Whatever else the batch holds, in whatever order."""
    maps = maps_of(points)
    together = chooser(maps, found, STRIDE)
    backwards = People2D(*(part.flip(0).flip(1) for part in found))
    again = chooser(HMPAF(*(part.flip(0) for part in maps)), backwards, STRIDE)
    for one, other in zip(together, again, strict=True):
        torch.testing.assert_close(one, other.flip(0), atol=1e-4, rtol=1e-4)


def test_the_field_between_peaks_matters(points, found, chooser):
    maps = maps_of(points)
    turned = maps._replace(pafs=-maps.pafs)
    chooser.read_maps.weight.data.zero_()  # the maps at the peaks themselves aside
    scores = chooser(maps, found, STRIDE).scores
    assert not torch.allclose(scores, chooser(turned, found, STRIDE).scores)
    scores[scores.isfinite()].square().sum().backward()
    assert chooser.follow.grad.abs().min() > 0


def test_people_come_whole_and_an_estimate_has_no_height(points, found, chooser):
    maps = maps_of(points)
    people = chooser.people(maps, found, STRIDE)
    assert (people.visible == found.valid[..., None]).all() and (people.valid == found.valid).all()
    chooser.none.bias.data.fill_(1e3)
    estimated = chooser.people(maps, found, STRIDE)
    assert (estimated.scores == 0).all() and estimated.points.isfinite().all()
    assert people.scores[people.valid].max() > 0.9


def test_it_learns_to_give_joints_back(points, found):
    """Wrists exchanged between two people and a knee missing: the right peaks again, and a peak for the knee."""
    torch.manual_seed(0)
    r_wrist, l_wrist, knee = (LAYOUT.index(name) for name in ("r_wrist", "l_wrist", "r_knee"))
    wrists = [r_wrist, l_wrist]
    wrong, visible = found.points.clone(), found.visible.clone()
    wrong[:, 0, wrists], wrong[:, 1, wrists] = found.points[:, 1, wrists], found.points[:, 0, wrists]
    visible[:, :, knee] = False
    maps, given = maps_of(points), found._replace(points=wrong, visible=visible)
    truth, counted = found.points[found.valid], found.visible[found.valid]
    chooser = PeakChooser(width=32, blocks=1)
    optimizer = torch.optim.Adam(chooser.parameters(), 3e-3)
    size = spread(truth, counted)[1][:, None, None]
    for _ in range(120):
        choice = chooser(maps, given, STRIDE)
        off = (choice.places_px - truth[:, :, None]).norm(dim=-1) / size
        loss = losses.choice_error(choice.scores, off[..., :-1], 0.2, counted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    people = chooser.eval().people(maps, given, STRIDE)
    assert (people.points - found.points)[found.valid].norm(dim=-1).max() < 2


def test_nobody_is_an_answer(points, found, chooser):
    nobody = People2D(*(torch.zeros_like(part) for part in found))
    assert chooser(maps_of(points), nobody, STRIDE).scores.shape == (0, 15, 5)
    assert not chooser.people(maps_of(points), nobody, STRIDE).visible.any()
    chooser.train()(maps_of(points), nobody, STRIDE).scores.sum().backward()
    assert chooser.follow.grad is not None  # for which other processes wait


def test_maps_of_another_layout_are_refused(found, chooser):
    maps = HMPAF(torch.zeros(1, 18, 8, 8), torch.zeros(1, 38, 8, 8))
    with pytest.raises(ValueError, match="knows the 15 joints of 'mpose3d', not maps of 18"):
        chooser(maps, found, STRIDE)


@pytest.mark.parametrize("layout", ["coco", "coco17"])
def test_a_layout_that_has_no_maps_is_refused(layout):
    with pytest.raises(ValueError, match=f"'{layout}', known are mpose3d, "):
        PeakChooser(layout)


def test_a_file_gives_the_same_network(tmp_path, points, found, chooser):
    chooser.save(tmp_path / "network.safetensors")
    again = PeakChooser.from_file(tmp_path / "network.safetensors")
    torch.testing.assert_close(again(maps_of(points), found, STRIDE), chooser(maps_of(points), found, STRIDE))
