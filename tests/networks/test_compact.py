"""The compact trunk: the same v from fewer multiplications."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mpose3d import assets
from mpose3d.losses import relative_error
from mpose3d.networks.fuse import fused
from mpose3d.networks.teacher import (
    CompactTeacher,
    CompactTrunk,
    LightweightOpenPose,
    MobilenetThin,
    OpenPose,
    SmallTeacher,
    Teacher,
)

TEACHERS = {
    "lightweight": LightweightOpenPose,
    "mobilenet_thin": MobilenetThin,
    "openpose": lambda: OpenPose(cut="trunk"),
    "small": SmallTeacher,
}


def build(name: str = "lightweight") -> Teacher:
    torch.manual_seed(0)
    teacher = TEACHERS[name]().eval()
    for module in teacher.modules():
        if isinstance(module, nn.Conv2d):  # so that a signal comes through to the end
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return teacher


@pytest.mark.parametrize("name", TEACHERS)
def test_the_trunk_gives_the_same_shape_from_fewer_multiplications(name):
    teacher = build(name)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    trunk, image = CompactTrunk(teacher, rank=16), torch.rand(2, 3, 64, 48)
    flops = []
    for encode in (teacher.encode, trunk):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            v = encode(image)
        flops.append(counter.get_total_flops())
    assert v.shape == (2, teacher.v_channels, 64 // teacher.stride, 48 // teacher.stride)
    assert flops[1] < 0.7 * flops[0]
    # F is not in it, and the teacher is as it was
    assert sum(p.numel() for p in trunk.parameters()) < sum(p.numel() for p in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_with_every_component_nothing_is_lost(monkeypatch):
    def layers_of_128(layer, rank):
        return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.out_channels == 128

    monkeypatch.setattr("mpose3d.networks.teacher.compact._is_costly", layers_of_128)
    teacher, image = build(), torch.rand(1, 3, 48, 48)
    trunk = CompactTrunk(teacher, rank=128)
    assert len(trunk.split) == 8
    torch.testing.assert_close(trunk(image), teacher.encode(image), rtol=1e-3, atol=1e-4)
    trunk.start_from(teacher, [image])
    torch.testing.assert_close(trunk(image), teacher.encode(image), rtol=1e-3, atol=1e-4)


def test_pictures_make_a_better_start_than_none():
    teacher = build("small")
    images = torch.rand(4, 3, 64, 64)
    trunk = CompactTrunk(teacher, rank=16)
    with torch.no_grad():
        target = teacher.encode(images)
        blind = relative_error(trunk(images), target)
        trunk.start_from(teacher, images.split(2))
        assert relative_error(trunk(images), target) < 0.7 * blind


def test_saved_and_loaded_it_is_a_teacher_of_equal_output(tmp_path):
    teacher, image = build(), torch.rand(1, 3, 64, 64)
    trunk = CompactTrunk(teacher, rank=16)
    trunk.save(tmp_path / "network.safetensors")
    compact = CompactTeacher(teacher, str(tmp_path / "network.safetensors")).eval()
    assert not list(compact.teacher.encoder.parameters()) and list(teacher.encoder.parameters())  # E is the trunk's
    with torch.no_grad():
        v = compact.encode(image)
        assert torch.equal(v, trunk(image)) and not torch.equal(v, teacher.encode(image))
        for ours, theirs in zip(compact(image), teacher.decode(v), strict=True):
            assert torch.equal(ours, theirs)
        fast = fused(compact)
        torch.testing.assert_close(fast.encode(image), v, rtol=0, atol=1e-5 * v.abs().max().item())


@pytest.mark.parametrize("name", TEACHERS)
@torch.no_grad()
def test_fused_it_is_equal_to_rounding(name, tmp_path):
    teacher, image = build(name), torch.rand(1, 3, 64, 64)
    CompactTrunk(teacher, rank=16).save(tmp_path / "network.safetensors")
    compact = CompactTeacher(teacher, str(tmp_path / "network.safetensors")).eval()
    for ours, theirs in zip(fused(compact)(image), compact(image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "network.safetensors"
    CompactTrunk(build("small"), rank=16).save(path)
    with pytest.raises(ValueError, match="teacher = SmallTeacher, and this network has LightweightOpenPose"):
        CompactTeacher(LightweightOpenPose(), str(path))
    with pytest.raises(ValueError, match="rank = 16, and this network has 8"):
        CompactTrunk(build("small"), rank=8).load(path)
    prior = assets.weights_file("prior")
    with pytest.raises(ValueError, match=r"prior\.safetensors is not a compact trunk"):
        CompactTeacher(LightweightOpenPose(), str(prior))
    with pytest.raises(FileNotFoundError, match="no weights at"):
        CompactTeacher(LightweightOpenPose(), str(tmp_path / "absent.safetensors"))
