"""Stage `lifter`: 2D joints of single people -> 3D, on scenes that have no image (ours; docs/stages/lifter.md)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from mpose3d import losses
from mpose3d.geometry.camera import FOCAL_RATIO, Camera
from mpose3d.geometry.extent import spread
from mpose3d.geometry.kinematics import canonical_to_local, canonicalize, local_to_canonical, rotate
from mpose3d.metrics.functional import mpjpe, pmpjpe, root_error
from mpose3d.networks.keypoint_lifter import KeypointLifter, enough_joints
from mpose3d.poses.keypoint_noise import KeypointNoise
from mpose3d.poses.scenes import Scenes
from mpose3d.skeleton import SKELETON
from mpose3d.stages.base import Stage

# people of a batch whose errors are measured: Psi decodes each 39 times
_ASKED = 8


class LifterStage(Stage):
    """Trains the lifter on D_syn's people, seen through a detector's noise; Psi is frozen.

    Args:
        network: the lifter. Its Psi must be trained (`prior`).
        focal_ratio: of the camera that the scenes are seen by.
        init: `network.safetensors` of an earlier run to start from.
        noise: errors of the 2D joints in training.
        focal_range: the lifter is told focal lengths between these multiples of the true one, log-uniform: a
            photograph's is never known.
        pose, canonical, rotation, points: weights of the terms: root-relative joints, the same before T_R, T_R itself,
            and the projection.
        optimizer: see `Stage`.
    """

    frozen: ClassVar[tuple[str, ...]] = ("network.psi",)

    def __init__(
        self,
        network: KeypointLifter,
        focal_ratio: float = FOCAL_RATIO,
        init: str | None = None,
        noise: KeypointNoise | None = None,
        focal_range: tuple[float, float] = (0.4, 1.4),
        pose: float = 1.0,
        canonical: float = 1.0,
        rotation: float = 0.2,
        points: float = 0.5,
        **optimizer: Any,
    ) -> None:
        super().__init__(**optimizer)
        self.save_hyperparameters(ignore=["network", "noise"])
        self.network = network
        # any image size will do: the lifter sees angles
        self.camera = Camera.for_image(1000, 1000, focal_ratio)
        self.noise = noise or KeypointNoise()
        self.focal_range = focal_range
        # what learns from doubt learns from nothing else, by AdamW, which any weight suits; but gradients are clipped
        # together, where it must not count
        self.weights = {"pose": pose, "canonical": canonical, "rotation": rotation, "points": points, "doubt": 1e-3}
        if init is not None:
            network.start_from(init)
        self.freeze_networks()

    def training_step(self, batch: Scenes, batch_idx: int) -> Tensor:
        scene, person = batch.valid.nonzero(as_tuple=True)
        joints, drawn, known = (part[scene, person] for part in (batch.joints, batch.drawn, batch.known))
        truth_px = self.camera.project(joints)
        joints_px, visible = self.noise(truth_px, drawn)
        low, high = self.focal_range
        factor = low * (high / low) ** torch.rand(()).item()  # of the CPU, for which nothing waits
        camera = Camera(factor * self.camera.focal, self.camera.centre)
        people = self.network(joints_px, visible, camera)

        # the target has the skeleton's bones, whatever those of the person
        p_c, rotation = canonicalize(joints)
        p_c = local_to_canonical(canonical_to_local(p_c))
        counted = enough_joints(visible)
        known = counted[:, None] & known
        target, root = rotate(p_c, rotation), SKELETON.root
        relative = people.joints - people.joints[:, root, None]
        distance = (people.joints_px - truth_px).norm(dim=-1) / spread(truth_px)[1].clamp_min(1)[:, None]
        asked = counted.nonzero()[:_ASKED, 0]
        terms = {
            "pose": losses.pose_error(people.joints, target, root, known),
            "canonical": losses.pose_error(rotate(relative, people.rotation.mT), p_c, root, known),
            "rotation": losses.rotation_error(people.rotation, rotation, counted),
            "points": losses.masked_mean(distance.clamp(max=2), counted[:, None] & drawn),
            "doubt": self.network.doubt_loss(joints_px[asked], visible[asked], camera, target[asked], known[asked]),
        }
        return self.weighted_loss("train", terms, self.weights, len(joints))

    def validation_step(self, batch: Scenes, batch_idx: int) -> None:
        counted = enough_joints(batch.drawn)
        truth, drawn = batch.joints[counted], batch.drawn[counted]
        people = self.network(self.camera.project(truth), drawn, self.camera)
        root = SKELETON.root
        errors = {
            "mpjpe": mpjpe(people.joints, truth, root=root),
            "pmpjpe": pmpjpe(people.joints, truth),
            "root_error": root_error(people.joints, truth, root=root),
        }
        self.log_means("val", errors)
