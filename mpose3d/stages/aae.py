"""Stage `aae`: the adversarial auto-encoder of single-person poses (source, section 1)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mpose3d import losses
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.networks.autoencoder import PoseAutoEncoder, PoseDiscriminator
from mpose3d.poses.intersection import self_intersection
from mpose3d.stages.base import Stage

Adversary = Literal["hinge", "logistic"]

# losses of Disc and of Psi
_ADVERSARIES = {
    "hinge": (losses.hinge_discriminator, losses.hinge_generator),
    "logistic": (losses.logistic_discriminator, losses.logistic_generator),
}


class AAEStage(Stage):
    """Phi learns from L_cyc, Psi from L_cyc + L_adv, Disc from telling real poses from Psi(phi), phi ~ U[-1, 1]^32.

    All three are updated at once by one optimiser: the adversarial term sees Disc's weights detached, so that every
    strategy, clipping and accumulation of the Trainer work.

    Args:
        embedding: width of phi.
        pose_cycle: weight of |p_c - FK.Psi.Phi.T_L(p_c)|, in metres.
        spherical: weight of the angle, in radians, between the directions of T_L(p_c) and of Psi.Phi.T_L(p_c): beside
            `pose_cycle`, or in its place where that is 0.
        embedding_cycle: weight of |phi - Phi.Psi(phi)|.
        adversarial: weight of L_adv.
        adversary: losses of Disc and L_adv: hinge, or the plain GAN's (logistic, not saturating).
        gradient_penalty: weight of half the squared slope of Disc on real poses (R1), in Disc's loss.
        limits: weight of the degrees by which joints of Psi(phi_rand) would overstep the joint limits if they were not
            moved back. Not in the source (docs/prior.md).
        intersection: weight of the depth, in metres, to which limbs of Psi(phi_rand) enter one another. Not in the
            source either.
        discriminator_learning_rate: of Disc.
        optimizer: see `Stage`.
    """

    def __init__(
        self,
        embedding: int = 32,
        pose_cycle: float = 10.0,
        spherical: float = 0.0,
        embedding_cycle: float = 20.0,
        adversarial: float = 0.5,
        adversary: Adversary = "hinge",
        gradient_penalty: float = 0.0,
        limits: float = 1.0,
        intersection: float = 100.0,
        discriminator_learning_rate: float = 2e-3,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        if adversary not in _ADVERSARIES:
            raise ValueError(f"adversary {adversary!r}: it is one of {', '.join(_ADVERSARIES)}")
        self.save_hyperparameters()
        self.network = PoseAutoEncoder(embedding)
        self.disc = PoseDiscriminator()
        self.weights = {
            "cycle_pose": pose_cycle,
            "cycle_directions": spherical,
            "cycle_embedding": embedding_cycle,
            "adversarial": adversarial,
            "limits": limits,
            "intersection": intersection,
            "discriminator": 1.0,  # Disc's own, which no other network sees
            "gradient_penalty": gradient_penalty,  # likewise
        }
        self.adversary = adversary
        self.joint_limits = self.network.psi.limits
        self.discriminator_learning_rate = discriminator_learning_rate

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(self.network.parameters())},
            {"params": list(self.disc.parameters()), "lr": self.discriminator_learning_rate},
        ]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        phi, psi = self.network.phi, self.network.psi
        p_l = canonical_to_local(batch)
        phi_rand = self.network.random_embeddings(len(batch))
        unlimited = psi.unlimited(phi_rand)
        fake = self.joint_limits.clamp(unlimited)
        decoded = psi(phi(p_l))
        frozen = {name: p.detach() for name, p in self.disc.named_parameters()}
        discriminator_loss, generator_loss = _ADVERSARIES[self.adversary]
        penalised = self.weights["gradient_penalty"] > 0
        real = p_l.detach().requires_grad_(penalised)
        real_logits = self.disc(real)
        terms = {
            "cycle_pose": losses.cycle_pose(batch, local_to_canonical(decoded)),
            "cycle_embedding": losses.cycle_embedding(phi_rand, phi(fake)),
            "adversarial": generator_loss(torch.func.functional_call(self.disc, frozen, fake)),
            "limits": losses.overstep(self.joint_limits.excess(unlimited)),
            "intersection": losses.overstep(self_intersection(local_to_canonical(fake))) / 1000,
            "discriminator": discriminator_loss(real_logits, self.disc(fake.detach())),
        }
        if self.weights["cycle_directions"] > 0:
            terms["cycle_directions"] = losses.cycle_directions(p_l, decoded)
        if penalised:
            terms["gradient_penalty"] = losses.gradient_penalty(real_logits, real)
        return self.weighted_loss("train", terms, self.weights, len(batch))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._score(batch, "val")

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self._score(batch, "test")

    def _score(self, p_c: Tensor, split: str) -> None:
        distances = (self.network(p_c) - p_c).norm(dim=-1).mean(-1)
        phi_rand = self.network.random_embeddings(len(p_c))
        unlimited = self.network.psi.unlimited(phi_rand)
        decoded = self.joint_limits.clamp(unlimited)
        terms = {
            "reconstruction_mm": distances.mean(),
            "reconstruction_mm_p95": distances.quantile(0.95),
            "cycle_embedding": losses.cycle_embedding(phi_rand, self.network.phi(decoded)),
            "inside_limits": self.joint_limits.inside(unlimited).all(-1).float().mean(),
            "clear_of_itself": (self_intersection(local_to_canonical(decoded)) <= 0).float().mean(),
        }
        self.log_terms(split, terms, len(p_c))
