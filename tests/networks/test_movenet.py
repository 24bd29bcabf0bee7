"""MoveNet: the released graph run node by node, people on the photographs, centres that are read as people."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mpose3d import assets
from mpose3d.data.letterbox import letterbox, read_picture, to_tensor
from mpose3d.networks.backends import accelerate
from mpose3d.networks.fuse import fused
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.movenet import MoveNet, _merged, _once_each
from mpose3d.readers import KeypointReader
from mpose3d.representations.hmpaf import People2D
from mpose3d.skeleton import COCO_17
from tests.networks.test_photograph import Operations


@pytest.fixture(scope="module")
def file() -> Path:
    try:
        return assets.teacher_file("movenet")
    except OSError as error:
        pytest.skip(str(error))


class Graph:
    """The nodes of a TensorFlow.js graph, evaluated one by one as TensorFlow documents them: an independent reading."""

    def __init__(self, path: Path) -> None:
        model = json.loads(path.read_text())
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        content, start = path.with_suffix(".bin").read_bytes(), 0
        self.values: dict[str, torch.Tensor] = {}
        for entry in model["weightsManifest"][0]["weights"]:
            dtype = np.dtype("<f2" if "quantization" in entry else {"float32": "<f4", "int32": "<i4"}[entry["dtype"]])
            values = np.frombuffer(content, dtype, math.prod(entry["shape"]), start).reshape(entry["shape"])
            self.values[entry["name"]] = torch.from_numpy(values.astype(entry["dtype"]))
            start += values.nbytes

    def __call__(self, name: str) -> torch.Tensor:
        if name not in self.values:
            node = self.nodes[name]
            inputs = node["input"][:1] if node["op"] == "ResizeBilinear" else node["input"]
            self.values[name] = self._operation(node, [self(i) for i in inputs])
        return self.values[name]

    def _operation(self, node: dict, inputs: list[torch.Tensor]) -> torch.Tensor:
        op, attributes = node["op"], node.get("attr", {})
        if "Conv" in op:
            image, weight, *bias = inputs
            kernel, stride = weight.shape[0], int(attributes["strides"]["list"]["i"][1])
            if base64.b64decode(attributes["padding"]["s"]) == b"SAME":
                total = [max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in image.shape[1:3]]
                sides = [(pad // 2, pad - pad // 2) for pad in total]
                image = F.pad(image, (0, 0, *sides[1], *sides[0]))
            groups = weight.shape[2] if "Depthwise" in op else 1
            weight = weight.permute(2, 3, 0, 1) if groups > 1 else weight.permute(3, 2, 0, 1)
            out = F.conv2d(image.permute(0, 3, 1, 2), weight, *bias, stride=stride, groups=groups).permute(0, 2, 3, 1)
            ends = [base64.b64decode(s) for s in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
            return out.clamp(0, 6) if b"Relu6" in ends else out.clamp_min(0) if b"Relu" in ends else out
        if op == "ResizeBilinear":
            assert attributes["half_pixel_centers"]["b"] and not attributes["align_corners"].get("b")
            return F.interpolate(inputs[0].permute(0, 3, 1, 2), scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)
        return {"AddV2": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Cast": lambda x: x}[op](*inputs)


HEADS = {
    "centre": "center_0/conv2d_4",
    "box_size": "box_scale_0/conv2d_5",
    "box_offset": "box_offset_0/conv2d_6",
    "heatmap": "kpt_heatmap_0/conv2d_7",
    "regression": "kpt_regress_0/conv2d_8",
    "offset": "kpt_offset_0/conv2d_9",
}


def test_heads_are_those_of_the_released_graph(file):
    image = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    graph = Graph(file)
    graph.values["input"] = (255 * image).permute(0, 2, 3, 1)
    graph.values["StatefulPartitionedCall/Reshape"] = torch.zeros(1)
    with torch.inference_mode():
        heads = MoveNet(str(file)).eval().heads(image)
        for name, scope in HEADS.items():
            expected = graph(f"StatefulPartitionedCall/{scope}/BiasAdd").permute(0, 3, 1, 2)
            torch.testing.assert_close(heads[name], expected, atol=1e-3, rtol=0, msg=name)


def test_the_people_of_the_photographs_are_found_where_they_are(file):
    try:
        photographs = assets.photographs()
    except OSError as error:
        pytest.skip(str(error))
    network = fused(MoveNet(str(file)))
    counts = {}
    for path in photographs:
        image, box = letterbox(read_picture(path), 512)
        with torch.inference_mode():
            people = network(to_tensor(image)[None])
        sure = people.valid[0] & (people.scores[0].mean(-1) > 0.15)
        counts[path.stem] = int(sure.sum())
        if path.stem == "bus":
            nose = box.to_image(people.points[0, sure, COCO_17.index("nose")].double())
            # the two men in front of the bus, read off the photograph
            for place in ((147, 445), (290, 448)):
                assert (nose - nose.new_tensor(place)).norm(dim=-1).min() < 25
    assert counts == {"bus": 4, "zidane": 2}


def crowd(points: torch.Tensor, centres: torch.Tensor, height: int, width: int) -> dict[str, torch.Tensor]:
    """Heads that say these people (P, 17, 2) of whole cells (x, y), their centres (P, 2) likewise."""
    heads = {"centre": torch.full((1, 1, height, width), -9.0), "heatmap": torch.full((1, 17, height, width), -9.0)}
    heads |= {name: torch.zeros(1, 2, height, width) for name in ("box_size", "box_offset")}
    heads |= {name: torch.zeros(1, 34, height, width) for name in ("regression", "offset")}
    for joints, (x, y) in zip(points.tolist(), centres.tolist(), strict=True):
        heads["centre"][0, 0, y, x] = 3
        for axis, place in enumerate((y, x)):  # y before x
            ends = [joint[1 - axis] for joint in joints]
            heads["box_size"][0, axis, y, x] = max(ends) - min(ends) + 4
            heads["box_offset"][0, axis, y, x] = (max(ends) + min(ends)) / 2 - place
        for j, (u, v) in enumerate(joints):
            heads["heatmap"][0, j, v, u] = 4
            # the field points one cell beside the joint
            heads["regression"][0, 2 * j : 2 * j + 2, y, x] = torch.tensor([v - y + 1.0, u - x - 1.0])
            heads["offset"][0, 2 * j : 2 * j + 2, v, u] = torch.tensor([0.25, -0.5])
    return heads


def test_people_are_read_at_their_centres():
    generator = torch.Generator().manual_seed(1)
    middle = torch.tensor([[12, 20], [40, 20], [26, 40]])
    points = middle[:, None] + torch.randint(-8, 9, (3, 17, 2), generator=generator)
    people = MoveNet(max_people=6)._people(crowd(points, middle, 56, 56))
    assert people.valid.sum() == 3
    found = people.points[people.valid]
    expected = 4 * (points + torch.tensor([-0.5, 0.25]))
    for person in expected:
        assert (found - person).abs().amax((1, 2)).min() < 1e-4
    # the field is a cell off in x and in y
    near = torch.tensor(4.0).sigmoid() * math.exp(-2 / (0.3 * 56))
    torch.testing.assert_close(people.scores[people.valid], near.expand(3, 17))


def test_places_without_a_centre_are_nobody_and_a_centre_rules_five_cells():
    generator = torch.Generator().manual_seed(1)
    middle = torch.tensor([[12, 20], [40, 20]])
    points = middle[:, None] + torch.randint(-8, 9, (2, 17, 2), generator=generator)
    heads = crowd(points, middle, 56, 56)
    heads["box_size"][:] = 56  # boxes everywhere
    assert MoveNet(max_people=6)._people(heads).valid.sum() == 2
    for apart, people in ((2, 1), (3, 2)):
        close = crowd(points, torch.tensor([[20, 20], [20 + apart, 20]]), 56, 56)
        close["centre"][0, 0, 20, 20 + apart] -= 0.1  # less sure than the other
        assert MoveNet(max_people=6)._people(close).valid.sum() == people


def test_a_joint_is_taken_in_the_box_of_its_person_alone():
    middle = torch.tensor([[20, 20]])
    points = middle[:, None] + torch.randint(-3, 4, (1, 17, 2), generator=torch.Generator().manual_seed(2))
    for beyond in ((0, -6), (0, 6), (-6, 0), (6, 0)):
        heads = crowd(points, middle, 56, 56)
        x, y = (20 + step for step in beyond)
        heads["heatmap"][0, :, y, x] = 9  # sure, and outside
        heads["regression"][0, 0::2, 20, 20] = y - 20
        heads["regression"][0, 1::2, 20, 20] = x - 20
        people = MoveNet(max_people=1)._people(heads)
        seen, expected = people.visible[0, 0], 4 * (points[0] + torch.tensor([-0.5, 0.25]))
        assert 0 < seen.sum() < 17  # some are too far from where they are expected
        torch.testing.assert_close(people.points[0, 0, seen], expected[seen])


class Told(MoveNet):
    """Runs in full, and then reads the heads that it is given."""

    def __init__(self, heads: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.told = heads

    def heads(self, image):
        super().heads(image)
        return self.told


@torch.inference_mode()
def test_twenty_people_cost_what_one_costs():
    """All the way to people in 3D, refined."""
    generator, lifter = torch.Generator().manual_seed(6), KeypointLifter(width=16, blocks=1)
    logs, flops, found = [], [], []
    for people in (1, 20):
        middle = torch.tensor([(6 + 10 * (p % 5), 8 + 12 * (p // 5)) for p in range(people)])
        points = middle[:, None] + torch.randint(-4, 5, (people, 17, 2), generator=generator)
        reader = KeypointReader(Told(crowd(points, middle, 56, 56)), lifter, 224, threshold=0.15)
        image = torch.rand(1, 3, 224, 224)
        reader.detect(image)  # constants are made once
        with FlopCounterMode(display=False) as counter, Operations() as operations:
            detection = reader.detect(image)
        logs.append(operations.log)
        flops.append(counter.get_total_flops())
        found.append(int(detection.roots.valid.sum()))
    assert found == [1, 20]
    assert logs[0] == logs[1] and len(logs[0]) > 50
    assert flops[0] == flops[1] > 1e6


class Zoomed(MoveNet):
    """Sees the same crowd, its joints in `places` (P, 17, 2) of the image from 0 to 1, at any size it is shown."""

    def __init__(self, places: torch.Tensor, **arguments) -> None:
        super().__init__(**arguments)
        self.places, self.seen = places, []

    def heads(self, image):
        height, width = (side // 4 for side in image.shape[-2:])
        self.seen.append((width, height))
        points = (self.places * torch.tensor([width, height])).long()
        return crowd(points, points.float().mean(1).long(), height, width)


def test_joints_are_averaged_over_sizes():
    generator = torch.Generator().manual_seed(8)
    places = torch.tensor([[0.3, 0.3], [0.7, 0.7]])[:, None] + 0.2 * torch.rand(2, 17, 2, generator=generator)
    image = torch.rand(1, 3, 256, 192)
    one = Zoomed(places, max_people=4)(image)
    again = Zoomed(places, max_people=4, scales=(1, 1))(image)
    # as sure of both people, and so in any order
    left_first = [found.points[0, found.valid[0]].sort(0).values for found in (one, again)]
    torch.testing.assert_close(*left_first)
    network = Zoomed(places, max_people=4, scales=(1, 2, 0.5))
    people = network(image)
    assert network.seen == [(48, 64), (96, 128), (24, 32)]
    assert people.valid.sum() == 2 and people.visible[people.valid].all()
    # cells of the three are 4, 2 and 8 px, and each rounds down
    errors = [
        [
            (found.points[found.valid] - person).abs().mean((1, 2)).min()
            for person in places * torch.tensor([192.0, 256])
        ]
        for found in (people, one)
    ]
    assert max(map(max, errors)) < 5 and errors[0] != errors[1]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_means_of_pixels_are_no_coarser_under_mixed_precision(half):
    places = 0.2 + 0.5 * torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(12))
    network, image = Zoomed(places, max_people=1, scales=(1, 2, 0.5)), torch.rand(1, 3, 128, 96)
    points = network(image).points
    with torch.autocast("cpu", half):
        torch.testing.assert_close(network(image).points, points, rtol=0, atol=1e-3)


def test_points_are_pixels_of_the_image_at_whatever_size_it_was_read():
    places = 0.2 + 0.5 * torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(12))
    image = torch.rand(1, 3, 128, 96)
    found = Zoomed(places, max_people=1, scales=(2,))(image).points[0, 0]
    cells = (places[0] * torch.tensor([48.0, 64.0])).floor()
    torch.testing.assert_close(found, (4 * (cells + torch.tensor([-0.5, 0.25])) + 0.5) / 2 - 0.5)


#: longer side of an image that nobody fills
FAR = 10_000.0


class Merged(nn.Module):
    """Two readings of the same image, (b, p, j, 3) as x, y and score, the second at half the size."""

    def forward(self, readings):
        first, second = (
            People2D(reading[..., :2], reading[..., 2], reading[..., 2] > 0, (reading[..., 2] > 0).any(-1))
            for reading in readings.split(4, dim=1)
        )
        return _merged([first, second], (1.0, 0.5), FAR)


def test_merging_runs_in_onnxruntime():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    readings = torch.rand(1, 8, 17, 3, generator=torch.Generator().manual_seed(10))
    readings[:, 4:, :, :2] = readings[:, [2, 3, 0, 1], :, :2] + 0.02
    readings[..., 2] = (readings[..., 2] - 0.3).clamp_min(0)
    readings[:, 3, :, 2] = 0  # nobody
    found, expected = accelerate(Merged(), readings, "onnxruntime")(readings), Merged()(readings)
    assert expected.valid.any() and not expected.valid.all()
    torch.testing.assert_close(tuple(found), tuple(expected))


def reading(*people: torch.Tensor, score: float = 1.0, joints: int = 17) -> People2D:
    """People (17, 2) of whom the first `joints` joints are seen, in four places."""
    points = torch.stack([*people, *(torch.zeros(17, 2) for _ in range(4 - len(people)))])[None]
    visible = ((torch.arange(4) < len(people))[:, None] & (torch.arange(17) < joints))[None]
    return People2D(points * visible[..., None], score * visible, visible, visible.any(-1))


@pytest.fixture
def body() -> torch.Tensor:
    return 100 * torch.rand(17, 2, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize(("score", "later"), [(0.6, 0.4), (0.4, 0.9)])
def test_a_joint_is_the_mean_of_its_readings_by_score_and_size(body, score, later):
    merged = _merged([reading(body, score=score), reading(body + 4, score=later)], (1.0, 0.5), FAR)
    assert merged.valid.tolist() == [[True, False, False, False]]
    torch.testing.assert_close(merged.points[0, 0], body + 4 * later / 2 / (score + later / 2))
    torch.testing.assert_close(merged.scores[0, 0], torch.full((17,), score))  # the first reading's


def test_half_of_the_joints_seen_are_enough_to_be_the_same_person(body):
    off = body.clone()
    off[2:4] += 0.3 * (body.amax(0) - body.amin(0))
    merged = _merged([reading(body, joints=4), reading(off, joints=4)], (1.0, 1.0), FAR)
    torch.testing.assert_close(merged.points[0, 0, :4], (body + off)[:4] / 2)


def test_a_person_is_the_same_a_seventh_of_the_box_off(body):
    """Farther off it is somebody else's reading, and no joint is averaged with it."""
    diagonal = body.amax(0) - body.amin(0)
    for part, same in ((0.14, True), (0.16, False)):
        merged = _merged([reading(body), reading(body + part * diagonal, score=0.5)], (1.0, 1.0), FAR)
        expected = body + (part / 3 * diagonal if same else 0)
        torch.testing.assert_close(merged.points[0, 0], expected)


