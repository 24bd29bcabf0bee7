"""Kinematics and parsing, batched, against loops that do one thing at a time.

    python -m experiments.bench.geometry [--out out/bench/geometry.json]

T_L and FK: NumPy, pose by pose and joint by joint. Parsing: the steps of docs/hmpaf.md in NumPy and OpenCV, joint by
joint and pair by pair. That both give the same is checked before they are timed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from experiments.bench.drawing import SIZE, STRIDE, scenes
from experiments.bench.timing import available_device, interleaved, options, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.representations.hmpaf import HMPAF, draw, parse
from mpose3d.skeleton import COCO_18, SKELETON, Layout

# kinematics ----------------------------------------------------------------------------------------------------------


def _frame(limb: np.ndarray) -> np.ndarray:
    """Axes, as rows, of the frame at the end of a limb: Gram-Schmidt of the limb and the torso normal."""
    x = np.array([1.0, 0, 0]) - limb[0] * limb
    if np.linalg.norm(x) < 0.01:
        x = np.array([0, 0, 1.0]) - limb[2] * limb
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(limb, x), limb])


def _parent_limb(directions: dict[int, np.ndarray], joint: int) -> np.ndarray:
    parent = SKELETON.parents[joint]
    return np.array([0, 0, 1.0]) if parent == SKELETON.root else directions[parent]


def to_local(poses: np.ndarray) -> np.ndarray:
    """T_L, one joint of one pose after the other."""
    local = np.zeros_like(poses)
    for pose, out in zip(poses, local, strict=True):
        directions: dict[int, np.ndarray] = {}
        for parent, child in SKELETON.tree:
            limb = pose[child] - pose[parent]
            directions[child] = limb / np.linalg.norm(limb)
            out[child] = _frame(_parent_limb(directions, child)) @ directions[child]
    return local


def to_canonical(poses: np.ndarray) -> np.ndarray:
    """FK, one joint of one pose after the other."""
    canonical = np.zeros_like(poses)
    for pose, out in zip(poses, canonical, strict=True):
        directions: dict[int, np.ndarray] = {}
        for parent, child in SKELETON.tree:
            unit = pose[child] / np.linalg.norm(pose[child])
            directions[child] = _frame(_parent_limb(directions, child)).T @ unit
            out[child] = out[parent] + SKELETON.bone_lengths[child] * directions[child]
    return canonical


# parsing -------------------------------------------------------------------------------------------------------------


def parse_one_by_one(heatmaps: np.ndarray, pafs: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """People (J, 2) of one image, NaN where a joint is not seen; the settings are those of `parse`."""
    peaks = [_peaks(heatmap) for heatmap in heatmaps]
    found = []
    for limb, (a, b) in enumerate(layout.limbs):
        table = np.zeros((len(peaks[a]), len(peaks[b])))
        for i, first in enumerate(peaks[a]):
            for k, second in enumerate(peaks[b]):
                table[i, k] = _line_integral(pafs[2 * limb : 2 * limb + 2], first[:2], second[:2])
        for i, k in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[i, k] > 0:
                found.append((table[i, k], (a, i), (b, k)))
    person_of: dict[tuple[int, int], dict[int, int]] = {}
    for _, first, second in sorted(found, reverse=True):
        one, other = (person_of.setdefault(end, dict([end])) for end in (first, second))
        if one.keys().isdisjoint(other):
            one.update(other)
            person_of.update((end, one) for end in other.items())
    people = []
    for person in {id(person): person for person in person_of.values()}.values():
        if len(person) >= 4 and np.mean([peaks[joint][peak][2] for joint, peak in person.items()]) >= 0.2:
            points = np.full((len(layout), 2), np.nan)
            for joint, peak in person.items():
                points[joint] = (peaks[joint][peak][:2] + 0.5) * STRIDE - 0.5
            people.append(points)
    return people


def _peaks(heatmap: np.ndarray) -> list[np.ndarray]:
    """(x, y, height) of the local maxima of the enlarged map, in cells, to a fraction of one."""
    large = cv2.resize(heatmap, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    padded = np.pad(large, 1, constant_values=-np.inf)
    middle = padded[1:-1, 1:-1]
    before = [padded[dy : dy + large.shape[0], dx : dx + large.shape[1]] for dy, dx in ((0, 0), (0, 1), (0, 2), (1, 0))]
    after = [padded[dy : dy + large.shape[0], dx : dx + large.shape[1]] for dy, dx in ((1, 2), (2, 0), (2, 1), (2, 2))]
    highest = (middle > 0.1) & (middle > np.max(before, axis=0)) & (middle >= np.max(after, axis=0))
    found = []
    for y, x in zip(*np.nonzero(highest), strict=True):
        log = np.log(np.maximum(padded[y : y + 3, x : x + 3], 1e-6))
        dx = _vertex(*log[1]) if 0 < x < large.shape[1] - 1 else 0.0
        dy = _vertex(*log[:, 1]) if 0 < y < large.shape[0] - 1 else 0.0
        found.append(np.array([(x + dx + 0.5) / 2 - 0.5, (y + dy + 0.5) / 2 - 0.5, large[y, x]]))
    return sorted(found, key=lambda peak: -peak[2])[:32]


def _vertex(before: float, here: float, after: float) -> float:
    curvature = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5)) if curvature < -1e-6 else 0.0


def _line_integral(field: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean of the field along the line at ten places; 0 where fewer than eight of them agree."""
    unit = (second - first) / max(np.linalg.norm(second - first), 1e-6)
    along = []
    for step in np.linspace(0, 1, 10):
        x, y = np.clip(first + step * (second - first), 0, [field.shape[2] - 1, field.shape[1] - 1])
        column, row = min(int(x), field.shape[2] - 2), min(int(y), field.shape[1] - 2)
        dx, dy = x - column, y - row
        corner = field[:, row : row + 2, column : column + 2]
        value = (1 - dy) * ((1 - dx) * corner[:, 0, 0] + dx * corner[:, 0, 1])
        value = value + dy * ((1 - dx) * corner[:, 1, 0] + dx * corner[:, 1, 1])
        along.append(value @ unit)
    return max(float(np.mean(along)), 0.0) if np.mean(np.array(along) > 0.05) >= 0.8 else 0.0


