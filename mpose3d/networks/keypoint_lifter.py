"""2D joints of one person -> s of that person, read by the same frozen Psi: a way into M that needs no map."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mpose3d.geometry.camera import Camera
from mpose3d.geometry.constants import constant, like
from mpose3d.geometry.extent import bounding_box
from mpose3d.geometry.kinematics import fit_translation, local_to_canonical, rotate
from mpose3d.geometry.precision import full_precision, normalize
from mpose3d.networks.autoencoder import PriorNetwork
from mpose3d.representations.neural import People
from mpose3d.skeleton import MIDPOINTS, SKELETON

#: fewest visible joints that say where and how far a person is (`enough_joints`)
FEWEST_JOINTS = 4

_MEASURED = [j not in MIDPOINTS for j in range(len(SKELETON))]

# bones of left and right are as long as each other: the number of each bone's length
_SIDES = [min(j, mirror) for j, mirror in enumerate(SKELETON.mirror)]
_LENGTHS = sorted(set(_SIDES) - {SKELETON.root})
_LENGTH_OF = tuple(_LENGTHS.index(j) if j in _LENGTHS else 0 for j in _SIDES)  # the root has none

#: steps of refinement of joints that are exact or nearly so, unless others are asked for
REFINE = 3

# Refinement. In sizes of the person: the distance from which a joint counts less (the scale of its Cauchy weight).
_JOINT_NOISE = 0.05
# The weight of the squared distance of the code from what the network read, and that of the lengths of bones from the
# skeleton's. Where the body comes closer to the joints than `_EXACT` (root mean square), the joints are better than the
# reading, and both weights fall with the square of what is left of it, to a tenth.
_TRUST, _TRUST_LENGTHS = 0.01, 0.003
_EXACT = 0.02

# step of the finite differences in each number of the code: far above rounding, far below what bends the body
_NUDGE = 3e-3

# people refined at once: for the differences, each is decoded once for every number of its code
_REFINED = 512


def count_joints(visible: Bool[Tensor, "*people 15"]) -> Int[Tensor, "*people"]:
    """Visible joints of each person, without neck and pelvis, which are made of others."""
    return visible[..., _MEASURED].sum(-1)


def enough_joints(visible: Bool[Tensor, "*people 15"]) -> Bool[Tensor, "*people"]:
    """Whom the lifter can say anything of: people with `FEWEST_JOINTS` visible joints (`count_joints`)."""
    return count_joints(visible) >= FEWEST_JOINTS


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class KeypointLifter(PriorNetwork):
    """Joints of people in pixels -> people in 3D, each by itself: phi and T_R from a residual network (Martinez et al.,
    ICCV 2017), T_G in closed form.

    The view is normalised first: a virtual camera turns to look at the middle of the person, and sees it at size 1. So
    one network serves every place in the picture, every picture size and every camera. The translation is then the one
    whose projection comes closest to the joints seen (linear least squares).

    Args:
        width, blocks: of the network.
        embedding: width of the pose embedding.
        prior: checkpoint of the stage `aae`, or a safetensors file, that holds Psi; None leaves it untrained.
    """

    def __init__(self, width: int = 768, blocks: int = 2, embedding: int = 32, prior: str | None = None) -> None:
        super().__init__(embedding, prior)
        #: what it takes to build the same network again
        self.settings = {"width": width, "blocks": blocks, "embedding": embedding}
        self.embedding = embedding
        joints = len(SKELETON)
        self.read = nn.Sequential(
            nn.Linear(3 * joints + 1, width), *(_Block(width) for _ in range(blocks)), nn.LayerNorm(width)
        )
        self.code = nn.Linear(width, embedding + 6)

    @full_precision
    def forward(
        self,
        joints_px: Float[Tensor, "*n 15 2"],
        visible: Bool[Tensor, "*n 15"],
        camera: Camera,
        refine: int = 0,
        proportions: bool = False,
    ) -> People:
        """Joints in pixels of `camera`'s picture -> people in its camera space; invisible joints may hold anything.

        People without `enough_joints` come out as an arbitrary body in an arbitrary place.

        Args:
            joints_px, visible, camera: 2D people, and who sees them.
            refine: Gauss-Newton steps from the network's reading of phi and T_R towards a body of Psi's that projects
                onto the joints seen (in the manner of SMPLify, Bogo et al., ECCV 2016), the reading itself being the
                prior. Not for training.
            proportions: refine the lengths of bones, too, those of the skeleton being the prior; their sum stays. phi
                knows nothing of them.
        """
        rays = torch.where(visible[..., None], camera.rays(joints_px), 0)
        view = _view(rays, visible)
        seen = nn.functional.pad(rays, (0, 1), value=1.0) @ view
        seen = torch.where(visible[..., None], seen[..., :2] / seen[..., 2:].clamp_min(0.1), 0)
        size = _size(seen, visible)

        features = torch.cat(
            [(seen / size[..., None, None]).flatten(-2), visible.to(seen), size.log()[..., None]], dim=-1
        )
        code = self.code(self.read(features))
        if refine and code.numel():
            if proportions:
                # the logarithms of bone lengths over those of the skeleton
                code = nn.functional.pad(code, (0, len(_LENGTHS)))
            code = self._refined(code, view, rays, visible, size, refine)
        joints, embedding, rotation = self._body(code, view, rays, visible, size)
        return People(joints, camera.project(joints), embedding, rotation, joints[..., SKELETON.root, 2])

    def _body(
        self, code: Tensor, view: Tensor, rays: Tensor, visible: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says -> joints (..., 15, 3) mm, phi, rotation."""
        embedding, columns, proportions = code.tensor_split([self.embedding, self.embedding + 6], dim=-1)
        embedding = embedding.tanh()
        # two columns of a rotation (Zhou et al., CVPR 2019), added to fixed ones so that no start is singular
        columns = columns.unflatten(-1, (2, 3)).mT + torch.eye(3, 2, dtype=columns.dtype, device=columns.device)
        rotation = view @ roma.special_gramschmidt(columns)
        lengths = _own_lengths(proportions) if proportions.shape[-1] else None
        p_r = rotate(local_to_canonical(self.psi(embedding), lengths), rotation)
        return p_r + fit_translation(p_r, rays, visible, size)[..., None, :], embedding, rotation

    def _refined(self, code: Tensor, view: Tensor, rays: Tensor, visible: Tensor, size: Tensor, steps: int) -> Tensor:
        """`code` (..., c) after `steps` Gauss-Newton steps on the joints' distances from where they are seen.

        Distances are in sizes of the person, and weigh less the larger they are (Cauchy): one joint in a wrong place
        does not bend the body to it.
        """
        people, start = code.shape[:-1], code.reshape(-1, code.shape[-1])
        parts = [part.reshape(len(start), *part.shape[len(people) :]) for part in (view, rays, visible, size)]
        seen = zip(*(part.split(_REFINED) for part in parts), strict=True)
        refined = [self._descended(some, *rest, steps) for some, rest in zip(start.split(_REFINED), seen, strict=True)]
        return torch.cat(refined).reshape(*people, -1)

    def _descended(
        self, start: Tensor, view: Tensor, rays: Tensor, visible: Tensor, size: Tensor, steps: int
    ) -> Tensor:
        view, seen_from, visible, size = (part[:, None] for part in (view, rays, visible, size))
        share = visible.to(start) / visible.sum(-1, keepdim=True).clamp_min(1)
        # the code itself, and with each number nudged: the derivatives are differences, from one pass through Psi
        eye = torch.eye(start.shape[-1], dtype=start.dtype, device=start.device)
        nudges = _NUDGE * torch.cat([torch.zeros_like(eye[:1]), eye])
        prior = torch.full_like(start[0], _TRUST)
        prior[self.embedding + 6 :] = _TRUST_LENGTHS
        code = start
        for _ in range(steps):
            joints = self._body(code[:, None] + nudges, view, seen_from, visible, size)[0]
            off = (joints[..., :2] / joints[..., 2:].clamp_min(1.0) - seen_from) / size[..., None, None]
            distance, slope = off[:, 0], (off[:, 1:] - off[:, :1]) / _NUDGE  # (n, 15, 2), (n, c, 15, 2)
            weight = share[:, 0] / (1 + (distance / _JOINT_NOISE).square().sum(-1))
            left = torch.einsum("nj,njd,njd->n", weight, distance, distance) / _EXACT**2
            trust = prior * left.clamp(0.1, 1)[:, None]
            normal = torch.einsum("nkjd,nj,nljd->nkl", slope, weight, slope) + trust.diag_embed()
            gradient = torch.einsum("nkjd,nj,njd->nk", slope, weight, distance) + trust * (code - start)
            code = code - torch.linalg.solve(normal, gradient)
        return code


