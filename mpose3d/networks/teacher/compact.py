"""A cheaper E that gives a teacher's own v: its convolutions split in two, and trained by the stage `compact`."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mpose3d.networks.saved import SavedNetwork, read_settings
from mpose3d.networks.teacher.base import Normalise, Teacher
from mpose3d.representations.hmpaf import HMPAF

# least part of a layer's multiplications that a split must save
_WORTHWHILE = 1 / 3

# of a start from pictures: cells that a layer is fitted to, and fits where a ReLU follows
_CELLS, _ROUNDS = 20_000, 5


class CompactTrunk(SavedNetwork):
    """A copy of a teacher's E, in which costly convolutions are split into two thin ones.

    One of k x k from c to d channels becomes k x k from c to `rank` and 1 x 1 from `rank` to d, where that saves a
    third of the multiplications. Every layer keeps its width, so v is what it was, up to an error that training
    lowers (`stages.compact`). The split keeps the principal components of the layer's output (Zhang et al.,
    "Accelerating Very Deep Convolutional Networks", 2015): those of white input, or by `start_from` of pictures.

    Args:
        teacher: whose E it is; it stays as it is.
        rank: channels between the two halves.
    """

    def __init__(self, teacher: Teacher, rank: int = 64) -> None:
        super().__init__()
        self.settings = {"teacher": type(teacher).__name__, "cut": teacher.cut, "rank": rank}
        used, _ = _layers(teacher)
        self.e = _with_only(used, teacher).requires_grad_(True)
        self.split = [name for name in used if _is_costly(self.e.get_submodule(name), rank)]
        for name in self.split:
            convolution = self.e.get_submodule(name)
            weight = convolution.weight.detach().flatten(1).double()
            self.e.set_submodule(name, _halves(convolution, rank))
            bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.detach().double()
            self._start(name, weight, weight @ weight.T, torch.zeros_like(weight[0]), bias)

    def forward(self, image: Tensor) -> Tensor:
        """Image, as `Teacher.encode` takes it -> v (B, v_channels, H / stride, W / stride)."""
        return self.e.encode(image)

    @torch.no_grad()
    def start_from(self, teacher: Teacher, images: Sequence[Tensor]) -> None:
        """Start again from `teacher`, the one that this was built from, and what it makes of batches of images.

        Layer by layer in E's order: what the teacher's layer gives, from what the layers before give this one, by
        reduced-rank regression. Where a ReLU follows, what is below 0 on both sides counts as no error.
        """
        for name in self.split:
            convolution = teacher.get_submodule(name)
            samples = _Samples(convolution, _CELLS // len(images))
            hooks = [
                convolution.register_forward_hook(samples.keep_output),
                self.e.get_submodule(name).register_forward_hook(samples.keep_input),
            ]
            for image in images:
                teacher.encode(image)
                self.e.encode(image)
            for hook in hooks:
                hook.remove()
            x, y = (torch.cat(part, 1) for part in (samples.x, samples.y))
            target = y
            for _ in range(_ROUNDS if samples.rectified else 1):
                self._start(name, *_regression(x, target))
                first, second = self.e.get_submodule(name)
                given = second.weight.flatten(1) @ (first.weight.flatten(1) @ x) + second.bias[:, None]
                target = torch.where((y < 0) & (given < 0), given, y)

    @torch.no_grad()
    def _start(self, name: str, weight: Tensor, covariance: Tensor, mean: Tensor, bias: Tensor) -> None:
        """Set the two halves of the layer `name` so that they come closest to the linear map `weight` (d, n).

        Args:
            covariance: (d, d) of the map's output, whose principal components are kept.
            mean: (n) of the input.
            bias: (d) what the layer should give for the mean.
        """
        first, second = self.e.get_submodule(name)
        components = torch.linalg.eigh(covariance).eigenvectors[:, -len(first.weight) :]  # (d, rank)
        first.weight.copy_((components.T @ weight).view_as(first.weight))
        second.weight.copy_(components[:, :, None, None])
        second.bias.copy_(bias - components @ (components.T @ (weight @ mean)))


class CompactTeacher(Teacher):
    """Another teacher's F behind a cheaper E: the same v, maps, G and H.

    Args:
        teacher: the one that the weights were trained to imitate, with its own weights; it stays as it is.
        weights: `network.safetensors` of the stage `compact`.

    Raises:
        ValueError: the weights are of another network, or of a trunk for another teacher.
    """

    def __init__(self, teacher: Teacher, weights: str) -> None:
        super().__init__(teacher.layout, teacher.stride, teacher.v_channels, teacher.cut)
        settings = read_settings(weights)
        if "rank" not in settings or "cut" not in settings:
            raise ValueError(f"{weights} is not a compact trunk: give the network.safetensors of the stage compact")
        self.trunk = CompactTrunk(teacher, settings["rank"])
        self.trunk.load(weights)
        _, used = _layers(teacher)
        self.teacher = _with_only(used, teacher)
        self.teacher.normalise = Normalise()  # F reads no image
        self.side, self.upright_only = teacher.side, teacher.upright_only
        self.threshold, self.peak = teacher.threshold, teacher.peak

    def features(self, image: Tensor) -> Tensor:
        return self.trunk.e.features(image)

    def stages(self, v: Tensor) -> list[HMPAF]:
        return self.teacher.stages(v)


class _Samples:
    """What a convolution reads (n, cells) and what it should give (d, cells), at the same cells of each batch.

    Args:
        convolution: the one that gives what is wanted; it runs first.
        cells: most of a batch.
    """

    def __init__(self, convolution: nn.Conv2d, cells: int) -> None:
        self.convolution, self.cells = convolution, cells
        self.x: list[Tensor] = []
        self.y: list[Tensor] = []
        self.output = torch.empty(0)

    def keep_output(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self.output = output
        y = output.transpose(0, 1).flatten(1)
        self.chosen = torch.randperm(y.shape[1], device=y.device)[: self.cells]
        self.y.append(y[:, self.chosen])  # a copy: an activation may follow in place

    def keep_input(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        c = self.convolution
        x = functional.unfold(*inputs, c.kernel_size, c.dilation, c.padding, c.stride)
        self.x.append(x.transpose(0, 1).flatten(1)[:, self.chosen])

    @property
    def rectified(self) -> bool:
        """Whether a ReLU followed in place."""
        return bool(self.output.min() >= 0)


def _regression(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least squares: weight (d, n), covariance (d, d) of what it gives, means of x (n) and y (d)."""
    mean, bias = x.double().mean(1), y.double().mean(1)
    x, y = x - mean[:, None].float(), y - bias[:, None].float()
    xx, xy = ((x @ part.T).double() / x.shape[1] for part in (x, y))
    ridge = 1e-4 * xx.diagonal().mean() * torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
    weight = torch.linalg.solve(xx + ridge, xy).T
    return weight, weight @ xx @ weight.T, mean, bias


