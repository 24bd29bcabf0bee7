"""Photographs of any size <-> the square input of a network, without distortion."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

#: Grey of the bars around the picture: what a teacher's normalisation takes to about zero.
FILL = 128

# a JPEG is decoded at 1/2, 1/4 or 1/8 when it has more pixels than this (about 0.4 GB in all), ...
_DECODED_PIXELS = 50_000_000
# ... other formats can only be decoded whole (2 GB at this size)
_LARGEST_WHOLE = 500_000_000

_ORIENTATION_TAG = 0x0112
# EXIF orientation -> what makes the picture upright; from 5 on, width and height change places
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# where EXIF has the focal length that would show as much on 35 mm film, in mm, and the diagonal of that film in mm
_EXIF_IFD, _FOCAL_35MM_TAG = 0x8769, 0xA405
_DIAGONAL_35MM = math.hypot(36, 24)

Points = TypeVar("Points", Tensor, np.ndarray)


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in the square: `input pixel = scale * picture pixel + offset`.

    The centre of the top-left pixel is (0, 0) on both sides.

    Args:
        scale: side of a picture's pixel in input pixels, the same in x and y.
        offset: (x, y) in input pixels.
        size: (width, height) of the picture.
    """

    scale: float
    offset: tuple[float, float]
    size: tuple[int, int]

    @classmethod
    def fit(cls, width: int, height: int, side: int) -> Letterbox:
        """The largest centred picture of `width` x `height` in a square of `side` pixels."""
        scale = side / max(width, height)
        # edges are half a pixel outside the centres of the outermost pixels
        offset = tuple((side - scale * length) / 2 + (scale - 1) / 2 for length in (width, height))
        return cls(scale, offset, (width, height))

    def to_input(self, pixels: Points) -> Points:
        """Pixels (..., 2) of the picture -> pixels of the square."""
        return self.scale * pixels + _like(self.offset, pixels)

    def to_image(self, pixels: Points) -> Points:
        """Pixels (..., 2) of the square -> pixels of the picture."""
        return (pixels - _like(self.offset, pixels)) / self.scale

    @property
    def border(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) of the picture's edges in pixels of the square."""
        width, height = self.size
        ends = self.to_input(np.array([(-0.5, -0.5), (width - 0.5, height - 0.5)]))
        return tuple(ends.ravel().tolist())

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) affine matrix of `to_input`."""
        return np.array([[self.scale, 0, self.offset[0]], [0, self.scale, self.offset[1]]])


def _like(offset: tuple[float, float], pixels: Points) -> Points:
    # pixels may be integers
    if isinstance(pixels, Tensor):
        return pixels.new_tensor(offset, dtype=torch.result_type(pixels, 1.0))
    return np.asarray(offset, dtype=np.result_type(pixels, 1.0))


class Picture(NamedTuple):
    """A picture as it was decoded: `pixels` (H, W, 3) uint8 RGB, at 1/`factor` of its `size` (width, height).

    `focal_ratio` is the focal length over the longer side, None where the file does not tell.
    """

    pixels: np.ndarray
    factor: int
    size: tuple[int, int]
    focal_ratio: float | None = None

    @classmethod
    def whole(cls, pixels: np.ndarray) -> Picture:
        return cls(pixels, 1, (pixels.shape[1], pixels.shape[0]))

    def warped(self, matrix: np.ndarray, side: int) -> np.ndarray:
        """As `warp`, `matrix` being a map of the whole picture."""
        return warp(self.pixels, from_reduced(matrix, self.factor), side)


def letterbox(picture: Picture, side: int) -> tuple[np.ndarray, Letterbox]:
    """Square (side, side, 3) uint8 with grey bars, and where the picture lies in it."""
    box = Letterbox.fit(*picture.size, side)
    return picture.warped(box.matrix, side), box


def trimmed(image: np.ndarray, box: Letterbox, multiple: int, margin: int = 0) -> tuple[np.ndarray, Letterbox]:
    """A letterboxed picture (side, side, 3) with less of its bars, for networks that read any rectangle.

    Args:
        image, box: as of `letterbox`.
        multiple: pixels that the sides are a multiple of.
        margin: pixels of a bar that stay at least.
    """
    side = len(image)
    width, height = (
        min(side, multiple * math.ceil((box.scale * length + 2 * margin) / multiple)) for length in box.size
    )
    left, top = (side - width) // 2, (side - height) // 2
    part = image[top : top + height, left : left + width]
    return part, replace(box, offset=(box.offset[0] - left, box.offset[1] - top))


def same_proportions(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether pictures of these (width, height) can be copies of one another, up to the rounding of small ones."""
    wide, tall = size[0] * other[1], size[1] * other[0]
    return abs(wide - tall) <= 0.02 * tall


