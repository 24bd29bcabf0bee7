"""Fused networks give the numbers of the networks that they come from."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.fuse import fused
from mpose3d.networks.teacher import LightweightOpenPose, MobilenetThin, Normalise, OpenPose, SmallTeacher, Teacher

TEACHERS = {
    "lightweight": LightweightOpenPose,
    "mobilenet_thin": MobilenetThin,
    "openpose": OpenPose,
    "small": lambda: SmallTeacher(width=16),
}


def build(name: str) -> Teacher:
    """Random weights and statistics, as if it had been trained."""
    torch.manual_seed(0)
    teacher = TEACHERS[name]().eval()
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.Conv2d):  # so that a signal comes through to the end
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return teacher


@pytest.mark.parametrize("name", TEACHERS)
@torch.inference_mode()
def test_teachers_equal_to_rounding(name):
    """To 1e-5 of the largest value; at the borders too, where the first convolution pads."""
    teacher = build(name)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    image = torch.rand(2, 3, 48, 64)
    expected = (teacher.encode(image), *teacher(image))
    fast = fused(teacher)
    for ours, theirs in zip((fast.encode(image), *fast(image)), expected, strict=True):
        assert theirs.std() > 0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())
    # the teacher itself is as it was
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("name", TEACHERS)
def test_nothing_is_left_to_fold(name):
    fast = fused(build(name))
    assert not [module for module in fast.modules() if isinstance(module, nn.BatchNorm2d)]
    normalise = fast.normalise
    assert (normalise.scale, normalise.offset, normalise.bgr) == (1, 0, False)
    scaling = [m for m in fast.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and m.kernel_size == (1, 1)]
    assert not scaling
    wide = [m for m in fast.modules() if isinstance(m, nn.Conv2d) and min(m.weight.shape[1:]) > 1]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in wide)


def test_folding_costs_no_multiplication():
    teacher = build("mobilenet_thin")
    counts = []
    for network in (teacher, fused(teacher)):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(torch.rand(1, 3, 64, 64))
        counts.append(counter.get_total_flops())
    assert counts[1] < counts[0]


@pytest.mark.parametrize("padding", [0, (1, 2)])
def test_a_normalisation_folds_exactly(padding):
    """In float64, where rounding cannot hide a mistake."""
    torch.manual_seed(0)
    normalise = Normalise(scale=0.7, offset=-0.3, bgr=True)
    convolution = nn.Conv2d(3, 4, 3, stride=2, padding=padding, bias=False).double()
    image = torch.rand(1, 3, 9, 11, dtype=torch.float64)
    folded = normalise.folded(convolution)
    torch.testing.assert_close(folded(image), convolution(normalise(image)), rtol=0, atol=1e-14)


@torch.inference_mode()
def test_the_cross_modal_network_is_equal():
    torch.manual_seed(0)
    network = CrossModalNetwork("mpose3d", v_channels=8, stride=4, input_size=64, g_width=8, h_width=16).eval()
    nn.init.constant_(network.h.root.bias[0], 5.0)
    v = torch.rand(2, 8, 16, 16)
    roots, people = network(v, 9, 0.3)
    fast_roots, fast_people = fused(network)(v, 9, 0.3)
    assert roots.valid.any() and torch.equal(roots.valid, fast_roots.valid)
    torch.testing.assert_close(fast_people.joints, people.joints, rtol=0, atol=0.5)  # mm, at up to 20 m
    torch.testing.assert_close(fast_people.joints_px, people.joints_px, rtol=0, atol=1e-2)
