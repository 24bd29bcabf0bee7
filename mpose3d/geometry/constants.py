"""Fixed numbers as tensors, made once on each device."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

Numbers = tuple["float | int | Numbers", ...]


def constant(values: Numbers, device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    """`values` on a device; never to be changed in place.

    A GPU has to be waited for when numbers of Python go there, so they go once. While a network is traced (compiled,
    exported, or run on fake tensors) they are made anew, because a tracer's tensors must not outlive it.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or is_in_torch_dispatch_mode():
        return torch.tensor(values, device=device, dtype=dtype)
    return _kept(values, device, dtype)


@functools.lru_cache(maxsize=512)
def _kept(values: Numbers, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


def like(values: Numbers, tensor: Tensor) -> Tensor:
    """`values` in the dtype of `tensor`, on its device."""
    return constant(values, tensor.device, tensor.dtype)


def take(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """The given rows of (..., n, d)."""
    return tensor[..., constant(tuple(rows), tensor.device), :]
