"""2D joints of one person -> s of that person, read by the same frozen Psi: a way into M that needs no map."""

from __future__ import annotations

from typing import NamedTuple

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
from mpose3d.networks.gauss_newton import gauss_newton_step, linearized
from mpose3d.representations.neural import People
from mpose3d.skeleton import MIDPOINTS, SKELETON

#: fewest visible joints that say where and how far a person is (`enough_joints`)
FEWEST_JOINTS = 4

_MEASURED = tuple(j for j in range(len(SKELETON)) if j not in MIDPOINTS)

# bones of left and right are as long as each other: the number of each bone's length
_LENGTHS = sorted(set(SKELETON.right) - {SKELETON.root})
_LENGTH_OF = tuple(_LENGTHS.index(j) if j in _LENGTHS else 0 for j in SKELETON.right)  # the root has none

#: steps of refinement of joints that are exact or nearly so, unless others are asked for
REFINE = 3

# Refinement. In sizes of the person: the distance from which a joint counts less (the scale of its Cauchy weight).
_JOINT_NOISE = 0.05
# The variance of joints that the errors of the reading are weighed against, in squared sizes, and the weight of the
# lengths of bones. Where the body comes closer to the joints than `_EXACT` (root mean square), the joints are better
# than the reading, and both fall with the square of what is left of it, to a tenth.
_TRUST, _TRUST_LENGTHS = 0.01**2, 0.003
_EXACT = 0.02

# The error of a reading is the step from it towards the true joints: relative to the root, in units of this many mm,
# with this weight of the squared step, by which numbers that matter little stay.
_REACH, _DAMPING = 850.0, 0.01
# share of the batch at hand in the running covariance of these errors
_MOMENTUM = 0.002

# people refined at once: for the derivatives, each is decoded once for every number of its code
_REFINED = 512


def count_joints(visible: Bool[Tensor, "*people 15"]) -> Int[Tensor, "*people"]:
    """Visible joints of each person, without neck and pelvis, which are made of others."""
    return visible.index_select(-1, constant(_MEASURED, visible.device)).sum(-1)


def enough_joints(visible: Bool[Tensor, "*people 15"]) -> Bool[Tensor, "*people"]:
    """Whether people have the `FEWEST_JOINTS` visible joints (`count_joints`) that it takes to lift them."""
    return count_joints(visible) >= FEWEST_JOINTS


