"""2D people of any detector -> 3D people: `lift_people` on tensors, `lift_pictures` on arrays, `lift` on files."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mpose3d import assets
from mpose3d.data.keypoints import PictureKeypoints, read_keypoints, with_sizes
from mpose3d.data.mupots import size_by_name
from mpose3d.files import spare_inputs, whole_or_none
from mpose3d.geometry.camera import FOCAL_RATIO, Camera
from mpose3d.geometry.extent import bounding_box
from mpose3d.networks.backends import known_device
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import FEWEST_JOINTS, REFINE, KeypointLifter, count_joints, enough_joints
from mpose3d.people import PhotographPeople, check_focal_ratio, check_place, write_people
from mpose3d.representations.neural import NeuralGrid, NeuralRepresentation, People, Roots
from mpose3d.skeleton import SKELETON

Through = Literal["keypoints", "maps"]

# people that are read at once through keypoints
_PEOPLE = 8192
# pictures that are read at once through maps, and places for people in all of them: each place costs memory
_PICTURES = 32
_PLACES = 512

# pictures whose people are held in memory between the networks and the files
_LIFTED = 256

_ONE_CAMERA = Camera(1000.0, (0.0, 0.0))


@torch.inference_mode()
def lift_people(
    network: KeypointLifter | CrossModalNetwork,
    joints_px: Float[Tensor, "n 15 2"],
    visible: Bool[Tensor, "n 15"],
    picture: Int[Tensor, " n"],
    cameras: Sequence[Camera],
    refine: int | None = None,
    proportions: bool | None = None,
) -> People:
    """2D people of several pictures -> the same people in 3D, in their order.

    `KeypointLifter` reads each person by itself. `CrossModalNetwork` goes through maps: the people of a picture are
    drawn as HM-PAF, and s = H(G(m)) is read at their roots; where the pelvis of a person is not visible, at the most
    likely root of H in the person's surroundings.

    Args:
        joints_px: pixels of each person's picture; invisible joints may hold anything. Any device, as the next two.
        visible: people with too few visible joints (`enough_joints`) come out as an arbitrary body in an arbitrary
            place.
        picture: index into `cameras` of each person's picture.
        cameras: the camera of each picture.
        refine: see `KeypointLifter.forward`; by default `REFINE` steps.
        proportions: see there; by default true through keypoints.

    Returns:
        People in the camera space (mm) and in pixels of their own pictures, on the device of the network.

    Raises:
        ValueError: fewer than no steps of refinement, or refinement asked of a network that reads maps.
    """
    if refine is not None and refine < 0:
        raise ValueError(f"refine is a number of steps, not {refine}")
    parameter = next(network.parameters())
    maps = isinstance(network, CrossModalNetwork)
    if maps and (refine is not None or proportions):
        raise ValueError("refine and proportions are of people lifted through keypoints, maps have no use for them")
    joints_px, visible, picture = (part.cpu() for part in (joints_px, visible, picture))
    # pixels of every picture -> pixels in which one and the same camera would see the same rays
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
        how = one, REFINE if refine is None else refine, proportions is not False
        people = _concatenated([network(*part, *how) for part in parts])
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
    grid = network.h_of_g(network.encode(network.draw(joints, visible)))
    roots = Roots(_root_px(network.representation, grid, joints, visible), there.to(joints), there)
    people = network.representation.decode(grid, roots, network.psi)
    return People(*(part[there] for part in people))


def _root_px(
    representation: NeuralRepresentation, grid: NeuralGrid, joints: Tensor, visible: Tensor
) -> Float[Tensor, "b p 2"]:
    """The pelvis where it is visible, else the most likely root of H in or near the box of the person's joints."""
    pelvis, known = joints[..., SKELETON.root, :], visible[..., SKELETON.root]
    probability, cells = grid.root.sigmoid().flatten(2), torch.arange(representation.grid**2, device=joints.device)
    place = representation.root_px(cells, grid.offset.flatten(2).mT)  # (b, cells, 2)

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


