"""Draws of one generator, by which every scene gets another look."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Random:
    """Draws of one generator, on its device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, *shape: int, of: float) -> Tensor:
        return self.uniform(*shape) < of

    def colours(self, *shape: int) -> Tensor:
        """Colours (*shape, 3), most of them duller than random ones are."""
        vivid = self.uniform(*shape, 3)
        return torch.lerp(vivid.mean(-1, keepdim=True), vivid, self.uniform(*shape, 1))

    def between(self, *shape: int, colours: tuple[tuple[float, float, float], ...]) -> Tensor:
        """Colours (*shape, 3) around the line from one of `colours` to another."""
        known = torch.tensor(colours, device=self.device)
        a, b = (known[torch.randint(len(known), shape, generator=self.generator, device=self.device)] for _ in "ab")
        return (torch.lerp(a, b, self.uniform(*shape, 1)) + 0.04 * self.normal(*shape, 3)).clamp(0, 1)
