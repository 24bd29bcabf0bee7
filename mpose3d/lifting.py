"""2D people of any detector -> 3D people: joints in pixels, some of them missing, in; camera space out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mpose3d.geometry.camera import Camera
from mpose3d.metrics.functional import bounding_box
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import FEWEST_JOINTS, REFINE, KeypointLifter
from mpose3d.representations.neural import NeuralGrid, NeuralRepresentation, People, Roots
from mpose3d.skeleton import SKELETON

_MEASURED = [name not in ("neck", "pelvis") for name in SKELETON.names]

# how much is read at once: people; through maps, pictures and places for people in them (drawing costs memory for each)
_PEOPLE = 8192
_PICTURES = 32
_PLACES = 512

_ONE_CAMERA = Camera(1000.0, (0.0, 0.0))


def enough_joints(visible: Bool[Tensor, "*people 15"]) -> Bool[Tensor, "*people"]:
    """Whom `lift_people` can say anything of: people with `FEWEST_JOINTS` visible joints.

    Neck and pelvis do not count: they are made of others.
    """
    return visible[..., _MEASURED].sum(-1) >= FEWEST_JOINTS


@torch.inference_mode()
def lift_people(
    network: KeypointLifter | CrossModalNetwork,
    joints_px: Float[Tensor, "n 15 2"],
    visible: Bool[Tensor, "n 15"],
    picture: Int[Tensor, " n"],
    cameras: Sequence[Camera],
    refine: int = REFINE,
) -> People:
    """2D people of several pictures -> the same people in 3D, in their order.

    `KeypointLifter` reads each person by itself. `CrossModalNetwork` goes through maps: the people of a picture are
    drawn as HM-PAF, and s = H(G(m)) is read at their roots; where the pelvis of a person is not visible, at the most
    likely root of H in the person's surroundings.

    Args:
        joints_px: pixels of each person's picture; invisible joints may hold anything.
        visible: whom there are too few joints of (`enough_joints`) comes out as somebody, somewhere.
        picture: which of `cameras` each person is seen by.
        cameras: one for each picture, any.
        refine: see `KeypointLifter.forward`.

    Returns:
        People in the camera space (mm) and in pixels of their own pictures, on the device of the network.
    """
    parameter = next(network.parameters())
    maps = isinstance(network, CrossModalNetwork)
    # every picture is seen as one and the same camera would have seen it: the rays are what counts
    one = network.representation.camera if maps else _ONE_CAMERA
    focal = torch.tensor([camera.focal for camera in cameras], dtype=torch.float64)[picture, None, None]
    centre = torch.tensor([camera.centre for camera in cameras], dtype=torch.float64).reshape(-1, 2)[picture, None]
    ratio = one.focal / focal
    shift = torch.tensor(one.centre, dtype=torch.float64) - ratio * centre
    joints = torch.where(visible[..., None], ratio * joints_px.double() + shift, 0).to(parameter)
    visible = visible.to(parameter.device)
    if maps:
        people = _through_maps(network, joints, visible, picture, len(cameras))
    else:
        parts = zip(joints.split(_PEOPLE), visible.split(_PEOPLE), strict=True)
        people = _concatenated([network(*part, one, refine) for part in parts])
    return people._replace(joints_px=((people.joints_px.double().cpu() - shift) / ratio).to(parameter.device))


def _concatenated(parts: Sequence[People]) -> People:
    return People(*map(torch.cat, zip(*parts, strict=True)))


def _through_maps(
    network: CrossModalNetwork, joints: Tensor, visible: Tensor, picture: Tensor, pictures: int
) -> People:
    if len(joints) == 0:
        nobody = joints.new_zeros(0, network.representation.channels)
        return network.representation.people(nobody, nobody[:, :2], network.psi)
    order = picture.argsort(stable=True)
    groups = order.split(picture.bincount(minlength=pictures).tolist())
    people = _concatenated([_read(network, joints, visible, batch) for batch in _batches(groups)])
    return People(*(part[order.argsort()] for part in people))


def _batches(groups: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Numbers of the people of each picture -> the same, in batches of pictures that are read at once."""
    batch: list[Tensor] = []
    for group in groups:
        most = max(map(len, [*batch, group]))
        if batch and (len(batch) == _PICTURES or (len(batch) + 1) * most > _PLACES):
            yield batch
            batch = []
        if len(group):
            batch.append(group)
    if batch:
        yield batch


def _read(network: CrossModalNetwork, joints: Tensor, visible: Tensor, batch: list[Tensor]) -> People:
    """People (n, ...) of a batch of pictures, those of the first picture first."""
    number = pad_sequence(batch, batch_first=True, padding_value=-1).to(joints.device)
    there = number >= 0
    joints, visible = joints[number.clamp_min(0)], visible[number.clamp_min(0)] & there[..., None]
    grid = network.h(network.encode(network.draw(joints, visible)))
    roots = Roots(_root_px(network.representation, grid, joints, visible), there.to(joints), there)
    people = network.representation.decode(grid, roots, network.psi)
    return People(*(part[there] for part in people))


def _root_px(
    representation: NeuralRepresentation, grid: NeuralGrid, joints: Tensor, visible: Tensor
) -> Float[Tensor, "b p 2"]:
    """The pelvis where it is visible, else the most likely root of H in or near the box of the person's joints."""
    pelvis, known = joints[..., SKELETON.root, :], visible[..., SKELETON.root]
    probability, cells = grid.root.sigmoid().flatten(2), torch.arange(representation.grid**2, device=joints.device)
    column_row = torch.stack([cells % representation.grid, cells // representation.grid], dim=-1)
    place = (column_row + 0.5 + grid.offset.flatten(2).mT) * representation.stride - 0.5  # (b, cells, 2)

    box = bounding_box(joints, visible)[..., None, :]  # NaN of nobody's joints: any cell will do
    low, high = box[..., :2], box[..., 2:]
    margin = (high - low).amax(-1, keepdim=True) / 2
    beyond = (low - margin - place[:, None]).clamp_min(0) + (place[:, None] - high - margin).clamp_min(0)
    # a cell away, or another person's root, outweighs any probability
    taken = torch.zeros_like(probability[:, 0])
    taken.scatter_reduce_(1, representation.cell_of(pelvis)[0], known.to(taken), "amax")
    likely = probability - beyond.norm(dim=-1) / representation.stride - taken[:, None]
    best = likely.nan_to_num(-torch.inf).argmax(-1)
    found = place.gather(1, best[..., None].expand(-1, -1, 2))
    return torch.where(known[..., None], pelvis, found)
