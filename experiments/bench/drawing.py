"""HM-PAF drawing against the reference way: person by person, joint by joint, limb by limb, in NumPy.

    python -m experiments.bench.drawing [--batch 32] [--out out/bench/drawing.json]

The reference is written from the description of the training targets of Cao et al. (CVPR 2017, sections 2.2 and 2.3):
one Gaussian for every joint of every person, joined into its map by the maximum; one field for every limb of every
person, averaged into its map by counting the people at each cell. `draw_over_maps` evaluates each over the whole map,
`draw_in_boxes` each limb in its box only, `draw_by_cell` cell after cell as the C++ of the first public trainer does.
All of them draw the same maps, which is checked before they are timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.bench.timing import available_device, interleaved, options, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.geometry.camera import Camera
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import SceneSampler
from mpose3d.representations.hmpaf import draw
from mpose3d.skeleton import MPOSE3D, Layout

SIZE, STRIDE, SIGMA, WIDTH, EDGE = 28, 8, 7.0, 1.0, 1.0

Maps = tuple[np.ndarray, np.ndarray]


def scenes(people: int, batch: int) -> tuple[Tensor, Tensor]:
    """Points (B, P, 15, 2) px and their visibility: D_syn, with exactly so many people in each."""
    camera = Camera.for_image(SIZE * STRIDE, SIZE * STRIDE)
    sampler = SceneSampler(ArtificialPoses(), camera, SIZE * STRIDE, people=(people, people), crowding=0.0)
    sampled = sampler.sample(batch, torch.Generator().manual_seed(people))
    return camera.project(sampled.joints), sampled.drawn


def _whole_map(start: np.ndarray, end: np.ndarray) -> tuple[slice, slice]:
    return slice(None), slice(None)


def draw_over_maps(
    points: np.ndarray, visible: np.ndarray, layout: Layout, box_of: Callable[..., tuple] = _whole_map
) -> Maps:
    """One image (P, J, 2): every Gaussian and every field as array operations over the whole map.

    `box_of` says which rows and columns of it a limb's field is evaluated in.
    """
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    cells = (points + 0.5) / STRIDE - 0.5
    heatmaps = np.zeros((len(layout), SIZE, SIZE), np.float32)
    pafs = np.zeros((len(layout.limbs), 2, SIZE, SIZE), np.float32)
    counts = np.zeros((len(layout.limbs), SIZE, SIZE), np.float32)
    for person, seen in zip(cells, visible, strict=True):
        for joint in range(len(layout)):
            if seen[joint]:
                _add_gaussian(heatmaps[joint], x, y, person[joint])
        for limb, (a, b) in enumerate(layout.limbs):
            if seen[a] and seen[b]:
                box = box_of(person[a], person[b])
                _add_limb(pafs[limb][:, *box], counts[limb][box], x[box], y[box], person[a], person[b])
    return heatmaps, (pafs / np.maximum(counts, 1)[:, None]).reshape(-1, SIZE, SIZE)


def draw_in_boxes(points: np.ndarray, visible: np.ndarray, layout: Layout) -> Maps:
    """As `draw_over_maps`, each field only in the box around its limb."""
    return draw_over_maps(points, visible, layout, _box)


def _add_gaussian(heatmap: np.ndarray, x: np.ndarray, y: np.ndarray, joint: np.ndarray) -> None:
    squared = (x - joint[0]) ** 2 + (y - joint[1]) ** 2
    np.maximum(heatmap, np.exp(-squared * STRIDE**2 / (2 * SIGMA**2)), out=heatmap)


def _add_limb(
    field: np.ndarray, count: np.ndarray, x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray
) -> None:
    length = np.linalg.norm(end - start)
    if length == 0:
        return
    ux, uy = (end - start) / length
    along = (x - start[0]) * ux + (y - start[1]) * uy
    across = (x - start[0]) * uy - (y - start[1]) * ux
    beyond = along - np.clip(along, 0, length)
    weight = np.clip((WIDTH - np.sqrt(across**2 + beyond**2)) / EDGE + 0.5, 0, 1)
    field[0] += weight * ux
    field[1] += weight * uy
    count += weight


def _box(start: np.ndarray, end: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that the field of a limb reaches."""
    reach = WIDTH + EDGE / 2
    low = np.clip(np.ceil(np.minimum(start, end) - reach), 0, SIZE).astype(int)
    high = np.clip(np.floor(np.maximum(start, end) + reach) + 1, 0, SIZE).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def draw_by_cell(points: np.ndarray, visible: np.ndarray, layout: Layout) -> Maps:
    """One image (P, J, 2): cell after cell, in Python; fields in the box around their limb."""
    cells = ((points + 0.5) / STRIDE - 0.5).tolist()
    heatmaps = np.zeros((len(layout), SIZE, SIZE), np.float32)
    pafs = np.zeros((len(layout.limbs), 2, SIZE, SIZE), np.float32)
    counts = np.zeros((len(layout.limbs), SIZE, SIZE), np.float32)
    for person, seen in zip(cells, visible, strict=True):
        for joint in range(len(layout)):
            if not seen[joint]:
                continue
            for row in range(SIZE):
                for column in range(SIZE):
                    squared = (column - person[joint][0]) ** 2 + (row - person[joint][1]) ** 2
                    value = math.exp(-squared * STRIDE**2 / (2 * SIGMA**2))
                    heatmaps[joint, row, column] = max(heatmaps[joint, row, column], value)
        for limb, (a, b) in enumerate(layout.limbs):
            if not (seen[a] and seen[b]):
                continue
            (ax, ay), (bx, by) = person[a], person[b]
            length = math.hypot(bx - ax, by - ay)
            if length == 0:
                continue
            ux, uy = (bx - ax) / length, (by - ay) / length
            rows, columns = _box(np.array([ax, ay]), np.array([bx, by]))
            for row in range(rows.start, rows.stop):
                for column in range(columns.start, columns.stop):
                    along = (column - ax) * ux + (row - ay) * uy
                    across = (column - ax) * uy - (row - ay) * ux
                    beyond = along - min(max(along, 0.0), length)
                    weight = min(max((WIDTH - math.hypot(across, beyond)) / EDGE + 0.5, 0.0), 1.0)
                    pafs[limb, 0, row, column] += weight * ux
                    pafs[limb, 1, row, column] += weight * uy
                    counts[limb, row, column] += weight
    return heatmaps, (pafs / np.maximum(counts, 1)[:, None]).reshape(-1, SIZE, SIZE)


