"""Every way to run a network gives the numbers of the plain one."""

from __future__ import annotations

import shutil
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mpose3d.networks.backends import accelerate
from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.photograph import PhotographNetwork
from mpose3d.networks.teacher import SmallTeacher

SIDE = 64


@pytest.fixture(scope="module")
def whole() -> PhotographNetwork:
    """A network that sees people everywhere."""
    torch.manual_seed(0)
    network = CrossModalNetwork("mpose3d", v_channels=8, stride=4, input_size=SIDE, g_width=4, h_width=16)
    nn.init.constant_(network.h.root.bias[0], 5.0)
    return PhotographNetwork(SmallTeacher(width=8), network, "hmpaf", max_people=6, threshold=0.3).eval()


def assert_same_people(found: Detection, expected: Detection, mm: float, px: float) -> None:
    assert isinstance(found, Detection) and expected.roots.valid.any()
    assert torch.equal(found.roots.valid.cpu(), expected.roots.valid)
    torch.testing.assert_close(found.roots.px.cpu(), expected.roots.px, rtol=0, atol=px)
    torch.testing.assert_close(found.people.joints_px.cpu(), expected.people.joints_px, rtol=0, atol=px)
    torch.testing.assert_close(found.people.joints.cpu(), expected.people.joints, rtol=1e-4, atol=mm)  # some are far


def test_fused_eager_equals_eager(whole):
    image = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        expected = whole(image)
    found = accelerate(whole, image[:1])(image)
    assert_same_people(found, expected, mm=0.5, px=0.01)
    assert not found.people.joints.requires_grad


def test_the_whole_network_is_one_graph(whole):
    """`torch.compile` traces it without a break; the tracer alone is run, no compiler."""
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        found = torch.compile(whole, fullgraph=True, backend="eager")(image)
        assert_same_people(found, whole(image), mm=0.5, px=0.01)


class Maps(NamedTuple):
    first: Tensor
    second: Tensor


class TwoMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, image: Tensor) -> Maps:
        x = self.layers(image)
        return Maps(x[:, :2], x.mean(dim=(2, 3)))


@pytest.fixture
def two_maps() -> TwoMaps:
    torch.manual_seed(0)
    network = TwoMaps().eval().requires_grad_(False)
    nn.init.uniform_(network.layers[1].running_var, 0.5, 2)
    return network


@pytest.mark.skipif(not shutil.which("g++") and not shutil.which("clang++"), reason="needs a C++ compiler")
def test_compiled_equals_eager(two_maps):
    """By the compiler itself; the whole network takes it minutes."""
    image = torch.rand(2, 3, 16, 16)
    found = accelerate(two_maps, image, "compile")(image)
    assert isinstance(found, Maps)
    torch.testing.assert_close(found, two_maps(image))


def test_onnxruntime_equals_eager(two_maps):
    """At any batch size. The whole network: tests/test_export.py."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    images = torch.rand(3, 3, 16, 16)
    run = accelerate(two_maps, images[:1], "onnxruntime")
    for batch in (images[:1], images, images.contiguous(memory_format=torch.channels_last)):
        found = run(batch)
        assert isinstance(found, Maps)
        torch.testing.assert_close(found, two_maps(batch))


def test_bfloat16_is_close_and_geometry_stays_in_float32(whole):
    image = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        expected = whole.teacher(image)
    found = accelerate(whole.teacher, image[:1], precision="bfloat16")(image)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=0.03 * theirs.abs().max().item())
    people = accelerate(whole, image[:1], precision="bfloat16")(image).people
    assert people.joints.dtype == torch.float32 and people.joints.isfinite().all()


def test_what_a_cpu_does_not_have_is_refused(whole):
    image = torch.rand(1, 3, SIDE, SIDE)
    with pytest.raises(ValueError, match="'cudagraph' needs a GPU"):
        accelerate(whole, image, "cudagraph")
    with pytest.raises(ValueError, match="in float32"):
        accelerate(whole, image, "onnxruntime", "bfloat16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backend", ["eager", "cudagraph"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_gpu_equals_cpu(whole, backend, precision, monkeypatch):
    # TF32 is enough to order nearly equal roots anew
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    images = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, 3, SIDE, SIDE)
    run = accelerate(whole.cuda(), images[0].cuda(), backend, precision)
    found = [run(image.cuda()) for image in images]  # the second call must not write over the first's result
    whole.cpu()
    for image, detection in zip(images, found, strict=True):
        with torch.inference_mode():
            expected = whole(image)
        if precision == "float32":
            assert_same_people(detection, expected, mm=0.5, px=0.01)
        else:
            assert detection.people.joints.isfinite().all() and detection.people.joints.dtype == torch.float32
