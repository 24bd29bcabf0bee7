"""Terms of the training losses that are written in closed form: each against a reference of its own."""

from __future__ import annotations

import math

import pytest
import roma
import torch
from torch import nn
from torch.nn import functional

from mpose3d import losses
from mpose3d.geometry.kinematics import canonical_to_local
from mpose3d.networks.autoencoder import PoseAutoEncoder, PoseDiscriminator
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.representations.hmpaf import HMPAF


def _local_poses(n: int) -> torch.Tensor:
    return canonical_to_local(ArtificialPoses().sample(n, torch.Generator().manual_seed(0)))


# the spherical loss --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", (0.01, 1.0, 90.0, 179.0))
def test_turned_directions_are_that_angle_apart(degrees):
    p_l = _local_poses(64).double()
    across = torch.linalg.cross(p_l, torch.rand(p_l.shape, generator=torch.Generator().manual_seed(1)).double())
    axis = math.radians(degrees) * functional.normalize(across, dim=-1)
    turned = (roma.rotvec_to_rotmat(axis) @ p_l[..., None]).squeeze(-1)
    expected = math.radians(degrees) * 14 / 15  # the root has no direction
    assert float(losses.cycle_directions(2 * p_l, 3 * turned)) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_of_the_angle_is_finite_where_directions_agree_and_where_they_oppose():
    p_l = _local_poses(16)
    for other in (p_l, -p_l):
        decoded = other.clone().requires_grad_()
        losses.cycle_directions(p_l, decoded).backward()
        assert decoded.grad.isfinite().all()