class _Seen(NamedTuple):
    """How people (...) are seen: the rotation from the view to the camera, rays (..., 15, 2), visible, size (...)."""

    view: Tensor
    rays: Tensor
    visible: Tensor
    size: Tensor

    def for_copies(self) -> _Seen:
        """The same for any number of copies (n, copies, ...) of people (n, ...)."""
        return _Seen(*(part[:, None] for part in self))


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

    Beside the code, which holds phi and T_R, the network says how far off it may be (`doubt`, the logarithm of the size
    of the error); `covariance` is that of the errors over these sizes. Refinement goes by both. They learn from
    `doubt_loss` alone: `forward` gives `doubt` no gradient.

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
        self.doubt = nn.Linear(width, 1)
        self.register_buffer("covariance", torch.eye(embedding + 6) / (embedding + 6))
        self.covariance: Tensor

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
        seen, features = _look(joints_px, visible, camera)
        read = self.read(features)
        code = self.code(read)
        if refine and code.numel():
            if proportions:
                # the logarithms of bone lengths over those of the skeleton
                code = nn.functional.pad(code, (0, len(_LENGTHS)))
            code = self._refined(code, self.doubt(read)[..., 0], seen, refine)
        joints, embedding, rotation = self._body(code, seen)
        return People(joints, camera.project(joints), embedding, rotation, joints[..., SKELETON.root, 2])

    @full_precision
    def doubt_loss(
        self,
        joints_px: Float[Tensor, "n 15 2"],
        visible: Bool[Tensor, "n 15"],
        camera: Camera,
        joints: Float[Tensor, "n 15 3"],
        known: Bool[Tensor, "n 15"],
    ) -> Float[Tensor, ""]:
        """How well `doubt` tells the size of the errors: the mean squared difference of the logarithms.

        No other weight learns from it. In training `covariance` follows these errors, too, a robust mean of them.

        Args:
            joints_px, visible, camera: as of `forward`.
            joints: the true people in mm, anywhere, with the skeleton's bones.
            known: which of them are.
        """
        with torch.no_grad():
            seen, features = _look(joints_px, visible, camera)
            read = self.read(features)
            error = self._error(self.code(read), seen, joints, known)
        told = self.doubt(read)[..., 0]
        if self.training and len(error):
            relative = error / told.detach().exp()[:, None]
            length = relative.norm(dim=-1)
            weight = 1 / (1 + (length / length.median().clamp_min(1e-6)).square())
            self.covariance.lerp_((relative.mT * (weight / weight.sum())) @ relative, _MOMENTUM)
        return (told - error.norm(dim=-1).clamp_min(1e-6).log()).square().sum() / max(len(told), 1)

    def _body(self, code: Tensor, seen: _Seen) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says -> joints (..., 15, 3) mm, phi, rotation."""
        embedding, columns, proportions = code.tensor_split([self.embedding, self.embedding + 6], dim=-1)
        embedding = embedding.tanh()
        # two columns of a rotation (Zhou et al., CVPR 2019), added to fixed ones so that no start is singular
        columns = columns.unflatten(-1, (2, 3)).mT + torch.eye(3, 2, dtype=columns.dtype, device=columns.device)
        rotation = seen.view @ roma.special_gramschmidt(columns)
        lengths = _own_lengths(proportions) if proportions.shape[-1] else None
        p_r = rotate(local_to_canonical(self.psi(embedding), lengths), rotation)
        translation = fit_translation(p_r, seen.rays, seen.visible, seen.size)
        return p_r + translation[..., None, :], embedding, rotation

    def _refined(self, code: Tensor, doubt: Tensor, seen: _Seen, steps: int) -> Tensor:
        """`code` (..., c) after `steps` Gauss-Newton steps on the joints' distances from where they are seen.

        Distances are in sizes of the person, and weigh less the larger they are (Cauchy): one joint in a wrong place
        does not bend the body to it.
        """
        people, start = code.shape[:-1], code.reshape(-1, code.shape[-1])
        parts = (part.reshape(len(start), *part.shape[len(people) :]).split(_REFINED) for part in (doubt, *seen))
        some = zip(start.split(_REFINED), *parts, strict=True)
        refined = [self._descended(code, doubt, _Seen(*seen), steps) for code, doubt, *seen in some]
        return torch.cat(refined).reshape(*people, -1)

    def _descended(self, start: Tensor, doubt: Tensor, seen: _Seen, steps: int) -> Tensor:
        share = seen.visible.to(start) / seen.visible.sum(-1, keepdim=True).clamp_min(1)
        prior = torch.full_like(start, _TRUST_LENGTHS).diag_embed()
        told = len(self.covariance)
        prior[:, :told, :told] = _TRUST * torch.linalg.inv_ex(self.covariance)[0] / doubt.exp()[:, None, None]
        copies = seen.for_copies()

        def off(codes: Tensor) -> Tensor:
            joints = self._body(codes, copies)[0]
            return (joints[..., :2] / joints[..., 2:].clamp_min(1.0) - copies.rays) / copies.size[..., None, None]

        code = start
        for _ in range(steps):
            distance, slope = linearized(off, code)  # x and y of every joint
            squared = distance.square().unflatten(-1, (-1, 2)).sum(-1)
            weight = share / (1 + squared / _JOINT_NOISE**2)
            left = (weight * squared).sum(-1) / _EXACT**2
            trust = prior * left.clamp(0.1, 1)[:, None, None]
            code = code + gauss_newton_step(distance, slope, weight.repeat_interleave(2, -1), trust, code - start)
        return code

    def _error(self, code: Tensor, seen: _Seen, joints: Tensor, known: Tensor) -> Tensor:
        """The step (n, c) from `code` towards the code of people whose `known` joints (n, 15, 3) are these."""
        copies = seen.for_copies()

        def off(codes: Tensor) -> Tensor:
            distance = _from_root(self._body(codes, copies)[0]) - _from_root(joints)[:, None]
            return torch.where(known[:, None, :, None], distance, 0)

        residual, slope = linearized(off, code)
        damping = torch.full_like(code, _DAMPING).diag_embed()
        return gauss_newton_step(residual, slope, torch.ones_like(residual), damping, torch.zeros_like(code))


def _from_root(joints: Tensor) -> Tensor:
    return (joints - joints[..., SKELETON.root, None, :]) / _REACH


def _own_lengths(proportions: Tensor) -> Tensor:
    """Logarithms (..., 8) of bone lengths over those of the skeleton -> lengths (..., 15) in mm, of the same sum."""
    table = like(SKELETON.bone_lengths, proportions)
    lengths = table * proportions[..., constant(_LENGTH_OF, proportions.device)].exp()
    return lengths * (table.sum() / lengths.sum(-1, keepdim=True))


def _look(joints_px: Tensor, visible: Tensor, camera: Camera) -> tuple[_Seen, Tensor]:
    """How people are seen, and what the network is shown of them."""
    rays = torch.where(visible[..., None], camera.rays(joints_px), 0)
    view = _view(rays, visible)
    turned = nn.functional.pad(rays, (0, 1), value=1.0) @ view
    turned = torch.where(visible[..., None], turned[..., :2] / turned[..., 2:].clamp_min(0.1), 0)
    size = _size(turned, visible)
    joints = (turned / size[..., None, None]).flatten(-2)
    return _Seen(view, rays, visible, size), torch.cat([joints, visible.to(joints), size.log()[..., None]], dim=-1)


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
