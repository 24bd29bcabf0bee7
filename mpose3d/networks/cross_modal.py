"""What reads people out of V and of HM-PAF: G, H, and M with the frozen Psi (source, section 2)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.geometry.camera import FOCAL_RATIO, Camera
from mpose3d.networks.autoencoder import DirectPose, PriorNetwork
from mpose3d.networks.latent_encoder import LatentEncoder
from mpose3d.networks.neural_head import NeuralHead
from mpose3d.representations.hmpaf import HMPAF, draw, select_supplied
from mpose3d.representations.neural import MAX_PEOPLE, ROOT_THRESHOLD, NeuralRepresentation, People, Roots
from mpose3d.skeleton import find_layout


class Detection(NamedTuple):
    """What the network finds in a batch, padded to the same number of people."""

    roots: Roots
    people: People


class CrossModalNetwork(PriorNetwork):
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
        fine: s has as many cells as V in place of half as many along a side, 28 in place of 14 at 224 px: people stand
            closer before they share one (ours).
        direct: an ablation: s holds the directions of limbs themselves (`DirectPose`); `prior` and `embedding` count
            for nothing.
        shared: H reads G's v~ as it does E's v. False: v~ has an H' of its own.

    Raises:
        FileNotFoundError, ValueError: no such layout, or no such prior.
    """

    def __init__(
        self,
        layout: str = "mpi15",
        v_channels: int = 1024,
        stride: int = 8,
        prior: str | None = None,
        input_size: int = 224,
        focal_ratio: float = FOCAL_RATIO,
        near: float = 800.0,
        far: float = 20_000.0,
        rotation: Literal["euler", "6d"] = "euler",
        perspective: Literal["weak", "full"] = "weak",
        embedding: int = 32,
        g_width: int = 128,
        h_width: int = 128,
        h_blocks: int = 1,
        sigma: float = 7.0,
        fine: bool = False,
        direct: bool = False,
        shared: bool = True,
    ) -> None:
        super().__init__(embedding, None if direct else prior)
        if direct:
            self.psi, embedding = DirectPose(), DirectPose.embedding
            self.has_trained_psi = True  # nothing of it is learned
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
            "fine": fine,
            "direct": direct,
            "shared": shared,
        }
        self.layout = find_layout(layout)
        self.v_channels = v_channels
        self.stride = stride
        self.sigma = sigma
        #: cells of V along a side
        self.cells = input_size // stride
        self.representation = NeuralRepresentation(
            camera=Camera.for_image(input_size, input_size, focal_ratio),
            input_size=input_size,
            grid=self.cells if fine else self.cells // 2,
            embedding=embedding,
            near=near,
            far=far,
            rotation=rotation,
            perspective=perspective,
        )
        self.g = LatentEncoder(self.layout.supplied_channels, v_channels, g_width)
        head = v_channels, self.representation.channels, self.cells, h_width, h_blocks, fine
        self.h = NeuralHead(*head)
        self.h_prime = None if shared else NeuralHead(*head)

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
        return self.g(torch.cat(select_supplied(maps, self.layout), dim=1))

    @property
    def h_of_g(self) -> NeuralHead:
        """What reads v~: H, or H' where it is a network of its own."""
        return self.h if self.h_prime is None else self.h_prime

    def forward(
        self,
        v: Float[Tensor, "b v h w"],
        max_people: int = MAX_PEOPLE,
        threshold: float = ROOT_THRESHOLD,
        of_g: bool = False,
    ) -> Detection:
        """V, from E or (`of_g`) from G -> people at the roots that H finds; only root cells are decoded."""
        grid = self.h_of_g(v) if of_g else self.h(v)
        roots = self.representation.find_roots(grid, max_people, threshold)
        return Detection(roots, self.representation.decode(grid, roots, self.psi))
