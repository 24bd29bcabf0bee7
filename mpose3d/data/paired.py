"""Photographs with their people in 3D, for the paired variants of phases 1 and 2 (source, its supervision variants)."""

from __future__ import annotations

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from mpose3d.data.annotated import AnnotatedDataModule, AnnotatedFrames
from mpose3d.data.epochs import StreamLoader
from mpose3d.geometry.camera import FOCAL_RATIO, Camera
from mpose3d.geometry.constants import like
from mpose3d.geometry.directions import turned
from mpose3d.geometry.extent import spread
from mpose3d.geometry.kinematics import (
    canonical_to_local,
    canonicalize,
    fit_translation,
    local_to_canonical,
    rotate,
)
from mpose3d.geometry.precision import normalize
from mpose3d.poses.scenes import Scenes
from mpose3d.sample import AnnotatedPhotographs, PicturedScenes
from mpose3d.skeleton import SKELETON, Layout


class PairedPhotographs(LightningDataModule):
    """Training batches of `PicturedScenes` from a data set with people in 3D, such as the train split of 3DPW.

    Args:
        photographs: the data set; its `image_size` must be that of the network.
        focal_ratio: the fixed camera; it must be that of the network.
        labelled: fraction of the photographs whose annotation is used, spread over the data set: 1 for all labels, less
            for some of them.
        seed: of the order.
    """

    def __init__(
        self, photographs: AnnotatedDataModule, focal_ratio: float = FOCAL_RATIO, labelled: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        if not 0 < labelled <= 1:
            raise ValueError(f"labelled is a fraction in (0, 1], got {labelled}")
        self.photographs = photographs
        self.camera = Camera.for_image(photographs.image_size, photographs.image_size, focal_ratio)
        self.labelled, self.seed = labelled, seed

    def prepare_data(self) -> None:
        self.photographs.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        self.photographs.setup(stage)

    def train_dataloader(self) -> StreamLoader:
        data, dataset = self.photographs, self.photographs.dataset
        count = max(1, round(self.labelled * len(dataset)))
        chosen = _Chosen(dataset, np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist())
        return StreamLoader(chosen, data.batch_size, self.trainer, self.seed, num_workers=data.num_workers)

    def on_after_batch_transfer(self, batch: AnnotatedPhotographs, dataloader_idx: int) -> PicturedScenes:
        return PicturedScenes(batch.image, before_camera(batch, self.photographs.layout, self.camera))


class _Chosen(Dataset):
    """Some samples of a data set, by the keys (pass, number) of `StreamSampler`."""

    def __init__(self, dataset: AnnotatedFrames, indices: list[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> AnnotatedPhotographs:
        return self.dataset[self.indices[key[1]]]


def before_camera(batch: AnnotatedPhotographs, layout: Layout, camera: Camera) -> Scenes:
    """The people of photographs as scenes before `camera`, whichever camera took them.

    They have the bones of `SKELETON`, are turned so that the line of sight meets them from the same side as in the
    photograph, and stand where their projection comes closest to the annotated joints. A joint that the layout does not
    have (the top of the head in SMPL) continues the limb before it, and is not known. Who has no root in
    the image is left out.
    """
    px, _ = layout.to_skeleton(batch.points * batch.scale[:, None, None] + batch.offset[:, None, None])
    joints, known = layout.to_skeleton(batch.joints)
    p_c, rotation = canonicalize(joints)
    p_l = torch.where(known[..., None], canonical_to_local(p_c), like((0.0, 0.0, 1.0), p_c))
    p_c = local_to_canonical(p_l)
    root = SKELETON.root
    root_px = px[..., root, :]
    sight = camera.unproject(root_px, torch.ones_like(root_px[..., 0]))
    p_r = turned(rotate(p_c, rotation), normalize(joints[..., [root], :]), normalize(sight)[..., None, :])
    rays = torch.where(known[..., None], camera.rays(px), 0)
    place = fit_translation(p_r, rays, known, spread(rays, known)[1])

    side = batch.image.shape[-1]
    inside = ((px > -0.5) & (px < side - 0.5)).all(-1)
    valid = batch.valid & inside[..., root]
    nobody = p_r.new_tensor([0.0, 0.0, 3000.0])
    scene = torch.where(valid[..., None, None], p_r + place[..., None, :], nobody)
    known = valid[..., None] & known
    return Scenes(scene, valid, known & inside, known)
