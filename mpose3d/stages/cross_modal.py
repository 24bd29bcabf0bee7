"""What the stages `distill`, `phase1` and `phase2` share: the two pathways and their losses, scored in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d import losses
from mpose3d.geometry.extent import bounding_box, in_box
from mpose3d.geometry.kinematics import canonicalize, rotate
from mpose3d.geometry.precision import full_precision
from mpose3d.metrics.functional import mpjpe, pmpjpe
from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.teacher import Teacher
from mpose3d.poses.scenes import Scenes
from mpose3d.representations.hmpaf import HMPAF, select_supplied
from mpose3d.representations.neural import MAX_PEOPLE, NeuralGrid, Roots
from mpose3d.sample import AnnotatedPhotographs, CrossModalBatch, Photographs, PicturedScenes
from mpose3d.skeleton import SKELETON
from mpose3d.stages.base import Stage

# probability of a root from which H is sure: whom L_ss takes up, and who counts as found
_SURE_ROOT = 0.5

# how far beyond the box of the joints seen a root may be that the teacher does not see, in longer sides of the box
_REACH = 0.5

#: what validation and test data may consist of
ScoredBatch = Scenes | PicturedScenes | Photographs | AnnotatedPhotographs


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms.

    distl, distl_root: L_distl and the roots, against the teacher's people.
    recon_maps: F(G(m_syn)) against m_syn. The other recon terms: the people of H(G(m_syn)) against the scene's, their
    3D joints (pose), the same before T_R (canonical), T_R itself (rotation), 2D joints (points), depth code, and roots.
    ss: s against s~.
    paired: factor of the recon weights for the people of H(E(I)) against annotated ones, in the paired variants.
    """

    distl: float = 1.0
    distl_root: float = 0.1
    recon_maps: float = 0.1
    recon_pose: float = 5.0
    recon_canonical: float = 5.0
    recon_rotation: float = 1.0
    recon_points: float = 5.0
    recon_depth: float = 1.0
    recon_root: float = 1.0
    ss: float = 1.0
    paired: float = 1.0


