"""Assignment of people by their 2D joints."""

from __future__ import annotations

import torch

from mpose3d.metrics.matching import assign_people


def test_everyone_finds_their_own_in_any_order(generator: torch.Generator) -> None:
    people = 100 * torch.randn(5, 15, 2, generator=generator) + 400 * torch.arange(5)[:, None, None]
    order = torch.randperm(5, generator=generator)
    seen = torch.ones(5, 15, dtype=torch.bool)
    assert assign_people(people, seen, people[order] + 10, seen).tolist() == torch.argsort(order).tolist()


def test_the_whole_assignment_counts_not_who_comes_first() -> None:
    shape = 100 * torch.rand(15, 2)
    annotated = torch.stack([shape, shape + 10])
    predicted = torch.stack([shape + 9, shape - 12])
    seen = torch.ones(2, 15, dtype=torch.bool)
    # both are nearest to the first prediction, and only one may have it
    assert assign_people(annotated, seen, predicted, seen).tolist() == [1, 0]


def test_nobody_is_left_out_for_the_sake_of_a_closer_match() -> None:
    one = 100 * torch.rand(1, 15, 2)
    width = one[0].amax(0) - one[0].amin(0)
    annotated, predicted = (torch.cat([one + part * width for part in parts]) for parts in ((0, 0.45), (0.05, -0.4)))
    seen = torch.ones(2, 15, dtype=torch.bool)
    # the first two are nearest, and the others too far from one another
    assert assign_people(annotated, seen, predicted, seen).tolist() == [1, 0]


def test_far_away_unseen_or_nobody_is_no_match() -> None:
    person = 100 * torch.rand(1, 15, 2)
    seen = torch.ones(1, 15, dtype=torch.bool)
    diagonal = person[0].amax(0) - person[0].amin(0)
    for part, matching in ((0.48, [0]), (0.52, [-1]), (5, [-1])):
        assert assign_people(person, seen, person + part * diagonal, seen).tolist() == matching
    assert assign_people(person, seen, person, ~seen).tolist() == [-1]
    first = torch.arange(15)[None] < 7
    assert assign_people(person, first, person, ~first).tolist() == [-1]
    # the box is that of the joints seen, wherever the others are
    hidden = torch.cat([person[:, :7], person[:, 7:] + 1e4], dim=1)
    assert assign_people(hidden, first, hidden + 2 * diagonal, seen).tolist() == [-1]
    assert assign_people(person, seen, person[:0], seen[:0]).tolist() == [-1]
    assert assign_people(person[:0], seen[:0], person, seen).tolist() == []
