"""Phi, Psi and Disc: the adversarial auto-encoder of single-person poses (source, section 1 and Fig. 1B).

All three follow the kinematic tree (Du et al., CVPR 2015): limbs -> arms, legs, trunk -> upper and lower body ->
whole body. They take and give local poses p_l, and inside work on the same limb directions in the canonical frame:
these are continuous where local frames are singular (a thigh pointing straight ahead), and p_l is not.

A pose has 21 degrees of freedom and phi has 32 numbers, as many as the free directions have coordinates: ten of three,
and r_hip in its plane with two. The 11 numbers that are not pose are the lengths of Psi's directions. FK and the limits
are blind to them, Phi reads them, so that phi = Phi.Psi(phi) can hold; T_L gives every pose lengths of 1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mpose3d.geometry.constants import constant, take
from mpose3d.geometry.kinematics import (
    DETERMINED,
    canonical_to_local,
    directions_to_local,
    local_to_canonical,
    local_to_directions,
)
from mpose3d.geometry.precision import full_precision, normalize
from mpose3d.networks.saved import StandaloneNetwork
from mpose3d.networks.weights import load_weights, read_weights
from mpose3d.poses.limits import JointLimits
from mpose3d.skeleton import SKELETON

# Joints whose limbs are free to point; every other direction follows from these or is constant.
_LIMBS = {
    "r_arm": SKELETON.indices("r_elbow", "r_wrist"),
    "l_arm": SKELETON.indices("l_elbow", "l_wrist"),
    "r_leg": SKELETON.indices("r_knee", "r_ankle"),
    "l_leg": SKELETON.indices("l_knee", "l_ankle"),
    "trunk": SKELETON.indices("head_top", "r_shoulder", "r_hip"),
}
_FREE = tuple(j for joints in _LIMBS.values() for j in joints)
_NECK, _R_HIP = SKELETON.indices("neck", "r_hip")

# features of a limb, a pair of limbs, half a body and the whole body: those of earlier code of the source's authors
_WIDTHS = (32, 64, 128, 512)


def _lengths(p_l: Tensor) -> Tensor:
    """Lengths (..., 15, 1) of the rows of p_l, with a finite gradient at 0."""
    return p_l.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()


def _layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.SiLU())


class _BodyTree(nn.Module):
    """Limb directions -> features of each group, fine to coarse: 5 limbs, 3 pairs, 2 halves, the whole body."""

    def __init__(self) -> None:
        super().__init__()
        limb, pair, half, whole = _WIDTHS
        self.limbs = nn.ModuleDict({name: _layer(3 * len(joints), limb) for name, joints in _LIMBS.items()})
        self.arms, self.legs, self.trunk = _layer(2 * limb, pair), _layer(2 * limb, pair), _layer(limb, pair)
        self.upper, self.lower = _layer(2 * pair, half), _layer(2 * pair, half)
        self.whole = _layer(2 * half, whole)

    def forward(self, directions: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        limb = {name: layer(take(directions, _LIMBS[name]).flatten(-2)) for name, layer in self.limbs.items()}
        arms = self.arms(torch.cat([limb["r_arm"], limb["l_arm"]], dim=-1))
        legs = self.legs(torch.cat([limb["r_leg"], limb["l_leg"]], dim=-1))
        trunk = self.trunk(limb["trunk"])
        upper = self.upper(torch.cat([arms, trunk], dim=-1))
        lower = self.lower(torch.cat([legs, trunk], dim=-1))
        whole = self.whole(torch.cat([upper, lower], dim=-1))
        return list(limb.values()), [arms, legs, trunk], [upper, lower], whole


class PoseEncoder(nn.Module):
    """Phi: local pose (..., 15, 3) -> embedding (..., `embedding`) in [-1, 1]."""

    def __init__(self, embedding: int = 32) -> None:
        super().__init__()
        self.tree = _BodyTree()
        self.embed = nn.Linear(_WIDTHS[-1], embedding)
        self.skip = nn.Linear(3 * len(_FREE), embedding)

    def forward(self, p_l: Float[Tensor, "*n 15 3"]) -> Float[Tensor, "*n e"]:
        directions = local_to_directions(p_l) * _lengths(p_l)
        *_, whole = self.tree(directions)
        return (self.embed(whole) + self.skip(take(directions, _FREE).flatten(-2))).tanh()


class PoseEmbeddingDecoder(nn.Module):
    """Psi: embedding (..., `embedding`) -> local pose (..., 15, 3), always valid for FK and within the joint limits.

    The mirror of `PoseEncoder`: whole body -> upper and lower -> arms, legs, trunk -> limbs. Free limbs get directions
    of any length, r_hip one in the plane YZ; l_hip, l_shoulder, neck and pelvis follow. A direction outside its limits
    is moved to their border.
    """

    def __init__(self, embedding: int = 32) -> None:
        super().__init__()
        self.limits = JointLimits()
        limb, pair, half, whole = _WIDTHS
        self.whole = _layer(embedding, whole)
        self.upper, self.lower = _layer(whole, half), _layer(whole, half)
        self.arms, self.legs, self.trunk = _layer(half, pair), _layer(half, pair), _layer(2 * half, pair)
        self.limbs = nn.ModuleDict({name: _layer(pair, limb) for name in _LIMBS})
        self.directions = nn.ModuleDict({name: nn.Linear(limb, 3 * len(joints)) for name, joints in _LIMBS.items()})
        self.skip = nn.Linear(embedding, 3 * len(_FREE))

    def forward(self, embedding: Float[Tensor, "*n e"]) -> Float[Tensor, "*n 15 3"]:
        return self.limits.clamp(self.unlimited(embedding))

    def unlimited(self, embedding: Float[Tensor, "*n e"]) -> Float[Tensor, "*n 15 3"]:
        """The local pose before the limits: training presses it to lie within them by itself."""
        whole = self.whole(embedding)
        upper, lower = self.upper(whole), self.lower(whole)
        arms, legs, trunk = self.arms(upper), self.legs(lower), self.trunk(torch.cat([upper, lower], dim=-1))
        source = {"r_arm": arms, "l_arm": arms, "r_leg": legs, "l_leg": legs, "trunk": trunk}
        free = [self.directions[name](self.limbs[name](source[name])) for name in _LIMBS]
        return _local_pose((torch.cat(free, dim=-1) + self.skip(embedding)).unflatten(-1, (len(_FREE), 3)))


@full_precision
def _local_pose(free: Tensor) -> Tensor:
    """Free limb directions of any length (..., 11, 3), canonical -> p_l (..., 15, 3) of the same lengths."""
    directions = free.new_zeros(*free.shape[:-2], len(SKELETON), 3)
    directions[..., constant(_FREE, free.device), :] = free
    # the hips stay in the plane YZ
    directions[..., _R_HIP, 0] = 0
    directions[..., _NECK, 2] = 1
    for joint, twin in DETERMINED.items():
        directions[..., joint, :] = -directions[..., twin, :]
    return directions_to_local(normalize(directions)) * _lengths(directions)


class DirectPose(nn.Module):
    """Directions of the free limbs (..., 33) -> local pose (..., 15, 3), with nothing learned in between.

    Stands where Psi does to regress poses directly, which is an ablation: neither limits nor a prior hold them.
    """

    #: numbers that it reads
    embedding = 3 * len(_FREE)

    def forward(self, embedding: Float[Tensor, "*n 33"]) -> Float[Tensor, "*n 15 3"]:
        return _local_pose(embedding.unflatten(-1, (len(_FREE), 3)))


class PoseAutoEncoder(StandaloneNetwork):
    """Phi and Psi together: what the stage `aae` gives to the others."""

    def __init__(self, embedding: int = 32) -> None:
        super().__init__()
        self.settings = {"embedding": embedding}
        self.embedding = embedding
        self.phi = PoseEncoder(embedding)
        self.psi = PoseEmbeddingDecoder(embedding)

    def forward(self, p_c: Float[Tensor, "*n 15 3"]) -> Float[Tensor, "*n 15 3"]:
        """FK.Psi.Phi.T_L: canonical poses through the embedding."""
        return local_to_canonical(self.psi(self.phi(canonical_to_local(p_c))))

    def random_embeddings(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n e"]:
        """phi ~ U[-1, 1], on the device of the network."""
        device = next(self.parameters()).device
        return 2 * torch.rand(n, self.embedding, generator=generator, device=device) - 1


def load_psi(psi: PoseEmbeddingDecoder, path: str | Path) -> None:
    """Load Psi from a checkpoint of the stage `aae`, or from a safetensors file that holds it as `psi`.

    Raises:
        FileNotFoundError, ValueError: see `read_weights` and `load_weights`.
    """
    tensors = read_weights(path, prefix="network.")
    mine = {name.removeprefix("psi."): tensor for name, tensor in tensors.items() if name.startswith("psi.")}
    load_weights(psi, mine, path)


class PriorNetwork(StandaloneNetwork):
    """Base of networks that read people into phi, together with the frozen Psi that decodes it.

    Args:
        embedding: width of the pose embedding.
        prior: checkpoint of the stage `aae`, or a safetensors file, that holds Psi; None leaves it untrained.
    """

    def __init__(self, embedding: int, prior: str | None) -> None:
        super().__init__()
        self.psi = PoseEmbeddingDecoder(embedding)
        self._has_prior = prior is not None
        #: whether Psi came from a file
        self.has_trained_psi = self._has_prior
        if prior is not None:
            load_psi(self.psi, prior)

    def start_from(self, path: str | Path) -> None:
        """Read the weights of an earlier stage, but for Psi where this network was given a prior; raises as `load`."""
        self.load(path, keep="psi" if self._has_prior else None)

    def load(self, path: str | Path, keep: str | None = None) -> None:
        super().load(path, keep)
        self.has_trained_psi = True


class PoseDiscriminator(nn.Module):
    """Disc: local pose (..., 15, 3) -> logits (..., 22) that it is real.

    One each for 11 free joints, 5 limbs, 3 pairs of limbs, 2 halves and the whole body; a joint is judged by its
    direction in the local frame, the groups by canonical directions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.joints = nn.ModuleList(nn.Sequential(_layer(3, _WIDTHS[0]), nn.Linear(_WIDTHS[0], 1)) for _ in _FREE)
        self.tree = _BodyTree()
        self.groups = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, 1) for _ in range(count))
            for width, count in zip(_WIDTHS, (len(_LIMBS), 3, 2, 1), strict=True)
        )

    def forward(self, p_l: Float[Tensor, "*n 15 3"]) -> Float[Tensor, "*n d"]:
        p_l = normalize(p_l)
        joints = [judge(p_l[..., j, :]) for judge, j in zip(self.joints, _FREE, strict=True)]
        *levels, whole = self.tree(local_to_directions(p_l))
        features = [f for level in (*levels, [whole]) for f in level]
        judges = [judge for level in self.groups for judge in level]
        return torch.cat([*joints, *(judge(f) for judge, f in zip(judges, features, strict=True))], dim=-1)