class CrossModalStage(Stage):
    """Base of the stages that train H through the frozen teacher and the frozen Psi.

    Args:
        teacher: E and F.
        network: G, H and Psi. Its Psi must be trained (`prior`).
        init: `network.safetensors` that an earlier stage wrote; G and H start from it, and Psi where the network has no
            `prior` of its own.
        weights: of the loss terms.
        amplitude: lowest height of the peaks of m_syn in training, drawn uniformly between it and 1 for every joint:
            a teacher is less sure of some joints than of others.
        blur: narrowest and widest Gaussians of m_syn in training, in pixels, uniform over joints; by default
            those of the network.
        jitter: standard deviation in pixels of the noise on the joints of m_syn in training.
        merged: in training, the same joint of two people closer than this, in pixels, is drawn once, between them.
        optimizer: see `Stage`.
    """

    def __init__(
        self,
        teacher: Teacher,
        network: CrossModalNetwork,
        init: str | None = None,
        weights: LossWeights | None = None,
        amplitude: float = 1.0,
        blur: tuple[float, float] | None = None,
        jitter: float = 0.0,
        merged: float = 0.0,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        self.save_hyperparameters(ignore=["teacher", "network", "weights"])
        for name in ("layout", "v_channels", "stride"):
            theirs, ours = getattr(teacher, name), getattr(network, name)
            if theirs != ours:
                theirs, ours = getattr(theirs, "name", theirs), getattr(ours, "name", ours)
                raise ValueError(f"{type(teacher).__name__} has {name} {theirs}; set the network's {name}, now {ours}")
        self.teacher = teacher
        self.network = network
        self.weights = weights or LossWeights()
        self.amplitude = amplitude
        self.blur = blur
        self.jitter = jitter
        self.merged = merged
        if init is not None:
            network.start_from(init)
        self.freeze_networks()

    # pathways --------------------------------------------------------------------------------------------------------

    def teacher_people(self, v: Tensor) -> tuple[Tensor, Tensor, Roots, Tensor]:
        """k_q: the teacher's people as joints of the skeleton (b, p, 15, 2), their visibility, and the roots.

        Whose root the teacher does not see is not among them. The last (b, 1, g, g) are the cells where it may be.
        """
        points, visible = self._parsed(v)
        valid = visible[..., SKELETON.root]
        root_px = torch.where(valid[..., None], points[..., SKELETON.root, :], 0)
        near = self.network.representation.cells_in(_around(points, visible & ~valid[..., None]))
        return points, visible & valid[..., None], Roots(root_px, valid.float(), valid), near

    def unlabelled(self, v: Tensor, scenes: Scenes) -> Bool[Tensor, "b 1 g g"]:
        """The cells around people whom the teacher sees, and who have nobody's root of the scenes near them."""
        representation, box = self.network.representation, _around(*self._parsed(v))
        root_px = representation.project(scenes.joints)[:, None, :, SKELETON.root]
        labelled = (in_box(root_px, box[..., None, :]) & scenes.valid[:, None]).any(-1, keepdim=True)
        return representation.cells_in(torch.where(labelled, torch.nan, box))

    def _parsed(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (b, p, 15, 2) of everybody whom the teacher sees, and their visibility, nothing of who is padding."""
        with torch.no_grad():
            found = self.teacher.people(self.teacher.decode(v))
        return self.teacher.layout.to_skeleton(found.points, found.visible & found.valid[..., None])

    def distillation(self, v: Tensor, grid: NeuralGrid) -> dict[str, Tensor]:
        """Distillation pathway: the student's projected people against the teacher's parse, at the teacher's roots."""
        if self.weights.distl == self.weights.distl_root == 0:
            return {}
        representation = self.network.representation
        k_q, visible, roots, unsure = self.teacher_people(v)
        people = representation.decode(grid, roots, self.network.psi)
        mask, offset = representation.root_targets(roots.px, roots.valid)
        return {
            "distl": losses.keypoints(people.joints_px, k_q, visible, representation.input_size),
            "distl_root": losses.root_error(grid.root, grid.offset, mask, offset, ~unsure),
        }

    def draw_scenes(self, scenes: Scenes) -> HMPAF:
        """m_syn of the scenes, with the drawing noise in training."""
        network = self.network
        points = network.representation.project(scenes.joints)
        if not self.training:
            return network.draw(points, scenes.drawn)
        points = points + self.jitter * torch.randn_like(points)
        if self.merged > 0:
            points = merge_joints(points, scenes.drawn, self.merged)
        noise = points.new_empty(2, *points.shape[:2], len(network.layout))
        amplitude = noise[0].uniform_(self.amplitude, 1)
        sigma = noise[1].uniform_(*(self.blur or (network.sigma, network.sigma)))
        return network.draw(points, scenes.drawn, amplitude, sigma)

    def reconstruction(self, scenes: Scenes) -> dict[str, Tensor]:
        """Auto-encoding pathway: scene -> m_syn -> G -> v~, read by F (2D) and by H (3D)."""
        network = self.network
        m_syn = self.draw_scenes(scenes)
        v = network.encode(m_syn)
        terms = {}
        if v.requires_grad and self.weights.recon_maps > 0:  # with G frozen this term would train nothing
            again, wanted = (select_supplied(maps, network.layout) for maps in (self.teacher.decode(v), m_syn))
            terms["recon_maps"] = losses.hmpaf_error(again, wanted)

        people = self._people_terms(network.h_of_g(v), scenes)
        return terms | {f"recon_{name}": term for name, term in people.items()}

    def supervision(self, batch: CrossModalBatch) -> dict[str, Tensor]:
        """Paired variants: the people of H(E(I)) against those that the image is annotated with.

        Data sets annotate some of the people in an image. Around people whom the teacher sees and nobody annotated, the
        root map may say what it likes.
        """
        if "paired" not in batch:
            return {}
        image, scenes = batch["paired"]
        v = self.teacher.encode(image)
        people = self._people_terms(self.network.h(v), scenes, ~self.unlabelled(v, scenes))
        return {f"paired_{name}": term for name, term in people.items()}

    def _people_terms(self, grid: NeuralGrid, scenes: Scenes, counted: Tensor | None = None) -> dict[str, Tensor]:
        """People read at the true roots, against the true ones, and the roots, as `losses.root_error` counts them."""
        network, representation = self.network, self.network.representation
        projected = representation.project(scenes.joints)
        roots = Roots(projected[..., SKELETON.root, :], scenes.valid.float(), scenes.valid)
        people = representation.decode(grid, roots, network.psi)
        inside = scenes.known & (projected.abs() < 2 * representation.input_size).all(-1)
        mask, offset = representation.root_targets(roots.px, roots.valid)
        root = SKELETON.root
        code, target_code = map(representation.depth_code, (people.depth, scenes.joints[..., root, 2]))
        p_c, rotation = canonicalize(scenes.joints)
        relative = people.joints - people.joints[..., root, None, :]
        return {
            "pose": losses.pose_error(people.joints, scenes.joints, root, scenes.known),
            "canonical": losses.pose_error(rotate(relative, people.rotation.mT), p_c, root, scenes.known),
            "rotation": losses.rotation_error(people.rotation, rotation, scenes.valid),
            "points": losses.keypoints(people.joints_px, projected, inside, representation.input_size),
            "depth": losses.depth_error(code, target_code, scenes.valid),
            "root": losses.root_error(grid.root, grid.offset, mask, offset, counted),
        }

    def self_supervision(self, grid: NeuralGrid) -> dict[str, Tensor]:
        """L_ss: the student's own people, projected and drawn again, must be read as the same s at root cells."""
        if self.weights.ss == 0:
            return {}
        network, representation = self.network, self.network.representation
        roots = representation.find_roots(
            NeuralGrid(*(part.detach() for part in grid)), max_people=8, threshold=_SURE_ROOT
        )
        people = representation.decode(grid, roots, network.psi)
        drawn = roots.valid[..., None].expand(people.joints_px.shape[:-1])
        again = network.h_of_g(network.encode(network.draw(people.joints_px, drawn)))
        cells, _ = representation.cell_of(roots.px)
        s, s_again = representation.gather(grid.s, cells), representation.gather(again.s, cells)
        return {"ss": losses.agreement(s, s_again, roots.valid)}

    def training_loss(self, terms: dict[str, Tensor], batch_size: int) -> Tensor:
        weights = vars(self.weights)
        paired = {
            name: weights["paired"] * weights[name.replace("paired_", "recon_")]
            for name in terms
            if name.startswith("paired_")
        }
        return self.weighted_loss("train", terms, weights | paired, batch_size)

    # scoring ---------------------------------------------------------------------------------------------------------

    def validation_step(self, batch: ScoredBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._score(batch, "val")

    def test_step(self, batch: ScoredBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._score(batch, "test")

    def predict_step(self, batch: Photographs, batch_idx: int) -> Detection:
        """H(E(I)): the people of unlabelled images, in pixels of the input."""
        return self.network(self.teacher.encode(batch.image))

    def _score(self, batch: ScoredBatch, split: str) -> None:
        network = self.network
        if isinstance(batch, AnnotatedPhotographs):
            return  # a protocol's own callback scores these
        if isinstance(batch, Photographs):
            v = self.teacher.encode(batch.image)
            self.log_terms(f"{split}/photographs", self.distillation(v, network.h(v)), len(batch.image))
        elif isinstance(batch, PicturedScenes):
            grid = network.h(self.teacher.encode(batch.image))
            self._log_errors(grid, batch.scenes, f"{split}/rendered")
        else:
            grid = network.h_of_g(network.encode(self.draw_scenes(batch)))
            self._log_errors(grid, batch, f"{split}/scenes")

    def _log_errors(self, grid: NeuralGrid, scenes: Scenes, name: str) -> None:
        self.log_means(name, scene_errors(self.network, grid, scenes))


def _around(points: Float[Tensor, "b p J 2"], visible: Bool[Tensor, "b p J"]) -> Float[Tensor, "b p 4"]:
    """Boxes (x0, y0, x1, y1) in which people may have their roots; NaN of nobody."""
    box = bounding_box(points, visible)
    reach = _REACH * (box[..., 2:] - box[..., :2]).amax(-1, keepdim=True)
    return torch.cat([box[..., :2] - reach, box[..., 2:] + reach], dim=-1)


@full_precision
def merge_joints(
    points: Float[Tensor, "b p J 2"], drawn: Bool[Tensor, "b p J"], radius: float
) -> Float[Tensor, "b p J 2"]:
    """Joints with others of their kind within `radius` (px), all moved to the middle of these; only `drawn` ones count.

    The places of joints that are not drawn mean nothing.
    """
    counts = drawn.transpose(1, 2)
    kind = torch.where(counts[..., None], points.transpose(1, 2), 0)
    near = (torch.cdist(kind, kind) < radius) & counts[..., None, :]
    near = near | torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
    return ((near.to(kind) @ kind) / near.sum(-1, keepdim=True)).transpose(1, 2)


def scene_errors(network: CrossModalNetwork, grid: NeuralGrid, scenes: Scenes) -> dict[str, Tensor]:
    """Of everybody in the scenes: `mpjpe` and `pmpjpe` in mm, read at the true root cell, and `found`.

    `found` is 1 where H found a root of its own within a cell of the true one, else 0.
    """
    representation = network.representation
    root_px = representation.project(scenes.joints)[..., SKELETON.root, :]
    people = representation.decode(grid, Roots(root_px, scenes.valid.float(), scenes.valid), network.psi)
    predicted, truth = people.joints[scenes.valid], scenes.joints[scenes.valid]
    found = representation.find_roots(grid, max_people=MAX_PEOPLE, threshold=_SURE_ROOT)
    apart = torch.cdist(root_px, found.px).masked_fill(~found.valid[:, None], torch.inf).amin(-1)
    return {
        "mpjpe": mpjpe(predicted, truth, root=SKELETON.root),
        "pmpjpe": pmpjpe(predicted, truth),
        "found": (apart[scenes.valid] < representation.stride).float(),
    }
