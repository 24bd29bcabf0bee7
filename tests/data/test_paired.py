"""Photographs with people in 3D become scenes before the network's camera."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mpose3d.data.cross_modal import CrossModalData
from mpose3d.data.paired import PairedPhotographs, before_camera
from mpose3d.data.rendered import RenderedWorld
from mpose3d.data.scenes import SyntheticScenes
from mpose3d.data.threedpw import ThreeDPWDataModule
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import bone_lengths
from mpose3d.metrics.functional import pmpjpe
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import Scenes, SceneSampler
from mpose3d.sample import AnnotatedPhotographs, PicturedScenes
from mpose3d.skeleton import MPOSE3D, SKELETON, SMPL_24
from tests.stages.conftest import SCENES

CAMERA = Camera.for_image(224, 224)


def photographed(camera: Camera, generator: torch.Generator) -> tuple[AnnotatedPhotographs, Scenes]:
    """People before `camera`, of a picture that is twice as large as the image and reaches 10 px further."""
    scenes = SceneSampler(ArtificialPoses(), camera, 224, (1, 3), (0.3, 0.8), 0.2).sample(20, generator)
    points, one = 2 * (camera.project(scenes.joints) + 10), torch.ones(20, 2)
    joints = torch.where(scenes.valid[..., None, None], scenes.joints, 0)  # what is padded is 0
    image = torch.zeros(20, 3, 224, 224)
    return AnnotatedPhotographs(image, torch.arange(20), one / 2, -10 * one, points, joints, scenes.valid), scenes


def test_people_before_the_same_camera_stay_where_they_are(generator):
    batch, scenes = photographed(CAMERA, generator)
    found = before_camera(batch, MPOSE3D, CAMERA)
    assert torch.equal(found.valid, scenes.valid) and found.joints.isfinite().all()
    torch.testing.assert_close(found.joints[found.valid], scenes.joints[found.valid], atol=1.0, rtol=1e-3)


def test_people_of_another_camera_are_seen_from_the_same_side(generator):
    """Taken from twice as far with a lens twice as long: the same poses, in nearly the same places of the image."""
    batch, scenes = photographed(Camera.for_image(224, 224, 1.6), generator)
    found = before_camera(batch, MPOSE3D, CAMERA)
    valid = found.valid
    assert pmpjpe(found.joints[valid], scenes.joints[valid]).max() < 0.5
    assert found.joints[valid][:, SKELETON.root, 2].median() < 0.6 * scenes.joints[valid][:, SKELETON.root, 2].median()
    seen = batch.points / 2 - 10
    off = (CAMERA.project(found.joints) - seen).norm(dim=-1)[valid]
    height = seen[..., 1].amax(-1) - seen[..., 1].amin(-1)
    assert (off.mean(-1) / height[valid]).median() < 0.03
    unturned = scenes.joints - scenes.joints[..., SKELETON.root, None, :]
    place = found.joints[..., SKELETON.root, None, :]
    worse = (CAMERA.project(unturned + place) - seen).norm(dim=-1)[valid]
    assert off.mean() < 0.8 * worse.mean()


def test_bodies_of_any_size_get_the_bones_of_the_skeleton(generator):
    batch, scenes = photographed(CAMERA, generator)
    found = before_camera(batch._replace(joints=0.6 * batch.joints), MPOSE3D, CAMERA)
    lengths = bone_lengths(found.joints[found.valid])
    torch.testing.assert_close(lengths, torch.tensor(SKELETON.bone_lengths).expand_as(lengths), atol=0.1, rtol=0)
    torch.testing.assert_close(found.joints[found.valid], scenes.joints[found.valid], atol=1.0, rtol=1e-3)


def test_who_has_no_root_in_the_image_is_left_out(generator):
    batch, scenes = photographed(CAMERA, generator)
    found = before_camera(batch._replace(offset=batch.offset - 120), MPOSE3D, CAMERA)
    root = CAMERA.project(scenes.joints)[..., SKELETON.root, :] - 120
    assert torch.equal(found.valid, scenes.valid & (root > -0.5).all(-1)) and found.valid.sum() < scenes.valid.sum()
    assert found.joints.isfinite().all() and not (found.drawn & ~found.valid[..., None]).any()


def test_a_joint_that_the_data_set_lacks_continues_its_limb(generator):
    joints = ArtificialPoses().sample(4, generator)[:, None] + torch.tensor([0.0, 0.0, 3000.0])
    smpl, _ = SMPL_24.from_skeleton(joints)
    one = torch.ones(4, 2)
    batch = AnnotatedPhotographs(
        torch.zeros(4, 3, 224, 224), torch.arange(4), one, 0 * one, CAMERA.project(smpl), smpl, torch.ones(4, 1).bool()
    )
    found = before_camera(batch, SMPL_24, CAMERA)
    top, neck, pelvis = (found.joints[..., j, :] for j in SKELETON.indices("head_top", "neck", "pelvis"))
    assert found.valid.all() and not found.drawn[..., SKELETON.index("head_top")].any()
    assert found.known.sum(-1).eq(14).all() and not found.known[..., SKELETON.index("head_top")].any()
    torch.testing.assert_close(torch.cosine_similarity(top - neck, neck - pelvis, dim=-1), torch.ones(4, 1))


@pytest.mark.parametrize(("labelled", "count"), [(1.0, 3), (0.4, 1)])
def test_3dpw_supervises_all_or_some(threedpw_root: Path, labelled: float, count: int):
    def batches() -> list[PicturedScenes]:
        photographs = ThreeDPWDataModule(str(threedpw_root), "train", image_size=32, batch_size=1)
        data = PairedPhotographs(photographs, labelled=labelled)
        data.setup("fit")
        return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]

    first, again = batches(), batches()
    assert len(first) == count and first[0].image.shape == (1, 3, 32, 32)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.image, other.image) and torch.equal(one.scenes.joints, other.scenes.joints)
    with pytest.raises(ValueError, match=r"labelled is a fraction in \(0, 1\], got 0"):
        PairedPhotographs(ThreeDPWDataModule(str(threedpw_root)), labelled=0)


def test_paired_people_come_beside_scenes_and_photographs():
    data = CrossModalData(SyntheticScenes(**SCENES), RenderedWorld(**SCENES), RenderedWorld("paired", **SCENES))
    data.setup()
    batch, _, _ = next(iter(data.train_dataloader()))
    made = data.on_after_batch_transfer(batch, 0)
    assert made.keys() == {"scenes", "photographs", "paired"} and isinstance(made["paired"], PicturedScenes)
