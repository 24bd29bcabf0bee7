"""The way from photograph to people: the same operations for any number of people, and nothing leaves the device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mpose3d import assets
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.fuse import fused
from mpose3d.networks.photograph import PhotographNetwork
from mpose3d.networks.teacher import Teacher
from mpose3d.representations.hmpaf import HMPAF
from mpose3d.skeleton import SKELETON

# a standing person in units of its height, facing the camera
FIGURE = {
    "head_top": (0, 0), "neck": (0, 0.18), "r_shoulder": (-0.1, 0.18), "r_elbow": (-0.15, 0.34),
    "r_wrist": (-0.16, 0.49), "l_shoulder": (0.1, 0.18), "l_elbow": (0.15, 0.34), "l_wrist": (0.16, 0.49),
    "r_hip": (-0.06, 0.5), "r_knee": (-0.07, 0.75), "r_ankle": (-0.07, 0.98), "l_hip": (0.06, 0.5),
    "l_knee": (0.07, 0.75), "l_ankle": (0.07, 0.98), "pelvis": (0, 0.5),
}  # fmt: skip


class ReadsDrawings(Teacher):
    """A teacher that is always right: of an image it sees people drawn as in D_syn."""

    def __init__(self, network: CrossModalNetwork, people: int) -> None:
        super().__init__(network.layout, network.stride, network.v_channels, cut="features")
        size, columns = network.representation.input_size, 5
        rows = -(-people // columns)
        height = min(0.9 * size / rows, 1.4 * size / min(people, columns))
        figure = height * (torch.tensor([FIGURE[name] for name in SKELETON.names]) - torch.tensor([0.0, 0.5]))
        place = torch.tensor(
            [((p % columns + 0.5) / min(people, columns), (p // columns + 0.5) / rows) for p in range(people)]
        )
        points = (size * place[:, None] + figure)[None]
        self.maps = network.draw(points, torch.ones(points.shape[:-1], dtype=torch.bool))
        self.encoder = torch.nn.Conv2d(3, network.v_channels, network.stride, network.stride)

    def features(self, image: Tensor) -> Tensor:
        return self.encoder(image)

    def stages(self, v: Tensor) -> list[HMPAF]:
        return [HMPAF(*(part + 0 * v.mean() for part in self.maps))]


class Operations(TorchDispatchMode):
    """Every operation with the shapes that it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        output = operation(*args, **(kwargs or {}))
        shapes = [tuple(leaf.shape) for leaf in tree_leaves((args, kwargs, output)) if isinstance(leaf, Tensor)]
        self.log.append((str(operation), shapes))
        return output


@pytest.fixture(scope="module")
def network() -> CrossModalNetwork:
    return CrossModalNetwork.from_file(assets.weights_file("photographs"))


@pytest.mark.parametrize("pathway", ["hmpaf", "image"])
@torch.inference_mode()
def test_twenty_people_cost_what_one_costs(network, pathway):
    logs, flops, found = [], [], []
    for people in (1, 20):
        whole = PhotographNetwork(ReadsDrawings(network, people), network, pathway, threshold=0.3).eval()
        image = torch.rand(1, 3, 224, 224)
        whole(image)  # constants are made once
        with FlopCounterMode(display=False) as counter, Operations() as operations:
            detection = whole(image)
        logs.append(operations.log)
        flops.append(counter.get_total_flops())
        found.append(int(detection.roots.valid.sum()))
    assert logs[0] == logs[1] and len(logs[0]) > 50
    assert flops[0] == flops[1] > 1e6
    if pathway == "hmpaf":  # here the people are really seen
        assert 1 <= found[0] <= 2 and found[1] >= 8


def test_only_root_cells_are_decoded(network):
    """Psi sees `max_people` embeddings, not the 14 x 14 of the grid."""
    seen = []
    hook = network.psi.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    whole = PhotographNetwork(ReadsDrawings(network, 2), network, "hmpaf", max_people=7).eval()
    with torch.inference_mode():
        whole(torch.rand(1, 3, 224, 224))
    hook.remove()
    assert seen == [(1, 7, 32)]


