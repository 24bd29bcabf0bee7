"""A compact trunk beside the E that it stands in for: latency, and how far its v and its maps are from E's.

    python -m experiments.bench.compact [--rank 64] [--repeats 21] [--out out/bench/compact.json]
    python -m experiments.bench.compact --weights hpe0001.npz --trunk network.safetensors --photographs FOLDER

The first has random weights: the time is the same. The second also measures errors, on photographs that the trunk was
not trained on, into compact_errors.json beside the times.
"""

from __future__ import annotations

import tempfile
from functools import partial

import torch
from torch import Tensor

from experiments.bench.crowd import AlwaysRight, Crowd
from experiments.bench.inference import SIDES, Networks
from experiments.bench.peers import randomise
from experiments.bench.timing import Rows, interleaved, options, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.data.images import PhotographDataset, find_photographs
from mpose3d.data.letterbox import letterbox
from mpose3d.lifting import read_lifter
from mpose3d.losses import relative_error
from mpose3d.networks.fuse import fused
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.teacher import CompactTeacher, CompactTrunk, LightweightOpenPose, Teacher
from mpose3d.readers import KeypointReader, MapReader, PeopleReader


@torch.inference_mode()
def latency(teachers: dict[str, Teacher], networks: Networks, side: int, repeats: int) -> Rows:
    """E, E and F, and photograph to five people, with the compact trunk and without, all in turn."""
    crowd, image = Crowd(5), torch.rand(1, 3, side, side)
    functions = {}
    for name, teacher in teachers.items():
        fast = fused(teacher)
        functions["E", name] = partial(fast.encode, image)
        functions["E and F", name] = partial(fast, image)
        sees = AlwaysRight(teacher, crowd.maps(teacher, side))
        for pathway, network in networks.items():
            reader: PeopleReader
            if isinstance(network, KeypointLifter):
                reader = KeypointReader(sees, network, side, refine=0)
            else:
                reader = MapReader(sees, network, "hmpaf", side)
            functions[f"photograph to people, {pathway}", name] = partial(
                reader.read, *letterbox(crowd.picture, reader.side)
            )
    times = interleaved(functions, repeats)
    rows: Rows = []
    for what in dict.fromkeys(what for what, _ in functions):
        ours, other = (times[what, name].median for name in ("compact", "teacher"))
        row = {"table": f"compact trunk, {side} px, batch 1", "row": what, "ours": ours, "other": other}
        rows.append(row | {"ratio": ours / other, "against": "the teacher's own E"})
    return rows


@torch.inference_mode()
def errors(compact: Teacher, teacher: Teacher, folder: str, side: int) -> Rows:
    """Squared error of v and of the maps over all photographs, as a part of their square."""
    photographs = PhotographDataset(find_photographs([folder])[0], side)
    v: list[tuple[Tensor, Tensor]] = []
    maps: list[tuple[Tensor, Tensor]] = []
    for i in range(len(photographs)):
        image = photographs[i].image[None]
        v.append((compact.encode(image), teacher.encode(image)))
        maps.append((torch.cat(compact(image), 1), torch.cat(teacher(image), 1)))
    rows: Rows = []
    for name, pairs in (("v", v), ("maps", maps)):
        error = relative_error(*(torch.cat(part) for part in zip(*pairs, strict=True))).item()
        row = {"table": f"error on {len(photographs)} photographs, {side} px", "row": name, "unit": "of the square"}
        rows.append(row | {"ours": error, "other": 1.0, "ratio": error, "against": f"{name} of 0"})
    return rows


def main() -> None:
    parser = options("compact", __doc__, repeats=21)
    parser.add_argument("--weights", help="of the lightweight teacher; random by default")
    parser.add_argument("--trunk", help="network.safetensors of the stage compact; random by default")
    parser.add_argument("--rank", type=int, default=64, help="of a random trunk")
    parser.add_argument("--photographs", help="folder to measure errors on; needs the weights of both")
    args = parser.parse_args()
    if args.photographs and not (args.weights and args.trunk):
        parser.error("--photographs needs --weights and --trunk")
    torch.set_num_threads(args.threads)

    torch.manual_seed(0)
    teacher = LightweightOpenPose(args.weights).eval() if args.weights else randomise(LightweightOpenPose())
    with tempfile.TemporaryDirectory() as folder:
        path = args.trunk or f"{folder}/network.safetensors"
        if not args.trunk:
            CompactTrunk(teacher, args.rank).save(path)
        compact = CompactTeacher(teacher, path).eval()
    networks: Networks = {"keypoints": read_lifter("keypoints"), "hmpaf": read_lifter("maps")}
    teachers = {"compact": compact, "teacher": teacher}
    command = "python -m experiments.bench.compact"
    measured = {args.out: [row for side in SIDES for row in latency(teachers, networks, side, args.repeats)]}
    if args.photographs:
        command += " --weights hpe0001.npz --trunk network.safetensors --photographs held_out"
        of_errors = args.out.with_stem(f"{args.out.stem}_errors")
        measured[of_errors] = [row for side in SIDES for row in errors(compact, teacher, args.photographs, side)]
    for out, rows in measured.items():
        rows = [row | {"command": command} for row in rows]
        print_rows(rows)
        write_results(out, rows)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