def test_only_the_nearest_of_another_reading_and_nobody_of_the_same_is_the_same_person(body):
    diagonal = body.amax(0) - body.amin(0)
    merged = _merged([reading(body), reading(body + 2, body + 0.1 * diagonal)], (1.0, 1.0), FAR)
    torch.testing.assert_close(merged.points[0, 0], body + 1)
    beside = body + 0.1 * diagonal
    merged = _merged([reading(body, beside), reading(body + 900)], (1.0, 1.0), FAR)
    assert merged.valid.sum() == 3
    for person in (body, beside):
        assert (merged.points[0] - person).abs().amax((1, 2)).min() < 1e-4


@pytest.mark.parametrize(("part", "people"), [(0.09, 1), (0.11, 2)])
def test_of_one_reading_joints_are_shared_within_a_tenth_of_the_side(body, part, people):
    points = torch.stack([body, body + part * 60 * torch.tensor([0.6, 0.8])])[None]
    scores = torch.tensor([0.9, 0.5])[None, :, None].expand(1, 2, 17)
    found = _once_each(points, scores, scores > 0, torch.full((1, 2), 60.0))
    assert found.valid.sum() == people and torch.equal(found.points[0, 0], body)
    # joints that are not seen are shared by nobody
    seen = torch.ones(1, 2, 17, dtype=torch.bool)
    seen[0, 1, 4:] = False
    points[0, 1, :4] += 500
    assert _once_each(points, scores * seen, seen, torch.full((1, 2), 60.0)).valid.all()


