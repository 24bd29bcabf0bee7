"""From photographs to people: latency for 1 to 20 people, the whole network against its peers, decoding.

    python -m experiments.bench.inference [--weights FILE] [--repeats 15] [--out out/bench/inference.json]

The pictures are renders, 720 px square, of 1 to 20 people who stand in rows. Renders do not look like people to a
teacher trained on photographs: it runs in full, and then its maps are overwritten by maps drawn of the very people,
so that everybody in the picture is found and grouped. The teacher is the lightweight one, with random weights unless
`--weights` names its file: the time is the same. MoveNet reads people at a fixed number of places whoever is in the
picture; its weights are random too. On a GPU the peers are left out.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.bench.crowd import AlwaysRight, Crowd
from experiments.bench.peers import OpenPoseSixStages, ResNet50Regressor, randomise, yolo
from experiments.bench.timing import Rows, Timing, available_device, interleaved, options, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.data.letterbox import Picture, letterbox, to_tensor
from mpose3d.geometry.camera import Camera
from mpose3d.inference import SCALES, Pathway
from mpose3d.lifting import read_lifter
from mpose3d.networks.backends import Backend, Precision, accelerate
from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.movenet import MoveNet
from mpose3d.networks.photograph import PhotographNetwork
from mpose3d.networks.teacher import LightweightOpenPose, Teacher
from mpose3d.readers import KeypointReader, MapReader, PeopleReader
from mpose3d.representations.hmpaf import People2D, parse
from mpose3d.representations.neural import NeuralGrid, People, Roots

PEOPLE = (1, 5, 10, 20)
SIDES = (224, 368)
THRESHOLD = 0.3

Networks = dict[Pathway, CrossModalNetwork | KeypointLifter]


def readers(
    teacher: Teacher, movenet: MoveNet, networks: Networks, side: int, way: tuple[Backend, Precision]
) -> dict[str, PeopleReader]:
    """Every way from a letterboxed picture to people.

    - "movenet": 2D people by MoveNet, lifted all at once; "refined" is the default of `infer`;
    - "keypoints": through the teacher, its maps parsed, the people lifted all at once;
    - "hmpaf": through the teacher, G and H.
    """
    lifter, (backend, precision) = networks["keypoints"], way
    how = {"teacher_size": side, "max_people": 20, "threshold": THRESHOLD, "backend": backend, "precision": precision}
    return {
        "movenet": KeypointReader(movenet, lifter, refine=0, **how),
        "movenet, refined": KeypointReader(movenet, lifter, **how),
        "keypoints": KeypointReader(teacher, lifter, refine=0, **how),
        "hmpaf": MapReader(teacher, networks["hmpaf"], "hmpaf", **how),
    }


class Contenders:
    """What reads one picture, at one size of the 2D network's input, `batch` times at once.

    Beside the `readers`:
    - "parse": the same as far as the parse, people in 2D;
    - "one by one": the same, and the lifter once for each person.

    The teacher is the same in all, fused and with its channels last.
    """

    def __init__(
        self,
        teacher: Teacher,
        movenet: MoveNet,
        networks: Networks,
        crowd: Crowd,
        side: int,
        batch: int,
        device: str,
    ) -> None:
        teacher = AlwaysRight(teacher, crowd.maps(teacher, side)).to(device)
        self.layout, self.stride = teacher.layout, teacher.stride
        self.picture, self.side, self.batch, self.device = crowd.picture, side, batch, device
        self.camera = Camera.for_image(side, side)
        self.lifter = networks["keypoints"]
        self.readers = readers(teacher, movenet, networks, side, ("eager", "float32"))
        self.maps = accelerate(teacher, torch.zeros(1, 3, side, side, device=device))

    def functions(self) -> dict[str, Callable[[], object]]:
        through = {name: partial(self.people, name) for name in self.readers}
        return through | {"parse": self.parsed, "one by one": self.lifted}

    def images(self) -> Tensor:
        images = [to_tensor(letterbox(self.picture, self.side)[0]) for _ in range(self.batch)]
        return torch.stack(images).to(self.device)

    def people(self, name: str) -> Detection:
        return self.readers[name].detect(self.images())

    @torch.inference_mode()
    def parsed(self) -> People2D:
        return parse(self.maps(self.images()), self.layout, self.stride)

    @torch.inference_mode()
    def lifted(self) -> list[People]:
        found = self.parsed()
        points, visible = self.layout.to_skeleton(found.points, found.visible)
        at = found.valid.nonzero().tolist()
        return [self.lifter(points[image, person], visible[image, person], self.camera) for image, person in at]


def latency(networks: Networks, teacher: Teacher, movenet: MoveNet, batch: int, repeats: int, device: str) -> Rows:
    rows: Rows = []
    for side in SIDES:
        contenders = {n: Contenders(teacher, movenet, networks, Crowd(n), side, batch, device) for n in PEOPLE}
        functions = {(name, n): run for n in PEOPLE for name, run in contenders[n].functions().items()}
        times = interleaved(functions, repeats)
        for name in contenders[1].readers:
            for n in PEOPLE:
                ours = times[name, n]
                row = {"table": f"photograph to people, {side} px, batch {batch}", "row": f"{name}, {n} people"}
                row |= {"ours": ours.median}
                if "movenet" not in name:
                    row |= {"found": int(contenders[n].people(name).roots.valid.sum()) // batch}
                if n > 1:
                    rows.append(row | _against(times[name, 1], ours, "the same, 1 person", bar="<= 1.1"))
                rows.append(row | _against(times["parse", n], ours, "the teacher and its parse (2D)"))
                rows.append(row | _against(times["one by one", n], ours, "lifted one by one"))
    return rows


def _against(other: Timing, ours: Timing, against: str, **more: Any) -> dict[str, Any]:
    return {"other": other.median, "ratio": ours.median / other.median, "against": against, **more}


def peers(networks: Networks, teacher: Teacher, movenet: MoveNet, repeats: int, folder: Path, compiled: bool) -> Rows:
    """One photograph, batch 1, each at the size that it is made for."""
    crowd = Crowd(5)
    ours_by: dict[tuple[int, str, tuple[Backend, Precision]], Callable[[], object]] = {}
    for side, way in itertools.product(SIDES, _ways(compiled)):
        sees = AlwaysRight(teacher, crowd.maps(teacher, side)) if way[0] == "eager" else teacher
        for name, reader in readers(sees, movenet, networks, side, way).items():
            ours_by[side, name, way] = partial(_read, reader, crowd.picture)
    whole = copy.deepcopy(movenet)
    whole.scales = SCALES
    reader = KeypointReader(whole, networks["keypoints"])
    ours_by[reader.side, "infer as it is", ("eager", "float32")] = partial(_read, reader, crowd.picture)

    functions: dict[str, Callable[[], object]] = {}
    image = torch.rand(1, 3, 368, 368)
    functions["OpenPose, six stages, at 368 px (2D)"] = partial(_call, randomise(OpenPoseSixStages()), image)
    try:
        pose, detector = yolo("yolo11n-pose", folder), yolo("yolo11n", folder)
    except OSError as error:
        print(f"without YOLO: {error}")
    else:
        image = torch.rand(1, 3, 640, 640)
        functions["YOLO11n-pose at 640 px (2D)"] = partial(_call, pose, image)
        functions["YOLO11n-pose at 640 px, fused (2D)"] = partial(_call, copy.deepcopy(pose).fuse(verbose=False), image)
        regressor, detector = randomise(ResNet50Regressor()), detector.fuse(verbose=False)
        for n in PEOPLE:
            crops = torch.rand(n, 3, 256, 256)
            name = f"top-down: YOLO11n at 640 px, ResNet-50 at 256 px on {n} people (3D)"
            functions[name] = partial(_detect_and_regress, detector, regressor, image, crops)
    times = interleaved(ours_by | functions, repeats)
    bars = {("YOLO11n-pose at 640 px (2D)", 224): "<= 0.6", ("YOLO11n-pose at 640 px (2D)", 368): "<= 1.2"}
    rows: Rows = []
    for side, kind, way in ours_by:
        ours = times[side, kind, way]
        plain = way == ("eager", "float32")
        for name in functions if plain else [name for name in functions if name.startswith("YOLO")]:
            row = {"table": "whole networks, batch 1", "row": f"{kind} at {side} px, {', '.join(way)}"}
            bar = {"bar": bars[name, side]} if plain and (name, side) in bars else {}
            rows.append(row | {"ours": ours.median} | _against(times[name], ours, name, **bar))
    return rows


def _ways(compiled: bool) -> list[tuple[Backend, Precision]]:
    ways: list[tuple[Backend, Precision]] = [("eager", "float32"), ("eager", "bfloat16")]
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxscript"):
        ways.append(("onnxruntime", "float32"))
    return [*ways, ("compile", "float32")] if compiled else ways


def _read(reader: PeopleReader, picture: Picture) -> object:
    return reader.read(*letterbox(picture, reader.side))


@torch.inference_mode()
def _call(network: nn.Module, image: Tensor) -> object:
    return network(image)


@torch.inference_mode()
def _detect_and_regress(detector: nn.Module, regressor: nn.Module, image: Tensor, crops: Tensor) -> object:
    return detector(image), regressor(crops)


def tuning(network: CrossModalNetwork, teacher: Teacher, repeats: int, device: str, compiled: bool) -> Rows:
    """Every way to run the network against the plain one, image tensor to people."""
    rows: Rows = []
    ways = _ways(compiled) if device == "cpu" else _gpu_ways(compiled)
    for side, batch in itertools.product(SIDES, (1, 8) if device == "cpu" else (1, 8, 32)):
        image = torch.rand(batch, 3, side, side, device=device)
        plain = PhotographNetwork(teacher, network, "hmpaf", 20, THRESHOLD).eval()
        functions: dict[str, Callable[[], object]] = {"plain": partial(_call, plain, image)}
        for way in ways:
            functions[", ".join(way)] = partial(accelerate(plain, image[:1], *way), image)
        times = interleaved(functions, repeats)
        for name, ours in times.items():
            row = {"table": f"ways to run, {side} px, batch {batch}", "row": name, "ours": ours.median / batch}
            other = Timing(*(seconds / batch for seconds in times["plain"]))
            if name != "plain":
                row |= {"images_per_second": batch / ours.median}
                rows.append(
                    row | {"other": other.median, "ratio": row["ours"] / other.median, "against": "plain eager"}
                )
    return rows


def _gpu_ways(compiled: bool) -> list[tuple[Backend, Precision]]:
    backends: list[Backend] = ["eager", "cudagraph", *(["compile"] if compiled else [])]
    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
    return list(itertools.product(backends, precisions))


def decoding(network: CrossModalNetwork, repeats: int, device: str) -> Rows:
    """M at root cells only, all in one batch, against what a loop does."""
    representation, psi = network.representation, network.psi
    generator = torch.Generator().manual_seed(0)
    cells = representation.grid**2
    s = 2 * torch.rand(1, representation.channels, representation.grid, representation.grid, generator=generator) - 1
    grid = NeuralGrid(s.to(device), torch.zeros_like(s[:, :1]).to(device), torch.zeros_like(s[:, :2]).to(device))
    every = torch.arange(cells, device=device)
    px = (torch.stack([every % representation.grid, every // representation.grid], -1) + 0.5) * representation.stride

    def roots(index: Tensor) -> Roots:
        at = px[index][None]
        return Roots(at, torch.ones_like(at[..., 0]), torch.ones_like(at[..., 0], dtype=torch.bool))

    @torch.inference_mode()
    def batched(index: Tensor) -> People:
        return representation.decode(grid, roots(index), psi)

    @torch.inference_mode()
    def one_by_one(index: Tensor) -> list[People]:
        return [representation.decode(grid, roots(cell), psi) for cell in index.split(1)]

    people = torch.randperm(cells, generator=generator)[:20].to(device)
    torch.testing.assert_close(
        batched(people).joints[0], torch.cat([p.joints[0] for p in one_by_one(people)]), rtol=1e-4, atol=0.1
    )
    times = interleaved(
        {
            "10 roots": partial(batched, people[:10]),
            "20 roots": partial(batched, people),
            "all cells": partial(batched, every),
            "10 roots one by one": partial(one_by_one, people[:10]),
            "20 roots one by one": partial(one_by_one, people),
            "all cells one by one": partial(one_by_one, every),
        },
        repeats,
    )
    rows: Rows = []
    for name in ("10 roots", "20 roots", "all cells"):
        row = {"table": "decoding (M)", "row": name, "ours": times[name].median}
        bar = {"bar": "<= 0.1"} if name == "10 roots" else {}
        rows.append(row | _against(times["all cells one by one"], times[name], "all cells one by one", **bar))
        if name != "all cells":
            rows.append(row | _against(times[f"{name} one by one"], times[name], "the same roots one by one"))
    return rows


def main() -> None:
    parser = options("inference", __doc__, repeats=15)
    parser.add_argument("--weights", help="of the lightweight teacher; random by default")
    parser.add_argument("--compiled", action="store_true", help="torch.compile too, which takes minutes")
    parser.add_argument("--only", nargs="+", choices=("latency", "peers", "tuning", "decoding"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    torch.manual_seed(0)
    device, repeats = available_device(), args.repeats
    network = read_lifter("maps").to(device)
    networks: Networks = {"keypoints": read_lifter("keypoints").to(device), "hmpaf": network}
    teacher = LightweightOpenPose(args.weights).eval() if args.weights else randomise(LightweightOpenPose())
    teacher, movenet = teacher.to(device), randomise(MoveNet()).to(device)
    tables = {
        "latency": lambda: [
            row
            for batch, times in ((1, repeats), (8, max(3, repeats // 3)))
            for row in latency(networks, teacher, movenet, batch, times, device)
        ],
        "peers": lambda: peers(networks, teacher, movenet, repeats, args.out.parent / "peers", args.compiled),
        "tuning": lambda: tuning(network, teacher, repeats, device, args.compiled),
        "decoding": lambda: decoding(network, repeats, device),
    }
    chosen = args.only or [name for name in tables if name != "peers" or device == "cpu"]
    command = "python -m experiments.bench.inference"
    rows: Rows = []
    for name in chosen:
        made = [row | {"command": f"{command} --only {name}"} for row in tables[name]()]
        print_rows(made)
        rows += made
    write_results(args.out, rows)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
