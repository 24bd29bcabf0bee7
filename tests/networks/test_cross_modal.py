"""The network of the cross-modal stages: which part reads what, and a file that gives all of it back."""

from __future__ import annotations

import copy

import pytest
import torch

from mpose3d.geometry.camera import Camera
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.representations.neural import NeuralGrid
from tests.stages.conftest import tiny_network


def grid_of(network: CrossModalNetwork, *chances: float) -> NeuralGrid:
    """Roots of these chances, in every second cell of a row."""
    cells = network.representation.grid
    root = torch.full((1, 1, cells, cells), -9.0)
    root[0, 0, 1, : 2 * len(chances) : 2] = torch.tensor(chances).logit()
    return NeuralGrid(
        torch.zeros(1, network.representation.channels, cells, cells), root, torch.zeros(1, 2, cells, cells)
    )


def test_what_g_makes_is_read_by_h_prime():
    network, v = tiny_network(shared=False), torch.zeros(1, 8, 8, 8)
    network.h.forward = lambda v: grid_of(network, 0.9)
    network.h_prime.forward = lambda v: grid_of(network, 0.9, 0.8)
    assert network(v).roots.valid.sum() == 1 and network(v, of_g=True).roots.valid.sum() == 2
    # without an H' of its own, by H; and without Psi, no prior is asked for
    plain = tiny_network(direct=True, prior="nowhere.ckpt")
    assert plain.h_of_g is plain.h


def test_a_file_of_another_grid_says_so(tmp_path):
    """Files from before there was a choice do not name it: theirs was the default."""
    for written, wanted in ((False, True), (True, False)):
        network = tiny_network(fine=written)
        network.settings = {name: value for name, value in network.settings.items() if name != "fine" or written}
        network.save(tmp_path / "network.safetensors")
        with pytest.raises(ValueError, match=f"trained with fine = {written}, and this network has {wanted}"):
            tiny_network(fine=wanted).load(tmp_path / "network.safetensors")


def test_roots_are_as_many_and_as_sure_as_asked_for():
    network, v = tiny_network(), torch.zeros(1, 8, 8, 8)
    network.h.forward = lambda v: grid_of(network, 0.9, 0.6)
    assert [int(network(v, *asked).roots.valid.sum()) for asked in ((9, 0.5), (9, 0.7), (1, 0.5))] == [2, 1, 1]
    assert network(v, 1).people.joints.shape == (1, 1, 15, 3)


@torch.no_grad()
def test_a_network_of_float64_reads_the_same_people():
    network, v = tiny_network(), torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    single = network(v, 3, threshold=0.0).people
    double = copy.deepcopy(network).double()(v.double(), 3, threshold=0.0).people
    assert double.joints.dtype == torch.float64
    torch.testing.assert_close(double.joints.float(), single.joints, atol=0.5, rtol=1e-4)


def test_peaks_are_as_high_and_as_wide_as_asked_for():
    network = tiny_network()
    joints, drawn = 32 * torch.rand(1, 1, 15, 2), torch.ones(1, 1, 15, dtype=torch.bool)
    plain = network.draw(joints, drawn).heatmaps
    half = torch.full((1, 1, 15), 0.5)
    torch.testing.assert_close(network.draw(joints, drawn, half).heatmaps, plain / 2)
    same, wide = (network.draw(joints, drawn, None, 2 * width * half).heatmaps for width in (2.0, 4.0))
    torch.testing.assert_close(same, plain)
    torch.testing.assert_close(wide, tiny_network(sigma=4.0).draw(joints, drawn).heatmaps)


CHOICES = {"near": 500.0, "far": 9000.0, "rotation": "6d", "perspective": "full", "focal_ratio": 1.3, "sigma": 3.0}


@pytest.mark.parametrize("form", [{}, {"fine": True, "shared": False}, {"direct": True}])
def test_a_file_gives_the_same_network(form, tmp_path):
    network = tiny_network(**CHOICES, **form, h_blocks=2, g_width=6)
    smaller = tiny_network(**CHOICES, **form)
    for part in ("g", "h"):
        sizes = [sum(p.numel() for p in getattr(each, part).parameters()) for each in (network, smaller)]
        assert sizes[0] > sizes[1], part
    representation = network.representation
    assert representation.camera == Camera.for_image(32, 32, 1.3)
    assert representation.grid == (8 if "fine" in form else 4)
    assert all(getattr(representation, name) == CHOICES[name] for name in ("near", "far", "rotation", "perspective"))
    network.save(tmp_path / "network.safetensors")
    again = CrossModalNetwork.from_file(tmp_path / "network.safetensors")
    assert again.representation == representation and again.sigma == network.sigma == 3
    assert [name for name, _ in again.named_children()] == [name for name, _ in network.named_children()]
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