def test_whoever_is_somebody_else_takes_nobody_away(body):
    """The second is near the first, the third near the second alone."""
    points = torch.stack([body + shift * torch.tensor([3.0, 4.0]) for shift in (0, 1, 2)])[None]
    scores = torch.tensor([0.9, 0.7, 0.5])[None, :, None].expand(1, 3, 17)
    found = _once_each(points, scores, scores > 0, torch.full((1, 3), 60.0))
    assert found.valid.tolist() == [[True, False, True]]
    torch.testing.assert_close(found.points[0, [0, 2]], points[0, [0, 2]])


def test_nobody_is_averaged_into_two_people(body):
    """Two side by side, of whom another size sees one: both are near that one, who is near the first."""
    away = 0.1 * (body.amax(0) - body.amin(0))
    merged = _merged([reading(body, body + away, score=0.5), reading(body + 0.3 * away, score=0.5)], (1.0, 1.0), FAR)
    assert merged.valid.sum() == 2
    for person in (body + 0.15 * away, body + away):
        assert (merged.points[0] - person).abs().amax((1, 2)).min() < 1e-4


def test_two_halves_are_the_person_whom_another_size_sees_whole(body):
    whole = reading(body, body, score=0.5)
    upper = torch.stack([torch.arange(17) < 9, torch.arange(17) >= 9])
    seen = whole.visible & torch.cat([upper, upper])
    halves = whole._replace(visible=seen, scores=whole.scores * seen, points=whole.points * seen[..., None])
    merged = _merged([halves, reading(body)], (1.0, 1.0), FAR)
    assert merged.valid.tolist() == [[True, False, False, False]]
    torch.testing.assert_close(merged.points[0, 0], body)