class StaysOnDevice(TorchFunctionMode):
    """Refuses what waits for a GPU, or makes it wait for Python: numbers read from tensors, tensors made of numbers."""

    READ = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__iter__", "nonzero")
    MADE = ("tensor", "as_tensor", "new_tensor", "from_numpy")

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        assert name not in (*self.READ, *self.MADE), f"{name} in the middle of the network"
        if name in ("__getitem__", "__setitem__"):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(part, list | tuple) for part in parts), "indexed by a list of Python"
            masks = [part for part in parts if isinstance(part, Tensor) and part.dtype == torch.bool]
            assert not masks, "indexed by a mask, whose size has to be known"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("rotation", ["euler", "6d"])
@pytest.mark.parametrize("pathway", ["hmpaf", "image"])
@torch.inference_mode()
def test_nothing_leaves_the_device(rotation, pathway):
    network = CrossModalNetwork(
        "mpose3d", v_channels=8, stride=4, input_size=64, g_width=8, h_width=16, rotation=rotation
    )
    whole = fused(PhotographNetwork(ReadsDrawings(network, 1), network, pathway))
    image = torch.rand(1, 3, 64, 64)
    whole(image)  # constants go to the device once
    with StaysOnDevice():
        whole(image)


def test_the_guard_sees_what_it_should():
    x = torch.rand(3, 3)
    for bad in (
        lambda: x.sum().item(),
        lambda: x[[0, 1]],
        lambda: x[..., (0, 1)],
        lambda: x[x > 0],
        lambda: x.new_tensor([1.0]),
    ):
        with StaysOnDevice(), pytest.raises(AssertionError):
            bad()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.inference_mode()
def test_a_gpu_is_never_waited_for(network):
    whole = fused(PhotographNetwork(ReadsDrawings(network, 3), network, "image")).cuda()
    image = torch.rand(1, 3, 224, 224, device="cuda")
    whole(image)
    torch.cuda.set_sync_debug_mode("error")
    try:
        whole(image)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_fine_grid_keeps_people_apart_who_share_a_cell_of_the_coarse_one(tmp_path):
    """Everything that reads s follows its size: drawing the target, finding roots, decoding, the file."""
    fine, coarse = (CrossModalNetwork("openpose18", 8, fine=fine, g_width=8, h_width=16) for fine in (True, False))
    roots = torch.tensor([[[82.0, 100.0], [90.0, 100.0]]])  # px; coarse cells end at 79.5 and 95.5, fine ones at 87.5
    cells = [network.representation.cell_of(roots)[0] for network in (fine, coarse)]
    assert cells[0][0, 0] != cells[0][0, 1] and cells[1][0, 0] == cells[1][0, 1]

    v = torch.rand(1, 8, 28, 28)
    grid = fine.h(v)
    assert grid.s.shape == (1, 39, 28, 28) and grid.root.shape == (1, 1, 28, 28) and grid.offset.shape == (1, 2, 28, 28)
    assert coarse.h(v).s.shape == (1, 39, 14, 14)
    fine.save(tmp_path / "fine.safetensors")
    again = CrossModalNetwork.from_file(tmp_path / "fine.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again.h(v).s, grid.s)
        # two peaks in neighbouring cells but one are both people
        sure = torch.full_like(grid.root, -9.0)
        sure[0, 0, 12, 10] = sure[0, 0, 12, 12] = 9.0
        found = fine.representation.find_roots(grid._replace(root=sure, offset=torch.zeros_like(grid.offset)), 5)
    assert found.valid.sum() == 2
    torch.testing.assert_close(found.px[0, :2].sort(0).values, torch.tensor([[83.5, 99.5], [99.5, 99.5]]))


def test_poses_regressed_directly_have_no_prior(tmp_path):
    """The network of the ablation comes back from its file, and is not taken for one with Psi."""
    network = CrossModalNetwork("openpose18", 8, prior="absent", direct=True, g_width=8, h_width=16)
    assert not list(network.psi.parameters()) and network.representation.embedding == network.psi.embedding
    network.save(tmp_path / "direct.safetensors")
    again = CrossModalNetwork.from_file(tmp_path / "direct.safetensors")
    v = torch.rand(1, 8, 28, 28)
    with torch.no_grad():
        for ours, theirs in zip(network(v).people, again(v).people, strict=True):
            torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="embedding"):
        CrossModalNetwork("openpose18", 8, g_width=8, h_width=16).load(tmp_path / "direct.safetensors")
