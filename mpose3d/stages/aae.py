"""Stage `aae`: the adversarial auto-encoder of single-person poses (source, section 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpose3d import losses
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.networks.autoencoder import PoseDiscriminator, PoseEmbeddingDecoder, PoseEncoder
from mpose3d.poses.limits import JointLimits
from mpose3d.stages.base import Stage


class AAEStage(Stage):
    """Phi learns from L_cyc, Psi from L_cyc + L_adv, Disc from telling real poses from Psi(phi), phi ~ U[-1, 1]^32.

    All three are updated at once by one optimiser: the adversarial term sees Disc's weights detached, so that every
    strategy, clipping and accumulation of the Trainer work.

    Args:
        embedding: width of phi.
        pose_cycle: weight of |p_c - FK.Psi.Phi.T_L(p_c)|, in metres.
        embedding_cycle: weight of |phi - Phi.Psi(phi)|.
        adversarial: weight of L_adv.
        limits: weight of the degrees by which joints of Psi(phi_rand) overstep the joint limits. Not in the source;
            without it a quarter of the cube decodes to poses with some joint out of range (docs/prior.md).
        discriminator_learning_rate: of Disc.
        optimizer: see `Stage`.
    """

    def __init__(
        self,
        embedding: int = 32,
        pose_cycle: float = 10.0,
        embedding_cycle: float = 1.0,
        adversarial: float = 1.0,
        limits: float = 1.0,
        discriminator_learning_rate: float = 1e-3,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        self.save_hyperparameters()
        self.phi = PoseEncoder(embedding)
        self.psi = PoseEmbeddingDecoder(embedding)
        self.disc = PoseDiscriminator()
        self.embedding = embedding
        self.weights = {
            "cycle_pose": pose_cycle,
            "cycle_embedding": embedding_cycle,
            "adversarial": adversarial,
            "limits": limits,
            "discriminator": 1.0,  # Disc's own, which no other network sees
        }
        self.joint_limits = JointLimits()
        self.discriminator_learning_rate = discriminator_learning_rate

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [*self.phi.parameters(), *self.psi.parameters()]},
            {"params": list(self.disc.parameters()), "lr": self.discriminator_learning_rate},
        ]

    def reconstruct(self, p_c: Tensor) -> Tensor:
        """FK.Psi.Phi.T_L: canonical poses (..., 15, 3) through the embedding."""
        return local_to_canonical(self.psi(self.phi(canonical_to_local(p_c))))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        p_l = canonical_to_local(batch)
        phi_rand = 2 * torch.rand(len(batch), self.embedding, device=batch.device) - 1
        fake = self.psi(phi_rand)
        frozen = {name: p.detach() for name, p in self.disc.named_parameters()}
        terms = {
            "cycle_pose": losses.cycle_pose(batch, local_to_canonical(self.psi(self.phi(p_l)))),
            "cycle_embedding": losses.cycle_embedding(phi_rand, self.phi(fake)),
            "adversarial": losses.hinge_generator(torch.func.functional_call(self.disc, frozen, fake)),
            "limits": losses.overstep(self.joint_limits.excess(fake)),
            "discriminator": losses.hinge_discriminator(self.disc(p_l), self.disc(fake.detach())),
        }
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        self.log_terms("train", terms | {"loss": loss}, len(batch))
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._score(batch, "val")

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self._score(batch, "test")

    def _score(self, p_c: Tensor, split: str) -> None:
        distances = (self.reconstruct(p_c) - p_c).norm(dim=-1).mean(-1)
        phi_rand = 2 * torch.rand(len(p_c), self.embedding, device=p_c.device) - 1
        decoded = self.psi(phi_rand)
        terms = {
            "reconstruction_mm": distances.mean(),
            "reconstruction_mm_p95": distances.quantile(0.95),
            "cycle_embedding": losses.cycle_embedding(phi_rand, self.phi(decoded)),
            "inside_limits": self.joint_limits.inside(decoded).all(-1).float().mean(),
        }
        self.log_terms(split, terms, len(p_c))