def test_a_few_joints_are_not_the_same_person(body):
    """Another reading has the person a little off, and two of the joints, exactly, as somebody else."""
    whole, two = reading(body + 4), reading(body, joints=2)
    second = People2D(*(torch.cat([b[:, :1], a[:, :3]], dim=1) for a, b in zip(whole, two, strict=True)))
    merged = _merged([reading(body), second], (1.0, 1.0), FAR)
    torch.testing.assert_close(merged.points[0, 0], body + 2)
    assert merged.valid.sum() == 1  # two joints on somebody are nobody


def test_whom_only_another_size_sees_is_there_and_counts_less(body):
    merged = _merged([reading(body), reading(body + 300, body + 3, score=0.8)], (1.0, 0.5), FAR)
    assert merged.valid.tolist() == [[True, True, False, False]]
    torch.testing.assert_close(merged.points[0, 1], body + 300)
    torch.testing.assert_close(merged.scores[0, :, 0], torch.tensor([1, 0.65 * 0.8, 0, 0]))


@pytest.mark.parametrize(("scale", "fills", "score"), [(0.5, True, 0.8), (0.5, False, 0.3), (1.5, True, 0.3)])
def test_whoever_fills_the_image_is_as_sure_as_at_the_smaller_size(body, scale, fills, score):
    readings = [reading(body, score=0.3), reading(body + 3, body + 300, score=0.8)]
    merged = _merged(readings, (1.0, scale), 200.0 if fills else FAR)
    weight = 0.8 * scale
    torch.testing.assert_close(
        merged.points[0, :2].sort(0).values, torch.stack([body + 3 * weight / (0.3 + weight), body + 300])
    )
    torch.testing.assert_close(
        merged.scores[0, :2, 0].sort().values, torch.tensor([score, 0.8 if score > 0.3 else 0.65 * 0.8])
    )


