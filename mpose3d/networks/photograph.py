"""Photographs -> people as one module: the teacher, G, H and M."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.teacher import Teacher
from mpose3d.representations.hmpaf import HMPAF
from mpose3d.representations.neural import MAX_PEOPLE, ROOT_THRESHOLD


class PhotographNetwork(nn.Module):
    """Square photographs -> people, in the same operations whoever is in them.

        "image":  s = H(E(I))            "hmpaf":  s = H(G(F(E(I))))

    What runs here is what is compiled and exported: no number leaves the device, nothing is branched on, and only root
    cells are decoded.

    Args:
        teacher: E and F.
        network: G, H and Psi.
        pathway: which of the two.
        max_people, threshold: see `NeuralRepresentation.find_roots`.
        side: of the photographs in pixels; by default that of the network's input.

    Raises:
        ValueError: a teacher that the network cannot read, or not by this pathway.
    """

    def __init__(
        self,
        teacher: Teacher,
        network: CrossModalNetwork,
        pathway: Literal["image", "hmpaf"],
        max_people: int = MAX_PEOPLE,
        threshold: float = ROOT_THRESHOLD,
        side: int | None = None,
    ) -> None:
        super().__init__()
        size = network.representation.input_size
        #: side of the photographs in pixels, and how many of them are one of the network's
        self.side = size if side is None else side
        self.ratio = self.side / size
        if min(max_people, self.side) < 1:
            raise ValueError(f"max_people ({max_people}) and the side of the photograph ({self.side}) are at least 1")
        if not isinstance(teacher, Teacher):
            raise ValueError(
                f"{type(teacher).__name__} has no maps for the pathway {pathway!r}: take a teacher of "
                f"{network.layout.name}"
            )
        if teacher.layout != network.layout:
            raise ValueError(
                f"the network reads maps of {network.layout.name}, the teacher's are {teacher.layout.name}"
            )
        if pathway == "image" and (self.side != size or teacher.v_channels != network.v_channels):
            raise ValueError(
                "the pathway 'image' needs the teacher that the network was trained with "
                f"({network.v_channels} channels in V) at {size} px"
            )
        self.teacher, self.network = teacher, network
        self.pathway = pathway
        self.max_people, self.threshold = max_people, threshold

    def forward(self, image: Float[Tensor, "b 3 side side"]) -> Detection:
        """Float RGB in [0, 1] -> people, in pixels of the network's input."""
        v = self.teacher.encode(image)
        through_maps = self.pathway == "hmpaf"
        if through_maps:
            size = (self.network.cells, self.network.cells)
            maps = HMPAF(*(functional.interpolate(part, size, mode="area") for part in self.teacher.decode(v)))
            v = self.network.encode(maps)
        return self.network(v, self.max_people, self.threshold, through_maps)
