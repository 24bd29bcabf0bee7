"""Reading files of weights, and loading them with errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mpose3d.networks import caffe, tensorflow


def read_weights(path: str | Path, prefix: str = "teacher.") -> dict[str, Tensor]:
    """Tensors of a file by name, on the CPU, in float32 where they are floating.

    The suffix says the format: `.safetensors`; `.npz`; `.caffemodel`; `.pb`, a frozen TensorFlow graph; `.json`, a
    graph of TensorFlow.js, its weights beside it; anything else is a PyTorch state dict or a Lightning checkpoint.
    Where names have the `prefix`, as in the checkpoints of the stages, only those are kept, without it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of that format, or a checkpoint without that prefix.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: check the path")
    readers = {
        ".safetensors": safetensors.torch.load_file,
        ".npz": _read_npz,
        ".caffemodel": caffe.read,
        ".pb": tensorflow.read_frozen_graph,
        ".json": tensorflow.read_tensorflow_js,
    }
    try:
        tensors = readers.get(path.suffix, partial(_read_torch, prefix=prefix))(path)
        ours = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    except Exception as error:  # files of anything else raise nearly anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read as weights ({reason}): fetch or convert it again") from error
    return {name: t.float() if t.is_floating_point() else t for name, t in (ours or tensors).items()}


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Load tensors named as in `module.state_dict()`; `path` is for the message.

    Raises:
        ValueError: a tensor is missing, is left over or has another shape.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    if missing or extra:
        what = f"has no {missing[0]!r}" if missing else f"has a {extra[0]!r} that the network lacks"
        raise ValueError(
            f"{path} {what} ({len(missing)} tensors missing, {len(extra)} left over): "
            f"it holds the weights of another network than {type(module).__name__}"
        )
    for name, tensor in expected.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(
                f"{path}: {name!r} is {tuple(tensors[name].shape)}, {type(module).__name__} needs "
                f"{tuple(tensor.shape)}: build it with the arguments (layout, cut, width, ...) of the file's network"
            )
    module.load_state_dict(tensors)


def by_layer(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors named `<anything>.<layer>.<weight or bias>`, renamed to `module`'s names for the same layers.

    For networks that keep the layer names of their release: their files differ in what stands before the layer. Layers
    that the module does not have are left out.
    """
    files = {_layer(name): tensor for name, tensor in tensors.items()}
    return {name: files[_layer(name)] for name in module.state_dict() if _layer(name) in files}


def _layer(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_torch(path: Path, prefix: str) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a state dict")
    state = content.get("state_dict", content)
    if "state_dict" in content and not any(name.startswith(prefix) for name in state):
        raise ValueError(f"a checkpoint without a {prefix.rstrip('.')}: it is of another stage")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
