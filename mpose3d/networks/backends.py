"""Ways to run a network for inference: as it is, compiled, recorded as a CUDA graph, or by ONNX Runtime."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mpose3d.networks.export import INPUT, export_onnx
from mpose3d.networks.fuse import fused

Backend = Literal["eager", "compile", "cudagraph", "onnxruntime"]
Precision = Literal["float32", "bfloat16", "float16"]


def known_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: there is none here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def accelerate(
    network: nn.Module, example: Tensor, backend: Backend = "eager", precision: Precision = "float32"
) -> Callable[[Tensor], Any]:
    """`network`, fused (`fused`), as a function of images that keeps no gradients.

    - "eager": nothing more.
    - "compile": by `torch.compile`, which takes minutes on a CPU; on a GPU with CUDA graphs.
    - "cudagraph": on a GPU, recorded once for each batch size and replayed, so that nothing waits for Python.
    - "onnxruntime": by ONNX Runtime on the CPU.

    Args:
        network: takes images (B, 3, side, side) and returns tensors in tuples, of the same shapes for all of a size.
        example: one image, (1, 3, side, side), on the device to run on.
        backend: which of them.
        precision: of the convolutions, by autocast; geometry stays in float32.

    Raises:
        ValueError: a backend that this device or precision does not have, or a compiler that fails.
        ImportError: ONNX Runtime is not installed.
    """
    on_gpu = example.device.type == "cuda"
    if backend == "cudagraph" and not on_gpu:
        raise ValueError("the backend 'cudagraph' needs a GPU (device 'cuda')")
    if backend == "onnxruntime" and (on_gpu or precision != "float32"):
        raise ValueError("the backend 'onnxruntime' runs on the CPU and in float32; on a GPU take 'cudagraph'")
    network = fused(network)
    if backend == "onnxruntime":
        return _onnxruntime(network, example)
    if backend == "compile":
        options = {"triton.cudagraphs": True} if on_gpu else {"freezing": True}
        network = torch.compile(network, fullgraph=True, dynamic=False, options=options)

    dtype = getattr(torch, precision)

    @torch.inference_mode()
    def run(image: Tensor) -> Any:
        with torch.autocast(image.device.type, dtype) if precision != "float32" else contextlib.nullcontext():
            return network(image)

    if backend == "cudagraph":
        return _CudaGraphs(run)
    if backend == "compile":
        try:
            run(example)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"torch.compile failed ({reason}): take the backend 'eager'") from error
    return run


class _CudaGraphs:
    """A function of a CUDA tensor, recorded on the first call with each shape and replayed after."""

    def __init__(self, run: Callable[[Tensor], Any]) -> None:
        self.run = run
        self.graphs: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Any]] = {}

    def __call__(self, image: Tensor) -> Any:
        if image.shape not in self.graphs:
            self.graphs[image.shape] = self._record(image)
        graph, held, output = self.graphs[image.shape]
        held.copy_(image, non_blocking=True)
        graph.replay()
        # the next replay writes to the same place
        return pytree.tree_map(torch.clone, output)

    def _record(self, image: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Any]:
        held = image.clone()
        # libraries choose their algorithms in the first calls, which must not be recorded
        side = torch.cuda.Stream(image.device)
        side.wait_stream(torch.cuda.current_stream(image.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                self.run(held)
        torch.cuda.current_stream(image.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.run(held)
        return graph, held, output


class _Leaves(nn.Module):
    """A network's tensors in a dict, numbered."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {f"output_{i}": leaf for i, leaf in enumerate(pytree.tree_leaves(self.network(image)))}


def _onnxruntime(network: nn.Module, example: Tensor) -> Callable[[Tensor], Any]:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("the backend 'onnxruntime' needs the extra export: pip install 'mpose3d[export]'") from error
    with torch.inference_mode():
        form = pytree.tree_structure(network(example))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(_Leaves(network), example, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Any:
        outputs = session.run(None, {INPUT: np.ascontiguousarray(image.numpy())})
        return pytree.tree_unflatten([torch.from_numpy(output) for output in outputs], form)

    return run
