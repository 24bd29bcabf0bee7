"""Speed of the metrics: batched PMPJPE against loops over poses, and the whole MuPoTS-3D evaluation.

    python experiments/bench/metrics.py [--poses 10000] [--threads 1] [--mupots DIR]

DIR holds MultiPersonTestSet/ and predictions as npz (--predictions, default: the first *.npz in DIR).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from scipy.spatial.transform import Rotation

from mpose3d.evaluation import score_mupots
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


def interleaved(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, one after the other in every repeat, so that load hits all alike."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, seconds in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; the loops have one")
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
    batched, *slow = interleaved(
        args.repeats, lambda: pmpjpe(prediction, target), *(partial(loop, *arrays) for loop in loops.values())
    )
    print(f"PMPJPE of {args.poses:,} poses, {args.threads} thread(s), median of {args.repeats} in turn:")
    print(f"  batched {1e3 * batched:.1f} ms; largest difference from the loops {apart:.1e} mm")
    for name, seconds in zip(loops, slow, strict=True):
        print(f"  SciPy loop by {name}: {1e3 * seconds:.0f} ms, {seconds / batched:.0f} times as long")

    if args.mupots is not None:
        predictions = args.predictions or min(args.mupots.glob("*.npz"))
        start = time.perf_counter()
        score, _ = score_mupots(args.mupots, predictions)
        seconds = time.perf_counter() - start
        people = sum(sequence.annotated for sequence in score.sequences.values())
        print(
            f"MuPoTS-3D: {len(score.sequences)} sequences, {people:,} annotated people, files included: {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
