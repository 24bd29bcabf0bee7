"""What reads 2D people out of an image: what photographs ask of any 2D network."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mpose3d.representations.hmpaf import HMPAF, People2D
from mpose3d.skeleton import Layout


class PoseEstimator2D(nn.Module, ABC):
    """A 2D multi-person network: float RGB images (B, 3, H, W) in [0, 1] -> what `people` makes people k_q of."""

    #: joints of its people
    layout: Layout
    #: side in pixels of the image in which it places joints well
    side: int
    #: sides of its images are multiples of this
    multiple: int
    #: least score of a person
    threshold: float
    #: whether it finds people who lie or stand on their hands only if the picture is turned
    upright_only: bool

    @abstractmethod
    def forward(self, image: Tensor) -> HMPAF | People2D:
        """Maps, or people at once."""

    @abstractmethod
    def people(self, output: HMPAF | People2D) -> People2D:
        """k_q: what `forward` gives -> people, points in pixels of the image."""

    @abstractmethod
    def score(self, people: People2D) -> Float[Tensor, "b p"]:
        """How sure each person is, 0 to 1; 0 of nobody."""

    def cut_off(self, people: People2D, border: Float[Tensor, "b 4"]) -> Bool[Tensor, "b p j"]:
        """The joints that the border of the picture probably cuts off, though they are given a place: here none.

        Args:
            people: as of `people`.
            border: (x0, y0, x1, y1) of each picture's edges, in pixels of the image.
        """
        return torch.zeros_like(people.visible)
