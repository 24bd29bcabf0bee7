"""How training scales over processes: measured for two on this machine, modelled on paper for GPUs.

    python -m experiments.bench.scale [--out out/bench/scale.json]

Measured: two processes (gloo) of one thread each against one process of one thread, the same batch for each process.

Modelled: a step of a GPU takes FLOPs / (peak x share), and no less than 5 microseconds for each of PyTorch's calls,
with which small networks are busy. FLOPs and calls are counted on a real step; the share is a guess (--share). A ring
all-reduce of W processes sends and receives 2 (W - 1) / W times the gradients' bytes through the slowest link; the
efficiency that is given supposes that nothing of it is hidden behind the backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from experiments.bench.stages import BATCH, STAGES, WARMUP, Clock, bare, batch, build, measured_steps
from experiments.bench.steps import flops
from experiments.bench.timing import print_rows, write_results
from mpose3d.cli import plainly

#: seconds that the host takes for a call
_CALL = 5e-6


class Link(NamedTuple):
    """Processes joined by links whose slowest carries `gigabytes` each way in a second."""

    name: str
    processes: int
    gigabytes: float


LINKS = (
    Link("8 GPUs, NVLink", 8, 200.0),
    Link("8 GPUs, PCIe 4", 8, 20.0),
    Link("4 x 8 GPUs, InfiniBand 200 Gb/s for each machine", 32, 25.0),
    Link("4 x 8 GPUs, Ethernet 10 Gb/s for each machine", 32, 1.25),
)


class _Calls(TorchDispatchMode):
    """Counts the calls of PyTorch's operators, those of the backward pass too."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **kwargs or {})


def modelled(peak: float, share: float, batch_size: int, command: str) -> list[dict[str, Any]]:
    """Rows of images per second, all processes against as many times one."""
    found = []
    for name in STAGES:
        few = 2
        stage = bare(build(name, "source"))
        data = batch(name, few, size="source")
        _, count = flops(stage, data)
        with _Calls() as calls:
            stage.training_step(data, 0).backward()
        parameters = sum(p.numel() for p in stage.parameters() if p.requires_grad)
        size = 256 if name in ("aae", "lifter") else batch_size
        step = max(count / few * size / (peak * share), _CALL * calls.count)
        for link in LINKS:
            w = link.processes
            exchange = 2 * (w - 1) / w * 4 * parameters / (link.gigabytes * 1e9)
            one, together = size / step, w * size / (step + exchange)
            found.append({
                "table": f"On paper: the source's sizes, {peak * share / 1e12:.0f} TFLOP/s a GPU reached",
                "row": f"{name}, batch {size} a GPU, {link.name}",
                "ours": together, "other": w * one, "unit": "samples/s", "ratio": together / (w * one),
                "against": f"{w} times one GPU",
                "calls": calls.count, "parameters": parameters, "gradient_megabytes": 4 * parameters / 1e6,
                "tera_flop_a_step": count / few * size / 1e12, "step": step, "exchange": exchange, "command": command,
            })  # fmt: skip
    return found


class _WrittenClock(Clock):
    """Writes the seconds of each step of the first process."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_train_end(self, trainer, pl_module) -> None:
        if trainer.is_global_zero:
            torch.save(measured_steps(self.times), self.path)


def _as_it_is(sample: Any) -> Any:
    return sample


def step_seconds(name: str, data: Any, processes: int, steps: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "times.pt"
        spread = {"strategy": "ddp_fork", "devices": processes} if processes > 1 else {"devices": 1}
        trainer = Trainer(
            max_steps=steps + WARMUP, accelerator="cpu", callbacks=[_WrittenClock(path)], logger=False,
            limit_val_batches=0, enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
            **spread,
        )  # fmt: skip
        batches = [data] * (processes * (steps + WARMUP))
        trainer.fit(build(name), DataLoader(batches, batch_size=None, collate_fn=_as_it_is))
        return torch.load(path, weights_only=True)


def measured(stages: list[str], turns: int, steps: int, command: str) -> list[dict[str, Any]]:
    """Rows of samples per second, two processes against twice one."""
    found = []
    for name in stages:
        size = BATCH[name]
        data = batch(name, size)
        one, two = [], []
        for _ in range(turns):
            one += step_seconds(name, data, 1, steps)
            two += step_seconds(name, data, 2, steps)
        alone, together = size / statistics.median(one), 2 * size / statistics.median(two)
        found.append({
            "table": "Measured: two gloo processes of one thread each, experiments/photographs sizes",
            "row": f"{name}, batch {size} a process", "ours": together, "other": 2 * alone, "unit": "samples/s",
            "ratio": together / (2 * alone), "against": "2 times one process", "command": command,
        })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="*", default=["aae", "phase1"], choices=STAGES, help="that are measured")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--peak", type=float, default=312e12, help="of a GPU; 312e12: A100, half precision")
    parser.add_argument("--share", type=float, default=0.3, help="of the peak that a step reaches")
    parser.add_argument("--batch", type=int, default=32, help="a GPU, of the stages that see images")
    parser.add_argument("--out", type=Path, default=Path("out/bench/scale.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    command = "python -m experiments.bench.scale"
    found = measured(args.stages, args.turns, args.steps, command)
    found += modelled(args.peak, args.share, args.batch, command)
    print_rows(found)
    for row in found:
        if "parameters" in row and row["row"].endswith(LINKS[0].name):
            numbers = f"{row['parameters']:,} parameters, {row['gradient_megabytes']:.1f} MB of gradients"
            work = f"{row['tera_flop_a_step']:.3g} TFLOP and {row['calls']:,} calls a step, {1e3 * row['step']:.1f} ms"
            print(f"{row['row'].split(',')[0]}: {numbers}, {work}")
    write_results(args.out, found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
