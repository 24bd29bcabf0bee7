"""Orthogonal parts and shortest turns, also where there is none or more than one."""

from __future__ import annotations

import pytest
import roma
import torch
from torch.nn.functional import normalize

from mpose3d.geometry.directions import orthogonal, turned

AXES = torch.cat([torch.eye(3), -torch.eye(3)]).double()


def units(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_orthogonal_part(generator):
    v, unit = units(generator, 2, 50)
    u = orthogonal(v, unit)
    torch.testing.assert_close(u, normalize(torch.linalg.cross(unit, torch.linalg.cross(v, unit)), dim=-1))
    # in the same half of their plane as v
    assert ((u * v).sum(-1) > 0).all()


@pytest.mark.parametrize("length", [1.0, 0.0, -1.0])
def test_without_an_orthogonal_part_it_is_that_of_another_vector(generator, length):
    unit, other = (torch.cat([some, AXES]) for some in units(generator, 2, 50))
    other = other.roll(1, 0)
    v = (length * unit).requires_grad_()
    torch.testing.assert_close(orthogonal(v, unit, other), orthogonal(other, unit))
    u = orthogonal(v, unit)
    torch.testing.assert_close((u * unit).sum(-1), torch.zeros_like(u[:, 0]))
    torch.testing.assert_close(u.norm(dim=-1), torch.ones_like(u[:, 0]))
    (gradient,) = torch.autograd.grad(u.sum(), v)
    assert gradient.isfinite().all()


def test_the_turn_is_the_smallest_rotation(generator):
    start, end, vector = units(generator, 3, 50)
    axis = torch.linalg.cross(start, end)
    angle = torch.atan2(axis.norm(dim=-1), (start * end).sum(-1))
    rotation = roma.rotvec_to_rotmat(normalize(axis, dim=-1) * angle[:, None])
    torch.testing.assert_close(turned(vector, start, end), (rotation @ vector[..., None]).squeeze(-1))
    torch.testing.assert_close(turned(start, start, end), end)


def test_from_a_direction_to_itself_nothing_turns(generator):
    start, vector = units(generator, 2, 50)
    torch.testing.assert_close(turned(vector, start, start), vector)


@pytest.mark.parametrize("off", [0.0, 1e-8, 1e-4, 2e-3, 0.1])
def test_to_the_opposite_it_is_a_half_turn(generator, off):
    start = torch.cat([units(generator, 50), AXES]).float().requires_grad_()
    end = normalize(off * units(generator, 56).float() - start.detach(), dim=-1)
    rotation = turned(torch.eye(3), start[:, None], end[:, None]).mT
    torch.testing.assert_close((rotation @ start[..., None]).squeeze(-1), end, atol=1e-3, rtol=0)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(56, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation.det(), torch.ones(56))
    (gradient,) = torch.autograd.grad(rotation.sum(), start)
    assert gradient.isfinite().all()
