"""What all stages share: frozen networks, the optimiser and its schedule, checkpoints that know their stage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import nn

from mpose3d.data.epochs import batches_trained
from mpose3d.networks.autoencoder import PriorNetwork
from mpose3d.runs import RunLog

# keys of a checkpoint that hold weights; with averaged weights `state_dict` is the average, and `current_model_state`
# what is trained
_STATES = {"state_dict", "current_model_state"}

# precisions of the Trainer that are allowed: half precision for matrix products and convolutions only
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


class Stage(LightningModule):
    """A LightningModule that trains some of its networks and keeps the others as they are.

    A frozen network has no gradients and stays in eval mode whatever is asked of the stage. What `frozen` names is left
    out of checkpoints, too: its weights come from the file that the stage was built from, and a checkpoint knows if
    they are others. All other networks are trained, even those that another stage has frozen before.

    Args:
        learning_rate, weight_decay: of AdamW.
        warmup: steps over which the learning rate rises from 0.
        decay: let the learning rate fall to 0 along a half cosine over the run.
        seed: of the noise in training steps (phi_rand, the noise of m_syn), with the step and the process.
    """

    #: names of the submodules that this stage does not train
    frozen: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        warmup: int = 100,
        decay: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.decay = decay
        self.seed = seed
        self._last_logged: dict[str, float] = {}
        self._digests: dict[str, str] | None = None

    def frozen_networks(self) -> Iterable[nn.Module]:
        return (self.get_submodule(name) for name in self.frozen)

    def freeze_networks(self) -> None:
        """Called at the end of a stage's constructor, and before each fit."""
        self.requires_grad_(True)
        for network in self.frozen_networks():
            network.requires_grad_(False).eval()

    def setup(self, stage: str) -> None:
        """Raises ValueError for a precision that turns weights and data themselves into another type."""
        if self.trainer.precision not in _PRECISIONS:
            raise ValueError(
                f"precision {self.trainer.precision}: weights and mm are float32, take one of {', '.join(_PRECISIONS)}"
            )
        self._digests = None
        if stage == "fit":
            self.freeze_networks()
            if any(isinstance(part, PriorNetwork) and not part.has_trained_psi for part in self.modules()):
                rank_zero_warn(
                    "Psi makes every body, and has random weights: give the network its `prior`, or the model an `init`"
                )

    def train(self, mode: bool = True) -> Stage:
        super().train(mode)
        for network in self.frozen_networks():
            network.eval()
        return self

    def on_train_start(self) -> None:
        for logger in self.loggers:
            if isinstance(logger, RunLog):
                logger.keep_before(self.global_step, self._last_logged)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """The random numbers of a step follow from seed, step and process alone.

        A resumed run then draws what the unbroken run would, and no two processes draw the same.
        """
        state = np.random.SeedSequence([self.seed, batches_trained(self.trainer), self.global_rank])
        seed = int(state.generate_state(1, np.uint64)[0] >> 1)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` takes a millisecond where CUDA is asleep
        else:
            torch.manual_seed(seed)

    # checkpoints -----------------------------------------------------------------------------------------------------

    def _is_frozen(self, key: str) -> bool:
        return key.startswith(tuple(f"{name}." for name in self.frozen))

    def _frozen_digests(self) -> dict[str, str]:
        """A digest of the weights of each network that checkpoints leave out; of a run, made once."""
        if self._digests is None:
            self._digests = {}
            for name in self.frozen:
                digest = hashlib.sha256()
                for key, value in sorted(self.get_submodule(name).state_dict().items()):
                    digest.update(key.encode() + value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
                self._digests[name] = digest.hexdigest()
        return self._digests

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["stage"], checkpoint["frozen"] = type(self).__name__, self._frozen_digests()
        # a step's row is written to the log after the callbacks that write its checkpoint
        values = self.trainer.callback_metrics if self._is_logged(self.global_step - 1) else {}
        checkpoint["last_logged"] = {name: float(v) for name, v in values.items() if name.startswith("train/")}
        for name in _STATES & checkpoint.keys():
            checkpoint[name] = {key: value for key, value in checkpoint[name].items() if not self._is_frozen(key)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError for a checkpoint of another stage or network, or of other weights of what is frozen."""
        path = getattr(self._trainer, "ckpt_path", None) or "the checkpoint"
        stage, mine = checkpoint.get("stage"), type(self).__name__
        if stage != mine:
            raise ValueError(
                f"{path} was written by {stage or 'no stage of mpose3d'}, and {mine} cannot continue "
                "it: to start from an earlier stage's weights, give its path as the model's `init` or `prior`"
            )
        self._last_logged = checkpoint.get("last_logged", {})
        frozen = {key: value for key, value in self.state_dict().items() if self._is_frozen(key)}
        for name in _STATES & checkpoint.keys():
            checkpoint[name] = frozen | checkpoint[name]
        given, needed = checkpoint["state_dict"], self.state_dict()
        for what, names in (("lacks", needed.keys() - given.keys()), ("also has", given.keys() - needed.keys())):
            if names:
                raise ValueError(f"{path} {what} {min(names)!r} ({len(names)} tensors): it is of another network")
        for name, wanted in needed.items():
            if given[name].shape != wanted.shape:
                theirs, ours = tuple(given[name].shape), tuple(wanted.shape)
                raise ValueError(f"{path} has {name} of shape {theirs}, here it is {ours}: it is of another network")
        digests = self._frozen_digests()
        for name, digest in checkpoint.get("frozen", {}).items():
            if digests.get(name) != digest:
                raise ValueError(
                    f"{path} was trained with another {name}, which it does not hold: the file that the config names "
                    "(the teacher's `weights`, `prior` or `init`) is not the one that it was, or not named"
                )

    # optimiser -------------------------------------------------------------------------------------------------------

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(
            self.parameter_groups(), lr=self.learning_rate, weight_decay=self.weight_decay, foreach=True
        )
        length = self.trainer.estimated_stepping_batches if self.decay else math.inf
        if self.decay and math.isinf(length):
            raise ValueError(
                "the learning rate falls over the run, whose length is unknown: set max_steps, or decay: false"
            )
        fall = max(1, length - self.warmup)

        def factor(step: int) -> float:
            """Linear over `warmup` steps, then half a cosine down to 0 at the end of the run."""
            along = max(0, step - self.warmup) / fall
            return min(1.0, (step + 1) / max(1, self.warmup)) * (1 + math.cos(math.pi * along)) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # logging ---------------------------------------------------------------------------------------------------------

    def _is_logged(self, step: int) -> bool:
        every = self.trainer.log_every_n_steps
        return every > 0 and (step + 1) % every == 0

    def log_terms(self, split: str, terms: dict[str, torch.Tensor], batch_size: int) -> None:
        """Log values as `<split>/<name>`; the mean over an epoch and over processes in validation (docs/scale.md).

        In training, at steps that the Trainer writes to its loggers and at the last one of an epoch: handing it values
        takes milliseconds.
        """
        training = split == "train"
        if training and not (self.trainer.is_last_batch or self._is_logged(self.global_step)):
            return
        self.log_dict(
            {f"{split}/{name}": value for name, value in terms.items()},
            on_step=training,
            on_epoch=not training,
            sync_dist=not training,
            add_dataloader_idx=False,
            batch_size=batch_size,
        )

    def weighted_loss(
        self, split: str, terms: dict[str, torch.Tensor], weights: Mapping[str, float], batch_size: int
    ) -> torch.Tensor:
        """The sum of the terms by their weights, logged beside them as `loss`."""
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        self.log_terms(split, terms | {"loss": loss}, batch_size)
        return loss

    def log_means(self, split: str, errors: dict[str, torch.Tensor]) -> None:
        """`log_terms` of the means over people (n,); a batch without anybody weighs nothing."""
        count = len(next(iter(errors.values())))
        self.log_terms(split, {name: error.sum() / max(count, 1) for name, error in errors.items()}, count)
