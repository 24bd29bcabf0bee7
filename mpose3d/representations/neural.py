"""3D people <-> the neural representation s: a grid of pose embedding, rotation and depth at root cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import roma
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.extent import in_box
from mpose3d.geometry.kinematics import (
    euler_to_rotation,
    local_to_canonical,
    rotate,
    rotation_to_euler,
    translate,
)
from mpose3d.geometry.precision import full_precision
from mpose3d.skeleton import SKELETON

#: least probability of a root at which somebody is taken to be there
ROOT_THRESHOLD = 0.3

#: most people in an image, unless more are asked for
MAX_PEOPLE = 20


class NeuralGrid(NamedTuple):
    """What H reads out of v: s itself, and where the roots are.

    `s` is bounded by tanh. `root` holds the logit that a person's root lies in the cell; `offset` its distance (x, y)
    from the cell's centre, in cells.
    """

    s: Float[Tensor, "b channels g g"]
    root: Float[Tensor, "b 1 g g"]
    offset: Float[Tensor, "b 2 g g"]


class Roots(NamedTuple):
    """Roots of at most p people in each image; unused places are not `valid` and hold zeros."""

    px: Float[Tensor, "b p 2"]
    score: Float[Tensor, "b p"]
    valid: Bool[Tensor, "b p"]


class People(NamedTuple):
    """3D people: P^ of the source. Joints in camera space (mm) and in pixels of the network's input.

    `rotation` is T_R, canonical -> camera axes; `depth` is that of the root in mm.
    """

    joints: Float[Tensor, "*people 15 3"]
    joints_px: Float[Tensor, "*people 15 2"]
    embedding: Float[Tensor, "*people embedding"]
    rotation: Float[Tensor, "*people 3 3"]
    depth: Float[Tensor, "*people"]


@dataclass(frozen=True)
class NeuralRepresentation:
    """The layout of s, and M = [Psi -> FK -> T_R -> T_G] with T_K behind it.

    Channels of s: `embedding` numbers for Psi, 6 for the rotation, 1 for the depth, all in [-1, 1].

    Args:
        camera: the fixed camera of the network's input.
        input_size: side of the square input in pixels.
        grid: cells along a side of s.
        embedding: width of the pose embedding.
        near, far: depths (mm) that the depth code reaches at -1 and 1. The code is affine in log(depth), so that one
            step of it is the same relative error anywhere.
        rotation: "euler" reads the 6 numbers as (sine, cosine) of three Euler angles [source]; "6d" as two columns
            of a matrix, made orthogonal (Zhou et al., CVPR 2019): the same size, and no gimbal lock.
        perspective: T_K, "weak" [source] or "full".
    """

    camera: Camera
    input_size: int = 224
    grid: int = 14
    embedding: int = 32
    near: float = 800.0
    far: float = 20_000.0
    rotation: Literal["euler", "6d"] = "euler"
    perspective: Literal["weak", "full"] = "weak"

    @property
    def channels(self) -> int:
        return self.embedding + 6 + 1

    @property
    def stride(self) -> float:
        """Pixels of the input along one cell."""
        return self.input_size / self.grid

    # pixels <-> cells ------------------------------------------------------------------------------------------------

    def cell_of(self, root_px: Float[Tensor, "*people 2"]) -> tuple[Int[Tensor, "*people"], Float[Tensor, "*people 2"]]:
        """Flat index of the cell that holds each root, and the root's offset (x, y) from its centre in cells.

        Roots outside the grid are given its nearest cell.
        """
        position = (root_px + 0.5) / self.stride
        cell = position.floor().clamp(0, self.grid - 1)
        return (cell[..., 1] * self.grid + cell[..., 0]).long(), position - cell - 0.5

    def root_px(
        self, cells: Int[Tensor, "*#people"], offset: Float[Tensor, "*#people 2"]
    ) -> Float[Tensor, "*people 2"]:
        """Pixels of roots at an offset (x, y), in cells, from the centres of the given cells: inverse of `cell_of`."""
        column_row = torch.stack([cells % self.grid, cells // self.grid], dim=-1)
        return (column_row + 0.5 + offset) * self.stride - 0.5

    def gather(self, grid: Float[Tensor, "b c g g"], cells: Int[Tensor, "b p"]) -> Float[Tensor, "b p c"]:
        """Read the given cells of every image."""
        columns = rearrange(grid, "b c y x -> b c (y x)")
        index = cells[:, None].expand(-1, grid.shape[1], -1)
        return rearrange(columns.gather(2, index), "b c p -> b p c")

    def root_targets(
        self, root_px: Float[Tensor, "b p 2"], valid: Bool[Tensor, "b p"]
    ) -> tuple[Float[Tensor, "b 1 g g"], Float[Tensor, "b 2 g g"]]:
        """The root mask (1 at cells that hold a root) and the offsets there."""
        cells, offset = self.cell_of(root_px)
        batch = root_px.shape[0]
        # one spare cell at the end takes what is not valid
        cells = torch.where(valid, cells, self.grid**2)
        mask = root_px.new_zeros(batch, self.grid**2 + 1).scatter_(1, cells, 1.0)
        offsets = root_px.new_zeros(batch, 2, self.grid**2 + 1)
        offsets = offsets.scatter(2, cells[:, None].expand(-1, 2, -1), offset.mT.to(offsets))
        shape = (self.grid, self.grid)
        return mask[:, None, :-1].unflatten(-1, shape), offsets[..., :-1].unflatten(-1, shape)

    def cells_in(self, boxes: Float[Tensor, "b p 4"]) -> Bool[Tensor, "b 1 g g"]:
        """The cells whose centre lies in one of the boxes (x0, y0, x1, y1) px; a box of NaN holds none."""
        cells = torch.arange(self.grid**2, device=boxes.device)
        centres = self.root_px(cells, boxes.new_zeros(2))
        inside = in_box(centres, boxes[..., None, :]).any(1)
        return inside[:, None].unflatten(-1, (self.grid, self.grid))

    def find_roots(self, grid: NeuralGrid, max_people: int, threshold: float = ROOT_THRESHOLD) -> Roots:
        """Roots at the local maxima (3x3) of the root map, best first; nothing leaves the device."""
        probability = grid.root.float().sigmoid()
        # of equal neighbours only the first is a peak
        order = torch.arange(self.grid**2, device=probability.device, dtype=probability.dtype)
        broken = probability - 1e-6 * order.reshape(1, 1, self.grid, self.grid)
        peak = broken == functional.max_pool2d(broken, 3, stride=1, padding=1)
        score, cells = torch.where(peak, probability, 0).flatten(1).topk(min(max_people, self.grid**2), dim=1)
        px = self.root_px(cells, self.gather(grid.offset.float(), cells))
        valid = score > threshold
        return Roots(torch.where(valid[..., None], px, 0), torch.where(valid, score, 0), valid)

    # codes <-> people ------------------------------------------------------------------------------------------------

    def depth_code(self, depth: Float[Tensor, "*people"]) -> Float[Tensor, "*people"]:
        """Depth in mm -> code; depths beyond near and far have codes beyond -1 and 1."""
        return 2 * (depth.clamp_min(1.0) / self.near).log() / math.log(self.far / self.near) - 1

    def _depth(self, code: Tensor) -> Tensor:
        return self.near * torch.exp((code + 1) / 2 * math.log(self.far / self.near))

    def _rotation(self, code: Tensor) -> Tensor:
        if self.rotation == "6d":
            first, second = code.split(3, dim=-1)
            # two columns that span no plane: roma would divide by zero, so x and y take their place
            degenerate = torch.linalg.cross(first, second).square().sum(-1, keepdim=True) < 1e-12
            x, y, _ = torch.eye(3, dtype=code.dtype, device=code.device)
            columns = [torch.where(degenerate, x, first), torch.where(degenerate, y, second)]
            return roma.special_gramschmidt(torch.stack(columns, dim=-1))
        return euler_to_rotation(*code.split(3, dim=-1))

    def code(
        self,
        embedding: Float[Tensor, "*people e"],
        rotation: Float[Tensor, "*people 3 3"],
        depth: Float[Tensor, "*people"],
    ) -> Float[Tensor, "*people channels"]:
        """The numbers that s holds for these people: the inverse of what `people` reads."""
        parts = rotation_to_euler(rotation) if self.rotation == "euler" else rotation[..., :2].unbind(-1)
        return torch.cat([embedding, *parts, self.depth_code(depth)[..., None]], dim=-1)

    @full_precision
    def people(
        self,
        code: Float[Tensor, "*people channels"],
        root_px: Float[Tensor, "*people 2"],
        psi: Callable[[Tensor], Tensor],
    ) -> People:
        """M and T_K: numbers of s at root cells -> 3D people and their projection. Always in float32 or float64."""
        embedding, rotation, depth = code.split([self.embedding, 6, 1], dim=-1)
        rotation, depth = self._rotation(rotation), self._depth(depth.squeeze(-1))
        p_c = local_to_canonical(psi(embedding))
        joints = translate(rotate(p_c, rotation), root_px, depth, self.camera)
        return People(joints, self.project(joints), embedding, rotation, depth)

    def project(self, joints: Float[Tensor, "*people 15 3"]) -> Float[Tensor, "*people 15 2"]:
        """T_K: people in camera space (mm) -> pixels of the input."""
        if self.perspective == "weak":
            return self.camera.project_weak(joints, SKELETON.root)
        return self.camera.project(joints)

    def decode(self, grid: NeuralGrid, roots: Roots, psi: Callable[[Tensor], Tensor]) -> People:
        """People at the given roots: only root cells are decoded."""
        cells, _ = self.cell_of(roots.px)
        return self.people(self.gather(grid.s, cells), roots.px, psi)
