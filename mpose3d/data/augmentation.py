"""Random views of a photograph: one affine map and a change of colour, from a generator that is passed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpose3d.data.letterbox import Letterbox, Picture


@dataclass(frozen=True)
class Augmentation:
    """How much a training picture varies.

    Args:
        flip: probability of mirroring left and right.
        scale: smallest and largest zoom about the middle of the square, log-uniform.
        rotation: largest turn to either side, in degrees.
        shift: largest shift along x and along y, as a fraction of the square's side.
        colour: largest relative change of brightness, contrast, saturation and of each channel.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.7, 1.5)
    rotation: float = 25.0
    shift: float = 0.1
    colour: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be (smallest, largest) with 0 < smallest <= largest, not {self.scale}")

    def square(self, picture: Picture, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
        """Square (side, side, 3) uint8, affine map (2, 3) of the whole picture to it, and whether that mirrors."""
        view, mirrored = self.view(side, rng)
        matrix = compose(view, Letterbox.fit(*picture.size, side).matrix)
        return self.recolour(picture.warped(matrix, side), rng), matrix, mirrored

    def view(self, side: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
        """An affine map (2, 3) of the square's pixels to the square's pixels, and whether it mirrors."""
        mirrored = bool(rng.random() < self.flip)
        zoom = math.exp(rng.uniform(*np.log(self.scale)))
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        shift = rng.uniform(-self.shift, self.shift, size=2) * side
        linear = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = linear @ np.diag([-1.0 if mirrored else 1.0, 1.0])
        middle = np.full(2, (side - 1) / 2)
        return np.column_stack([linear, middle - linear @ middle + shift]), mirrored

    def recolour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture (H, W, 3) uint8 in other light."""
        brightness, contrast, saturation = 1 + self.colour * rng.uniform(-1, 1, size=3)
        gain = (1 + self.colour / 2 * rng.uniform(-1, 1, size=3)).astype(np.float32)
        grey = image.mean(axis=-1, keepdims=True, dtype=np.float32)
        mean = np.float32(grey.mean())
        pixels = grey + np.float32(saturation) * (image - grey)
        pixels = (mean + np.float32(contrast) * (pixels - mean)) * (np.float32(brightness) * gain)
        return pixels.clip(0, 255).astype(np.uint8)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that does `inner`, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])