def parse_images(heatmaps: np.ndarray, pafs: np.ndarray, layout: Layout) -> list[list[np.ndarray]]:
    return [parse_one_by_one(*image, layout) for image in zip(heatmaps, pafs, strict=True)]


def same_people(maps: HMPAF, layout: Layout, one_by_one: list[list[np.ndarray]]) -> float:
    """Share of the people of `parse` whom the loop finds too, with the same joints, all within half a pixel."""
    found = parse(maps, layout, STRIDE)
    points = torch.where(found.visible[..., None], found.points, torch.nan).cpu().numpy()
    same = [
        any(np.allclose(mine, theirs, atol=0.5, equal_nan=True) for theirs in others)
        for image, valid, others in zip(points, found.valid.cpu().numpy(), one_by_one, strict=True)
        for mine in image[valid]
    ]
    return float(np.mean(same))


# rows ----------------------------------------------------------------------------------------------------------------


def kinematics_rows(repeats: int, device: str, command: str) -> list[dict[str, Any]]:
    found = []
    for count in (10, 10_000):
        p_c = ArtificialPoses().sample(count, torch.Generator().manual_seed(0)).to(device)
        p_l = canonical_to_local(p_c)
        few = min(count, 200)  # the loop takes as long for every pose
        cases = {
            "T_L": (partial(canonical_to_local, p_c), partial(to_local, p_c[:few].double().cpu().numpy()), 1e-4),
            "FK": (partial(local_to_canonical, p_l), partial(to_canonical, p_l[:few].double().cpu().numpy()), 0.1),
        }
        for name, (ours, naive, tolerance) in cases.items():
            np.testing.assert_allclose(ours()[:few].cpu().numpy(), naive(), atol=tolerance)
            times = interleaved({"ours": ours, "naive": naive}, repeats)
            speeds = count / times["ours"].median, few / times["naive"].median
            found.append({
                "table": f"Kinematics and parsing on {device}", "row": f"{name}, {count:,} poses",
                "ours": speeds[0], "other": speeds[1], "unit": "poses/s", "ratio": speeds[0] / speeds[1],
                "against": "NumPy, pose by pose, joint by joint", "command": command,
            })  # fmt: skip
    return found


def parsing_rows(repeats: int, device: str, command: str, batch: int = 8) -> list[dict[str, Any]]:
    found, layout = [], COCO_18
    for people in (1, 5, 10, 20):
        points, visible = layout.from_skeleton(*scenes(people, batch))
        maps = draw(points, visible, layout, (SIZE, SIZE), STRIDE)
        maps = HMPAF(*(part.to(device) for part in maps))
        naive = partial(parse_images, *(part.cpu().numpy() for part in maps), layout)
        agreement = same_people(maps, layout, naive())
        if agreement < 0.9:
            raise RuntimeError(f"{people} people: the two ways to parse agree on {agreement:.0%} only")
        times = interleaved({"ours": partial(parse, maps, layout, STRIDE), "naive": naive}, repeats)
        speeds = batch / times["ours"].median, batch / times["naive"].median
        found.append({
            "table": f"Kinematics and parsing on {device}",
            "row": f"parse, {people} {'people' if people > 1 else 'person'}, batches of {batch}",
            "ours": speeds[0], "other": speeds[1], "unit": "images/s", "ratio": speeds[0] / speeds[1],
            "against": "NumPy, joint by joint, pair by pair", "agreement": agreement, "command": command,
        })  # fmt: skip
    return found


def main() -> None:
    args = options("geometry", __doc__, repeats=11, threads=1).parse_args()
    torch.set_num_threads(args.threads)
    command = f"python -m experiments.bench.geometry --threads {args.threads}"
    device = available_device()
    found = kinematics_rows(args.repeats, device, command) + parsing_rows(args.repeats, device, command)
    print_rows(found)
    write_results(args.out, found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