def test_a_very_small_reading_is_for_those_who_fill_the_image(body):
    readings = [reading(body), reading(body + 3, body + 300)]
    merged = _merged(readings, (1.0, 0.4), FAR)
    assert merged.valid.sum() == 1
    torch.testing.assert_close(merged.points[0, 0], body)
    assert _merged(readings, (1.0, 0.4), 200.0).valid.sum() == 2


@pytest.mark.parametrize(("score", "stays"), [(0.9, "later"), (0.3, "first")])
def test_of_two_in_one_place_the_surer_stays(body, score, stays):
    """Differently read, so that no joints agree: a fragment of the first reading does not keep away a whole person."""
    turned = 100 - body
    merged = _merged([reading(body, score=0.4), reading(turned, score=score)], (1.0, 0.5), FAR)
    assert merged.valid.sum() == 1
    torch.testing.assert_close(merged.points[0, 0], turned if stays == "later" else body)


def test_people_side_by_side_are_seen_once_each_at_any_size(body):
    """Their boxes share more than half: only what is nobody's reading of theirs may be dropped for it."""
    other = body + torch.tensor([25.0, 0.0])
    for scores in ((1.0, 0.5), (0.5, 1.0)):
        first, second = (reading(body, other, score=score) for score in scores)
        first.scores[0, 1] *= 0.8  # not as sure of both
        merged = _merged([first, second], (1.0, 0.5), FAR)
        assert merged.valid.sum() == 2
        torch.testing.assert_close(merged.points[0, :2].sum(0), body + other)