def test_the_angle_is_no_coarser_in_half_precision():
    p_l = _local_poses(16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses.cycle_directions(p_l, p_l.roll(1, 0))
    assert loss.dtype == torch.float32 and loss == losses.cycle_directions(p_l, p_l.roll(1, 0))


# the plain GAN -------------------------------------------------------------------------------------------------------


def test_the_logistic_losses_are_cross_entropies():
    real, fake = 5 * torch.randn(2, 32, 21, generator=torch.Generator().manual_seed(0))
    logits = torch.cat([real, fake])
    labels = torch.cat([torch.ones_like(real), torch.zeros_like(fake)])
    torch.testing.assert_close(
        losses.logistic_discriminator(real, fake), functional.binary_cross_entropy_with_logits(logits, labels)
    )
    torch.testing.assert_close(
        losses.logistic_generator(fake), functional.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    )


@pytest.mark.parametrize("kind", ("hinge", "logistic"))
def test_psi_is_pulled_where_disc_is_sure_of_a_fake(kind):
    """L_adv does not saturate: its slope stays, however sure Disc is."""
    fake = torch.tensor([[-50.0]], requires_grad=True)
    getattr(losses, f"{kind}_generator")(fake).backward()
    assert fake.grad.item() == pytest.approx(-1, abs=1e-6)


# the gradient penalty ------------------------------------------------------------------------------------------------


def test_the_penalty_of_a_linear_disc_is_half_its_squared_slope():
    disc = nn.Linear(45, 3)
    p_l = _local_poses(8).requires_grad_()
    penalty = losses.gradient_penalty(disc(p_l.flatten(1)), p_l)
    slope = disc.weight.mean(0)
    torch.testing.assert_close(penalty, slope.square().sum() / 2)
    penalty.backward()
    torch.testing.assert_close(disc.weight.grad, (slope / 3).expand(3, -1))
    assert disc.bias.grad is None or not disc.bias.grad.any()


def test_the_penalty_of_disc_agrees_with_finite_differences():
    torch.manual_seed(0)
    disc, p_l = PoseDiscriminator().double(), _local_poses(1).double().requires_grad_()
    step, slopes = 1e-6, []
    with torch.no_grad():
        for unit in torch.eye(45, dtype=torch.float64).unflatten(-1, (15, 3)):
            slopes.append((disc(p_l + step * unit).mean() - disc(p_l - step * unit).mean()) / (2 * step))
    penalty = losses.gradient_penalty(disc(p_l), p_l)
    torch.testing.assert_close(penalty, torch.stack(slopes).square().sum() / 2, rtol=1e-4, atol=0)


def test_the_penalty_reaches_the_weights_of_disc_alone():
    torch.manual_seed(0)
    disc, network = PoseDiscriminator(), PoseAutoEncoder()
    p_l = _local_poses(8)
    decoded = network.psi(network.phi(p_l)).detach().requires_grad_()
    losses.gradient_penalty(disc(decoded), decoded).backward()
    gradients = [p.grad for p in disc.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients) and any(g.any() for g in gradients)
    assert all(p.grad is None for p in network.parameters())


def test_the_relative_error_knows_no_scale():
    target = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    assert losses.relative_error(target, target) == 0
    assert losses.relative_error(torch.zeros_like(target), target) == 1
    wrong = target + torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    for scale in (1e-3, 1, 1e3):
        torch.testing.assert_close(losses.relative_error(scale * wrong, scale * target), torch.tensor(0.1))
    assert losses.relative_error(torch.zeros(2), torch.zeros(2)) == 0


def test_the_right_choice_is_the_nearest_peak_that_exists_or_none():
    off = torch.tensor([[[0.5, 0.1], [0.5, 0.3], [0.0, 0.1]]])  # nearest; none is near; the nearest does not exist
    right = torch.tensor([[1, 2, 1]])
    scores = torch.zeros(1, 3, 3)
    scores[0, 2, 0] = -torch.inf
    everybody = torch.ones(1, 3, dtype=torch.bool)
    loss = losses.choice_error(scores, off, 0.2, everybody)
    assert loss.item() == pytest.approx((2 * math.log(3) + math.log(2)) / 3)
    sure = scores + 50 * functional.one_hot(right, 3)
    assert losses.choice_error(sure, off, 0.2, everybody) < 1e-6
    assert losses.choice_error(scores, off, 0.2, ~everybody) == 0


# what people are off by ----------------------------------------------------------------------------------------------


@pytest.fixture
def those() -> torch.Tensor:
    """Which of 2 x 3 people are there."""
    return torch.tensor([[True, False, True], [False, False, True]])


def test_a_mean_is_over_those_who_are_there_and_0_of_nobody():
    values = torch.tensor([[1.0, torch.nan], [4.0, 7.0]], requires_grad=True)
    there = torch.tensor([[True, False], [True, False]])
    assert losses.masked_mean(values, there) == 2.5
    nobody = losses.masked_mean(values, there & False)
    assert nobody == 0 and not torch.autograd.grad(nobody, values)[0].any()


def test_poses_are_off_by_the_mean_distance_of_root_relative_joints_in_metres(those, generator):
    target = 1000 * torch.randn(2, 3, 15, 3, generator=generator)
    joints = target + torch.tensor([0.0, 30.0, 40.0])
    joints[..., 7, :] -= torch.tensor([0.0, 30.0, 40.0])  # the root
    joints[~those] = torch.nan
    joints.requires_grad_()
    known = those[..., None].repeat(1, 1, 15)
    error = losses.pose_error(joints, target, 7, known)
    assert error.item() == pytest.approx(0.05 * 14 / 15, rel=1e-4)
    torch.testing.assert_close(losses.pose_error(joints + 500, target, 7, known), error)
    known = known & (torch.arange(15) > 6)
    assert losses.pose_error(joints, target, 7, known).item() == pytest.approx(0.05 * 7 / 8, rel=1e-4)
    (gradient,) = torch.autograd.grad(error, joints)
    assert gradient.isfinite().all() and not gradient[~those].any()


def test_rotations_are_off_by_the_mean_distance_of_the_rotated_axes(those, generator):
    rotation, target = roma.special_procrustes(torch.randn(2, 2, 3, 3, 3, generator=generator))
    of_everybody = torch.stack([(rotation @ axis - target @ axis).norm(dim=-1) for axis in torch.eye(3)]).mean(0)
    error = losses.rotation_error(rotation, target, those)
    torch.testing.assert_close(error, of_everybody[those].mean())
    hidden = torch.where(those[..., None, None], rotation, torch.nan).requires_grad_()
    assert losses.rotation_error(hidden, target, those) == error
    (gradient,) = torch.autograd.grad(losses.rotation_error(hidden, target, those), hidden)
    assert gradient.isfinite().all() and not gradient[~those].any()


def test_codes_and_pixels_are_off_by_mean_absolute_differences(those, generator):
    code, target = torch.randn(2, 2, 3, generator=generator)
    torch.testing.assert_close(losses.depth_error(code, target, those), (code - target)[those].abs().mean())
    s, again = torch.randn(2, 2, 3, 39, generator=generator)
    torch.testing.assert_close(losses.agreement(s, again, those), (s - again)[those].abs().mean())
    k_p, k_q = 224 * torch.rand(2, 2, 3, 15, 2, generator=generator)
    visible = those[..., None] & (torch.rand(2, 3, 15, generator=generator) < 0.5)
    off = (k_p - k_q)[visible].abs()
    expected = (off[:, 0].mean() + off[:, 1].mean()) / 224
    torch.testing.assert_close(losses.keypoints(k_p, k_q, visible, 224), expected)


def test_roots_are_a_focal_cross_entropy_and_offsets_count_where_they_are(generator):
    logits = 2 * torch.randn(2, 1, 4, 4, generator=generator)
    offset, wanted = torch.randn(2, 2, 2, 4, 4, generator=generator)
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, 0, 1, 2] = mask[1, 0, 3, 3] = mask[1, 0, 0, 1] = 1
    right = torch.where(mask > 0, logits.sigmoid(), 1 - logits.sigmoid())  # chance that is given to what is there
    apart = [(offset - wanted)[b, :, y, x].abs().mean() for b, y, x in ((0, 1, 2), (1, 3, 3), (1, 0, 1))]
    expected = -((1 - right) ** 2 * right.log()).sum() / 3 + sum(apart) / 3
    torch.testing.assert_close(losses.root_error(logits, offset, mask, wanted), expected)
    # cells that are not counted say what they like, but where a root is
    free = torch.where(mask > 0, logits, -99.0)
    nothing = torch.zeros_like(mask, dtype=torch.bool)
    for said in (logits, free):
        torch.testing.assert_close(
            losses.root_error(said, offset, mask, wanted, nothing), losses.root_error(free, offset, mask, wanted)
        )
    nobody = losses.root_error(logits, offset, 0 * mask, wanted)
    torch.testing.assert_close(nobody, -(logits.sigmoid() ** 2 * (1 - logits.sigmoid()).log()).sum())


