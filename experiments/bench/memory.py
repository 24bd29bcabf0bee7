"""Memory of a training step of each stage, by batch size.

    python -m experiments.bench.memory [--size source] [--batches 8 32 128] [--out out/bench/memory.json]

Each figure is of a process of its own: on a CPU the most that is resident during the step (the libraries and a batch of
data take part of it, "before"), on a GPU the most that PyTorch has allocated. Optimiser state is there already.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from experiments.bench.stages import STAGES, Size, bare, batch, build, train_step
from experiments.bench.timing import available_device, print_rows, write_results
from mpose3d.cli import plainly

_GB = 10**9


def _resident(field: str) -> float:
    """GB that are resident (`VmRSS`), or were at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / _GB


def measure(name: str, batch_size: int, size: Size, device: str) -> dict[str, float]:
    """GB before the step and at its worst, in this process."""
    stage = bare(build(name, size).to(device))
    train_step(stage, batch(name, 2, device, size))
    data = batch(name, batch_size, device, size)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / _GB
        train_step(stage, data)
        return {"before": before, "peak": torch.cuda.max_memory_allocated() / _GB}
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _resident("VmRSS")
    train_step(stage, data)
    return {"before": before, "peak": _resident("VmHWM")}


def in_a_process(name: str, batch_size: int, size: Size, device: str, limit: float) -> dict[str, float] | None:
    """As `measure`; None where `limit` GB are not enough."""
    one = [sys.executable, "-m", "experiments.bench.memory", "--one", name, str(batch_size), size, device, str(limit)]
    done = subprocess.run(one, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    told = done.stderr.strip().splitlines()[-1:]
    if done.returncode < 0 or any("allocate" in line or "memory" in line for line in told):
        return None
    raise RuntimeError(f"{name}, batch {batch_size}: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32, 128])
    parser.add_argument("--size", choices=("photographs", "source"), default="photographs")
    parser.add_argument("--limit", type=float, default=16.0, help="GB that a process may take on a CPU")
    parser.add_argument("--out", type=Path, default=None, help="default out/bench/memory_SIZE.json")
    parser.add_argument("--one", nargs=5, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        name, batch_size, size, device, limit = args.one
        if device == "cpu":
            resource.setrlimit(resource.RLIMIT_DATA, (int(float(limit) * _GB), -1))
        print(json.dumps(measure(name, int(batch_size), size, device)))
        return

    device = available_device()
    command = f"python -m experiments.bench.memory --size {args.size}"
    found: list[dict[str, Any]] = []
    for name in args.stages:
        least = None
        for batch_size in args.batches:
            memory = in_a_process(name, batch_size, args.size, device, args.limit)
            if memory is None:
                print(f"{name}, batch {batch_size}: more than the limit")
                continue
            least = least or memory
            found.append({
                "table": f"Memory of a training step on {device}, sizes: {args.size}",
                "row": f"{name}, batch {batch_size}", "ours": memory["peak"], "other": least["peak"], "unit": "GB",
                "ratio": memory["peak"] / least["peak"], "against": f"batch {args.batches[0]}",
                "before": memory["before"], "command": command,
            })  # fmt: skip
    print_rows(found)
    write_results(args.out or Path(f"out/bench/memory_{args.size}.json"), found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
