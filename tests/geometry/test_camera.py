from __future__ import annotations

import torch

from mpose3d.geometry.camera import Camera
from mpose3d.skeleton import SKELETON


def test_unproject_inverts_project(generator):
    camera = Camera.for_image(640, 480)
    points = torch.randn(1000, 3, generator=generator, dtype=torch.float64) * 500 + torch.tensor([0, 0, 4000.0])
    pixels = camera.project(points)
    torch.testing.assert_close(camera.unproject(pixels, points[:, 2]), points)
    torch.testing.assert_close(camera.rays(pixels), points[:, :2] / points[:, 2:])


def test_the_camera_of_an_image_looks_at_its_middle_from_a_multiple_of_its_longer_side():
    assert Camera.for_image(640, 480) == Camera(512.0, (319.5, 239.5))
    assert Camera.for_image(480, 640, 1.5) == Camera(960.0, (239.5, 319.5))


def test_axes_and_centre():
    camera = Camera(focal=100.0, centre=(50.0, 40.0))
    assert camera.project(torch.tensor([0.0, 0.0, 1000.0])).tolist() == [50.0, 40.0]
    right_below = camera.project(torch.tensor([10.0, 20.0, 1000.0]))
    assert right_below.tolist() == [51.0, 42.0]


def test_weak_perspective_is_exact_at_the_depth_of_the_root(generator):
    camera = Camera.for_image(224, 224)
    flat = torch.randn(7, 15, 3, generator=generator) * 400
    flat[..., 2] = 5000.0
    torch.testing.assert_close(camera.project_weak(flat, SKELETON.root), camera.project(flat))
    deep = flat.clone()
    deep[:, 0, 2] += 700
    torch.testing.assert_close(camera.project_weak(deep, SKELETON.root), camera.project(flat))


def test_points_behind_the_camera_stay_finite():
    points = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, -5.0]], requires_grad=True)
    camera = Camera.for_image(224, 224)
    for pixels in (camera.project(points), camera.project_weak(points, 0)):
        (gradient,) = torch.autograd.grad(pixels.sum(), points)
        assert pixels.isfinite().all() and gradient.isfinite().all()


def test_gradcheck(generator):
    camera = Camera.for_image(224, 224)
    points = torch.rand(3, 15, 3, generator=generator, dtype=torch.float64) + torch.tensor([0, 0, 3.0]).double()
    points.requires_grad_()
    assert torch.autograd.gradcheck(camera.project, points)
    assert torch.autograd.gradcheck(lambda p: camera.project_weak(p, SKELETON.root), points)


def test_pixels_may_be_whole_numbers():
    camera, pixels = Camera.for_image(640, 480), torch.tensor([[0, 0], [320, 17]])
    torch.testing.assert_close(camera.rays(pixels), camera.rays(pixels.float()))
    torch.testing.assert_close(
        camera.unproject(pixels, torch.full((2,), 900)), camera.unproject(pixels.float(), torch.full((2,), 900.0))
    )
