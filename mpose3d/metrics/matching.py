"""Assignment of predicted to annotated people in one picture, by their 2D joints."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mpose3d.geometry.extent import bounding_box

MATCH_LIMIT = 0.5
"""Largest mean joint distance of a match, in diagonals of the annotated person's box."""


def assign_people(
    annotated: Float[Tensor, "p J 2"],
    annotated_visible: Bool[Tensor, "p J"],
    predicted: Float[Tensor, "q J 2"],
    predicted_visible: Bool[Tensor, "q J"],
) -> Int[Tensor, " p"]:
    """Which prediction each annotated person takes, -1 for none.

    The assignment with the least sum of mean distances over the joints visible in both, relative to the diagonal of
    the annotated box (Hungarian algorithm); pairs beyond `MATCH_LIMIT`, or without a common joint, are no match. The
    order of the people changes nothing but ties.
    """
    matching = torch.full((len(annotated),), -1, dtype=torch.long)
    if len(annotated) == 0 or len(predicted) == 0:
        return matching
    common = annotated_visible[:, None] & predicted_visible[None]
    distance = (annotated[:, None] - predicted[None]).norm(dim=-1)
    mean = torch.where(common, distance, 0).sum(dim=-1) / common.sum(dim=-1)
    box = bounding_box(annotated, annotated_visible)
    cost = mean / (box[:, 2:] - box[:, :2]).norm(dim=-1, keepdim=True)
    cost = torch.where(cost <= MATCH_LIMIT, cost, 1e6)  # NaN, of pairs without a common joint, included
    people, taken = map(torch.as_tensor, linear_sum_assignment(cost.cpu().numpy()))
    kept = cost.cpu()[people, taken] <= MATCH_LIMIT
    matching[people[kept]] = taken[kept]
    return matching
