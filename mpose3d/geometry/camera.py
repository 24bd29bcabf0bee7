"""The fixed camera: camera space <-> image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mpose3d.geometry.constants import like
from mpose3d.geometry.precision import full_precision

#: Focal length over the longer side of a picture whose camera nobody knows: between that of a phone's main camera,
#: about 0.72, and 1.0, a common guess for photographs of unknown origin.
FOCAL_RATIO = 0.8


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels and no distortion.

    Camera space: millimetres, x right, y down, z forward, origin at the optical centre. Image: pixels, x right, y
    down, the centre of the top-left pixel at (0, 0).

    Args:
        focal: focal length in pixels.
        centre: principal point (x, y) in pixels.
    """

    focal: float
    centre: tuple[float, float]

    @classmethod
    def for_image(cls, width: int, height: int, focal_ratio: float = FOCAL_RATIO) -> Camera:
        """The camera that the source fixes by the image size: centred, focal length = ratio x the longer side."""
        return cls(focal_ratio * max(width, height), ((width - 1) / 2, (height - 1) / 2))

    @full_precision
    def project(self, points: Tensor) -> Tensor:
        """Full-perspective T_K: camera space (..., 3) mm -> pixels (..., 2).

        Points closer than 1 mm, or behind the camera, are projected as if 1 mm away; callers that place people keep
        them in front.
        """
        return self.focal * points[..., :2] / points[..., 2:].clamp_min(1.0) + like(self.centre, points)

    @full_precision
    def project_weak(self, points: Tensor, root: int) -> Tensor:
        """Weak-perspective T_K [source]: people (..., J, 3) mm -> pixels (..., J, 2).

        Every joint of a person is projected with the depth of its root joint.
        """
        depth = points[..., root : root + 1, 2:].clamp_min(1.0)
        return self.focal * points[..., :2] / depth + like(self.centre, points)

    @full_precision
    def rays(self, pixels: Tensor) -> Tensor:
        """Lines of sight of pixels (..., 2): x and y (..., 2) at depth 1."""
        return (pixels - like(self.centre, pixels)) / self.focal

    @full_precision
    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:
        """Pixels (..., 2) at depth (...) mm -> camera space (..., 3) mm."""
        xy = (pixels - like(self.centre, pixels)) * depth[..., None] / self.focal
        return torch.cat([xy, depth[..., None]], dim=-1)
