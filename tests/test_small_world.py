"""The small world: all runs are commands that work, and people are scored honestly."""

from __future__ import annotations

import json

import pytest
import torch

from experiments.small.run import SCALED, SCALES, UNSEEN, mean_pose_errors, report, score_people, train
from mpose3d.networks.cross_modal import Detection
from mpose3d.representations.neural import People, Roots
from mpose3d.sample import PicturedScenes
from mpose3d.skeleton import SKELETON


def read(unseen: PicturedScenes, kept: torch.Tensor) -> Detection:
    """The true people, of whom those that are `kept` (b, p) were read."""
    joints = unseen.scenes.joints
    px = UNSEEN.camera.project(joints)
    identity = torch.eye(3).expand(*kept.shape, 3, 3)
    people = People(joints, px, torch.zeros(*kept.shape, 32), identity, joints[..., SKELETON.root, 2])
    return Detection(Roots(px[..., SKELETON.root, :], kept.float(), kept), people)


@pytest.fixture(scope="module")
def unseen() -> PicturedScenes:
    UNSEEN.setup()
    return UNSEEN.make(1, torch.Generator().manual_seed(0))


def test_the_true_people_are_without_error(unseen):
    row = score_people([read(unseen, unseen.scenes.valid)], [unseen])
    assert row["found"] == 1 and row["read_beside"] == 0
    assert row["mpjpe"] < 0.01 and row["pmpjpe"] < 0.1 and row["pmpjpe_all"] < 0.1


def test_who_is_not_found_is_the_mean_pose(unseen):
    valid = unseen.scenes.valid
    kept = valid.clone()
    kept[::2] = False
    row = score_people([read(unseen, kept)], [unseen])
    missed = ~kept[valid]
    assert row["found"] == pytest.approx(1 - missed.float().mean().item())
    assert row["pmpjpe"] < 0.1
    mean_pose = mean_pose_errors([unseen])
    assert row["pmpjpe_all"] == pytest.approx(mean_pose[missed].sum().item() / len(mean_pose), abs=0.1)


def test_nobody_is_taken_twice(unseen):
    """Somebody read once cannot count for two people, and whom nobody is near counts for none."""
    found = read(unseen, unseen.scenes.valid)
    far = found.people._replace(joints_px=found.people.joints_px + 500)
    row = score_people([found._replace(people=far)], [unseen])
    assert row["found"] == 0 and row["read_beside"] == int(unseen.scenes.valid.sum())


@pytest.mark.parametrize("scale", SCALES)
def test_a_run_of_single_steps(scale, tmp_path, monkeypatch):
    monkeypatch.setattr(UNSEEN, "val_batches", 1)  # untrained teachers see many people, which takes time
    quick = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"]
    train(tmp_path, scale, overrides=[*quick, "--data.init_args.batch_size=8"])
    rows = report(tmp_path)
    assert all((tmp_path / stage / "checkpoints" / "last.ckpt").exists() for stage in SCALED)
    lifted = [f"{read}, lifted" for read in ("teacher's people", "joints chosen again", "true 2D")]
    assert list(rows) == ["mean pose, aligned to the truth", *lifted]
    assert 0.9 < rows["true 2D, lifted"]["found"] <= 1
    assert json.loads((tmp_path / "small_world.json").read_text()).keys() == rows.keys()
    assert (tmp_path / "people.png").exists() and (tmp_path / "curves.png").exists()
