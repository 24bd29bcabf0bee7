"""Runs that are killed: whole files, a log that goes on, and the loss curve of a run that nobody killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mpose3d.cli import main
from mpose3d.runs import Requeue, RunBoard, RunLog, WholeCheckpoints
from tests.data.official_layouts import write_picture

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """
model:
  class_path: Phase1Stage
  init_args:
    teacher: {{class_path: SmallTeacher, init_args: {{width: 8}}}}
    network:
      class_path: CrossModalNetwork
      init_args: {{layout: mpose3d, v_channels: 8, stride: 4, input_size: 32, g_width: 4, h_width: 16, sigma: 2.0}}
    jitter: 1.0
    amplitude: 0.5
data:
  class_path: CrossModalData
  init_args:
    scenes:
      class_path: SyntheticScenes
      init_args: {{input_size: 32, people: [1, 2], batch_size: 2, batches: 7, val_batches: 1, dropped: 0.1}}
    photographs:
      class_path: ImageFolderDataModule
      init_args: {{train: [{photographs}], val: [{photographs}], image_size: 32, batch_size: 2, num_workers: {workers}}}
trainer:
  accelerator: cpu
  max_steps: {steps}
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  callbacks+:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {{save_last: true, save_top_k: 0, enable_version_counter: false, every_n_train_steps: 5}}
    - class_path: NetworkFile
