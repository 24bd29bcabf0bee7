"""Accumulated metrics: any batches, any split over processes, and what is left out."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchmetrics import MetricCollection

from mpose3d.geometry.extent import bounding_box
from mpose3d.metrics import functional
from mpose3d.metrics.modules import MPJPE, NMPJPE, PCK2D, PCK3D, PMPJPE
from mpose3d.metrics.mupots import Mupots3D
from mpose3d.skeleton import SKELETON
from tests.metrics.samples import METRICS_3D, compute_all, mupots_mean, people, random_frames

ROOT = SKELETON.root


def test_any_batches_give_one_result() -> None:
    whole = compute_all([people()])
    pieces = compute_all(zip(*(x.split([1, 15, 7]) for x in people()), strict=True))
    assert pieces == pytest.approx(whole, rel=1e-6)
    assert all(map(math.isfinite, whole.values()))


def test_every_metric_is_the_mean_of_the_poses_that_can_be_scored() -> None:
    prediction, target, visible = people()
    visible[3, 1:], visible[4, 2:] = False, False  # a single joint, and two
    p, q = prediction[..., :2], target[..., :2]
    iou = functional.box_iou(bounding_box(p, visible), bounding_box(q, visible))
    of_poses = {
        "mpjpe": functional.mpjpe(prediction, target, visible, root=ROOT),
        "pmpjpe": functional.pmpjpe(prediction, target, visible),
        "n_mpjpe": functional.n_mpjpe(prediction, target, visible, root=ROOT),
        "pck": functional.pck3d(prediction, target, visible, root=ROOT),
        "pck_abs": functional.pck3d(prediction, target, visible),
        "auc": functional.auc(prediction, target, visible, root=ROOT),
        "mrpe": functional.root_error(prediction, target, root=ROOT)[visible[:, ROOT]],
        "mpjpe_2d": functional.mpjpe(p, q, visible),
        "pck_2d": functional.pck2d(p, q, visible),
        "iou": iou[visible.sum(-1) >= 2],
    }
    expected = {name: values.nanmean().item() for name, values in of_poses.items()}
    assert compute_all([(prediction, target, visible)]) == pytest.approx(expected)


def test_a_collection_keeps_every_metric_apart() -> None:
    """torchmetrics takes two metrics for one if their states are equal after the first batch: here nobody is in it."""
    prediction, target, visible = people()
    metrics = MetricCollection({name: make() for name, make in METRICS_3D.items()})
    for count in (0, None):
        metrics.update(prediction[:count], target[:count], visible[:count])
    single = compute_all([(prediction, target, visible)])
    assert {name: value.item() for name, value in metrics.compute().items()} == {name: single[name] for name in metrics}


def test_modes_of_mupots_stay_apart_in_a_collection() -> None:
    both = MetricCollection({mode: Mupots3D(("TS1",), mode) for mode in ("all", "matched")})
    frames = list(random_frames(0))
    annotated, frames[2], frames[5] = (torch.zeros_like(frames[part]) for part in (2, 2, 5))  # nobody anywhere
    both.update("TS1", *frames)
    frames[2] = ~annotated
    both.update("TS1", *frames)
    assert both["all"].compute().mean.pck == 0 and math.isnan(both["matched"].compute().mean.pck)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.parametrize("metric", [PMPJPE(), NMPJPE(root=ROOT)])
def test_targets_without_a_size_are_left_out(metric) -> None:
    prediction, target, _ = people()
    expected = metric.clone()
    expected.update(prediction[1:], target[1:])
    target[0] = torch.tensor([0.1, 7e4, -3.3])
    metric.update(prediction, target)
    assert metric.compute() == expected.compute() and metric.count == len(target) - 1
    target[1, 3] = torch.nan
    metric.update(prediction, target)
    assert metric.compute().isnan()


def test_thresholds_are_those_that_were_asked_for() -> None:
    prediction, target, _ = people()
    for metric, function, size in ((PCK3D(threshold=90), functional.pck3d, 3), (PCK2D(90), functional.pck2d, 2)):
        metric.update(prediction[..., :size], target[..., :size])
        expected = function(prediction[..., :size], target[..., :size], threshold=90).mean()
        assert metric.compute() == pytest.approx(expected.item())


def test_two_processes_with_uneven_shards_equal_one(tmp_path: Path) -> None:
    """gloo; 23 people as 16 and 7, in two batches and one; MuPoTS frames as 5 and 1."""
    shards = list(zip(*(x.split([16, 7]) for x in people()), strict=True))
    first = [("TS1", random_frames(1, frames=3)), ("TS2", random_frames(2, frames=2))]
    second = [("TS2", random_frames(3, frames=1))]
    batches = [list(zip(*(x.split(9) for x in shard), strict=True)) for shard in shards]
    torch.save([*zip(batches, (first, second), strict=True)], tmp_path / "shards.pt")
    # what this process can import, those can: the package may not be installed
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    worker = Path(__file__).with_name("ddp_worker.py")
    processes = [
        subprocess.Popen([sys.executable, str(worker), str(rank), str(tmp_path)], stderr=subprocess.PIPE, env=env)
        for rank in range(2)
    ]
    single = compute_all(shards) | mupots_mean(first + second)
    for rank, process in enumerate(processes):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) == pytest.approx(single, rel=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nobody_is_nan() -> None:
    assert all(map(math.isnan, compute_all([]).values()))
    prediction, target, visible = people()
    assert all(map(math.isnan, compute_all([(prediction, target, visible & False)]).values()))


def test_nan_in_a_prediction_is_seen_in_the_result() -> None:
    prediction, target, _ = people()
    prediction[5, 2] = torch.nan
    result = compute_all([(prediction, target, torch.ones(23, 15, dtype=torch.bool))])
    assert all(math.isnan(result[name]) for name in ("mpjpe", "pmpjpe", "n_mpjpe", "mpjpe_2d", "iou"))


def test_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        MPJPE().update(torch.zeros(2, 15, 3), torch.zeros(2, 14, 3))