def _own_lengths(proportions: Tensor) -> Tensor:
    """Logarithms (..., 8) of bone lengths over those of the skeleton -> lengths (..., 15) in mm, of the same sum."""
    table = like(SKELETON.bone_lengths, proportions)
    lengths = table * proportions[..., constant(_LENGTH_OF, proportions.device)].exp()
    return lengths * (table.sum() / lengths.sum(-1, keepdim=True))


def _view(rays: Tensor, visible: Tensor) -> Tensor:
    """Rotation (..., 3, 3) from a camera that looks at the middle of the visible joints to the real one."""
    box = bounding_box(rays, visible)
    middle = torch.where(visible.any(-1, keepdim=True), (box[..., :2] + box[..., 2:]) / 2, 0)
    z = normalize(nn.functional.pad(middle, (0, 1), value=1.0))
    # its x axis stays level with the picture
    x = normalize(torch.stack([z[..., 2], torch.zeros_like(z[..., 2]), -z[..., 0]], dim=-1))
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)


def _size(seen: Tensor, visible: Tensor) -> Tensor:
    """Root mean square distance (...) of visible joints from the middle of the view."""
    count = visible.sum(-1).clamp_min(1)
    return (seen.square().sum(-1).sum(-1) / count).clamp_min(1e-8).sqrt()
