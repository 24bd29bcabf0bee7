"""The batches that cross from data to stages: named, typed, with their shapes."""

from __future__ import annotations

from typing import NamedTuple, NotRequired, TypedDict

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mpose3d.poses.scenes import Scenes


class Photographs(NamedTuple):
    """Unlabelled images: float RGB in [0, 1], square, with the index of each in its data set."""

    image: Float[Tensor, "b 3 h w"]
    index: Int[Tensor, " b"]


class LabelledPhotographs(NamedTuple):
    """Images with 2D people, in pixels of the image and in the joints of a teacher's layout.

    `counted` is 0 at pixels that hold people whom nobody labelled: they must not be trained as background.
    """

    image: Float[Tensor, "b 3 h w"]
    points: Float[Tensor, "b p J 2"]
    visible: Bool[Tensor, "b p J"]
    counted: Float[Tensor, "b 1 h w"]


class PicturedScenes(NamedTuple):
    """Images with their people in 3D: renders to score by, and what the paired variants are supervised by."""

    image: Float[Tensor, "b 3 h w"]
    scenes: Scenes


class CrossModalBatch(TypedDict):
    """What phases 1 and 2 train on: scenes and photographs that have nothing to do with one another.

    `paired` is there in the paired variants alone.
    """

    scenes: Scenes
    photographs: Photographs
    paired: NotRequired[PicturedScenes]


class AnnotatedPhotographs(NamedTuple):
    """Images of a test set with the people that a protocol scores against, padded to the same number.

    `points` are pixels of the official picture, `joints` mm in camera space; a pixel of the image is
    `scale` (x, y) * pixel of the official picture + `offset` (x, y). `index` is the frame's place in the data set.
    """

    image: Float[Tensor, "b 3 h w"]
    index: Int[Tensor, " b"]
    scale: Float[Tensor, "b 2"]
    offset: Float[Tensor, "b 2"]
    points: Float[Tensor, "b p J 2"]
    joints: Float[Tensor, "b p J 3"]
    valid: Bool[Tensor, "b p"]
