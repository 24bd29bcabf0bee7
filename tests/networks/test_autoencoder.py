"""Phi, Psi and Disc: shapes, poses that FK takes, gradients, and an embedding that knows no singular frames."""

from __future__ import annotations

import pytest
import torch

from mpose3d.geometry.kinematics import bone_lengths, canonical_to_local, limb_directions, local_to_canonical
from mpose3d.networks.autoencoder import (
    _FREE,
    DirectPose,
    PoseAutoEncoder,
    PoseDiscriminator,
    PoseEmbeddingDecoder,
    PoseEncoder,
    load_psi,
)
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.skeleton import SKELETON


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def p_l(generator) -> torch.Tensor:
    return canonical_to_local(ArtificialPoses().sample(24, generator))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_directions_become_a_pose_in_float32_under_mixed_precision(half, generator):
    free = torch.randn(50, 33, generator=generator).to(half)
    with torch.autocast("cpu", dtype=half):
        p_l = DirectPose()(free)
    assert p_l.dtype is torch.float32 and torch.equal(p_l, DirectPose()(free.float()))


@pytest.mark.parametrize("embedding", [32, 64])
@pytest.mark.parametrize("leading", [(24,), (2, 3, 4), ()])
def test_shapes(p_l, leading, embedding):
    p_l = p_l[0] if leading == () else p_l.reshape(*leading, 15, 3)
    phi = PoseEncoder(embedding)(p_l)
    assert phi.shape == (*leading, embedding)
    assert phi.abs().max() <= 1
    assert PoseEmbeddingDecoder(embedding)(phi).shape == (*leading, 15, 3)
    assert PoseDiscriminator()(p_l).shape == (*leading, 22)


def test_any_embedding_decodes_to_a_local_pose_that_fk_takes():
    """Directions within the limits, the skeleton's bones, and T_L gives the very same directions back."""
    psi = PoseEmbeddingDecoder().double()
    p_l = psi(2 * torch.rand(200, 32, dtype=torch.float64) - 1)
    root = SKELETON.root
    assert (p_l[:, root] == 0).all()
    assert (p_l[:, :root].norm(dim=-1) > 0).all()
    assert psi.limits.inside(p_l).all()
    p_c = local_to_canonical(p_l)
    lengths = torch.tensor(SKELETON.bone_lengths, dtype=torch.float64)
    torch.testing.assert_close(bone_lengths(p_c), lengths.expand(200, -1))
    torch.testing.assert_close(canonical_to_local(p_c), torch.nn.functional.normalize(p_l, dim=-1))