@pytest.fixture
def cut_in_two(body) -> People2D:
    """A person of 100 px (sides), in four places; the joints 0 to 7 pile up at x = 5, those of even number unsure."""
    body[:8, 0] = 5.0
    body[8:, 0] = torch.linspace(30, 105, 9)
    body[:, 1] = torch.linspace(200, 300, 17)
    people = reading(body)
    people.scores[..., ::2] *= 0.2
    return people


def test_unsure_joints_at_the_border_of_the_picture_are_not_seen(cut_in_two):
    for border, near in (
        ((0.0, 0.0, 500.0, 500.0), [0, 2, 4, 6]),
        ((-500.0, 0.0, 110.0, 500.0), [16]),
        ((-500.0, 195.0, 500.0, 500.0), [0]),
    ):
        cut_off = MoveNet().cut_off(cut_in_two, torch.tensor([border]))
        assert cut_off[0, 0].nonzero().flatten().tolist() == near
        assert not cut_off[0, 1:].any()  # nobody is there
    assert not MoveNet().cut_off(cut_in_two, torch.tensor([[-50.0, 0, 500, 500]])).any()


def test_whom_the_border_leaves_too_little_of_keeps_all(cut_in_two):
    cut_in_two.scores[..., :10] = 0.2
    border = torch.tensor([[0.0, 0, 500, 500], [0, 0, 100, 500]])
    two = People2D(*(part.repeat(2, *[1] * (part.dim() - 1)) for part in cut_in_two))
    assert MoveNet().cut_off(two, border)[:, 0].sum(-1).tolist() == [8, 0]


