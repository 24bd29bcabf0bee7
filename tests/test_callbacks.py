"""Callbacks of the stages."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from mpose3d.callbacks import MupotsScores, NetworkFile, Pictures
from mpose3d.data.images import ImageFolderDataModule
from mpose3d.data.mupots import MupotsDataModule
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.representations.neural import People, Roots
from mpose3d.skeleton import MUPOTS_17, SKELETON
from tests.data.official_layouts import write_mupots, write_picture
from tests.stages.conftest import tiny_data, tiny_stage


def trainer(tmp_path, *callbacks, **arguments) -> Trainer:
    defaults = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_progress_bar": False}
    defaults |= {"enable_model_summary": False, "default_root_dir": tmp_path, "num_sanity_val_steps": 0}
    return Trainer(callbacks=list(callbacks), **(defaults | arguments))


def test_the_network_file_holds_what_was_trained(tmp_path):
    stage = tiny_stage("phase1")
    trainer(tmp_path, NetworkFile()).fit(stage, tiny_data("phase1"))
    written = CrossModalNetwork.from_file(tmp_path / "network.safetensors")
    for key, value in stage.network.state_dict().items():
        assert torch.equal(written.state_dict()[key], value), key


def test_a_trial_run_writes_no_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer(tmp_path, NetworkFile(), fast_dev_run=True).fit(tiny_stage("phase1"), tiny_data("phase1"))
    assert not list(tmp_path.iterdir())


def test_the_network_file_holds_averaged_weights(tmp_path):
    stage = tiny_stage("lifter")
    averaging = EMAWeightAveraging(decay=0.5), NetworkFile()
    trainer(tmp_path, *averaging, limit_val_batches=0).fit(stage, tiny_data("lifter"))
    written = KeypointLifter.from_file(tmp_path / "network.safetensors").state_dict()
    for key, value in stage.network.state_dict().items():
        assert torch.equal(written[key], value), key


@torch.no_grad()
def test_pictures_of_scenes_are_those_of_what_reads_v_of_g():
    stage, data = tiny_stage("phase1", network={"shared": False}), tiny_data("phase1")
    data.setup()
    stage.network.h.forward = None  # H is left to photographs
    drawn = Pictures(images=1)._scenes(stage.eval(), data.scenes.make(1, torch.Generator().manual_seed(0)))
    assert {name: len(pictures) for name, pictures in drawn.items()} == {"maps_in_and_out": 1, "people_in_and_out": 1}


def test_pictures_of_both_pathways_are_written_where_there_is_no_board(tmp_path):
    stage = tiny_stage("phase1")
    torch.nn.init.constant_(stage.network.h.root.bias[0], 5.0)  # people everywhere
    trainer(tmp_path, Pictures(images=1)).validate(stage, tiny_data("phase1"), verbose=False)
    written = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert written == {
        "maps_in_and_out_0_0_step0.png",
        "people_in_and_out_0_0_step0.png",
        "photographs_1_0_step0.png",
    }


def test_a_stage_without_a_network_of_its_own_has_no_file(tmp_path):
    with pytest.raises(ValueError, match="nothing to write of a TeacherStage"):
        trainer(tmp_path, NetworkFile()).fit(tiny_stage("teacher"), tiny_data("teacher"))


@pytest.mark.parametrize("stage", ["teacher", "lifter", "aae", "chooser"])
def test_pictures_are_of_the_stages_that_have_a_student(tmp_path, stage):
    with pytest.raises(ValueError, match=r"Pictures has nothing to draw of a .*Stage: leave it out"):
        trainer(tmp_path, Pictures()).validate(tiny_stage(stage), tiny_data(stage), verbose=False)


def test_official_scores_are_of_official_data(tmp_path):
    with pytest.raises(ValueError, match="MupotsScores has no figures of a CrossModalData: leave it out"):
        trainer(tmp_path, MupotsScores()).test(tiny_stage("phase1"), tiny_data("phase1"), verbose=False)


def test_photographs_are_predicted(tmp_path):
    for i in range(3):
        write_picture(tmp_path / "photographs" / f"{i}.png", 40, 30, seed=i)
    data = ImageFolderDataModule(predict=[str(tmp_path / "photographs")], image_size=32, batch_size=2)
    first, last = trainer(tmp_path).predict(tiny_stage("phase1"), data)
    assert len(first.roots.px) == 2 and len(last.roots.px) == 1


def test_official_scores_are_logged_by_test(tmp_path):
    root = write_mupots(tmp_path)
    stage = tiny_stage("phase1")
    torch.nn.init.constant_(stage.network.h.root.bias[0], 5.0)
    data = MupotsDataModule(str(root), image_size=32, batch_size=3)
    (logged,) = trainer(tmp_path, MupotsScores()).test(stage, data, verbose=False)
    assert 0 <= logged["mupots/all/pck"] <= 100
    assert {"mupots/all/TS1/auc", "mupots/all/TS6/mpjpe"} <= set(logged)


def test_people_are_scored_in_pixels_of_the_official_picture(tmp_path):
    data = MupotsDataModule(str(write_mupots(tmp_path)), image_size=32, batch_size=8)
    data.setup()
    (batch,) = data.test_dataloader()
    mm = 400 * torch.randn(8, 2, 15, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0, 3000])
    for middle, side in (("neck", "shoulder"), ("pelvis", "hip")):
        mm[..., SKELETON.index(middle), :] = mm[..., SKELETON.indices(f"r_{side}", f"l_{side}"), :].mean(-2)
    px = mm[..., :2] / 2 + torch.tensor([500.0, 1200.0])[:, None, None]
    annotated = (MUPOTS_17.from_skeleton(part)[0] for part in (px, mm))
    batch = batch._replace(**dict(zip(("points", "joints"), annotated, strict=True)))
    px = px * batch.scale[:, None, None] + batch.offset[:, None, None]
    roots, asked = Roots(px[..., SKELETON.root, :], batch.valid.float(), batch.valid), []

    def network(v, threshold):
        asked.append(threshold)
        return roots, People(mm, px, None, None, None)

    stage = SimpleNamespace(teacher=SimpleNamespace(encode=lambda image: image), network=network, device="cpu")
    run, scores = SimpleNamespace(world_size=1, datamodule=data), MupotsScores(threshold=0.7)
    scores.on_test_start(run, stage)
    scores.on_test_batch_end(run, stage, None, batch, 0)
    for metric in scores.metrics.values():
        for score in metric.compute().sequences.values():
            assert score.found == score.annotated > 0 and score.pck == 100 and score.mpjpe < 1
    assert asked == [0.7]
    # of nobody found there is no figure of those who were
    roots, logged = roots._replace(valid=batch.valid & False), {}
    stage.log_dict = logged.update
    scores.on_test_start(run, stage)
    scores.on_test_batch_end(run, stage, None, batch, 0)
    scores.on_test_epoch_end(run, stage)
    assert logged["mupots/all/pck"] == 0 and all(math.isfinite(value) for value in logged.values())


def test_official_scores_are_of_one_process(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", 2)
    with pytest.raises(ValueError, match="scored by one process"):
        MupotsScores().on_test_start(trainer(tmp_path), tiny_stage("phase1"))
