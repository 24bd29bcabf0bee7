"""Training steps: the Lightning Trainer against a bare loop of the same step, and the share of the peak they reach.

    python -m experiments.bench.steps [--stages aae phase1] [--out out/bench/steps.json]

The Trainer is that of experiments/base.yaml: clipping, schedule, a CSV log of every 20th step, progress bar. The bare
loop does what the step needs: training_step, backward, clipping, optimiser, schedule. Both take the same batch again
and again, in turns of `--steps` steps; the first steps of a turn are left out. The peak is that of a large matrix
product, timed in the same turns; FLOPs are those that torch.utils.flop_counter finds (products and convolutions).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from experiments.bench.stages import BATCH, STAGES, WARMUP, Clock, bare, batch, build, measured_steps
from experiments.bench.timing import available_device, now, print_rows, write_results
from mpose3d.cli import plainly
from mpose3d.runs import RunLog
from mpose3d.stages.base import Stage


def lightning_steps(stage: Stage, data: Any, steps: int) -> list[float]:
    """Seconds of each step of a fit, from the end of one to the end of the next."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_steps=steps + WARMUP,
            gradient_clip_val=1.0,
            log_every_n_steps=20,
            logger=RunLog(folder),
            callbacks=[clock],
            enable_checkpointing=False,
            enable_model_summary=False,
            limit_val_batches=0,
            accelerator=available_device(),
            devices=1,
        )
        trainer.fit(stage, DataLoader([data] * (steps + WARMUP), batch_size=None, collate_fn=lambda sample: sample))
    return measured_steps(clock.times)


def bare_steps(stage: Stage, data: Any, steps: int) -> list[float]:
    """Seconds of each step of a plain loop, of a stage that is `bare`."""
    parameters = [p for p in stage.parameters() if p.requires_grad]
    optimizer = stage.optimizer
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    ends = []
    for _ in range(steps + WARMUP):
        loss = stage.training_step(data, 0)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        ends.append(now())
    return measured_steps(ends)


def forward_seconds(stage: Stage, data: Any) -> float:
    start = now()
    stage.training_step(data, 0)
    return now() - start


def matmul_seconds(size: int, device: str) -> float:
    one, other = torch.rand(2, size, size, device=device)
    start = now()
    torch.mm(one, other)
    return now() - start


def _convolution_backward(grad, x, weight, *options: Any, out_shape: Any = None) -> int:
    """FLOPs of the gradients of a convolution's input and weight, as many each as forward.

    PyTorch's own count takes a convolution in groups, backward, for a full one.
    """
    transposed, wanted = options[4], options[-1]
    return sum(wanted[:2]) * conv_flop_count(x, weight, grad, transposed)


def flops(stage: Stage, data: Any) -> tuple[int, int]:
    """FLOPs of the forward pass, the losses included, and of forward and backward pass."""
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        loss = stage.training_step(data, 0)
        forward = counter.get_total_flops()
        loss.backward()
    stage.zero_grad()
    return forward, counter.get_total_flops()


def rows(name: str, turns: int, steps: int, matrix: int, device: str, command: str) -> list[dict[str, Any]]:
    size = BATCH[name]
    data = batch(name, size, device)
    fitted, looped = build(name).to(device), bare(build(name).to(device))
    forward_flops, step_flops = flops(looped, data)
    with_trainer, without, forward, matmul = [], [], [], []
    for _ in range(turns):
        without += bare_steps(looped, data, steps)
        with_trainer += lightning_steps(fitted.to(device), data, steps)
        forward += [forward_seconds(looped, data) for _ in range(3)]
        matmul += [matmul_seconds(matrix, device) for _ in range(3)]
    seconds = {"ours": statistics.median(with_trainer), "other": statistics.median(without)}
    peak = 2 * matrix**3 / min(matmul) / 1e9
    where = f"on {device}, experiments/photographs sizes"
    common = {"command": command, "batch": size}
    found = [{
        "table": f"Training step {where}", "row": f"{name}, batch {size}", **seconds,
        "ratio": seconds["ours"] / seconds["other"], "against": "bare PyTorch loop", "bar": "<= 1.03", **common,
    }]  # fmt: skip
    for part, count, taken in (("forward", forward_flops, forward), ("step", step_flops, without)):
        reached = count / statistics.median(taken) / 1e9
        found.append({
            "table": f"Share of the peak {where}", "row": f"{name}, batch {size}, {part} ({count / 1e9:,.2f} GFLOP)",
            "ours": reached, "other": peak, "unit": "GFLOP/s", "ratio": reached / peak,
            "against": f"matrix product of {matrix}", **common,
        })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="in a turn")
    parser.add_argument("--matrix", type=int, default=2048, help="side of the matrices that tell the peak")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("out/bench/steps.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = available_device()
    command = f"python -m experiments.bench.steps --threads {args.threads}"
    found = []
    for name in args.stages:
        found += rows(name, args.turns, args.steps, args.matrix, device, command)
    found.sort(key=lambda row: row["table"], reverse=True)  # the steps of all stages, then their shares of the peak
    print_rows(found)
    write_results(args.out, found)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
