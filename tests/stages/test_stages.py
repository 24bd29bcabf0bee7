"""What holds of every stage: it learns, and touches nothing that is frozen."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from mpose3d.callbacks import AveragedWeights, NetworkFile, Pictures
from mpose3d.data.cross_modal import CrossModalData
from mpose3d.data.images import ImageFolderDataModule
from mpose3d.data.rendered import RenderedWorld
from mpose3d.data.scenes import SyntheticScenes
from mpose3d.geometry.kinematics import canonicalize
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.teacher import SmallTeacher
from mpose3d.representations.neural import NeuralRepresentation, People
from mpose3d.skeleton import SKELETON
from mpose3d.stages import DistillStage, Phase1Stage
from mpose3d.stages.base import Stage
from mpose3d.stages.cross_modal import LossWeights, merge_joints
from tests.data.official_layouts import write_picture
from tests.stages.conftest import SCENES, STAGES, tiny_data, tiny_network, tiny_stage


@pytest.mark.parametrize("name", STAGES)
def test_a_fit_changes_what_is_trained_and_nothing_else(name, trainer):
    stage = tiny_stage(name)
    stage.train()  # asking for training mode does not thaw anything
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    fit = trainer()
    fit.fit(stage, tiny_data(name))
    changed = {key for key, value in stage.state_dict().items() if not torch.equal(value, before[key])}
    frozen = {key for key in before if key.startswith(tuple(f"{part}." for part in stage.frozen))}
    assert changed and not changed & frozen
    trained = {key.split(".")[0] if name in ("aae", "teacher") else key.rsplit(".")[1] for key in changed}
    assert trained == {
        "teacher": {"teacher"}, "aae": {"network", "disc"}, "distill": {"h"}, "phase1": {"g", "h"}, "phase2": {"h"},
        "lifter": {"read", "code", "doubt", "covariance"}, "compact": {"e"},
        "chooser": set(dict(PeakChooser(width=16, blocks=1).named_children())) | {"of_joint", "of_token", "follow"},
    }[name]  # fmt: skip
    assert all(not network.training for network in stage.frozen_networks())
    assert math.isfinite(fit.callback_metrics["train/loss"])
    assert any(key.startswith("val/") for key in fit.callback_metrics)


@pytest.mark.parametrize("name", STAGES)
def test_checkpoints_leave_out_what_is_frozen_and_resume(name, trainer, tmp_path):
    first = trainer(max_epochs=1)
    stage = tiny_stage(name)
    first.fit(stage, tiny_data(name))
    first.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert state and not any(key.startswith(tuple(f"{part}." for part in stage.frozen)) for key in state)

    again = trainer(max_epochs=2)
    resumed = tiny_stage(name)
    resumed.load_state_dict(stage.state_dict())  # frozen parts come from their own files
    again.fit(resumed, tiny_data(name), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert again.global_step == 2 * first.global_step


@pytest.mark.parametrize("name", ("aae", "phase1"))
def test_resuming_at_any_step_continues_the_unbroken_run(name, trainer, tmp_path):
    """From a checkpoint of any step, in the middle of an epoch or at its end: the same losses and the same weights."""

    def data():
        made = tiny_data(name)
        if name == "phase1":
            made.scenes.batches, made.photographs.batches = 3, 2  # scenes and photographs in step, but not in epochs
        else:
            made.batches = 3
        return made

    torch.manual_seed(0)
    unbroken = tiny_stage(name)
    start = {key: value.clone() for key, value in unbroken.state_dict().items()}
    every_step = ModelCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    losses = _Losses()
    whole = trainer(max_epochs=2, callbacks=[every_step, losses])
    whole.fit(unbroken, data())
    assert len(losses.seen) == 6 and len(set(losses.seen)) == 6

    for step in range(1, 6):
        resumed, rest = tiny_stage(name), _Losses()
        resumed.load_state_dict(start)  # frozen parts come from their own files
        torch.manual_seed(step)
        again = trainer(max_epochs=2, callbacks=[rest], enable_checkpointing=False)
        again.fit(resumed, data(), ckpt_path=tmp_path / "steps" / f"step={step}.ckpt", weights_only=True)
        assert rest.seen == losses.seen[step:]
        assert again.global_step == whole.global_step and again.current_epoch == whole.current_epoch
        for key, value in unbroken.state_dict().items():
            torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0, msg=f"{key} after {step}")


class _Losses(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"].detach()))


def test_a_checkpoint_of_another_stage_is_refused(trainer, tmp_path):
    first = trainer()
    first.fit(tiny_stage("distill"), tiny_data("distill"))
    first.save_checkpoint(tmp_path / "distill.ckpt")
    with pytest.raises(
        ValueError, match=r"distill\.ckpt was written by DistillStage.*give its path as the model's `init`"
    ):
        trainer().fit(tiny_stage("phase1"), tiny_data("phase1"), ckpt_path=tmp_path / "distill.ckpt", weights_only=True)


def test_a_stage_starts_from_the_network_of_the_one_before(tmp_path):
    before = tiny_stage("phase1")
    before.network.save(tmp_path / "network.safetensors")
    after = tiny_stage("phase2", init=str(tmp_path / "network.safetensors"))
    for key, value in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[key], value), key


def test_terms_of_weight_0_are_not_computed():
    weights = LossWeights(distl=0, distl_root=0, recon_maps=0, ss=0)
    stage, data = tiny_stage("phase1", weights=weights), tiny_data("phase1")
    data.setup()
    scenes = data.scenes.make(0, torch.Generator().manual_seed(0))
    grid = stage.network.h(torch.rand(2, 8, 8, 8))
    assert not stage.distillation(torch.rand(2, 8, 8, 8), grid) and not stage.self_supervision(grid)
    assert "recon_maps" not in stage.reconstruction(scenes)


def test_a_compact_trunk_comes_closer_to_e_and_leaves_the_teacher_alone(trainer):
    stage, data = tiny_stage("compact", learning_rate=3e-3, warmup=0), tiny_data("compact")
    before = {key: value.clone() for key, value in stage.teacher.state_dict().items()}
    data.setup()
    batch = data.make(0, torch.Generator().manual_seed(0))
    seen: list[dict[str, float]] = []
    stage.log_terms = lambda split, terms, size: seen.append({name: float(terms[name].detach()) for name in terms})
    optimizer = torch.optim.Adam(p for p in stage.parameters() if p.requires_grad)
    for _ in range(20):
        optimizer.zero_grad()
        stage.training_step(batch, 0).backward()
        optimizer.step()
    assert set(seen[0]) == {"features", "maps", "loss"}
    assert all(seen[-1][name] < 0.9 * seen[0][name] for name in ("features", "loss"))
    assert all(p.grad is None for p in stage.teacher.parameters())
    assert all(p.grad is not None for p in stage.network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in stage.teacher.state_dict().items())


def test_a_compact_trunk_starts_from_the_pictures_or_from_a_file(trainer, tmp_path):
    stage, blind = tiny_stage("compact"), tiny_stage("compact", start_batches=0)
    blind.load_state_dict(stage.state_dict())
    for each in (stage, blind):
        trainer(max_steps=1, limit_val_batches=0).fit(each, tiny_data("compact"))
    split = stage.network.split[0]
    weights = [each.network.e.get_submodule(split)[0].weight for each in (stage, blind)]
    assert (weights[0] - weights[1]).abs().max() > 0.01  # one step of training alone moves less
    stage.network.save(tmp_path / "network.safetensors")
    again = tiny_stage("compact", init=str(tmp_path / "network.safetensors"), start_batches=1)
    assert again.start_batches == 0
    for key, value in stage.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key


def test_phase_1_takes_scenes_alone():
    stage, data = tiny_stage("phase1"), tiny_data("phase1")
    data.setup()
    scenes = data.scenes.make(0, torch.Generator().manual_seed(0))
    terms = stage.reconstruction(scenes)
    people = {f"recon_{name}" for name in ("pose", "canonical", "rotation", "points", "depth", "root")}
    assert set(terms) == {"recon_maps"} | people
    stage.log_terms = lambda *_: None
    torch.testing.assert_close(stage.training_step(scenes, 0), stage.training_loss(stage.reconstruction(scenes), 1))


def test_an_h_prime_learns_from_scenes_and_h_from_photographs():
    network = tiny_network(shared=False)
    stage, data = Phase1Stage(SmallTeacher(width=8), network), tiny_data("phase1")
    data.setup()
    stage.reconstruction(data.scenes.make(0, torch.Generator().manual_seed(0)))["recon_pose"].backward()
    assert all(p.grad is None for p in network.h.parameters())
    assert network.h_prime.neural.weight.grad.abs().sum() > 0
    image = data.photographs.make(0, torch.Generator().manual_seed(0)).image
    torch.nn.init.constant_(network.h.root.bias[0], 3.0)  # see people everywhere
    stage.self_supervision(network.h(stage.teacher.encode(image)))["ss"].backward()
    assert network.h.neural.weight.grad.abs().sum() > 0


def test_near_joints_of_one_kind_are_merged():
    points = torch.zeros(1, 3, 15, 2)
    points[0, :, 0] = torch.tensor([[10.0, 10.0], [14.0, 12.0], [40.0, 10.0]])
    points[0, :, 1] = torch.tensor([[10.0, 10.0], [14.0, 12.0], [torch.nan, 0.0]])
    drawn = torch.zeros(1, 3, 15, dtype=torch.bool)
    drawn[0, :, 0] = True
    points[0, :, 2] = torch.tensor([2.0, 3.0])  # near the corner
    drawn[0, 0, 1:3] = True  # the others near them are not drawn, and draw nothing away
    merged = merge_joints(points, drawn, 6.0)
    assert merged[0, :, 0].tolist() == [[12, 11], [12, 11], [40, 10]]
    assert merged[0, 0, 1:3].tolist() == [[10, 10], [2, 3]]


def test_predict_gives_the_people_of_every_photograph():
    stage, data = tiny_stage("phase1"), tiny_data("distill")
    data.setup()
    photographs = data.make(0, torch.Generator().manual_seed(0))
    roots, people = stage.eval().predict_step(photographs, 0)
    assert roots.valid.shape == people.depth.shape == (2, 16)


def test_the_gradient_of_self_supervision_reaches_h_through_the_drawing():
    """Phase 2 learns through a frozen G: the drawing must be differentiable."""
    stage = tiny_stage("phase2")
    torch.nn.init.constant_(stage.network.h.root.bias[0], 3.0)  # see people everywhere
    v = torch.rand(2, 8, 8, 8)
    grid = stage.network.h(v)
    held = grid._replace(s=grid.s.detach().requires_grad_())
    terms = stage.self_supervision(held)
    (gradient,) = torch.autograd.grad(terms["ss"], held.s)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_a_network_for_another_teacher_is_refused():
    with pytest.raises(ValueError, match="SmallTeacher has v_channels 16; set the network's v_channels, now 8"):
        Phase1Stage(SmallTeacher(width=16), CrossModalNetwork("mpose3d", 8, 4, input_size=32, g_width=4, h_width=16))


_PENALISED = {"adversary": "logistic", "gradient_penalty": 0.1, "spherical": 3.0}


@pytest.mark.parametrize("adversary", ("hinge", "logistic"))
def test_of_the_adversarial_terms_psi_learns_from_l_adv_and_disc_from_its_own(adversary):
    """L_adv leaves Disc alone; Disc's loss and the gradient penalty leave Phi and Psi alone."""
    silent = {"pose_cycle": 0.0, "embedding_cycle": 0.0, "limits": 0.0, "intersection": 0.0}

    def gradients(**arguments: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        stage = tiny_stage("aae", adversary=adversary, **silent | arguments)
        stage.log_terms = lambda *_: None
        data = tiny_data("aae")
        data.setup()
        stage.training_step(data.sources[0].sample(8, torch.Generator().manual_seed(0)), 0).backward()
        parts = (stage.network, stage.disc)
        return tuple({name: p.grad for name, p in part.named_parameters() if p.grad is not None} for part in parts)

    (apart, disc), (together, same), (penalised, pressed) = (
        gradients(adversarial=0.0), gradients(adversarial=1.0), gradients(adversarial=0.0, gradient_penalty=1.0),
    )  # fmt: skip
    assert not any(g.any() for g in apart.values()) and not any(g.any() for g in penalised.values())
    assert {name.split(".")[0] for name, g in together.items() if g.any()} == {"psi"}
    for name, gradient in disc.items():
        assert torch.equal(same[name], gradient), name
    assert all(g.isfinite().all() for g in pressed.values())
    assert any(not torch.equal(pressed[name], gradient) for name, gradient in disc.items())


def test_every_form_of_the_auto_encoder_trains_and_names_its_terms(trainer):
    stage, fit = tiny_stage("aae", **_PENALISED), trainer()
    fit.fit(stage, tiny_data("aae"))
    assert {"train/gradient_penalty", "train/cycle_directions"} <= set(fit.callback_metrics)
    assert all(math.isfinite(value) for value in fit.callback_metrics.values())
    plain = trainer()
    plain.fit(tiny_stage("aae"), tiny_data("aae"))
    assert not {"train/gradient_penalty", "train/cycle_directions"} & set(plain.callback_metrics)


def test_an_unknown_adversary_is_refused():
    with pytest.raises(ValueError, match="adversary 'wasserstein': it is one of hinge, logistic"):
        tiny_stage("aae", adversary="wasserstein")


@pytest.mark.parametrize("name", ("aae", "phase1"))
def test_mixed_precision(name, trainer):
    fit = trainer(precision="bf16-mixed", limit_train_batches=1)
    fit.fit(tiny_stage(name), tiny_data(name))
    assert math.isfinite(fit.callback_metrics["train/loss"])


def test_people_as_in_the_scene_have_no_error_under_mixed_precision(monkeypatch):
    stage, data = tiny_stage("phase1"), tiny_data("phase1")
    data.setup()
    scenes = data.scenes.make(0, torch.Generator().manual_seed(0))
    rotation = canonicalize(scenes.joints)[1]
    projected, depth = stage.network.representation.project(scenes.joints), scenes.joints[..., SKELETON.root, 2]
    truth = People(scenes.joints, projected, torch.zeros(*depth.shape, 32), rotation, depth)
    monkeypatch.setattr(NeuralRepresentation, "decode", lambda *_: truth)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = stage.reconstruction(scenes)
    for name in ("pose", "canonical", "rotation", "points", "depth"):
        assert terms[f"recon_{name}"] < 1e-6, name  # of the pose and the canonical one a thousandth of a mm


def test_people_of_the_lifter_have_no_error_under_mixed_precision(monkeypatch):
    stage, data = tiny_stage("lifter"), SyntheticScenes(**SCENES | {"batch_size": 16})
    data.setup()
    scenes, terms = data.make(0, torch.Generator().manual_seed(0)), {}
    joints = scenes.joints[scenes.valid]
    truth = People(joints, stage.camera.project(joints), joints[:, :1, 0], canonicalize(joints)[1], joints[:, 0, 2])
    monkeypatch.setattr(type(stage.network), "forward", lambda *_: truth)
    stage.log_terms = lambda split, logged, size: terms.update(logged)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stage.training_step(scenes, 0)
    assert all(terms[name] < 1e-4 for name in ("pose", "canonical", "rotation", "points"))


@pytest.mark.parametrize("name", ["phase1", "phase2"])
def test_paired_people_supervise_the_h_of_photographs(name, trainer):
    data = CrossModalData(SyntheticScenes(**SCENES), RenderedWorld(**SCENES), RenderedWorld("paired", **SCENES))
    stage = tiny_stage(name)
    fit = trainer()
    fit.fit(stage, data)
    paired = {term.removeprefix("train/paired_") for term in fit.callback_metrics if "paired" in term}
    assert paired == {"pose", "canonical", "rotation", "points", "depth", "root"}

    network, batch = stage.network, {"paired": data.parts["paired"].make(0, torch.Generator().manual_seed(0))}
    terms = stage.supervision(batch)
    grid = network.h(stage.teacher.encode(batch["paired"].image))
    again = stage._people_terms(grid, batch["paired"].scenes)
    stage.log_terms = lambda *_: None
    stage.weights = LossWeights(paired=0.5, recon_pose=2.0, recon_depth=0.0)
    factor = {"pose": 2.0, "canonical": 5.0, "rotation": 1.0, "points": 5.0, "depth": 0.0, "root": 1.0}
    loss = stage.training_loss(terms, 2)
    assert loss.item() == pytest.approx(0.5 * sum(factor[n] * term.item() for n, term in again.items()))
    network.zero_grad()
    loss.backward()
    assert all(p.grad is not None for p in network.h.parameters())
    assert all(p.grad is None for part in (network.g, network.psi, stage.teacher) for p in part.parameters())
    assert stage.supervision({}) == {}


@pytest.mark.parametrize("name", ["lifter", "phase1"])
def test_a_psi_of_random_weights_is_told(name, trainer, tmp_path):
    stage, told = tiny_stage(name), "give the network its `prior`"
    with pytest.warns(UserWarning, match=told):
        trainer(fast_dev_run=1).fit(stage, tiny_data(name))
    stage.network.save(tmp_path / "network.safetensors")
    settings = {"init": str(tmp_path / "network.safetensors")}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", f".*{told}")
        trainer(fast_dev_run=1).fit(tiny_stage(name, **settings), tiny_data(name))


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_weights_of_another_type_are_refused(precision, trainer):
    with pytest.raises(ValueError, match=f"precision {precision}: weights and mm are float32, take one of 32-true"):
        trainer(precision=precision).fit(tiny_stage("lifter"), tiny_data("lifter"))


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("aae", {}),
        ("aae", _PENALISED),
        ("distill", {"network": {"shared": False}}),
        ("phase1", {}),
        ("phase1", {"network": {"shared": False}}),
        ("phase2", {}),
        ("phase2", {"network": {"shared": False}}),
    ],
    ids=["aae", "aae-penalised", "distill-H-and-H'", "phase1", "phase1-H-and-H'", "phase2", "phase2-H-and-H'"],
)
def test_two_processes_hold_the_same_weights(name, arguments, trainer, tmp_path):
    """Distributed data parallel over gloo, as on a cluster; the processes see different batches."""
    stage = tiny_stage(name, **arguments)
    # a network that takes no part is only missed at the second step
    fit = trainer(strategy="ddp_fork", devices=2, max_epochs=3, callbacks=[_WeightsOfEveryRank(str(tmp_path))])
    fit.fit(stage, tiny_data(name))
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one["losses"] != two["losses"]
    for key, value in one["state"].items():
        torch.testing.assert_close(two["state"][key], value, rtol=0, atol=0, msg=key)


