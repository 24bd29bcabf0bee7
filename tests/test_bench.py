"""The references of the benchmarks give what the library gives: a ratio of times compares equals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.bench import drawing, geometry
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.representations.hmpaf import draw
from mpose3d.skeleton import COCO_18, MPOSE3D


@pytest.mark.parametrize("drawer", drawing.REFERENCES.values(), ids=lambda drawer: drawer.__name__)
def test_drawing(drawer):
    points, visible = drawing.scenes(people=3, batch=1)
    drawn = draw(points.double(), visible, MPOSE3D, (drawing.SIZE, drawing.SIZE), drawing.STRIDE, drawing.SIGMA)
    ((heatmaps, pafs),) = drawing.over_images(drawer, points.double().numpy(), visible.numpy(), MPOSE3D)
    np.testing.assert_allclose(drawn.heatmaps[0], heatmaps, atol=1e-6)
    np.testing.assert_allclose(drawn.pafs[0], pafs, atol=1e-6)
    assert np.abs(pafs).max() > 0.5


def test_kinematics(generator):
    p_c = ArtificialPoses().sample(20, generator).double()
    p_l = canonical_to_local(p_c)
    np.testing.assert_allclose(geometry.to_local(p_c.numpy()), p_l, atol=1e-6)
    np.testing.assert_allclose(geometry.to_canonical(p_l.numpy()), local_to_canonical(p_l), atol=1e-3)


def test_parsing():
    points, visible = COCO_18.from_skeleton(*drawing.scenes(people=4, batch=2))
    maps = draw(points, visible, COCO_18, (drawing.SIZE, drawing.SIZE), drawing.STRIDE)
    people = geometry.parse_images(maps.heatmaps.numpy(), maps.pafs.numpy(), COCO_18)
    assert sum(map(len, people)) >= 4 and geometry.same_people(maps, COCO_18, people) == 1


@pytest.mark.parametrize(
    ("layer", "shape", "weights_used"),
    [
        (torch.nn.Linear(8, 3, bias=False), (4, 8), 4 * 8 * 3),
        (torch.nn.Conv2d(8, 6, 3, padding=1), (2, 8, 5, 5), 2 * 25 * 8 * 6 * 9),
        (torch.nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 5, 5), 2 * 25 * 8 * 9),
    ],
    ids=["linear", "convolution", "depthwise"],
)
def test_counted_flops(layer, shape, weights_used):
    """Two for each use of a weight, and twice that again in the backward pass."""
    from experiments.bench.steps import flops

    layer.training_step = lambda batch, batch_idx: layer(batch).sum()
    assert flops(layer, torch.rand(shape, requires_grad=True)) == (2 * weights_used, 3 * 2 * weights_used)
