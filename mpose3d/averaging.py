"""Averaged weights that leave alone what is frozen."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, by which a run is validated and with which it ends.

    Lightning's `EMAWeightAveraging` takes decay * average + (1 - decay) * current, which rounds a weight that never
    changes a little further off at every step. Here such a weight stays as it is, bit for bit.

    Args:
        decay: share of the average that a step leaves.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Tensor, current: Tensor, _count: Tensor | int) -> Tensor:
            return torch.lerp(averaged, current, 1 - decay) if averaged.is_floating_point() else current

        super().__init__(avg_fn=average)