def test_maps_are_off_by_squares_summed_over_channels_where_cells_count(generator):
    prediction, target = (
        HMPAF(torch.rand(2, 3, 4, 5, generator=generator), torch.randn(2, 4, 4, 5, generator=generator))
        for _ in range(2)
    )
    mask = (torch.rand(2, 1, 4, 5, generator=generator) < 0.5).float()
    for counted, peaks in ((None, 0.0), (mask, 0.0), (mask, 3.0)):
        of_cells = torch.zeros(2, 4, 5)
        for made, wanted in zip(prediction, target, strict=True):
            for channel in range(made.shape[1]):
                weight = 1 + peaks * wanted[:, channel].abs()
                of_cells += weight * (made[:, channel] - wanted[:, channel]) ** 2
        expected = of_cells.mean() if counted is None else (counted[:, 0] * of_cells).sum() / of_cells.numel()
        torch.testing.assert_close(losses.hmpaf_error(prediction, target, counted, peaks), expected)


# the auto-encoder ----------------------------------------------------------------------------------------------------


def test_a_cycle_is_off_by_a_mean_distance_in_metres_and_a_mean_absolute_difference():
    p_c = torch.zeros(2, 15, 3)
    decoded = p_c.clone()
    decoded[0] = torch.tensor([30.0, 0.0, 40.0])
    assert losses.cycle_pose(p_c, decoded).item() == pytest.approx(0.025)
    phi = torch.tensor([[0.5, -0.5], [1.0, 0.0]])
    assert losses.cycle_embedding(phi, torch.tensor([[0.3, -0.1], [0.0, 0.0]])).item() == pytest.approx(0.4)


def test_only_what_oversteps_counts():
    assert losses.overstep(torch.tensor([[-torch.inf, -3.0], [1.0, 3.0]])) == 1


def test_the_hinge_asks_for_a_margin_of_1():
    real, fake = torch.tensor([[2.0], [0.5]]), torch.tensor([[-3.0], [0.5]])
    assert losses.hinge_discriminator(real, fake) == ((0 + 0.5) / 2 + (0 + 1.5) / 2) / 2
    assert losses.hinge_generator(fake) == 1.25
