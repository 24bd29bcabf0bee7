"""What reads people out of V and of HM-PAF: G, H, and M with the frozen Psi (source, section 2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors
import safetensors.torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mpose3d.geometry.camera import Camera
from mpose3d.networks.autoencoder import PoseEmbeddingDecoder
from mpose3d.networks.latent_encoder import LatentEncoder
from mpose3d.networks.neural_head import NeuralHead
from mpose3d.networks.teacher.weights import load_weights, read_weights
from mpose3d.representations.hmpaf import HMPAF, draw, select_supplied
from mpose3d.representations.neural import NeuralRepresentation, People, Roots
from mpose3d.skeleton import LAYOUTS


class Detection(NamedTuple):
    """What the network finds in a batch, padded to the same number of people."""

    roots: Roots
    people: People


class CrossModalNetwork(nn.Module):
    """G, H and M: V and HM-PAF -> people. The teacher, which is not part of it, turns images into either.

        image --E--> v --H--> s --M--> people          maps --G--> v --H--> s --M--> people

    Args:
        layout: joints of the teacher's maps, a key of `LAYOUTS`.
        v_channels, stride: of the teacher's V.
        prior: checkpoint of the stage `aae`, or a safetensors file, that holds Psi; None leaves it untrained.
        input_size: side of the square input in pixels.
        focal_ratio: focal length of the fixed camera over the input's side.
        near, far, rotation, perspective: see `NeuralRepresentation`.
        embedding: width of the pose embedding.
        g_width, h_width, h_blocks: size of G and H.
        sigma: width in pixels of the Gaussians of m_syn, as wide as the teacher's.
    """

    def __init__(
        self,
        layout: str = "mpi15",
        v_channels: int = 1024,
        stride: int = 8,
        prior: str | None = None,
        input_size: int = 224,
        focal_ratio: float = 0.8,
        near: float = 800.0,
        far: float = 20_000.0,
        rotation: Literal["euler", "6d"] = "euler",
        perspective: Literal["weak", "full"] = "weak",
        embedding: int = 32,
        g_width: int = 128,
        h_width: int = 128,
        h_blocks: int = 1,
        sigma: float = 7.0,
    ) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"no layout {layout!r}; there is {', '.join(LAYOUTS)}")
        #: what it takes to build the same network again
        self.settings = {
            "layout": layout,
            "v_channels": v_channels,
            "stride": stride,
            "input_size": input_size,
            "focal_ratio": focal_ratio,
            "near": near,
            "far": far,
            "rotation": rotation,
            "perspective": perspective,
            "embedding": embedding,
            "g_width": g_width,
            "h_width": h_width,
            "h_blocks": h_blocks,
            "sigma": sigma,
        }
        self.layout = LAYOUTS[layout]
        self.v_channels = v_channels
        self.stride = stride
        self.sigma = sigma
        #: cells of V along a side
        self.cells = input_size // stride
        self.representation = NeuralRepresentation(
            camera=Camera.for_image(input_size, input_size, focal_ratio),
            input_size=input_size,
            grid=self.cells // 2,
            embedding=embedding,
            near=near,
            far=far,
            rotation=rotation,
            perspective=perspective,
        )
        self.psi = PoseEmbeddingDecoder(embedding)
        if prior is not None:
            load_weights(self.psi, read_weights(prior, prefix="psi."), prior)
        self.g = LatentEncoder(self.layout.supplied_channels, v_channels, g_width)
        self.h = NeuralHead(v_channels, self.representation.channels, self.cells, h_width, h_blocks)

    def draw(
        self,
        joints_px: Float[Tensor, "b p 15 2"],
        drawn: Bool[Tensor, "b p 15"],
        amplitude: Float[Tensor, "b p J"] | None = None,
        sigma: Float[Tensor, "b p J"] | None = None,
    ) -> HMPAF:
        """2D people in pixels of the input -> their HM-PAF in the teacher's layout.

        `amplitude` and `sigma` (px) are the height and width of each Gaussian, by default 1 and the network's.
        """
        points, visible = self.layout.from_skeleton(joints_px, drawn)
        sigma = self.sigma if sigma is None else sigma
        return draw(points, visible, self.layout, (self.cells, self.cells), self.stride, sigma, amplitude)

    def encode(self, maps: HMPAF) -> Float[Tensor, "b v h w"]:
        """G: the channels that the 15-joint skeleton can supply -> v~."""
        return self.g(select_supplied(maps, self.layout))

    def forward(self, v: Float[Tensor, "b v h w"], max_people: int = 20, threshold: float = 0.5) -> Detection:
        """V, from E or from G -> people at the roots that H finds; only root cells are decoded."""
        grid = self.h(v)
        roots = self.representation.find_roots(grid, max_people, threshold)
        return Detection(roots, self.representation.decode(grid, roots, self.psi))

    # files -----------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write G, H and Psi, and the settings to build them again, as one safetensors file, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        metadata = {"settings": json.dumps(self.settings)}
        unfinished = path.with_name(path.name + ".part")
        safetensors.torch.save_file(tensors, unfinished, metadata)
        unfinished.replace(path)

    def load(self, path: str | Path) -> None:
        """Read G, H and Psi from a file that `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another kind of file, or a network of other settings.
        """
        settings = read_settings(path)
        other = {name: value for name, value in settings.items() if value != self.settings[name]}
        if other:
            name, value = next(iter(other.items()))
            raise ValueError(f"{path} was trained with {name} = {value}, and this network has {self.settings[name]}")
        load_weights(self, safetensors.torch.load_file(path), path)

    @classmethod
    def from_file(cls, path: str | Path) -> CrossModalNetwork:
        """The network that `save` wrote; raises as `load` does."""
        network = cls(**read_settings(path))
        network.load(path)
        return network.eval()


def read_settings(path: str | Path) -> dict[str, Any]:
    """Constructor arguments of the network in a file that `CrossModalNetwork.save` wrote."""
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
