"""The references of the benchmarks give what the library gives: a ratio of times compares equals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from experiments.bench import drawing, geometry, report, timing
from mpose3d.geometry.kinematics import canonical_to_local, local_to_canonical
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.representations.hmpaf import draw, parse
from mpose3d.skeleton import COCO_18, MPOSE3D
from tests.data.official_layouts import write_picture


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


def test_peers_have_the_published_sizes():
    """OpenPose for COCO has 52,311,446 parameters, ResNet-50 without its classifier 23,508,032."""
    from experiments.bench.peers import OpenPoseSixStages, ResNet50Regressor

    with torch.device("meta"):
        openpose, regressor = OpenPoseSixStages(), ResNet50Regressor()
    assert sum(p.numel() for p in openpose.parameters()) == 52_311_446
    assert openpose(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 38 + 19, 8, 8)
    assert sum(p.numel() for p in regressor.parameters()) == 23_508_032 + 2048 * 45 + 45
    assert regressor(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, 15, 3)


def test_pictures_hold_the_people_that_are_timed():
    """Everybody is in the picture, and the parse finds everybody in the maps."""
    from experiments.bench.crowd import Crowd
    from mpose3d.networks.teacher import SmallTeacher

    teacher = SmallTeacher("openpose18", width=8, stride=8)
    for people in (1, 5, 20):
        crowd = Crowd(people)
        assert crowd.picture.pixels.shape == (720, 720, 3) and crowd.picture.pixels.std() > 10
        roots = crowd.joints_px[0, :, -1]
        assert len(roots) == people and roots.min() > 0 and roots.max() < 720
        found = int(parse(crowd.maps(teacher, 368), COCO_18).valid.sum())
        assert abs(found - people) <= people // 10


def test_errors_of_a_trunk_are_parts_of_what_the_teacher_gives(tmp_path):
    from experiments.bench.compact import errors
    from mpose3d.networks.teacher import CompactTeacher, CompactTrunk, SmallTeacher

    teacher = SmallTeacher("openpose18", width=16, stride=8).eval()
    CompactTrunk(teacher, rank=4).save(tmp_path / "network.safetensors")
    compact = CompactTeacher(teacher, str(tmp_path / "network.safetensors")).eval()
    for i in range(2):
        write_picture(tmp_path / "photographs" / f"{i}.png", 40, 30, seed=i)
    v, maps = errors(compact, teacher, str(tmp_path / "photographs"), 32)
    assert (v["row"], maps["row"]) == ("v", "maps") and v["table"] == "error on 2 photographs, 32 px"
    assert 0 < v["ours"] < 2 and 0 < maps["ours"] < 2
    assert errors(teacher, teacher, str(tmp_path / "photographs"), 32)[0]["ours"] == 0


def test_times_are_taken_in_turn():
    called = []
    times = timing.interleaved({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3, warmup=1)
    assert called == ["a", "b"] * 4
    assert all(0 <= t.low <= t.median <= t.high for t in times.values())


ROW = {"table": "T", "row": "r | 1", "ours": 0.5, "other": 1.0, "ratio": 0.5, "against": "x", "command": "python -m c"}


def test_results_fill_the_page(tmp_path):
    with pytest.raises(ValueError, match="'r' has no 'ratio'"):
        timing.write_results(tmp_path / "a.json", [{"row": "r", "ours": 1, "other": 1, "command": "c"}])
    assert not list(tmp_path.iterdir())
    timing.write_results(tmp_path / "new" / "a.json", [ROW, ROW | {"row": "s", "bar": "<= 0.6", "table": "U"}])
    results = json.loads((tmp_path / "new" / "a.json").read_text())
    assert results["machine"]["torch"] == torch.__version__

    page = "before\n<!-- a -->\nold\n<!-- end -->\nbetween\n<!-- b -->\nkept\n<!-- end -->\nafter\n"
    filled, left = report.fill(page, {"a": results, "c": results})
    assert left == ["c"] and "old" not in filled
    assert "| r / 1 | 500.0 ms | 1,000.0 ms | 0.5 | x |" in filled and "≤ 0.6" in filled and "    python -m c" in filled
    assert filled.startswith("before\n") and filled.endswith("between\n<!-- b -->\nkept\n<!-- end -->\nafter\n")
    assert report.fill(filled, {"a": results})[0] == filled  # again, and nothing changes


@pytest.mark.parametrize(
    ("ratio", "bar", "shown"),
    [(0.6, "<= 0.6", "≤ 0.6 "), (0.61, "<= 0.6", "≤ 0.6, missed "), (29.0, ">= 30", "≥ 30, missed ")],
)
def test_what_misses_its_bar_is_told(tmp_path, ratio, bar, shown):
    timing.write_results(tmp_path / "a.json", [ROW | {"ratio": ratio, "bar": bar}])
    assert f"| {shown}|" in report.tables(json.loads((tmp_path / "a.json").read_text()))


def test_long_tables_are_folded(tmp_path):
    timing.write_results(tmp_path / "a.json", [ROW] * 30 + [ROW | {"table": "U"}] * 3)
    text = report.tables(json.loads((tmp_path / "a.json").read_text()))
    assert text.index("<summary>T</summary>") < text.index("| T |") < text.index("</details>") < text.index("| U |")


def test_the_latency_is_drawn(tmp_path):
    rows = [
        ROW | {"table": f"photograph to people, {side} px, batch 1", "row": f"keypoints, {n} people"}
        for side in (224, 368)
        for n in (1, 20)
    ]
    assert report.picture({"rows": rows}, tmp_path / "figures" / "latency.png")
    assert (tmp_path / "figures" / "latency.png").stat().st_size > 1000
    assert not report.picture({"rows": [ROW]}, tmp_path / "none.png")
