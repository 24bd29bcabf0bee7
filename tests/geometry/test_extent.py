"""Boxes, middles and sizes of those points that count, whatever the others hold."""

from __future__ import annotations

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from mpose3d.geometry.extent import bounding_box, box_intersection, in_box, one_in_other, spread

POINTS = torch.tensor([[1.0, 5.0], [3.0, 2.0], [torch.nan, 9.0]])
SEEN = torch.tensor([True, True, False])


def test_boxes_are_of_the_visible_points():
    assert bounding_box(POINTS, SEEN).tolist() == [1, 2, 3, 5]
    assert torch.equal(bounding_box(POINTS[:2]), bounding_box(POINTS, SEEN))
    assert bounding_box(POINTS, ~SEEN).isnan().any() and bounding_box(POINTS, SEEN & False).isnan().all()


def test_the_area_that_boxes_share():
    box = torch.tensor([0.0, 0, 2, 2])
    assert box_intersection(box, box) == 4
    assert box_intersection(box, box + 1) == 1 and box_intersection(box, box + 5) == 0


def test_a_small_box_lies_in_a_large_one_and_the_other_way_round():
    large, small = torch.tensor([0.0, 0, 9, 9]), torch.tensor([8.0, 0, 10, 2])
    boxes = torch.stack([large, small, small - 0.1, large + 5, torch.full((4,), torch.nan)])
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[range(4), range(4)] = True
    # exactly half of the small box is not most of it; moved a little to the left, it is
    expected[0, 2] = expected[2, 0] = expected[1, 2] = expected[2, 1] = True
    assert torch.equal(one_in_other(boxes[:, None], boxes), expected)


def test_the_spread_is_that_of_the_visible_points():
    middle, size = spread(POINTS, SEEN)
    assert middle.tolist() == [2, 3.5] and size.item() == pytest.approx((1 + 1.5**2) ** 0.5)
    torch.testing.assert_close(spread(POINTS[:2]), (middle, size))
    assert [part.abs().max().item() for part in spread(POINTS, SEEN & False)] == [0, 0]
    point = torch.ones(15, 2, requires_grad=True)
    size = spread(point)[1]
    assert size == 0 and not torch.autograd.grad(size, point)[0].any()


def test_the_spread_moves_and_grows_with_the_points(generator):
    points, seen = torch.randn(2, 7, 15, 2, generator=generator), torch.rand(2, 7, 15, generator=generator) < 0.7
    middle, size = jaxtyped(typechecker=beartype)(spread)(points, seen)
    moved, grown = spread(3 * points + 10, seen)
    torch.testing.assert_close(moved, 3 * middle + 10)
    torch.testing.assert_close(grown, 3 * size)


def test_points_within_a_box():
    box = torch.tensor([[0.0, 1.0, 4.0, 3.0], [torch.nan] * 4])
    points = torch.tensor([[2.0, 2.0], [2.0, 3.5], [-1.0, 2.0], [torch.nan, 2.0]])
    assert in_box(points, box[:, None]).tolist() == [[True, False, False, False], [False] * 4]
