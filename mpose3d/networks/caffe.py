"""Weights of a `.caffemodel`: the few protocol-buffer fields that hold them.

OpenCV 4 reads these files, OpenCV 5 no longer does. Field numbers are those of BVLC's caffe.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers

# field numbers of (the layers in the net, the name in a layer, the blobs in a layer)
_LAYER = (100, 1, 7)
_LAYER_V1 = (2, 4, 6)


def read(path: str | Path) -> dict[str, Tensor]:
    """`<layer>.weight` in Caffe's order (out, in, kh, kw), and `<layer>.bias` (out), of every layer that has them.

    Raises:
        ValueError: not a Caffe model, or cut short.
    """
    net = list(_fields(memoryview(Path(path).read_bytes())))
    tensors = {}
    for layer_field, name_field, blobs_field in (_LAYER, _LAYER_V1):
        for layer in (value for field, value in net if field == layer_field):
            fields = list(_fields(layer))
            name = next(bytes(value).decode() for field, value in fields if field == name_field)
            blobs = [_blob(value) for field, value in fields if field == blobs_field]
            tensors |= {f"{name}.weight": blob for blob in blobs[:1]}
            tensors |= {f"{name}.bias": blob.flatten() for blob in blobs[1:2]}
    if not tensors:
        raise ValueError("no layer with weights in it")
    return tensors


def _blob(message: memoryview) -> Tensor:
    """BlobProto: data = 5; shape = 7 with dim = 1, in older files num, channels, height, width = 1, 2, 3, 4."""
    shape, legacy, data = [], [], []
    for field, value in _fields(message):
        if field == 5:
            data.append(np.frombuffer(value, "<f4"))
        elif field == 7:
            shape = [size for _, dimensions in _fields(value) for size in _dimensions(dimensions)]
        elif field in (1, 2, 3, 4):
            legacy.append(value)
    return torch.from_numpy(np.concatenate(data)).reshape(shape or legacy)


def _dimensions(value: int | memoryview) -> Iterator[int]:
    """A repeated integer, one by one or packed."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        size, position = _varint(value, position)
        yield size


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of each field of a message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield field, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("not a protocol buffer")
        if position + length > len(message):
            raise ValueError("the file is cut short")
        yield field, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message):
            raise ValueError("the file is cut short")
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position
