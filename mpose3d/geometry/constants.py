"""Fixed numbers as tensors, made once on each device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Numbers = tuple["float | int | Numbers", ...]

# at most so many: some are of a picture, such as the middle of a camera
_MOST = 512
_KEPT: dict[tuple[Numbers, torch.device, torch.dtype], Tensor] = {}


def constant(values: Numbers, device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    """`values` on a device; never to be changed in place.

    A GPU has to be waited for when numbers of Python go there, so they go once. While a network is traced they are made
    anew, because a tracer's tensors must not outlive it.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return torch.tensor(values, device=device, dtype=dtype)
    key = values, device, dtype
    if key not in _KEPT:
        with torch.inference_mode(False):
            made = torch.tensor(values, device=device, dtype=dtype)
        if type(made) is not Tensor or len(_KEPT) >= _MOST:  # a fake one, or one too many
            return made
        _KEPT[key] = made
    return _KEPT[key]


def like(values: Numbers, tensor: Tensor) -> Tensor:
    """`values` in the dtype of `tensor`, or the default one where that is of integers; on its device."""
    return constant(values, tensor.device, tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype())


def take(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """The given rows of (..., n, d)."""
    return tensor[..., constant(tuple(rows), tensor.device), :]
