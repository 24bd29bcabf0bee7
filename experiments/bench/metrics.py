"""Speed of the metrics: batched PMPJPE against loops over poses, and the whole MuPoTS-3D evaluation.

    python -m experiments.bench.metrics [--poses 10000] [--threads 1] [--mupots DIR] [--out out/bench/metrics.json]

DIR holds MultiPersonTestSet/ and predictions as npz (--predictions, default: the first *.npz in DIR).
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from scipy.spatial.transform import Rotation

from experiments.bench.timing import interleaved, options, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.evaluation.mupots import score_mupots
from mpose3d.metrics.functional import pmpjpe


def pmpjpe_by_align_vectors(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Pose by pose, SciPy's best rotation and the scale that goes with it."""
    errors = []
    for prediction, target in zip(predictions, targets, strict=True):
        p, q = prediction - prediction.mean(axis=0), target - target.mean(axis=0)
        rotated = Rotation.align_vectors(q, p)[0].apply(p)
        scale = (rotated * q).sum() / np.square(p).sum()
        errors.append(np.linalg.norm(scale * rotated - q, axis=-1).mean())
    return np.array(errors)


def pmpjpe_by_svd(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Pose by pose, Umeyama's similarity written out on SciPy's SVD: the fastest loop found."""
    errors = []
    for prediction, target in zip(predictions, targets, strict=True):
        p, q = prediction - prediction.mean(axis=0), target - target.mean(axis=0)
        u, s, vt = scipy.linalg.svd(q.T @ p)
        sign = np.array([1.0, 1.0, np.linalg.det(u @ vt)])
        rotation, scale = (u * sign) @ vt, (s * sign).sum() / np.square(p).sum()
        errors.append(np.linalg.norm(scale * p @ rotation.T - q, axis=-1).mean())
    return np.array(errors)


def main() -> None:
    parser = options("metrics", __doc__, repeats=7, threads=1)
    parser.add_argument("--poses", type=int, default=10_000)
    parser.add_argument("--mupots", type=Path)
    parser.add_argument("--predictions", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    generator = torch.Generator().manual_seed(0)
    target = 300 * torch.randn(args.poses, 15, 3, generator=generator) + 3000
    prediction = target + 80 * torch.randn(args.poses, 15, 3, generator=generator)
    arrays = prediction.double().numpy(), target.double().numpy()
    loops = {"align_vectors": pmpjpe_by_align_vectors, "svd": pmpjpe_by_svd}
    ours = pmpjpe(prediction, target).numpy()
    apart = max(np.abs(ours - loop(*arrays)).max() for loop in loops.values())
    print(f"largest difference from the loops: {apart:.1e} mm")
    functions = {"batched": lambda: pmpjpe(prediction, target)}
    times = interleaved(functions | {name: partial(loop, *arrays) for name, loop in loops.items()}, args.repeats)
    rows = [
        {
            "table": f"PMPJPE of {args.poses:,} poses",
            "row": "batched, float32",
            "ours": times["batched"].median,
            "other": times[name].median,
            "ratio": times["batched"].median / times[name].median,
            "against": f"loop over poses, SciPy's {name}",
            "bar": "<= 0.02",
            "command": "python -m experiments.bench.metrics",
        }
        for name in loops
    ]
    print_rows(rows)
    write_results(args.out, rows)

    if args.mupots is not None:
        found = min(args.mupots.glob("*.npz"), default=args.mupots / "predictions.npz")
        start = time.perf_counter()
        score, _ = score_mupots(args.mupots, args.predictions or found)
        seconds = time.perf_counter() - start
        people = sum(sequence.annotated for sequence in score.sequences.values())
        print(
            f"MuPoTS-3D: {len(score.sequences)} sequences, {people:,} annotated people, files included: {seconds:.1f} s"
        )


if __name__ == "__main__":
    raise SystemExit(plainly(main))
