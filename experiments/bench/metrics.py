"""Speed of the metrics: batched PMPJPE against a loop over poses, and the whole MuPoTS-3D evaluation.

    python experiments/bench/metrics.py [--poses 10000] [--mupots DIR]

DIR holds MultiPersonTestSet/ and predictions as npz (--predictions, default: the first *.npz in DIR).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import torch

from mpose3d.evaluation import score_mupots
from mpose3d.metrics.functional import pmpjpe


def pmpjpe_loop(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Umeyama's similarity by SciPy's SVD, pose by pose."""
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
    parser.add_argument("--mupots", type=Path)
    parser.add_argument("--predictions", type=Path)
    args = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    target = 300 * torch.randn(args.poses, 15, 3, generator=generator) + 3000
    prediction = target + 80 * torch.randn(args.poses, 15, 3, generator=generator)
    arrays = prediction.double().numpy(), target.double().numpy()
    apart = np.abs(pmpjpe(prediction, target).numpy() - pmpjpe_loop(*arrays)).max()
    batched, loop = interleaved(args.repeats, lambda: pmpjpe(prediction, target), lambda: pmpjpe_loop(*arrays))
    print(f"PMPJPE of {args.poses:,} poses, {torch.get_num_threads()} threads, median of {args.repeats}:")
    print(f"  batched {1e3 * batched:.1f} ms, SciPy loop {1e3 * loop:.1f} ms: {loop / batched:.0f} times as fast")
    print(f"  largest difference {apart:.1e} mm")

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