def read_picture(path: Path | str, content: bytes | None = None) -> Picture:
    """A file in bounded memory: whole up to 50 megapixels. It is turned as its EXIF orientation says.

    With `content`, the file's bytes, nothing is opened, and `path` is only what it is called.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, corrupt, truncated, or of a kind that is not read; one line that names the file.
    """
    # Pillow and not OpenCV, which fills the missing half of a truncated JPEG with grey and says nothing
    try:
        with _any_size(), Image.open(path if content is None else io.BytesIO(content)) as picture:
            width, height = picture.size
            factor = next((f for f in (1, 2, 4) if width * height <= _DECODED_PIXELS * f * f), 8)
            if factor > 1 and picture.format == "JPEG":
                # rounded down: of a size that does not divide Pillow would take the next larger one
                picture.draft(None, (width // factor, height // factor))
            if picture.size[0] * picture.size[1] > _LARGEST_WHOLE:
                raise ValueError(f"{width} x {height} pixels are too many; save it smaller")
            if picture.mode[0] in "IF":
                raise ValueError(f"pixels of kind {picture.mode}; save it with 8 bits per channel")
            # a TIFF is turned upright as it is loaded, and then has no orientation any more
            picture.load()
            tag = picture.getexif().get(_ORIENTATION_TAG)
            orientation = tag if isinstance(tag, int) and tag in _UPRIGHT else 1
            focal_ratio = _focal_ratio(picture)
            # every step makes a copy: none is made in vain
            pixels = picture if picture.mode == "RGB" else picture.convert("RGB")
            if factor > 1 and pixels.size == (width, height):
                pixels = pixels.reduce(factor)
            if orientation in _UPRIGHT:
                pixels = pixels.transpose(_UPRIGHT[orientation])
            image = np.asarray(pixels)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image") from None
    except Exception as error:  # Pillow raises many kinds on damaged files: SyntaxError, struct.error, EOFError, ...
        raise _unreadable(path, error) from error
    return Picture(image, factor, (height, width) if orientation >= 5 else (width, height), focal_ratio)


def _focal_ratio(picture: Image.Image) -> float | None:
    """Focal length over the longer side by EXIF, whose equivalent in 35 mm film is one of equal diagonals (CIPA)."""
    try:
        focal = float(picture.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_35MM_TAG, 0))
    except Exception:  # Pillow raises many kinds on damaged entries: they tell nothing
        return None
    # 0 means unknown
    return focal / _DIAGONAL_35MM * math.hypot(*picture.size) / max(picture.size) if 0 < focal < math.inf else None


def check_header(path: Path) -> None:
    """Raises ValueError, one line that names the file, unless it begins as an image does. Nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.open(path).close()
    except Image.DecompressionBombError:
        pass  # large, but an image
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise _unreadable(path, error) from error


def _unreadable(path: Path | str, error: Exception) -> ValueError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return ValueError(f"{path}: not a readable image ({reason})")


def from_reduced(matrix: np.ndarray, factor: int | np.ndarray) -> np.ndarray:
    """Affine map (2, 3) of a picture's pixels -> the map, to the same place, of pixels of the picture at 1/factor.

    `factor` may be an array of two, across and down.
    """
    # whole pixel = factor * reduced pixel + (factor - 1) / 2
    linear, factor = matrix[:, :2], np.broadcast_to(factor, 2)
    return np.column_stack([linear * factor, matrix[:, 2] + linear @ (factor - 1) / 2])


def warp(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Picture (H, W, 3) under the affine map `matrix` (2, 3) of its pixels -> square (side, side, 3), grey outside.

    Where the map shrinks, areas are averaged first, so that nothing aliases.
    """
    shrink = int(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))) + 1e-6)
    if shrink > 1:
        height, width = image.shape[:2]
        bottom, right = -height % shrink, -width % shrink
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        small = (image.shape[1] // shrink, image.shape[0] // shrink)
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        matrix = from_reduced(matrix, shrink)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(FILL,) * 3)


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


@contextmanager
def _any_size() -> Iterator[None]:
    """Pillow refuses files of more than 179 megapixels before it can be asked to decode them small."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
