"""What every benchmark shares: arguments, timings in turn, the machine in words, rows as JSON.

A row is a ratio against a named alternative that ran beside it:

    {"table": "photograph to people", "row": "224 px, 20 people", "ours": 0.061, "other": 0.065, "unit": "s",
     "ratio": 0.94, "against": "1 person", "bar": "<= 1.1", "command": "python -m experiments.bench.inference"}

`row`, `ours`, `other`, `ratio` (ours / other) and `command` are in all of them. `unit` is s unless it says otherwise;
`table` gathers rows under one heading, `bar` is what was asked for. Anything else is kept in the file, and not shown.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mpose3d.files import whole_or_none

Rows = list[dict[str, Any]]


class Timing(NamedTuple):
    """Seconds of one call: the median over the repeats, and the quarter of them that were faster and slower."""

    median: float
    low: float
    high: float


def interleaved(functions: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 2) -> dict[str, Timing]:
    """Seconds of each function, called one after the other in every repeat, so that load hits all alike.

    On a GPU each call is timed to the end of its work on the device.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    enabled = gc.isenabled()
    for repeat in range(-warmup, repeats):
        gc.collect()
        gc.disable()
        try:
            for name, function in functions.items():
                start = now()
                function()
                taken = now() - start
                if repeat >= 0:
                    seconds[name].append(taken)
        finally:
            if enabled:
                gc.enable()
    return {name: _timing(values) for name, values in seconds.items()}


def available_device() -> str:
    """What is timed: the GPU where there is one (`CUDA_VISIBLE_DEVICES=` hides it), else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def now() -> float:
    """Seconds of the clock; where a GPU is used, once it has done its work."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _timing(seconds: Sequence[float]) -> Timing:
    if len(seconds) < 2:
        return Timing(seconds[0], seconds[0], seconds[0])
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, low, high)


def machine() -> dict[str, Any]:
    """What the benchmark runs on: processor, cores, threads and versions; the GPU where there is one."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    if torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


def _processor() -> str:
    """The processor's name, and the widest vector instructions, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.machine()
    flags = fields.get("flags", "").split()
    return f"{name} ({next(flag for flag in ('avx512f', 'avx2') if flag in flags)})" if "avx2" in flags else name


def options(name: str, about: str, repeats: int, threads: int | None = None) -> argparse.ArgumentParser:
    """What most benchmarks are asked, with the defaults of the one of this name; None: as many threads as cores."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument(
        "--threads", type=int, default=threads or torch.get_num_threads(), help="of PyTorch; loops in Python have one"
    )
    parser.add_argument("--out", type=Path, default=Path(f"out/bench/{name}.json"))
    return parser


def write_results(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the machine and the rows as JSON, whole or not at all.

    Raises:
        ValueError: a row lacks one of `row`, `ours`, `other`, `ratio`, `command`.
    """
    for row in rows:
        lacking = [key for key in ("row", "ours", "other", "ratio", "command") if key not in row]
        if lacking:
            raise ValueError(f"row {row.get('row', row)!r} has no {lacking[0]!r}")
    with whole_or_none(path) as unfinished:
        unfinished.write_text(json.dumps({"machine": machine(), "rows": [dict(row) for row in rows]}, indent=1))


def shown(value: float, unit: str = "s") -> str:
    """A figure as people read it; seconds as ms."""
    return f"{1e3 * value:,.1f} ms" if unit == "s" else f"{value:,.4g} {unit}".rstrip()


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows, one line each, under the names of their tables."""
    for table, under in itertools.groupby(rows, key=lambda row: row.get("table", "")):
        lines = [(table, "ours", "other", "ratio", "asked", "against")]
        for row in under:
            unit = row.get("unit", "s")
            ours, other = (shown(row[key], unit) for key in ("ours", "other"))
            lines.append((row["row"], ours, other, f"{row['ratio']:.3g}", row.get("bar", ""), row.get("against", "")))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
        print()
