"""What a run leaves behind, so that being killed costs it little: whole checkpoints, a log that goes on, a place in the
queue of a cluster."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from mpose3d.files import reading, whole_or_none


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are on disk whole or not at all: written beside the old one, and then put in its place.

    Lightning writes to the folder for temporary files first; where that is another disk, it then copies the file over
    the old checkpoint, and a kill in the middle of it leaves neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if "://" in str(path):  # a remote store has its own ways
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with whole_or_none(path) as unfinished:
            super().save_checkpoint(checkpoint, unfinished, storage_options)

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Raises FileNotFoundError or ValueError, one line that names the file."""
        with nullcontext() if "://" in str(path) else reading(path, "a whole checkpoint"):
            return super().load_checkpoint(path, *args, **options)


class Requeue(Callback):
    """Under SLURM, on a signal: a checkpoint after the step in progress, the job back into the queue, and an end.

    Ask for the signal some time before the limit, for the job's processes: `#SBATCH --signal=SIGUSR1@120`.
    `SLURMEnvironment(auto_requeue=True)` saves at once instead, amid a step and the exchange of gradients.

    Raises:
        ValueError: a fit without `ModelCheckpoint`, whose folder the checkpoint goes to.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.checkpoint_callback is None:
            raise ValueError("Requeue has no folder for its checkpoint: the run needs a ModelCheckpoint")
        self._before = signal.signal(signal.SIGUSR1, self._ask)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        signal.signal(signal.SIGUSR1, self._before or signal.SIG_DFL)

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # gradients that were accumulated are in no checkpoint: the step that they belong to has to come first
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        # the signal reaches the processes of a job at different times: they stop at the same step
        if not trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            return
        trainer.save_checkpoint(Path(trainer.checkpoint_callback.dirpath) / "last.ckpt")
        if trainer.is_global_zero:
            array = os.environ.get("SLURM_ARRAY_JOB_ID")
            job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
            subprocess.run(["scontrol", "requeue", job], check=True)
        raise SystemExit(0)


class RunLog(CSVLogger):
    """`metrics.csv` in the run's folder, which a resumed run continues; a stage's fit from scratch replaces it.

    Lightning's own CSV log deletes what an earlier run into the same folder has written.

    Args:
        save_dir, name, version, prefix: see `CSVLogger`; the default version writes into the run's folder itself.
        flush_logs_every_n_steps: rows are written to disk when the step is a multiple of it.
    """

    def __init__(
        self,
        save_dir: str,
        name: str | None = "run",
        version: int | str | None = "",
        prefix: str = "",
        flush_logs_every_n_steps: int = 1,
    ) -> None:
        super().__init__(save_dir, name, version, prefix, flush_logs_every_n_steps)

    @property
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None and rank_zero_only.rank == 0:
            self._experiment = _Continued(self.log_dir)
        return super().experiment

    @rank_zero_only
    def keep_before(self, step: int, last: Mapping[str, float] | None = None) -> None:
        """Drop the rows of `step` and later, which a run that starts there will write again.

        Args:
            step: first step of the run.
            last: values of the step before it, in case the kill came between its checkpoint and its row.
        """
        writer = self.experiment
        rows = [row for row in _read(writer.metrics_file_path) if int(row["step"]) < step]
        if last and not any(int(row["step"]) == step - 1 and row.get(name) for row in rows for name in last):
            writer.metrics_keys += [name for name in ("step", *last) if name not in writer.metrics_keys]
            rows.append({"step": str(step - 1)} | {name: str(value) for name, value in last.items()})
        if rows:
            _write(writer.metrics_file_path, rows, writer.metrics_keys)
        else:
            Path(writer.metrics_file_path).unlink(missing_ok=True)
            writer.metrics_keys = []


class RunBoard(WandbLogger):
    """Weights & Biases, for a run whose files lie in `save_dir`/`name` as those of a run with `RunLog` do.

    Args:
        save_dir, name: as those of `RunLog`; `name` is the run's on the board, too.
        options: see `WandbLogger`.
    """

    def __init__(self, save_dir: str = ".", name: str = "run", **options: Any) -> None:
        super().__init__(name=name, save_dir=save_dir, **options)

    # Lightning makes the folders of a run of these three

    @property
    def save_dir(self) -> str:
        return os.path.join(self._save_dir, self._name)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""


class _Continued(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        """Lightning deletes the file here; its columns are taken over instead."""
        rows = _read(self.metrics_file_path)
        self.metrics_keys = list(rows[0]) if rows else []
        if rows and not Path(self.metrics_file_path).read_bytes().endswith(b"\n"):  # what is added next begins a line
            _write(self.metrics_file_path, rows, self.metrics_keys)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        _write(self.metrics_file_path, _read(self.metrics_file_path), fieldnames)


def _read(path: str) -> list[dict[str, str]]:
    """The rows of a log, but for the last where a kill left it without the end of its line."""
    if not os.path.isfile(path):
        return []
    with open(path, newline="") as file:
        whole = file.read().rpartition("\n")[0]
    return [row for row in csv.DictReader(whole.splitlines()) if (row.get("step") or "").isdigit()]


def _write(path: str, rows: Iterable[Mapping[str, str]], columns: list[str]) -> None:
    with whole_or_none(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
