"""What networks of TensorFlow need: the convolutions of their files, read without it, and their padding."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def read_frozen_graph(path: Path) -> dict[str, Tensor]:
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


def read_tensorflow_js(path: Path) -> dict[str, Tensor]:
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


def pad_stride_2(x: Tensor) -> Tensor:
    """TensorFlow's SAME padding of a 3x3 convolution of stride 2 on even sides: below and to the right only."""
    return F.pad(x, (0, 1, 0, 1))