@torch.no_grad()
def _layers(teacher: Teacher) -> tuple[list[str], list[str]]:
    """Names of the layers that E and that F runs, in their order."""
    used: list[str] = []
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: used.append(name))
        for name, layer in teacher.named_modules()
        if not list(layer.children())
    ]
    training = teacher.training
    parameter = next(teacher.parameters())
    v = teacher.eval().encode(parameter.new_zeros(1, 3, 8 * teacher.stride, 8 * teacher.stride))
    of_e = used.copy()
    teacher.stages(v)
    teacher.train(training)
    for hook in hooks:
        hook.remove()
    return of_e, used[len(of_e) :]


def _with_only(used: Sequence[str], teacher: Teacher) -> Teacher:
    """A copy of `teacher` without the layers that are not used."""
    teacher = copy.deepcopy(teacher)
    for name, layer in list(teacher.named_modules()):
        if name and name not in used and not list(layer.children()):
            teacher.set_submodule(name, nn.Identity())
    return teacher


def _is_costly(layer: nn.Module, rank: int) -> bool:
    """Whether two halves of `rank` channels save enough of the layer's multiplications."""
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1:
        return False
    whole = layer.weight.numel()
    return whole // layer.out_channels * rank + rank * layer.out_channels <= (1 - _WORTHWHILE) * whole


def _halves(convolution: nn.Conv2d, rank: int) -> nn.Sequential:
    c = convolution
    first = nn.Conv2d(c.in_channels, rank, c.kernel_size, c.stride, c.padding, c.dilation, bias=False)
    return nn.Sequential(first, nn.Conv2d(rank, c.out_channels, 1)).to(c.weight)