def test_a_size_that_is_no_size_is_refused():
    with pytest.raises(ValueError, match=r"one multiple of its size or more, not at \[1.0, 0\]"):
        MoveNet(scales=[1.0, 0])


def test_one_person_with_two_centres_is_one_person():
    points = torch.randint(10, 40, (1, 17, 2), generator=torch.Generator().manual_seed(2)).expand(2, -1, -1)
    people = MoveNet(max_people=6)._people(crowd(points, torch.tensor([[20, 20], [28, 30]]), 56, 56))
    assert people.valid.sum() == 1


def test_a_blank_image_has_nobody_and_a_batch_is_its_images():
    network = MoveNet(max_people=4).eval()
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        together = network(images)
        for i, image in enumerate(images):
            for part, alone in zip(together, network(image[None]), strict=True):
                torch.testing.assert_close(part[i], alone[0], atol=1e-4, rtol=1e-4)
        nobody = MoveNet()._people({name: torch.full((1, n, 16, 16), -20.0) for name, n in _CHANNELS.items()})
    assert not nobody.valid.any() and not nobody.visible.any()


_CHANNELS = {"centre": 1, "box_size": 2, "box_offset": 2, "heatmap": 17, "regression": 34, "offset": 34}


class Shown(MoveNet):
    """Remembers what it was shown, and sees nobody."""

    def heads(self, image):
        self.image = image
        size = [side // 4 for side in image.shape[-2:]]
        return {name: torch.full((len(image), channels, *size), -20.0) for name, channels in _CHANNELS.items()}


def test_a_small_reading_averages_areas_and_a_person_is_as_sure_as_all_joints(body):
    network = Shown(max_people=1, scales=(0.25,)).eval()
    network(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
    assert network.image.shape == (1, 3, 64, 64)
    assert network.image.std() < 12**-0.5 / 4  # of 16 pixels or more each
    assert network.score(reading(body, joints=5)).tolist() == [[pytest.approx(5 / 17), 0, 0, 0]]
    with pytest.raises(ValueError, match="0 people are none"):
        MoveNet(max_people=0)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_a_batch_of_no_images_has_nobody(scales):
    people = MoveNet(max_people=4, scales=scales).eval()(torch.zeros(0, 3, 64, 96))
    assert people.points.shape == (0, 4, 17, 2) and people.valid.shape == (0, 4)


def test_any_size_is_read_as_if_black_followed():
    network, image = MoveNet(max_people=4).eval(), torch.rand(1, 3, 70, 96, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        for here, padded in zip(network(image), network(F.pad(image, (0, 0, 0, 26))), strict=True):
            torch.testing.assert_close(here, padded)
        shown = Shown()
        shown(image)
        assert torch.equal(shown.image, F.pad(image, (0, 0, 0, 26)))
    with pytest.raises(ValueError, match="MoveNet reads float RGB images"):
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="MoveNet reads float RGB images"):
        network(torch.zeros(1, 3, 0, 64))


def test_a_file_that_is_cut_short_is_refused(file, tmp_path):
    for path in (file, file.with_suffix(".bin")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file.with_suffix(".bin").name).write_bytes(file.with_suffix(".bin").read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"movenet-multipose\.json cannot be read as weights"):
        MoveNet(str(tmp_path / file.name))
    (tmp_path / file.with_suffix(".bin").name).unlink()
    with pytest.raises(ValueError, match=r"movenet-multipose\.json cannot be read as weights"):
        MoveNet(str(tmp_path / file.name))
