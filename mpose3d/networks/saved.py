"""Networks that are written as one file, with the settings that they were built with."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
from torch import nn

from mpose3d.files import whole_or_none
from mpose3d.networks.weights import load_weights


class SavedNetwork(nn.Module):
    """Base of networks that are written as one safetensors file; subclasses set `settings`, which a file must share."""

    settings: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write all weights and the settings, whole or not at all."""
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        content = safetensors.torch.save(tensors, {"settings": json.dumps(self.settings)})
        with whole_or_none(path) as unfinished:
            unfinished.write_bytes(content)  # `save_file` would let nobody else read it

    def load(self, path: str | Path, keep: str | None = None) -> None:
        """Read the weights from a file that `save` wrote, but for those of the submodule `keep`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another kind of file, or a network of other settings.
        """
        settings = self._settings_of(path)
        for name, ours in self.settings.items():
            if name not in settings:
                raise ValueError(f"{path} is not of a {type(self).__name__}, which has a setting {name!r}")
            if settings[name] != ours:
                raise ValueError(f"{path} was trained with {name} = {settings[name]}, and this network has {ours}")
        tensors = safetensors.torch.load_file(path)
        if keep is not None:
            tensors |= {name: own for name, own in self.state_dict().items() if name.startswith(f"{keep}.")}
        load_weights(self, tensors, path)

    @classmethod
    def _settings_of(cls, path: str | Path) -> dict[str, Any]:
        return read_settings(path)


class StandaloneNetwork(SavedNetwork):
    """Base of those that a file is enough to build: their `settings` are their constructor's arguments."""

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The network that `save` wrote, in eval mode; raises as `load` does."""
        network = cls(**cls._settings_of(path))
        network.load(path)
        return network.eval()

    @classmethod
    def _settings_of(cls, path: str | Path) -> dict[str, Any]:
        """Of arguments that were not there when the file was written, it has the defaults."""
        settings, arguments = read_settings(path), inspect.signature(cls).parameters
        if not settings.keys() <= arguments.keys():
            raise ValueError(f"{path} is not of a {cls.__name__}, its settings are {', '.join(settings)}")
        return {name: a.default for name, a in arguments.items() if a.default is not a.empty} | settings


def read_settings(path: str | Path) -> dict[str, Any]:
    """Settings of the network in a file that `SavedNetwork.save` wrote."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["settings"])
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path} is not a file of network weights: give the network.safetensors that a stage writes beside its "
            "checkpoints"
        ) from error