def test_lengths_are_no_pose():
    """Phi reads the lengths of directions, FK and Disc are blind to them."""
    psi, phi, disc = PoseEmbeddingDecoder(), PoseEncoder(), PoseDiscriminator()
    p_l = psi(2 * torch.rand(20, 32) - 1)
    longer = p_l * (0.5 + torch.rand(20, 15, 1))
    torch.testing.assert_close(local_to_canonical(longer), local_to_canonical(p_l), atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(disc(longer), disc(p_l))
    assert (phi(longer) - phi(p_l)).abs().amax(-1).min() > 1e-3


def test_a_file_gives_the_same_auto_encoder_and_the_same_psi(tmp_path, generator):
    network = PoseAutoEncoder()
    network.save(tmp_path / "prior.safetensors")
    poses = ArtificialPoses().sample(8, generator)
    torch.testing.assert_close(PoseAutoEncoder.from_file(tmp_path / "prior.safetensors")(poses), network(poses))
    psi = PoseEmbeddingDecoder()
    load_psi(psi, tmp_path / "prior.safetensors")
    phi = 2 * torch.rand(8, 32) - 1
    torch.testing.assert_close(psi(phi), network.psi(phi))


def test_fixed_and_mirrored_joints(p_l):
    p_l = PoseEmbeddingDecoder()(PoseEncoder()(p_l))
    row = {name: p_l[..., SKELETON.index(name), :] for name in SKELETON.names}
    torch.testing.assert_close(row["neck"], torch.tensor([0.0, 0.0, 1.0]).expand(24, 3))
    row = {name: torch.nn.functional.normalize(directions, dim=-1) for name, directions in row.items()}
    torch.testing.assert_close(row["l_hip"], -row["r_hip"])
    torch.testing.assert_close(row["l_shoulder"], -row["r_shoulder"])
    assert (row["r_hip"][:, 0].abs() < 1e-6).all()


def test_gradients_reach_every_parameter_and_are_finite(p_l):
    phi, psi, disc = PoseEncoder(), PoseEmbeddingDecoder(), PoseDiscriminator()
    decoded = psi.unlimited(phi(p_l))  # before the limits, behind which a joint moves along the border only
    (local_to_canonical(decoded).square().mean() / 1e4 + disc(decoded).mean()).backward()
    for network in (phi, psi, disc):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_gradients_are_finite_at_singular_frames(generator):
    """A thigh and an arm along the torso normal, where the local frame below is free to spin."""
    p_l = canonical_to_local(ArtificialPoses().sample(1, generator))
    for name in ("r_knee", "r_elbow"):
        p_l[:, SKELETON.index(name)] = torch.tensor([1.0, 0.0, 0.0])
    p_l.requires_grad_()
    PoseEncoder()(p_l).sum().backward()
    assert p_l.grad.isfinite().all()


def test_embedding_is_continuous_where_local_poses_are_not():
    """Thigh a little below and a little above horizontal, shin hanging: p_l of the ankle jumps, phi does not."""
    poses = ArtificialPoses().sample(1, torch.Generator().manual_seed(1)).repeat(2, 1, 1)
    knee, ankle, hip = SKELETON.indices("r_knee", "r_ankle", "r_hip")
    for pose, slope in zip(poses, (-0.03, 0.03), strict=True):
        thigh = torch.nn.functional.normalize(torch.tensor([1.0, 0.0, slope]), dim=0)
        pose[knee] = pose[hip] + SKELETON.bone_lengths[knee] * thigh
        pose[ankle] = pose[knee] - torch.tensor([0.0, 0.0, SKELETON.bone_lengths[ankle]])
    p_l = canonical_to_local(poses)
    assert (p_l[0, ankle] - p_l[1, ankle]).norm() > 1.5
    phi = PoseEncoder()(p_l)
    assert (phi[0] - phi[1]).abs().max() < 0.05


def test_learns_to_reconstruct(generator):
    poses = ArtificialPoses().sample(64, generator)
    p_l = canonical_to_local(poses)
    phi, psi = PoseEncoder(), PoseEmbeddingDecoder()
    optimiser = torch.optim.Adam([*phi.parameters(), *psi.parameters()], lr=5e-3)
    errors = []
    for _ in range(150):
        error = (local_to_canonical(psi(phi(p_l))) - poses).norm(dim=-1).mean()
        optimiser.zero_grad()
        (error / 100).backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.2 * errors[0]


def test_directions_that_are_regressed_are_a_pose_of_the_skeleton(p_l):
    """Without Psi s holds limb directions: those of a pose give the pose again, whatever their length."""
    canonical = local_to_canonical(p_l)
    free = limb_directions(canonical)[:, _FREE] * (0.1 + torch.rand(24, len(_FREE), 1))
    again = local_to_canonical(DirectPose()(free.flatten(1)))
    torch.testing.assert_close(again, canonical, atol=0.1, rtol=0)


def test_psi_that_is_built_on_the_device_meta_is_the_same_once_it_has_weights():
    built, phi = PoseEmbeddingDecoder(), torch.rand(5, 32)
    with torch.device("meta"):
        again = PoseEmbeddingDecoder()
    again.load_state_dict(built.state_dict(), assign=True)
    assert torch.equal(again(phi), built(phi))
