"""What the stages ask of their networks: those that read everything right have nothing to learn."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from mpose3d import losses
from mpose3d.data.scenes import SyntheticScenes
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import (
    canonical_to_local,
    canonicalize,
    limb_directions,
    local_to_canonical,
    rotate,
)
from mpose3d.networks.autoencoder import _FREE
from mpose3d.networks.peak_chooser import Choice
from mpose3d.poses.intersection import self_intersection
from mpose3d.poses.scenes import Scenes
from mpose3d.representations.hmpaf import HMPAF, People2D, draw
from mpose3d.representations.neural import NeuralGrid, People
from mpose3d.sample import LabelledPhotographs, Photographs, PicturedScenes
from mpose3d.skeleton import MPOSE3D, SKELETON
from mpose3d.stages.base import Stage
from mpose3d.stages.cross_modal import CrossModalStage, LossWeights, scene_errors
from tests.stages.conftest import SCENES, tiny_data, tiny_stage

SIZE = 128


def terms_of(stage: Stage, batch, step: str = "training_step") -> dict[str, Tensor]:
    """What a step logs."""
    logged: dict[str, Tensor] = {}
    stage.log_terms = lambda split, terms, size: logged.update(terms)
    getattr(stage, step)(batch, 0)
    return logged


# the optimiser -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [True, False])
def test_the_learning_rate_rises_and_falls_along_a_half_cosine(decay):
    stage = tiny_stage("lifter", learning_rate=0.3, weight_decay=0.02, warmup=4, decay=decay)
    stage.trainer = SimpleNamespace(estimated_stepping_batches=12)
    made = stage.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]
    assert schedule["interval"] == "step" and optimizer.param_groups[0]["weight_decay"] == 0.02
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    falling = [0.15 * (1 + math.cos(math.pi * i / 8)) if decay else 0.3 for i in range(8)]
    assert rates == pytest.approx([0.075, 0.15, 0.225, 0.3, *falling])


def test_disc_has_a_learning_rate_of_its_own():
    stage = tiny_stage("aae", learning_rate=0.1, discriminator_learning_rate=0.7, warmup=1)
    stage.trainer = SimpleNamespace(estimated_stepping_batches=10)
    groups = stage.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.7])
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in stage.disc.parameters()}


def test_the_noise_of_a_step_is_that_of_the_seed():
    def drawn(seed: int) -> float:
        stage = tiny_stage("lifter", seed=seed)
        stage.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        stage.on_train_batch_start(None, 0)
        return torch.rand(()).item()

    assert drawn(1) == drawn(1) != drawn(2)


def test_means_are_over_people_and_of_nobody_0():
    stage, logged = tiny_stage("lifter"), []
    stage.log_terms = lambda *given: logged.append(given)
    stage.log_means("val", {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([0.0, 1.0])})
    stage.log_means("val", {"a": torch.zeros(0)})
    assert logged == [("val", {"a": 2, "b": 0.5}, 2), ("val", {"a": 0}, 0)]


# the auto-encoder ----------------------------------------------------------------------------------------------------


def test_the_auto_encoder_draws_phi_between_minus_1_and_1_and_weighs_its_terms():
    weights = {"pose_cycle": 2.0, "embedding_cycle": 3.0, "adversarial": 5.0, "limits": 7.0, "intersection": 11.0}
    weights |= {"spherical": 13.0, "gradient_penalty": 17.0}
    torch.manual_seed(0)
    stage, data = tiny_stage("aae", **weights), tiny_data("aae")
    data.setup()
    batch = data.sources[0].sample(64, torch.Generator().manual_seed(0))
    phi, unlimited = [], stage.network.psi.unlimited
    stage.network.psi.unlimited = lambda x: phi.append(x) or unlimited(x)
    terms = terms_of(stage, batch)
    assert phi[0].shape == (64, 32) and phi[0].min() < -0.9 and phi[0].max() > 0.9 and phi[0].abs().max() <= 1
    made = stage.network.psi(phi[0])
    depth = self_intersection(local_to_canonical(made)).clamp_min(0).mean() / 1000
    torch.testing.assert_close(terms["intersection"], depth)
    # before they are moved back
    torch.testing.assert_close(terms["limits"], losses.overstep(stage.joint_limits.excess(unlimited(phi[0]))))
    assert terms["limits"] > 0.1
    names = {"pose_cycle": "cycle_pose", "spherical": "cycle_directions", "embedding_cycle": "cycle_embedding"}
    total = sum(weight * terms[names.get(name, name)] for name, weight in weights.items()) + terms["discriminator"]
    torch.testing.assert_close(terms["loss"], total)


@pytest.mark.parametrize("cycle", ["pose_cycle", "embedding_cycle"])
def test_both_halves_learn_from_either_cycle(cycle):
    silent = dict.fromkeys(("pose_cycle", "embedding_cycle", "adversarial", "limits", "intersection"), 0.0)
    stage, data = tiny_stage("aae", **silent | {cycle: 1.0}), tiny_data("aae")
    data.setup()
    stage.log_terms = lambda *_: None
    stage.training_step(data.sources[0].sample(8, torch.Generator().manual_seed(0)), 0).backward()
    for half in (stage.network.phi, stage.network.psi):
        assert any(p.grad is not None and p.grad.any() for p in half.parameters())


def test_the_auto_encoder_is_scored_by_what_it_gives_back():
    torch.manual_seed(0)
    stage, data = tiny_stage("aae"), tiny_data("aae")
    data.setup()
    batch = data.sources[0].sample(101, torch.Generator().manual_seed(0))
    stage.network.forward = lambda p_c: p_c + torch.arange(101.0)[:, None, None] * torch.tensor([0.6, 0.0, 0.8])
    phi, unlimited = [], stage.network.psi.unlimited
    stage.network.psi.unlimited = lambda x: phi.append(x) or unlimited(x)
    terms = terms_of(stage, batch, "validation_step")
    assert terms["reconstruction_mm"].item() == pytest.approx(50, rel=1e-3)
    assert terms["reconstruction_mm_p95"].item() == pytest.approx(95, rel=1e-3)
    inside = stage.joint_limits.inside(unlimited(phi[0])).all(-1).float().mean()
    clear = (self_intersection(local_to_canonical(stage.network.psi(phi[0]))) <= 0).float().mean()
    assert terms["inside_limits"] == inside < 1 and terms["clear_of_itself"] == clear


# the two pathways ----------------------------------------------------------------------------------------------------


def knowing_stage(**arguments) -> tuple[CrossModalStage, Scenes, NeuralGrid]:
    """Phase 1, scenes, and what an H that reads everything right says of them."""
    network = {"direct": True, "input_size": SIZE, "rotation": "6d"}
    stage = tiny_stage("phase1", network=network, **arguments)
    data = SyntheticScenes(**SCENES | {"input_size": SIZE, "people": (2, 3), "height": (0.4, 0.8), "crowding": 0.3})
    data.setup()
    scenes = data.make(0, torch.Generator().manual_seed(2))
    representation = stage.network.representation
    p_c, rotation = canonicalize(scenes.joints)
    embedding = limb_directions(p_c)[..., list(_FREE), :].flatten(-2)
    code = representation.code(embedding, rotation, scenes.joints[..., SKELETON.root, 2])
    root_px = representation.project(scenes.joints)[..., SKELETON.root, :]
    mask, offset = representation.root_targets(root_px, scenes.valid)
    cells, _ = representation.cell_of(root_px)
    s = torch.zeros(2, representation.channels, representation.grid**2)
    for b, p in scenes.valid.nonzero().tolist():
        s[b, :, cells[b, p]] = code[b, p]
    return stage, scenes, NeuralGrid(s.unflatten(-1, (representation.grid, -1)), 40 * mask - 20, offset)


def test_who_reads_the_scenes_right_has_nothing_to_reconstruct():
    stage, scenes, grid = knowing_stage()
    stage.network.h.forward = lambda v: grid
    terms = stage.reconstruction(scenes)
    assert set(terms) == {
        f"recon_{name}" for name in ("maps", "pose", "canonical", "rotation", "points", "depth", "root")
    }
    assert all(term < 1e-3 for name, term in terms.items() if name != "recon_maps")
    # people far outside the picture are nothing to draw for
    far = scenes._replace(joints=scenes.joints + torch.tensor([1e6, 0.0, 0.0]))
    assert stage.reconstruction(far)["recon_points"] == 0


def test_the_maps_of_f_are_compared_with_those_drawn():
    stage, scenes, _ = knowing_stage()
    stage.eval()
    m_syn = stage.draw_scenes(scenes)
    wrong = HMPAF(m_syn.heatmaps.clone(), m_syn.pafs.clone())
    wrong.heatmaps[0, 3, 5, 5] += 2
    for again, expected in ((m_syn, 0), (wrong, 4 / (2 * stage.network.cells**2))):
        stage.teacher.decode = lambda v, again=again: again
        assert stage.reconstruction(scenes)["recon_maps"].item() == pytest.approx(expected)


def test_who_sees_what_the_teacher_sees_has_nothing_to_distil():
    stage, scenes, grid = knowing_stage()
    network = stage.network
    points = network.representation.project(scenes.joints)
    stage.teacher.decode = lambda v: draw(points, scenes.drawn, MPOSE3D, (network.cells,) * 2, network.stride, 4.0)
    _, visible, roots, unsure = stage.teacher_people(torch.zeros(2, 8, 32, 32))
    assert visible.any() and not visible[~roots.valid].any() and not unsure.any()
    terms = stage.distillation(torch.zeros(2, 8, 32, 32), grid)
    assert terms["distl"] < 2 / SIZE and terms["distl_root"] < 0.3  # to a pixel or two
    away = stage.distillation(torch.zeros(2, 8, 32, 32), grid._replace(s=-grid.s))
    assert away["distl"] > 5 * terms["distl"]
    # H learns where roots are, too
    logits = grid.root.clone().requires_grad_()
    stage.distillation(torch.zeros(2, 8, 32, 32), grid._replace(root=logits))["distl_root"].backward()
    assert logits.grad.any()


def test_without_a_pelvis_nobody_is_learned_from():
    stage, scenes, grid = knowing_stage()
    network = stage.network
    drawn = scenes.valid[..., None].repeat(1, 1, 15)
    drawn[0, 0, SKELETON.root] = False
    points = network.representation.project(scenes.joints).clamp(4, SIZE - 4)
    stage.teacher.decode = lambda v: draw(points, drawn, MPOSE3D, (network.cells,) * 2, network.stride, 4.0)
    _, visible, roots, unsure = stage.teacher_people(torch.zeros(2, 8, 32, 32))
    # of this layout the pelvis is a joint like others
    assert not visible[..., SKELETON.root].logical_xor(roots.valid).any()
    assert not visible[~roots.valid].any() and roots.valid.sum() < scenes.valid.sum()
    # where the pelvis is that the teacher does not see, H may see it, and is not told that nobody is there
    row, column = divmod(int(network.representation.cell_of(points[0, 0, SKELETON.root])[0]), grid.root.shape[-1])
    assert unsure[0, 0, row, column] and not unsure[1].any()
    logits = torch.zeros_like(grid.root).requires_grad_()
    stage.distillation(torch.zeros(2, 8, 32, 32), grid._replace(root=logits))["distl_root"].backward()
    assert logits.grad[0, 0, row, column] == 0 and logits.grad[1].all()


def test_people_whom_nobody_annotated_are_not_told_to_be_nobody():
    stage, scenes, grid = knowing_stage()
    network = stage.network
    points = network.representation.project(scenes.joints)
    drawn = scenes.valid[..., None].expand(points.shape[:-1])
    stage.teacher.decode = lambda v: draw(points, drawn, MPOSE3D, (network.cells,) * 2, network.stride, 4.0)
    image = torch.zeros(2, 3, SIZE, SIZE)
    v = stage.teacher.encode(image)
    assert scenes.valid[1].any() and not stage.unlabelled(v, scenes).any()

    nobody = scenes._replace(valid=scenes.valid & torch.tensor([[True], [False]]))
    unlabelled = stage.unlabelled(v, nobody)
    cells = network.representation.cell_of(points[1, scenes.valid[1]][:, SKELETON.root])[0]
    assert unlabelled[1].flatten()[cells].all() and not unlabelled[0].any()
    logits = torch.zeros_like(grid.root).requires_grad_()
    network.h.forward = lambda v: grid._replace(root=logits)
    stage.supervision({"paired": PicturedScenes(image, nobody)})["paired_root"].backward()
    assert (logits.grad[1].flatten()[cells] == 0).all() and logits.grad[0].all()


def test_drawings_are_noisy_in_training_alone():
    stage, scenes, _ = knowing_stage(amplitude=0.4, blur=(2.0, 5.0), jitter=3.0, merged=200.0)
    exact = stage.network.representation.project(scenes.joints)
    drawings = []
    stage.network.draw = lambda *given: drawings.append(given)
    stage.eval().draw_scenes(scenes)
    stage.train().draw_scenes(scenes)
    stage.merged = 0.0
    stage.draw_scenes(scenes)
    clean, merged, noisy = drawings
    assert torch.equal(clean[0], exact) and len(clean) == 2
    points, drawn, amplitude, sigma = noisy
    assert torch.equal(drawn, scenes.drawn) and (points - exact).std().item() == pytest.approx(3, rel=0.3)
    for values, low, high in ((amplitude, 0.4, 1), (sigma, 2, 5)):
        assert values.shape == exact.shape[:-1] and values.min() >= low and values.max() <= high
        assert values.max() - values.min() > 0.8 * (high - low)
    both = scenes.drawn[:, 0, 0] & scenes.drawn[:, 1, 0]
    assert both.any() and torch.equal(merged[0][both, 0, 0], merged[0][both, 1, 0])


def test_s_is_pulled_to_its_own_second_reading_and_the_second_reading_to_it():
    stage, _, grid = knowing_stage()
    stage.network.requires_grad_(True)
    held = grid._replace(s=(0.9 * grid.s).requires_grad_())

    def slope() -> Tensor:
        return torch.autograd.grad(stage.self_supervision(held)["ss"], held.s)[0]

    whole, encode = slope(), stage.network.encode
    stage.network.encode = lambda maps: encode(maps).detach()
    direct = slope()
    assert direct.any() and (whole - direct).abs().max() > 0.1 * direct.abs().max()
    # where people are found is not what it is about
    stage.network.encode = encode
    beside = held._replace(offset=held.offset.clone().requires_grad_())
    (of_places,) = torch.autograd.grad(stage.self_supervision(beside)["ss"], beside.offset, allow_unused=True)
    assert of_places is None
    stage.network.h.forward = lambda v: held
    assert stage.self_supervision(held)["ss"] == 0


def test_only_who_was_found_is_drawn_again():
    stage, scenes, grid = knowing_stage()
    drawings, plain = [], stage.network.draw
    stage.network.draw = lambda points, drawn: drawings.append(drawn) or plain(points, drawn)
    stage.self_supervision(grid._replace(root=grid.root.clamp_min(-1)))  # a quarter sure of everybody else
    assert drawings[0].all(-1).sum() == drawings[0].any(-1).sum() == scenes.valid.sum()


def test_terms_are_weighed():
    stage = tiny_stage("phase1", weights=LossWeights(distl=3.0, recon_depth=0.5))
    stage.log_terms = lambda *_: None
    terms = {"distl": torch.tensor(2.0), "recon_depth": torch.tensor(4.0), "ss": torch.tensor(1.0)}
    assert stage.training_loss(terms, 1) == 9


def test_errors_of_scenes_are_root_relative_and_roots_are_found_within_a_cell():
    stage, scenes, grid = knowing_stage()
    count = int(scenes.valid.sum())
    right = scene_errors(stage.network, grid, scenes)
    assert len(right["mpjpe"]) == count and right["mpjpe"].max() < 1 and right["found"].tolist() == [1.0] * count
    deeper = grid._replace(s=grid.s.clone())
    deeper.s[:, -1] += 0.3
    errors = scene_errors(stage.network, deeper, scenes)
    assert errors["mpjpe"].max() < 1 and errors["pmpjpe"].max() < 1
    for cells, found in ((0.6, 1.0), (1.4, 0.0)):
        beside = grid._replace(offset=grid.offset + torch.tensor([cells, 0.0])[:, None, None])
        assert scene_errors(stage.network, beside, scenes)["found"].tolist() == [found] * count
    # of nobody found, nobody is near the corner either
    root, camera = scenes.joints[..., SKELETON.root, :], stage.network.representation.camera
    moved = scenes.joints + (camera.unproject(torch.ones(*root.shape[:2], 2), root[..., 2]) - root)[..., None, :]
    nobody = grid._replace(root=torch.full_like(grid.root, -20.0))
    assert not scene_errors(stage.network, nobody, scenes._replace(joints=moved))["found"].any()


def test_every_kind_of_batch_is_scored_by_its_own_name():
    stage, scenes, grid = knowing_stage()
    logged = {}
    stage.log_terms = lambda split, terms, size: logged.update({split: terms})
    stage.network.h.forward = lambda v: grid
    image = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    stage.eval()
    for batch in (scenes, PicturedScenes(image, scenes), Photographs(image, torch.arange(2))):
        stage.validation_step(batch, 0)
        stage.test_step(batch, 0)
    kinds = ("scenes", "rendered", "photographs")
    assert set(logged) == {f"{split}/{kind}" for split in ("val", "test") for kind in kinds}
    assert logged["val/scenes"]["found"] == logged["test/rendered"]["found"] == 1


@pytest.mark.parametrize(
    ("name", "pathways"),
    [
        ("distill", {"distillation"}),
        ("phase1", {"distillation", "reconstruction", "self_supervision", "supervision"}),
        ("phase2", {"reconstruction", "self_supervision", "supervision"}),
    ],
)
def test_a_stage_learns_from_its_own_pathways(name, pathways):
    stage, data = tiny_stage(name), tiny_data(name)
    data.setup()
    generator = torch.Generator().manual_seed(0)
    batch = data.make(0, generator) if name == "distill" else {
        "scenes": data.scenes.make(0, generator), "photographs": data.photographs.make(0, generator)
    }  # fmt: skip
    names = {"distillation": "distl", "reconstruction": "recon_pose", "self_supervision": "ss"}
    names |= {"supervision": "paired_pose"}
    for pathway, term in names.items():
        setattr(stage, pathway, lambda *_, term=term: {term: torch.ones((), requires_grad=True)})
    terms = terms_of(stage, batch)
    assert set(terms) == {names[pathway] for pathway in pathways} | {"loss"}
    assert terms["loss"] == stage.training_loss({name: term for name, term in terms.items() if name != "loss"}, 1)


# the lifter ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lifting(monkeypatch):
    """A stage whose noise hides one wrist, scenes of people of any proportions, and who reads them right."""
    stage, data = tiny_stage("lifter", focal_ratio=1.1, focal_range=(0.4, 1.6)), tiny_data("lifter")
    data.setup()
    scenes = data.make(0, torch.Generator().manual_seed(0))
    scenes = scenes._replace(drawn=scenes.valid[..., None].repeat(1, 1, 15))
    joints = scenes.joints[scenes.valid]
    p_c, rotation = canonicalize(joints)
    p_r = rotate(local_to_canonical(canonical_to_local(p_c)), rotation)
    truth_px = Camera.for_image(1000, 1000, 1.1).project(joints)
    right = People(p_r + joints[:, [SKELETON.root]], truth_px, None, rotation, None)
    wrist = torch.arange(15) == SKELETON.index("r_wrist")
    stage.noise = lambda px, drawn: (px + 5, drawn & ~wrist)
    stage.network.doubt_loss = lambda *_: torch.zeros(())
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(0.5))
    return stage, scenes, right


def test_who_reads_people_right_has_nothing_to_learn(lifting):
    stage, scenes, right = lifting
    asked = []
    stage.network.forward = lambda *given: asked.append(given) or right
    terms = terms_of(stage, scenes)
    assert set(terms) == {"pose", "canonical", "rotation", "points", "doubt", "loss"} and max(terms.values()) < 1e-4
    joints_px, visible, camera = asked[0]
    torch.testing.assert_close(joints_px, right.joints_px + 5)
    assert not visible[:, SKELETON.index("r_wrist")].any()
    # by the middle of the range on a logarithmic scale
    assert camera.focal == pytest.approx(1100 * 0.8) and camera.centre == (499.5, 499.5)


def test_points_are_off_in_sizes_of_the_person_up_to_two(lifting):
    stage, scenes, right = lifting
    size = (right.joints_px - right.joints_px.mean(1, keepdim=True)).square().sum((1, 2)).div(15).sqrt()
    for part, expected in ((0.5, 0.5), (10, 2)):
        off = right.joints_px + part * size[:, None, None] * torch.tensor([0.6, 0.8])
        stage.network.forward = lambda *_, off=off: right._replace(joints_px=off)
        assert terms_of(stage, scenes)["points"].item() == pytest.approx(expected, rel=1e-4)
    # what the noise hides counts as well, what is outside the picture does not
    wrist = right.joints_px.clone()
    wrist[:, SKELETON.index("r_wrist")] += size[:, None] * torch.tensor([1.0, 0.0])
    stage.network.forward = lambda *_: right._replace(joints_px=wrist)
    assert terms_of(stage, scenes)["points"].item() == pytest.approx(1 / 15, rel=1e-4)
    scenes.drawn[..., SKELETON.index("r_wrist")] = False
    assert terms_of(stage, scenes)["points"] == 0


def test_of_too_few_joints_nothing_is_learned_and_terms_are_weighed(lifting):
    stage, scenes, right = lifting
    stage.weights = {"pose": 2.0, "canonical": 3.0, "rotation": 5.0, "points": 7.0, "doubt": 11.0}
    few = torch.zeros(len(right.joints), 15, dtype=torch.bool)
    few[1:] = True
    stage.noise = lambda px, drawn: (px, drawn & few)
    wrong = right._replace(joints=1.2 * right.joints, joints_px=right.joints_px + 9, rotation=right.rotation.roll(1, 0))
    stage.network.forward = lambda *_: wrong
    terms = terms_of(stage, scenes)
    assert terms["loss"].item() == pytest.approx(
        sum(weight * terms[name].item() for name, weight in stage.weights.items())
    )
    wrong.joints[0] = wrong.rotation[0] = wrong.joints_px[0] = 1e6
    assert terms_of(stage, scenes)["loss"].item() == pytest.approx(terms["loss"].item())


def test_doubt_is_asked_of_those_who_are_read_and_told_the_skeletons_bones(lifting):
    stage, scenes, right = lifting
    asked = []
    stage.network.doubt_loss = lambda *given: asked.extend(given) or torch.tensor(0.25)
    stage.network.forward = lambda *_: right
    terms = terms_of(stage, scenes)
    # beside the others it must be nothing, for gradients are clipped together
    assert terms["doubt"] == 0.25 and terms["loss"].item() == pytest.approx(0.25e-3, abs=1e-4)
    joints_px, visible, camera, joints, known = asked
    few = len(joints_px)
    assert few == min(8, len(right.joints)) and camera.focal == pytest.approx(1100 * 0.8)
    torch.testing.assert_close(joints_px, right.joints_px[:few] + 5)
    assert not visible[:, SKELETON.index("r_wrist")].any() and known.all()
    relative = (right.joints - right.joints[:, [SKELETON.root]])[:few]
    torch.testing.assert_close(joints, relative, rtol=0, atol=0.01)

    few = torch.zeros(len(right.joints), 15, dtype=torch.bool)
    few[1:] = True
    asked.clear()
    stage.noise = lambda px, drawn: (px, drawn & few)
    terms_of(stage, scenes)
    torch.testing.assert_close(asked[0], right.joints_px[1 : 1 + len(asked[0])])


def test_joints_that_nobody_knows_are_no_targets(lifting):
    stage, scenes, right = lifting
    off = right.joints.clone()
    off[:, SKELETON.index("l_wrist")] += 100
    stage.network.forward = lambda *_: right._replace(joints=off)
    assert min(terms_of(stage, scenes)[name] for name in ("pose", "canonical")) > 0.01
    scenes = scenes._replace(known=scenes.known & (torch.arange(15) != SKELETON.index("l_wrist")))
    assert max(terms_of(stage, scenes).values()) < 1e-4


def test_who_has_too_few_joints_in_the_picture_is_not_scored(lifting):
    stage, scenes, _ = lifting
    scenes.drawn[0, 0, 3:] = False
    scored = []
    stage.network.forward = lambda px, drawn, camera: (
        scored.append(px) or People(torch.zeros(len(px), 15, 3), px, None, None, None)
    )
    terms_of(stage, scenes, "validation_step")
    assert len(scored[0]) == scenes.valid.sum() - 1


# the chooser, the teacher and the compact trunk ----------------------------------------------------------------------


@pytest.fixture
def choosing():
    """A stage of whose people one is annotated and one is not; the right peak is 0.1 sizes off, the estimate 0.5."""
    stage = tiny_stage("chooser", near=0.2)
    truth = 16 + 5 * torch.randn(1, 1, 15, 2, generator=torch.Generator().manual_seed(0))
    visible = torch.ones(1, 1, 15, dtype=torch.bool)
    visible[..., :5] = False
    nobody = torch.zeros(1, 1, 15, 2), torch.zeros(1, 1, 15, dtype=torch.bool)
    batch = LabelledPhotographs(
        torch.rand(1, 3, 32, 32), torch.cat([nobody[0], truth], dim=1), torch.cat([nobody[1], visible], dim=1), None
    )
    points = torch.cat([truth + 500, truth + 1], dim=1)
    seen = torch.ones(1, 2, 15, dtype=torch.bool)
    points[0, 1, 5:7], seen[0, 1, 5:7] = 1e4, False
    stage.teacher.people = lambda maps: People2D(points, seen.float(), seen, seen.any(-1))
    counted = truth[0, 0, 5:]
    size = (counted - counted.mean(0)).square().sum(1).mean().sqrt()
    off = size * torch.tensor([0.1, 1.0, 0.5])[:, None] * torch.tensor([0.0, 1.0])
    places = torch.stack([torch.full((15, 3, 2), 1e4), truth[0, 0, :, None] + off])
    places[1, :5] = 1e4
    scores = torch.zeros(2, 15, 3)
    stage.network.forward = lambda *_: Choice(scores, places, scores)
    return stage, batch, scores


def test_the_chooser_learns_from_annotated_joints_alone(choosing):
    stage, batch, scores = choosing
    terms = terms_of(stage, batch)
    assert terms["choice"].item() == pytest.approx(math.log(3)) and terms["estimate"].item() == pytest.approx(
        0.5, rel=1e-4
    )
    assert terms["loss"].item() == pytest.approx(math.log(3) + 0.5, rel=1e-4)
    places = stage.network.forward().places_px
    for choice, far_off in ((0, 0), (1, 1), (2, 1)):
        chosen = scores.clone()
        chosen[..., choice] = 1
        choice_of = Choice(chosen, places, chosen)
        stage.network.forward = lambda *_, choice_of=choice_of: choice_of
        assert terms_of(stage, batch)["far_off"] == far_off


@pytest.mark.parametrize(("near", "right"), [(0.2, 0), (0.05, 2)])
def test_a_peak_is_the_joints_as_near_as_asked_for(choosing, near, right):
    stage, batch, scores = choosing
    stage.near = near
    scores[..., right] = 50
    assert terms_of(stage, batch)["choice"] < 1e-6


def test_the_teacher_learns_after_every_stage_and_where_people_are_labelled():
    stage, data = tiny_stage("teacher", peaks=3.0), tiny_data("teacher")
    assert stage.sigma == 2.0
    data.setup()
    batch = data.make(0, torch.Generator().manual_seed(0))
    counted = torch.ones_like(batch.counted)
    counted[:, :, :, :16] = 0
    batch = batch._replace(counted=counted)
    target = draw(batch.points, batch.visible, MPOSE3D, (8, 8), 4, 2.0)
    noise = HMPAF(*(0.1 * torch.randn_like(part) for part in target))
    elsewhere = HMPAF(*(part + noise for part, noise in zip(target, noise, strict=True)))
    for part, right in zip(elsewhere, target, strict=True):
        part[..., 4:] = right[..., 4:]  # wrong where it does not count
    blank = HMPAF(*(torch.zeros_like(part) for part in target))
    stage.teacher.stages = lambda v: [elsewhere, blank, blank]
    terms = terms_of(stage, batch)
    of_blank = losses.hmpaf_error(blank, target, torch.nn.functional.interpolate(counted, (8, 8)), 3.0)
    torch.testing.assert_close(terms["last_stage"], of_blank)
    torch.testing.assert_close(terms["loss"], 2 * of_blank)
    assert terms["relative_error"] == 1


def test_the_compact_trunk_weighs_its_terms_and_reads_the_maps_where_they_count():
    stage, data = tiny_stage("compact", features=2.0, maps=3.0, start_batches=0, rank=3), tiny_data("compact")
    data.setup()
    batch = data.make(0, torch.Generator().manual_seed(0))
    terms = terms_of(stage, batch)
    torch.testing.assert_close(terms["loss"], 2 * terms["features"] + 3 * terms["maps"])
    stage.weights["maps"] = 0.0
    assert set(terms_of(stage, batch)) == {"features", "loss"}
    assert set(terms_of(stage, batch, "validation_step")) == {"features", "maps", "loss"}
