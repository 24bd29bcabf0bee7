"""Networks as files that run without this package: ONNX, TorchScript, PyTorch's exported programs.

Each writer takes a network of images that returns a dict of tensors, and one image (1, 3, side, side) as an example.
In the file the batch is dynamic and every other size is the example's. `description` is kept in the file as it is.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

#: name of the network's input, and of the description in the file
INPUT, DESCRIPTION = "image", "mpose3d"

#: more images than a batch of an exported network can have
_LARGEST_BATCH = 4096


def export_onnx(network: nn.Module, example: Tensor, path: str | Path, description: str = "") -> None:
    """As ONNX, for ONNX Runtime and its kin; weights are inside the file.

    Raises:
        ImportError: the extra `export` is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX needs the extra export: pip install 'mpose3d[export]'") from error
    batch = _two(example)
    with torch.no_grad():
        names = list(network(batch))
    with _quiet():
        program = torch.onnx.export(
            network,
            (batch,),
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=({0: _batch()},),
            dynamo=True,
            verbose=False,
        )
        program.model.metadata_props[DESCRIPTION] = description
        program.save(path, external_data=False)


def export_pt2(network: nn.Module, example: Tensor, path: str | Path, description: str = "") -> None:
    """As an exported program, for `torch.export.load`; the description is its extra file."""
    with _quiet(), torch.no_grad():
        program = torch.export.export(network, (_two(example),), dynamic_shapes=({0: _batch()},))
        torch.export.save(program, path, extra_files={DESCRIPTION: description})


def export_torchscript(network: nn.Module, example: Tensor, path: str | Path, description: str = "") -> None:
    """As TorchScript, for `torch.jit.load` and C++; the description is its extra file."""
    batch = _two(example)
    with _quiet(), torch.no_grad():
        network(batch)  # what is made once is made before, and not traced
        program = torch.jit.trace(network, batch, strict=False)
        torch.jit.save(program, str(path), _extra_files={DESCRIPTION: description})


def _batch() -> torch.export.Dim:
    return torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)


def _two(example: Tensor) -> Tensor:
    """A batch of two: a batch of one is taken for a constant."""
    return torch.cat([example, example])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell of their own deprecations and of libraries that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
