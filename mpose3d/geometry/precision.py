"""Geometry runs in float32 or float64, whatever the surrounding mixed precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable)

_HALF = (torch.float16, torch.bfloat16)


def full_precision(function: F) -> F:
    """Run `function` with autocast off and its half-precision tensor arguments as float32."""

    def widen(value):
        return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        device = next((v.device.type for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), "cpu")
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            return function(*map(widen, args), **{k: widen(v) for k, v in kwargs.items()})

    return wrapper  # type: ignore[return-value]


def normalize(v: Tensor) -> Tensor:
    """Unit vectors along the last axis; a zero vector stays zero, with a finite gradient."""
    return v * v.square().sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()