def over_images(drawer: Callable[..., Maps], points: np.ndarray, visible: np.ndarray, layout: Layout) -> list[Maps]:
    return [drawer(*image, layout) for image in zip(points, visible, strict=True)]


REFERENCES = {
    "NumPy, joint by joint and limb by limb, whole maps": draw_over_maps,
    "NumPy, the same with limbs in their boxes": draw_in_boxes,
    "Python, cell by cell": draw_by_cell,
}


def rows(batch: int, repeats: int, device: str, command: str) -> list[dict[str, Any]]:
    layout, found = MPOSE3D, []
    for people in (1, 5, 10, 20):
        points, visible = scenes(people, batch)
        arrays = points.double().numpy(), visible.numpy()
        on_device = points.to(device), visible.to(device)
        ours = partial(draw, *on_device, layout, (SIZE, SIZE), STRIDE, SIGMA, limb_width=WIDTH, limb_edge=EDGE)
        drawn = [maps.cpu().numpy() for maps in ours()]
        # cell by cell takes seconds: a few images tell its speed
        few = {draw_by_cell: min(2, batch)}
        slow = {}
        for name, drawer in REFERENCES.items():
            images = few.get(drawer, batch)
            slow[name] = partial(over_images, drawer, *(array[:images] for array in arrays), layout)
            for b, maps in enumerate(slow[name]()):
                for mine, theirs in zip(drawn, maps, strict=True):
                    np.testing.assert_allclose(mine[b], theirs, atol=2e-5, err_msg=name)
        times = interleaved({"ours": ours} | slow, repeats, warmup=1)
        speed = batch / times["ours"].median
        for name, drawer in REFERENCES.items():
            other = few.get(drawer, batch) / times[name].median
            found.append({
                "table": f"HM-PAF drawing on {device}, {layout.name}, {SIZE}x{SIZE} cells, batches of {batch}",
                "row": f"{people} people" if people > 1 else "1 person",
                "ours": speed, "other": other, "unit": "images/s", "ratio": speed / other, "against": name,
                "command": command,
            })  # fmt: skip
            if people == 10 and drawer is draw_over_maps and device == "cpu":
                found[-1]["bar"] = ">= 30"
    return found


def main() -> None:
    parser = options("drawing", __doc__, repeats=11, threads=1)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    command = f"python -m experiments.bench.drawing --batch {args.batch} --threads {args.threads}"
    found = rows(args.batch, args.repeats, available_device(), command)
    print_rows(found)
    write_results(args.out, found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
