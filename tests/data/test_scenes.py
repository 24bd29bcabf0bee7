"""The datamodules of artificial poses: the sources that their arguments ask for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpose3d.data.scenes import SyntheticPoses, SyntheticScenes
from mpose3d.geometry.kinematics import canonical_to_local
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.skeleton import H36M_17, SKELETON


@pytest.fixture
def motion(tmp_path, generator) -> str:
    """Two recordings of poses, many of which intersect themselves."""
    arrays = {f"{name}_1": ArtificialPoses().sample(60, generator).numpy() for name in ("walk", "run")}
    padded = {name: np.concatenate([poses, poses[:, :2]], axis=1) for name, poses in arrays.items()}
    np.savez(tmp_path / "clips.npz", **padded)
    return str(tmp_path / "clips.npz")


@pytest.mark.parametrize("artificial", [0.0, 0.5, 1.0])
def test_training_poses_keep_the_rules_asked_for(motion, artificial, generator):
    data = SyntheticPoses(motion, artificial, recombine=0.5, seated=0.3, max_penetration=0.0, batch_size=500)
    data.setup()
    poses = data.make(0, generator)
    assert (self_intersection(poses) <= 0).all()
    assert JointLimits().inside(canonical_to_local(poses)).all()
    # what is validated on is taken as it was recorded
    assert (self_intersection(data.make(1, generator)) > 0).any()


def test_motion_capture_of_another_layout_is_read(tmp_path, generator):
    poses = ArtificialPoses().sample(20, generator)
    arrays = {name: H36M_17.from_skeleton(poses)[0] for name in ("walk_1", "run_1")}
    for array in arrays.values():  # what the skeleton cannot supply
        array[:, H36M_17.index("nose")] = 1.0
    np.savez(tmp_path / "clips.npz", **{name: array.numpy() for name, array in arrays.items()})
    data = SyntheticScenes(
        motion_capture=str(tmp_path / "clips.npz"), artificial=0.0, motion_capture_layout="h36m17", batch_size=4
    )
    data.setup()
    assert data.make(0, generator).valid.any()


def test_motion_capture_of_amass_asks_for_its_body_models(tmp_path, monkeypatch):
    np.savez(tmp_path / "amass.npz", poses=np.zeros((2, 156)), betas=np.zeros(10), trans=np.zeros((2, 3)))
    asked = []

    def joints(poses, betas, translation, gender, body_models):
        asked.append(body_models)
        raise FileNotFoundError("no model")

    monkeypatch.setattr("mpose3d.data.mocap.smpl_joints", joints)
    with pytest.raises(FileNotFoundError, match="no model"):
        SyntheticPoses(str(tmp_path), body_models=str(tmp_path / "models")).setup()
    assert asked == [tmp_path / "models"]


def test_nothing_is_refused_by_default(motion, generator):
    data = SyntheticPoses(motion, batch_size=500)
    data.setup()
    assert (self_intersection(data.make(0, generator)) > 0).any()


def test_artificial_poses_keep_an_occupancy(tmp_path, generator):
    table = PoseOccupancy.fit(ArtificialPoses().sample(60, generator), bins=100)
    table.save(tmp_path / "occupancy.npz")
    data = SyntheticPoses(occupancy=str(tmp_path / "occupancy.npz"), batch_size=200)
    data.setup()
    assert table.inside(data.make(0, generator)).all()
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        SyntheticPoses(occupancy=str(tmp_path / "none.npz")).setup()


def test_scenes_take_the_rules_of_their_poses(generator):
    data = SyntheticScenes(input_size=64, people=(1, 2), max_penetration=0.0, batch_size=40)
    data.setup()
    scenes = data.make(0, generator)
    people = scenes.joints[scenes.valid] - scenes.joints[scenes.valid][:, [SKELETON.root]]
    assert (self_intersection(people) <= 0.1).all()


def test_a_batch_depends_on_its_seed_alone(motion):
    data = SyntheticPoses(motion, max_penetration=0.0, recombine=0.5, batch_size=64)
    data.setup()
    a, b, c = (data.make(0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
