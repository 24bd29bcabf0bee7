from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mpose3d.geometry import constants
from mpose3d.geometry.constants import constant, like, take


def test_made_once_for_each_device_and_type():
    one = like((0.1, 0.2), torch.zeros(1))
    assert like((0.1, 0.2), torch.ones(3)) is one
    wide = like((0.1, 0.2), torch.zeros(1, dtype=torch.float64))
    assert wide.dtype == torch.float64 and wide[0].item() == 0.1
    assert constant((1, 0), torch.device("meta")).is_meta
    # 1 and 1.0 are the same key to Python
    assert constant((1, 0), one.device).dtype == torch.long


def test_rows_are_taken_in_order():
    x = torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(take(x, (2, 0, 2)), x[:, [2, 0, 2]])


def test_made_in_inference_mode_and_trained_with_later():
    with torch.inference_mode():
        like((7.25, 3.5), torch.zeros(1))
        constant((1, 1, 0), torch.device("cpu"))
    x = torch.ones(3, 2, requires_grad=True)
    (take(x, (1, 1, 0)) * like((7.25, 3.5), x)).sum().backward()
    assert x.grad.tolist() == [[7.25, 3.5], [14.5, 7.0], [0, 0]]


def test_a_tracer_leaves_nothing_behind():
    class Sum(torch.nn.Module):
        def forward(self, x):
            return x * like((123.5, 4.5), x)

    program = torch.export.export(Sum(), (torch.ones(2),))
    assert type(like((123.5, 4.5), torch.ones(2))) is torch.Tensor
    assert program.module()(torch.ones(2)).tolist() == [123.5, 4.5]
    with FakeTensorMode():
        assert type(torch.ones(2) * like((321.5, 4.5), torch.ones(2))) is FakeTensor
    assert like((321.5, 4.5), torch.ones(2)).tolist() == [321.5, 4.5]
    traced = torch.jit.trace(Sum(), torch.ones(2))
    assert traced(torch.ones(2)).tolist() == [123.5, 4.5]


def test_no_more_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(constants, "_KEPT", {})
    monkeypatch.setattr(constants, "_MOST", 2)
    made = [constants.constant((n, n + 1), torch.device("cpu")) for n in (0, 1, 2, 0, 2)]
    assert [row.tolist() for row in made] == [[0, 1], [1, 2], [2, 3], [0, 1], [2, 3]]
    assert len(constants._KEPT) == 2 and made[3] is made[0]
