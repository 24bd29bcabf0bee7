"""Reading files of weights, and loading them with errors that say what to do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mpose3d.networks import caffe


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
        ".pb": _read_frozen_graph,
        ".json": _read_tensorflow_js,
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


def _read_frozen_graph(path: Path) -> dict[str, Tensor]:
    """Convolutions of a TensorFlow graph: scope of the operation -> weight (out, in / groups, kh, kw), bias (out)."""
    net = cv2.dnn.readNetFromTensorflow(str(path))
    tensors = {}
    for name in net.getLayerNames():
        # the blobs are weight and, where the layer has one, bias; the last part of the name is the operation
        for kind, blob in zip(("weight", "bias"), net.getLayer(net.getLayerId(name)).blobs, strict=False):
            tensor = torch.from_numpy(np.array(blob))
            tensors[f"{name.rpartition('/')[0]}.{kind}"] = tensor if kind == "weight" else tensor.flatten()
    return tensors


# the name of a convolution's weights in TensorFlow.js: its layer, then the operation
_CONVOLUTION = re.compile(r".*?(?P<layer>[^/]+)/(Conv2D|depthwise|separable_conv2d)(_weights|/ReadVariableOp(_1)?)")


def _read_tensorflow_js(path: Path) -> dict[str, Tensor]:
    """Convolutions of a TensorFlow.js graph: last part of the layer's scope -> weight (out, in / groups, kh, kw), bias.

    The depthwise half of a separable convolution is `<layer>_depthwise`.
    """
    model = json.loads(path.read_text())
    arrays = {}
    for group in model["weightsManifest"]:
        content, start = b"".join(path.with_name(name).read_bytes() for name in group["paths"]), 0
        for entry in group["weights"]:
            dtype = np.dtype(entry.get("quantization", entry)["dtype"]).newbyteorder("<")
            count = math.prod(entry["shape"])
            array = np.frombuffer(content, dtype, count, start).reshape(entry["shape"])
            arrays[entry["name"]] = torch.from_numpy(array.astype(entry["dtype"]))
            start += count * dtype.itemsize
        if start != len(content):
            raise ValueError(f"{', '.join(group['paths'])}: {len(content)} bytes where {start} are listed")
    tensors = {}
    for node in model["modelTopology"]["node"]:
        if "Conv" not in node["op"] or not (match := _CONVOLUTION.fullmatch(node["input"][1])):
            continue
        layer, depthwise = match["layer"], "Depthwise" in node["op"]
        layer += "_depthwise" if depthwise and not layer.endswith("_depthwise") else ""
        # (kh, kw, in, out), or (kh, kw, channels, 1)
        tensors[f"{layer}.weight"] = arrays[node["input"][1]].permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        if len(node["input"]) > 2:
            tensors[f"{layer}.bias"] = arrays[node["input"][2]]
    return tensors


def _read_torch(path: Path, prefix: str) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a state dict")
    state = content.get("state_dict", content)
    if "state_dict" in content and not any(name.startswith(prefix) for name in state):
        raise ValueError(f"a checkpoint without a {prefix.rstrip('.')}: it is of another stage")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