"""


def command(config: Path, out: Path, *flags: str) -> list[str]:
    configs = ["--config", str(ROOT / "experiments/base.yaml"), "--config", str(config)]
    return ["fit", *configs, f"--trainer.logger.init_args.save_dir={out}", *flags]


def rows(out: Path, run: str = "run") -> list[dict[str, str]]:
    path = out / run / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def curve(out: Path, name: str, run: str = "run") -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[name])) for row in rows(out, run) if row.get(name)]


@pytest.mark.parametrize(("workers", "at"), [(0, 6), (2, 16)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, workers, at):
    """SIGKILL wherever a real process happens to be; 26 steps are 3.7 epochs of scenes, 5.2 of photographs."""
    for i in range(11):
        write_picture(tmp_path / "photographs" / f"{i}.png", 40, 30, seed=i)
    config, steps = tmp_path / "tiny.yaml", 26
    config.write_text(CONFIG.format(photographs=tmp_path / "photographs", steps=steps, workers=workers))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(command(config, whole)) == 0

    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-m", "mpose3d", *command(config, broken)]
    process = subprocess.Popen(run, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and max((step for step, _ in curve(broken, "train/loss")), default=0) < at:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[1][-3000:]
    process.kill()
    process.communicate(timeout=60)
    last = broken / "run" / "checkpoints" / "last.ckpt"
    assert 5 <= torch.load(last, weights_only=True)["global_step"] < steps
    assert main(command(config, broken, f"--ckpt_path={last}")) == 0

    assert [step for step, _ in curve(whole, "train/loss")] == list(range(steps))
    assert len({loss for _, loss in curve(whole, "train/loss")}) == steps
    for name in ("train/loss", "lr-AdamW", "val/scenes/mpjpe"):
        (steps_seen, losses), (steps_whole, losses_whole) = (
            zip(*curve(run, name), strict=True) for run in (broken, whole)
        )
        # processes of different numbers of threads add up in different orders
        assert steps_seen == steps_whole and losses == pytest.approx(losses_whole, rel=1e-3)
    one, other = (torch.load(out / "run/checkpoints/last.ckpt", weights_only=True) for out in (whole, broken))
    assert one["global_step"] == other["global_step"] == steps
    for key, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][key], value, rtol=0, atol=2e-3, msg=key)


def test_a_checkpoint_is_replaced_whole(tmp_path, monkeypatch):
    plugin, path = WholeCheckpoints(), tmp_path / "last.ckpt"
    plugin.save_checkpoint({"step": 1}, path)

    def cut_short(checkpoint, path, *_):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lightning.fabric.plugins.io.TorchCheckpointIO.save_checkpoint", lambda _, *a: cut_short(*a))
        with pytest.raises(KeyboardInterrupt):
            plugin.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    plugin.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 2} and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_broken_checkpoint_is_told_in_one_line(tmp_path):
    plugin, path = WholeCheckpoints(), tmp_path / "last.ckpt"
    plugin.save_checkpoint({"step": 1}, path)
    for content in (path.read_bytes()[:-100], b"", b"{}"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"last\.ckpt: not a whole checkpoint \(.+\)$"):
            plugin.load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match=r"no\.ckpt: no such file; expected a whole checkpoint"):
        plugin.load_checkpoint(tmp_path / "no.ckpt")


def test_a_log_is_continued_where_the_run_is(tmp_path):
    def log(*steps: int, keep: int | None = None, last: dict | None = None, **extra: float) -> list[tuple[str, str]]:
        logger = RunLog(str(tmp_path))
        if keep is not None:
            logger.keep_before(keep, last)
        for step in steps:
            logger.log_metrics({"loss": 0.5 * step} | extra, step)
        logger.finalize("success")
        return [(row["step"], row["loss"]) for row in rows(tmp_path)]

    assert log(0, 1, 2, keep=0) == [("0", "0.0"), ("1", "0.5"), ("2", "1.0")]
    assert log(2, 3, keep=2) == [("0", "0.0"), ("1", "0.5"), ("2", "1.0"), ("3", "1.5")]
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("7,")  # a row that was being written
    assert [step for step, _ in log(4, keep=4)] == ["0", "1", "2", "3", "4"]
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("5,2.")  # the same, before a validation of the run
    assert log(4)[-2:] == [("4", "2.0"), ("4", "2.0")]
    assert [step for step, _ in log(keep=5)] == ["0", "1", "2", "3", "4", "4"]
    assert log(6, keep=6, last={"loss": 2.5})[-2:] == [("5", "2.5"), ("6", "3.0")]  # a row that the checkpoint knows
    assert log(6, keep=6, last={"loss": 9.9})[-2:] == [("5", "2.5"), ("6", "3.0")]
    assert len(log()) == 8  # a test or validation of the run takes nothing away
    assert log(9, learning_rate=0.1)[-1] == ("9", "4.5")
    assert rows(tmp_path)[-1]["learning_rate"] == "0.1" and rows(tmp_path)[0]["learning_rate"] == ""
    assert log(0, keep=0) == [("0", "0.0")]


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SLURM runs on Linux")
def test_a_row_that_a_kill_tore_is_dropped_and_so_is_one_without_a_step(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("train/loss,step\n1.5,0\n0.7,\n0.6\n0.25,1\n0.1,2")
    log = RunLog(str(tmp_path))
    log.keep_before(9)
    assert (tmp_path / "run" / "metrics.csv").read_text().split() == ["train/loss,step", "1.5,0", "0.25,1"]


def test_a_log_takes_the_arguments_of_lightnings(tmp_path):
    log = RunLog(str(tmp_path), "other", prefix="mine", flush_logs_every_n_steps=2)
    file = tmp_path / "other" / "metrics.csv"
    log.log_metrics({"loss": 1.0}, step=0)
    assert not file.exists()
    log.log_metrics({"loss": 1.0}, step=1)
    assert file.read_text().split()[0].split(",") == ["mine-loss", "step"]


def test_a_board_has_its_files_where_a_log_has(tmp_path):
    pytest.importorskip("wandb")
    board = RunBoard(str(tmp_path), "first", offline=True)
    of_log = Path(RunLog(str(tmp_path), "first").log_dir)
    assert Path(board.save_dir, board.name, board.version) == of_log == tmp_path / "first"


def test_a_checkpoint_in_a_remote_store_is_written_in_the_stores_own_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WholeCheckpoints().save_checkpoint({"step": 3}, "memory://runs/last.ckpt")
    assert WholeCheckpoints().load_checkpoint("memory://runs/last.ckpt") == {"step": 3}
    assert not list(tmp_path.iterdir())


def test_the_slurm_job_requeues_itself_and_goes_on(tmp_path):
    """The job script as it is, stand-ins for SLURM's commands. One of two processes is signalled, and both stop."""
    ranks = 'export SLURM_PROCID=$rank SLURM_LOCALID=$rank; "$@" & jobs="$jobs $!"'
    executable(tmp_path / "bin" / "srun", f"for rank in 0 1; do {ranks}; done; for job in $jobs; do wait $job; done")
    executable(tmp_path / "bin" / "scontrol", f'echo "$@" >> {tmp_path}/scontrol.txt')
    executable(
        tmp_path / "bin" / "mpose3d", f'echo $$ > {tmp_path}/$SLURM_PROCID; exec {sys.executable} -m mpose3d "$@"'
    )
    number = 1000 + os.getpid() % 5000  # tells the port, too
    slurm = {"JOB_ID": number, "JOB_NAME": "mpose3d", "NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "NODEID": 0}
    environment = os.environ | {f"SLURM_{name}": str(value) for name, value in slurm.items()}
    environment |= {"SLURM_JOB_NODELIST": "localhost", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    flags = ["--config", str(ROOT / "experiments/aae.yaml"), "--data.init_args.batch_size=4", "--trainer.max_steps=40"]
    flags += ["--data.init_args.batches=26", "--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false"]
    on_cpu, run = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"], tmp_path / "job" / "aae"
    script = (ROOT / "experiments/cluster/job.sbatch").read_text()
    (tmp_path / "job.sbatch").write_text(script.replace("slurm.yaml", f"slurm.yaml {' '.join(on_cpu)}"))

    def job(restarts: int) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", str(tmp_path / "job.sbatch"), str(run), *flags],
            cwd=ROOT, env=environment | {"SLURM_RESTART_COUNT": str(restarts)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    first = job(restarts=0)
    while first.poll() is None and max((step for step, _ in curve(run.parent, "train/loss", "aae")), default=0) < 9:
        time.sleep(0.002)
    os.kill(int((tmp_path / "1").read_text()), signal.SIGUSR1)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors[-3000:]
    assert (tmp_path / "scontrol.txt").read_text() == f"requeue {number}\n"
    assert 9 <= torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] < 40

    second = job(restarts=1)
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors[-3000:]
    whole = ["fit", "--config", str(ROOT / "experiments/base.yaml"), *flags, *on_cpu]
    whole += ["--trainer.strategy=ddp_fork", "--trainer.devices=2"]
    assert main([*whole, f"--trainer.logger.init_args.save_dir={tmp_path / 'whole'}"]) == 0
    losses = curve(tmp_path / "whole", "train/loss", "aae")
    assert len(losses) == 40 and curve(run.parent, "train/loss", "aae") == losses


def test_requeue_asks_for_checkpoints_before_the_run_and_not_at_its_end():
    trainer = SimpleNamespace(checkpoint_callback=None)
    with pytest.raises(ValueError, match="the run needs a ModelCheckpoint"):
        Requeue().setup(trainer, None, "fit")


def test_a_requeued_run_ends_with_a_step_and_not_amid_its_batches(tmp_path, monkeypatch):
    """Of gradients that are being accumulated a checkpoint knows nothing."""
    saved, requeue = [], Requeue()
    requeue.asked = True
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: None)
    trainer = SimpleNamespace(
        accumulate_grad_batches=4,
        is_last_batch=False,
        is_global_zero=True,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda asked, all: asked),
        checkpoint_callback=SimpleNamespace(dirpath=tmp_path),
        save_checkpoint=saved.append,
    )
    for batch in (4, 5, 6):
        requeue.on_train_batch_end(trainer, None, None, None, batch)
    assert not saved
    with pytest.raises(SystemExit):
        requeue.on_train_batch_end(trainer, None, None, None, 7)
    assert saved == [tmp_path / "last.ckpt"]