def lift(
    keypoints: str,
    *,
    out: str,
    layout: str | None = None,
    size: tuple[int, int] | None = None,
    images: str | None = None,
    through: Through = "keypoints",
    weights: str | None = None,
    threshold: float = 0.0,
    focal_ratio: float = FOCAL_RATIO,
    refine: int | None = None,
    proportions: bool | None = None,
    device: str = "cpu",
) -> None:
    """2D people of any detector -> 3D people: COCO results, OpenPose JSON or npz in, npz or JSON out.

    People keep their order. Who has fewer than 4 joints, neck and pelvis not counted, is left out, and a line says so.

    Args:
        keypoints: file of COCO results, file or folder of OpenPose JSON, or npz of NAME/px (docs/lift.md).
        out: FILE.npz for NAME/px and NAME/mm, or a folder for a JSON of each picture.
        layout: joints: mpose3d, mupots, coco17, openpose18, openpose25, mpi15 or another of mpose3d.skeleton; default:
            by the format and the number of joints.
        size: width and height of all pictures in pixels; not needed for pictures named TSn_img_NNNNNN.
        images: COCO JSON with the sizes of the images, in place of size.
        through: keypoints: a network that reads each person by itself; maps: HM-PAF, G and H.
        weights: the network; default: those that ship.
        threshold: least confidence of a joint.
        focal_ratio: focal length over the longer side of a picture, where it is known.
        refine: through keypoints, steps by which each person is fitted to the joints after the network has read them,
            by default 3.
        proportions: through keypoints, fit the lengths of each person's bones, too; by default true. False leaves the
            skeleton's to everybody.
        device: where to run, "cpu" or "cuda".
    """
    place = Path(out)
    if place.suffix.lower() == ".json":
        raise ValueError(f"--out {out}: expected FILE.npz, or a folder for a JSON of each picture")
    if place.is_file() and place.suffix.lower() != ".npz":
        raise ValueError(f"--out {out} is a file, a JSON of each picture is written to a folder")
    spare_inputs(place, keypoints, weights, images)
    check_focal_ratio(focal_ratio)
    if not 0 <= threshold < math.inf:
        raise ValueError(f"--threshold is the least confidence of a joint, 0 or more, not {threshold}")
    given = with_sizes(read_keypoints(keypoints, layout, threshold), size, images)
    pictures = [_with_enough_joints(picture) for picture in given]
    people, lifted = (sum(len(picture.px) for picture in some) for some in (given, pictures))
    if people and not lifted:
        raise ValueError(f"{keypoints}: none of its {people} people has {FEWEST_JOINTS} joints beside neck and pelvis")
    to_npz = place.suffix.lower() == ".npz"
    places = None if to_npz else _json_places(pictures, place)
    network = read_lifter(through, weights).to(known_device(device))

    arrays: dict[str, np.ndarray] = {}
    for start in track(range(0, len(pictures), _LIFTED), description="pictures"):
        part = pictures[start : start + _LIFTED]
        for picture, found in zip(part, lift_pictures(network, part, focal_ratio, refine, proportions), strict=True):
            if to_npz:
                arrays[f"{picture.name}/px"], arrays[f"{picture.name}/mm"] = found.joints_px, found.joints_mm
            else:
                write_people(found, Path(picture.name).name, place / places[picture.name])
    if to_npz:
        with whole_or_none(place) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **arrays)
    else:
        place.mkdir(parents=True, exist_ok=True)  # of no picture, too
    print(f"{lifted} of {people} people in {len(pictures)} pictures lifted, written to {out}")
    if to_npz and (other := [p for p in pictures if size_by_name(p.name) not in (None, p.size)]):
        width, height = other[0].size
        print(
            f"{len(other)} pictures named as MuPoTS-3D's are not of its size, the first {other[0].name} with {width} x "
            f"{height}: an npz does not tell, so `evaluate mupots` needs --out FOLDER",
            file=sys.stderr,
        )
    for picture in given:
        for p in (~enough_joints(picture.visible)).nonzero().flatten().tolist():
            joints = f"{int(count_joints(picture.visible[p]))} of {FEWEST_JOINTS}"
            print(f"left out, too few joints: {picture.name}, person {p} ({joints})", file=sys.stderr)


def read_lifter(through: Through, weights: str | None = None) -> KeypointLifter | CrossModalNetwork:
    """The network that lifts 2D people; `weights` are its file, by default those that ship."""
    if through == "keypoints":
        return KeypointLifter.from_file(weights or assets.weights_file("lifter"))
    return CrossModalNetwork.from_file(weights or assets.weights_file("photographs"))


def lift_pictures(
    network: KeypointLifter | CrossModalNetwork,
    pictures: Sequence[PictureKeypoints],
    focal_ratio: float = FOCAL_RATIO,
    refine: int | None = None,
    proportions: bool | None = None,
) -> list[PhotographPeople]:
    """2D people of pictures whose sizes are known -> the same people in 3D, all of them, in their order.

    `joints_px` are the joints as they were given, which no projection betters, and the projection of those missing.
    """
    if not pictures:
        return []
    cameras = [Camera.for_image(*picture.size, focal_ratio) for picture in pictures]
    counts = [len(picture.px) for picture in pictures]
    which = torch.arange(len(pictures)).repeat_interleave(torch.tensor(counts))
    px, visible = (torch.cat([getattr(picture, part) for picture in pictures]) for part in ("px", "visible"))
    people = lift_people(network, px, visible, which, cameras, refine, proportions)
    joints_px = torch.where(visible[..., None], px, people.joints_px.cpu())
    parts = [part.cpu().split(counts) for part in (joints_px, people.joints, people.embedding)]
    return [
        PhotographPeople(
            size=picture.size,
            camera=camera,
            joints_px=joints_px.numpy(),
            joints_mm=joints_mm.numpy(),
            root_px=joints_px[:, SKELETON.root].numpy(),
            score=picture.score.numpy(),
            embedding=embedding.numpy(),
        )
        for picture, camera, joints_px, joints_mm, embedding in zip(pictures, cameras, *parts, strict=True)
    ]


def _with_enough_joints(picture: PictureKeypoints) -> PictureKeypoints:
    kept = enough_joints(picture.visible)
    return picture._replace(px=picture.px[kept], visible=picture.visible[kept], score=picture.score[kept])


def _json_places(pictures: Sequence[PictureKeypoints], out: Path) -> dict[str, Path]:
    """Name of each picture -> where its JSON belongs in the output folder, less suffix.

    Pictures of MuPoTS-3D go where `evaluate mupots` looks for them, TSn/img_NNNNNN. Files that no earlier run wrote,
    such as the 2D people themselves, stay as they are.
    """
    places = {p.name: Path(re.sub(r"^(TS\d+)_(img_\d+)$", r"\1/\2", p.name)) for p in pictures}
    taken: dict[Path, str] = {}
    for name, place in places.items():
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise ValueError(f"picture {name!r} would be written outside the output folder: rename it, or use FILE.npz")
        if taken.setdefault(place, name) != name:
            raise ValueError(f"{taken[place]!r} and {name!r} would both be written to {place}.json: rename one")
        check_place(out / place, [".json"])
    return places