def test_two_processes_share_the_folder_of_the_run(trainer, tmp_path):
    """The files of an epoch and of a validation are written by one, while the other waits for nobody."""
    fit = trainer(strategy="ddp_fork", devices=2, callbacks=[NetworkFile(), Pictures(images=1)])
    fit.fit(tiny_stage("phase1"), tiny_data("phase1"))
    assert (tmp_path / "network.safetensors").is_file() and list((tmp_path / "pictures").glob("*.png"))


@pytest.mark.parametrize("name", ["lifter", "phase1"])
def test_averaged_weights_are_resumed_beside_frozen_networks(name, trainer, tmp_path):
    def fit(stage: Stage, **resumed: str) -> dict[str, torch.Tensor]:
        checkpoints = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer(max_epochs=2, callbacks=[AveragedWeights(decay=0.9), checkpoints]).fit(
            stage, tiny_data(name), **resumed
        )
        return stage.state_dict()

    stage, later = tiny_stage(name), tiny_stage(name)
    later.load_state_dict(stage.state_dict())
    whole = fit(stage)
    written = torch.load(tmp_path / "step=1.ckpt", weights_only=True)
    frozen = tuple(f"{part}." for part in stage.frozen)
    assert not [
        key for states in ("state_dict", "current_model_state") for key in written[states] if key.startswith(frozen)
    ]
    for key, value in fit(later, ckpt_path=str(tmp_path / "step=1.ckpt")).items():
        torch.testing.assert_close(value, whole[key], rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("name", ["lifter", "compact"])
def test_the_average_of_frozen_weights_is_these_weights(name, trainer):
    stage, data = tiny_stage(name), tiny_data(name)
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    data.batches = 20
    trainer(callbacks=[AveragedWeights(decay=0.9)]).fit(stage, data)
    frozen = tuple(f"{part}." for part in stage.frozen)
    changed = {key for key, value in stage.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and not [key for key in changed if key.startswith(frozen)]


def test_what_one_stage_froze_another_trains(trainer):
    teacher, network = SmallTeacher(width=8), tiny_network()
    first, second = DistillStage(teacher, network), Phase1Stage(teacher, network)
    trainer().fit(first, tiny_data("distill"))
    before = [parameter.clone() for parameter in network.g.parameters()]
    trainer().fit(second, tiny_data("phase1"))
    assert not any(torch.equal(*pair) for pair in zip(before, network.g.parameters(), strict=True))


def test_a_checkpoint_of_a_larger_network_is_refused(trainer, tmp_path):
    fit = trainer(callbacks=[ModelCheckpoint(tmp_path, "last")])
    fit.fit(DistillStage(SmallTeacher(width=8), tiny_network(h_blocks=2)), tiny_data("distill"))
    with pytest.raises(ValueError, match=r"last\.ckpt also has 'network\.h\..*it is of another network"):
        trainer().validate(tiny_stage("distill"), tiny_data("distill"), ckpt_path=str(tmp_path / "last.ckpt"))
    wider = DistillStage(SmallTeacher(width=8), tiny_network(h_blocks=2, h_width=32))
    with pytest.raises(ValueError, match=r"last\.ckpt has network\.h\..* of shape \(.*here it is .*of another network"):
        trainer().validate(wider, tiny_data("distill"), ckpt_path=str(tmp_path / "last.ckpt"))


def test_a_checkpoint_knows_what_was_frozen_beside_it(trainer, tmp_path):
    fit, path = trainer(callbacks=[ModelCheckpoint(tmp_path, "last")]), str(tmp_path / "last.ckpt")
    stage = tiny_stage("distill")
    fit.fit(stage, tiny_data("distill"))
    assert stage.network.psi.state_dict().keys() and "network.psi" in torch.load(path, weights_only=True)["frozen"]
    trainer().validate(stage, tiny_data("distill"), ckpt_path=path)
    with torch.no_grad():
        next(stage.network.psi.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match=r"last\.ckpt was trained with another network\.psi, which it does not hold"):
        trainer().validate(stage, tiny_data("distill"), ckpt_path=path)


def test_nobody_in_a_batch_weighs_nothing(trainer):
    class Deserted(SyntheticScenes):
        """Its first validation batch has nobody."""

        def on_after_batch_transfer(self, batch, dataloader_idx):
            scenes = super().on_after_batch_transfer(batch, dataloader_idx)
            nobody = scenes._replace(valid=scenes.valid & False, drawn=scenes.drawn & False)
            return scenes if int(batch[2]) else nobody

    stage, sizes = tiny_stage("lifter"), SCENES | {"batch_size": 16}
    (logged,) = trainer().validate(stage, Deserted(**sizes | {"val_batches": 2}), verbose=False)
    assert logged["val/mpjpe"] > 0


def test_a_run_without_an_end_has_no_schedule(trainer):
    with pytest.raises(ValueError, match="length is unknown: set max_steps, or decay: false"):
        trainer(max_epochs=-1, max_time="00:00:00:05").fit(tiny_stage("aae"), tiny_data("aae"))


def test_a_compact_trunk_without_a_data_module_says_so(trainer):
    with pytest.raises(ValueError, match="starts from pictures of a data module"):
        trainer().fit(tiny_stage("compact"), torch.utils.data.DataLoader([0]))


def test_two_processes_see_together_what_one_sees(trainer, tmp_path):
    """Of the batches of one process, the first takes numbers 0, 2, ... and the second 1, 3, ... ."""
    for i in range(10):
        write_picture(tmp_path / "photographs" / f"{i}.png", 40, 30, seed=i)

    def seen(processes: int) -> list[list[dict]]:
        photographs = ImageFolderDataModule([str(tmp_path / "photographs")], image_size=32, batch_size=2)
        data = CrossModalData(SyntheticScenes(**SCENES | {"batches": 4}), photographs)
        folder = tmp_path / str(processes)
        folder.mkdir()
        spread = {"strategy": "ddp_fork", "devices": 2} if processes == 2 else {}
        fit = trainer(max_epochs=2, limit_val_batches=0, callbacks=[_BatchesOfEveryRank(str(folder))], **spread)
        fit.fit(tiny_stage("phase1"), data)
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(processes)]

    ((alone,), (one, two)) = seen(1), seen(2)
    assert len(alone) == 10 and len(one) == len(two) == 4
    for k, batch in enumerate(alone[:8]):
        share = (one, two)[k % 2][k // 2]
        for name in ("joints", "index", "image"):
            assert torch.equal(batch[name], share[name]), (k, name)
    assert len({int(index) for batch in alone[:5] for index in batch["index"]}) == 10
    assert all(not torch.equal(a["noise"], b["noise"]) for a, b in zip(one, two, strict=True))


class _BatchesOfEveryRank(Callback):
    def __init__(self, folder: str) -> None:
        self.folder, self.batches = folder, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        scenes, photographs = batch["scenes"], batch["photographs"]
        noise = torch.rand(3)  # goes on from the random numbers of the step
        self.batches.append(
            {"joints": scenes.joints, "index": photographs.index, "image": photographs.image, "noise": noise}
        )

    def on_train_end(self, trainer, pl_module):
        torch.save(self.batches, f"{self.folder}/{trainer.global_rank}.pt")


class _WeightsOfEveryRank(Callback):
    def __init__(self, folder: str) -> None:
        self.folder, self.losses = folder, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"].detach()))

    def on_train_end(self, trainer, pl_module):
        content = {"state": pl_module.state_dict(), "losses": self.losses}
        torch.save(content, f"{self.folder}/{trainer.global_rank}.pt")
