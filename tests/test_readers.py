"""photograph -> people, by maps and by keypoints."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from mpose3d import readers
from mpose3d.data.letterbox import Letterbox
from mpose3d.geometry.camera import Camera
from mpose3d.networks.cross_modal import CrossModalNetwork
from mpose3d.networks.keypoint_lifter import KeypointLifter
from mpose3d.networks.movenet import MoveNet
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.pose_estimator import PoseEstimator2D
from mpose3d.networks.teacher import SmallTeacher
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import SceneSampler
from mpose3d.readers import SEEN_REFINE, KeypointReader, MapReader, _of_all_positions
from mpose3d.representations.hmpaf import HMPAF, People2D, draw
from mpose3d.representations.neural import ROOT_THRESHOLD
from mpose3d.skeleton import COCO_17, MPOSE3D, SKELETON
from mpose3d.stages import ChooserStage


def test_the_camera_projects_the_people_onto_the_photograph(network):
    """joints_px, root_px, joints_mm and camera of a file agree to a hundredth of a pixel or so."""
    network.representation.__dict__["perspective"] = "full"
    reader = MapReader(SmallTeacher(width=8), network)
    assert reader.threshold == ROOT_THRESHOLD
    box = Letterbox.fit(90, 40, 64)
    people = reader.read(np.zeros((64, 64, 3), np.uint8), box)
    assert len(people.score)
    projected = people.camera.project(torch.from_numpy(people.joints_mm)).numpy()
    np.testing.assert_allclose(projected, people.joints_px, atol=0.05)
    np.testing.assert_allclose(people.joints_px[:, SKELETON.root], people.root_px, atol=0.05)


def test_a_larger_teacher_reads_the_same_photograph(network):
    """Roots stay where they are, in pixels of the photograph, whatever the size of the teacher's input."""
    box, larger = Letterbox.fit(200, 200, 64), Letterbox.fit(200, 200, 128)
    one = MapReader(SmallTeacher(width=8), network).read(np.zeros((64, 64, 3), np.uint8), box)
    two = MapReader(SmallTeacher(width=8), network, teacher_size=128).read(np.zeros((128, 128, 3), np.uint8), larger)
    assert one.root_px.min() > -30 and two.root_px.max() < 230 and two.root_px.max() > 150
    # whatever the network says
    for side, where in ((64, box), (128, larger)):
        reader = MapReader(SmallTeacher(width=8), network, teacher_size=side)
        detection = reader.detect(torch.zeros(1, 3, side, side))
        roots = detection.roots._replace(px=torch.tensor([[[10.0, 20.0]]]).expand_as(detection.roots.px))
        detection = detection._replace(roots=roots)
        reader._run = lambda image, found=detection: found
        place = reader.read(np.zeros((side, side, 3), np.uint8), where).root_px[0]
        np.testing.assert_allclose(place, (np.array([10.0, 20.0]) + 0.5) * 200 / 64 - 0.5)


class DrawnTeacher(SmallTeacher):
    """Sees the people that it was given in every image."""

    def __init__(self, joints_px: torch.Tensor) -> None:
        super().__init__(width=8)
        self.joints_px = joints_px

    def decode(self, v):
        size = (v.shape[-2], v.shape[-1])
        return draw(self.joints_px, torch.ones(self.joints_px.shape[:3], dtype=torch.bool), MPOSE3D, size, self.stride)


def test_by_keypoints_the_lifter_reads_what_the_teacher_sees(tmp_path):
    """Two people drawn: found again, in pixels of the photograph, each as the lifter reads its joints."""
    camera = Camera.for_image(256, 256)
    scenes = SceneSampler(ArtificialPoses(), camera, 256, people=(2, 2), height=(0.4, 0.5), crowding=0.5, margin=0.2)
    generator = torch.Generator().manual_seed(0)
    joints = next(s.joints for s in (scenes.sample(1, generator) for _ in range(99)) if s.drawn.all())
    pixels = camera.project(joints)
    lifter = KeypointLifter(width=16, blocks=1).eval()
    reader = KeypointReader(DrawnTeacher(pixels), lifter, teacher_size=256)
    found = reader.read(np.zeros((256, 256, 3), np.uint8), Letterbox.fit(512, 512, 256))
    assert len(found.score) == 2 and found.score.min() > 0.5
    place = [int(np.abs(found.root_px - (2 * p[SKELETON.root] + 0.5).numpy()).sum(-1).argmin()) for p in pixels[0]]
    assert sorted(place) == [0, 1]
    given = torch.from_numpy(found.joints_px[place])
    assert (given - (2 * pixels[0] + 0.5)).norm(dim=-1).max() < 2 * 4 * 2  # two cells of the teacher
    with torch.no_grad():
        camera = Camera.for_image(512, 512)
        again = lifter(given.float(), torch.ones(2, 15, dtype=torch.bool), camera, SEEN_REFINE).joints
        more = lifter(given.float(), torch.ones(2, 15, dtype=torch.bool), camera, 3).joints
    np.testing.assert_allclose(found.joints_mm[place], again, rtol=1e-3, atol=1)
    reader = KeypointReader(DrawnTeacher(pixels), lifter, teacher_size=256, refine=3)
    found = reader.read(np.zeros((256, 256, 3), np.uint8), Letterbox.fit(512, 512, 256))
    np.testing.assert_allclose(found.joints_mm[place], more, rtol=1e-3, atol=1)


def test_a_chooser_gives_every_joint_a_place(tmp_path):
    """A joint that the teacher does not see comes by estimate, in 2D and 3D; who may have a chooser is said."""
    points = 128 + 60 * torch.randn(1, 1, 15, 2, generator=torch.Generator().manual_seed(0))
    chooser, lifter = PeakChooser(width=16, blocks=1), KeypointLifter(width=16, blocks=1)
    chooser.none.bias.data.fill_(1e3)  # nothing is ever a joint's peak
    plain, choosing = (
        KeypointReader(DrawnTeacher(points), lifter, 256, threshold=0.0, chooser=c) for c in (None, chooser)
    )
    image, box = np.zeros((256, 256, 3), np.uint8), Letterbox.fit(256, 256, 256)
    seen, chosen = (reader.read_teacher(image, box)["people"] for reader in (plain, choosing))
    assert len(seen) == len(chosen) == 1 and None not in chosen[0]["joints_px"]
    assert seen[0]["joints_px"] != chosen[0]["joints_px"]
    assert choosing.teacher_people(torch.zeros(1, 3, 256, 256))[-1].item() == 0  # estimates are no peaks
    with pytest.raises(ValueError, match="needs a teacher with maps of the joints of mpose3d, which CrowdedMoveNet of"):
        KeypointReader(CrowdedMoveNet(), lifter, chooser=chooser)


class CrowdedMoveNet(MoveNet):
    """Sees one person surely, the same person's arms once more, and somebody hardly."""

    def forward(self, image):
        points = torch.rand(1, 3, 17, 2, generator=torch.Generator().manual_seed(5)) * 200 + 20
        scores = torch.tensor([0.8, 0.4, 0.1]).reshape(1, 3, 1).expand(1, 3, 17)
        visible = torch.ones(1, 3, 17, dtype=torch.bool)
        return People2D(points, scores, visible, torch.tensor([[True, False, True]]))


def test_people_of_movenet_are_lifted_as_they_are():
    lifter, teacher = KeypointLifter(width=16, blocks=1).eval(), CrowdedMoveNet()
    reader = KeypointReader(teacher, lifter, teacher_size=256, threshold=0.15)
    roots, people = reader.detect(torch.rand(1, 3, 256, 256))
    assert roots.valid.tolist() == [[True, False, False]]
    assert roots.score[0, 0].item() == pytest.approx(0.8)
    seen = teacher(None)
    pelvis = COCO_17.to_skeleton(seen.points[0, 0], estimate=True)[0][SKELETON.root]
    torch.testing.assert_close(roots.px[0, 0], pelvis)
    assert people.joints[0, 0].isfinite().all()
    surer = KeypointReader(teacher, lifter, teacher_size=256, threshold=0.85)
    assert not surer.detect(torch.rand(1, 3, 256, 256))[0].valid.any()
    two_d = reader.read_teacher(np.zeros((256, 256, 3), np.uint8), Letterbox.fit(256, 256, 256))["people"]
    # by the same threshold; nothing is estimated
    assert len(two_d) == 1 and two_d[0]["joints_px"][SKELETON.index("head_top")] is None
    with pytest.raises(ValueError, match="MoveNet has no maps for the pathway 'hmpaf': take a teacher of openpose18"):
        MapReader(teacher, CrossModalNetwork("openpose18", 8, g_width=8, h_width=16), "hmpaf")


class TwoHalves(PoseEstimator2D):
    """One person in each half of the image, each joint of it at the same place; the right one is the surer."""

    layout = MPOSE3D
    side, multiple, threshold, upright_only = 96, 32, 0.5, False

    def forward(self, image):
        height, width = image.shape[-2:]
        points = image.new_tensor([[0.25, 0.5], [0.75, 0.5]]) * image.new_tensor([width, height])
        spread = torch.linspace(-5, 5, len(self.layout))[:, None]
        points = (points[:, None] + spread * torch.tensor([1.0, 2.0])).expand(len(image), -1, -1, -1)
        seen = torch.ones(points.shape[:3], dtype=torch.bool)
        return People2D(points, torch.tensor([0.6, 0.9])[:, None].expand(seen.shape), seen, seen.any(-1))

    def people(self, output):
        return output

    def score(self, people):
        return people.scores.mean(-1)


def test_any_network_that_gives_people_can_be_the_teacher():
    lifter = KeypointLifter(width=16, blocks=1).eval()
    reader = KeypointReader(TwoHalves(), lifter)
    assert reader.side == 96 and reader.threshold == 0.5
    people = reader.read(np.zeros((96, 96, 3), np.uint8), Letterbox.fit(192, 192, 96))
    np.testing.assert_allclose(np.sort(people.score), [0.6, 0.9], rtol=1e-6)
    middle = people.joints_px.mean(1)[people.score.argsort()]
    np.testing.assert_allclose(middle, [[48.5, 96.5], [144.5, 96.5]], atol=1e-3)
    # nothing is said to be cut off, wherever the border is
    *_, cut_off, _ = reader.teacher_people(torch.zeros(1, 3, 96, 96), border=(30, 0, 60, 96))
    assert not cut_off.any()
    with pytest.raises(ValueError, match="teacher_size 100 is no multiple of 32"):
        KeypointReader(TwoHalves(), lifter, teacher_size=100)


class HandsFirstMoveNet(CrowdedMoveNet):
    """Is surest of somebody of whom it sees three joints."""

    def forward(self, image):
        people = super().forward(image)
        people.visible[:, 0, 3:] = False
        people.valid[:, 1] = True
        return people


def test_most_people_are_counted_among_those_who_can_be_lifted():
    lifter = KeypointLifter(width=16, blocks=1).eval()
    reader = KeypointReader(HandsFirstMoveNet(), lifter, 256, max_people=1, threshold=0.15)
    roots, _ = reader.detect(torch.rand(1, 3, 256, 256))
    assert roots.valid.tolist() == [[True]] and roots.score.item() == pytest.approx(0.4)


class BodyElsewhere(KeypointLifter):
    """Lifts everybody to a place of its own; remembers which joints it was told of."""

    def __init__(self, joints_px):
        super().__init__(width=16, blocks=1)
        self.joints_px, self.told = torch.tensor(joints_px), []

    def forward(self, joints_px, visible, camera, refine=0, proportions=False):
        self.told.append(visible[0, 0])
        people = super().forward(joints_px, visible, camera, refine, proportions)
        return people._replace(joints_px=self.joints_px.expand_as(people.joints_px))


@pytest.mark.parametrize("turned", [False, True])
def test_joints_that_the_border_cuts_off(turned, monkeypatch):
    """They are not seen but where the body, lifted without them, has them in the photograph: not in the bars."""
    borders = []

    def cut_off(people, border):
        borders.append(border)
        return people.visible & (torch.arange(17) == COCO_17.index("l_wrist"))

    teacher = CrowdedMoveNet()
    monkeypatch.setattr(teacher, "cut_off", cut_off)
    image, box = np.zeros((256, 256, 3), np.uint8), Letterbox.fit(512, 256, 256)
    place = SKELETON.index("l_wrist")
    trim = 0 if turned else 32
    for y, inside in ((70.0, True), (60.0, False), (200.0, False)):
        lifter = BodyElsewhere([100.0, y - trim])
        reader = KeypointReader(teacher, lifter, 256, threshold=0.15, turned=turned)
        if turned:
            monkeypatch.setattr(
                reader, "_run", lambda images: People2D(*(p.repeat(4, *[1] * (p.dim() - 1)) for p in teacher(None)))
            )
        _, visible, off, _ = reader.teacher_people(torch.zeros(1, 3, 256, 256))
        assert visible[0, 0].all() and off[0, 0].nonzero().flatten().tolist() == [place]
        people = reader.read(image, box)
        assert [told[place].item() for told in lifter.told] == ([False, True] if inside else [False])
        assert all(told[joint] for told in lifter.told for joint in range(15) if joint != place)
        wrist = teacher(None).points[0, 0, COCO_17.index("l_wrist")] if inside else lifter.joints_px
        found = torch.from_numpy(people.joints_px[0, place])
        at = box.to_image((wrist + torch.tensor([0.0, trim])).double())
        torch.testing.assert_close(found, at, atol=0.1, rtol=0)
        lifter.told.clear()
        KeypointReader(teacher, lifter, 256, threshold=0.85).read(image, box)
        assert len(lifter.told) == 1  # for nobody who counts
    whole, lying = [-0.5, -0.5, 255.5, 255.5], [-0.5, 63.5, 255.5, 191.5]
    assert borders[0].tolist() == [whole] * (4 if turned else 1)
    upright = [63.5, -0.5, 191.5, 255.5]
    trimmed = [-0.5, 31.5, 255.5, 159.5]
    assert borders[1].tolist() == ([lying, upright, lying, upright] if turned else [trimmed])


def test_joints_made_of_several_are_made_of_those_inside_the_picture(monkeypatch):
    """Of a hip and a shoulder that is cut off, of the hip alone; what cannot be had without it is cut off too."""
    teacher = CrowdedMoveNet()
    reader = KeypointReader(teacher, KeypointLifter(width=16, blocks=1), 256)
    shoulder = torch.arange(17) == COCO_17.index("r_shoulder")
    monkeypatch.setattr(teacher, "cut_off", lambda people, border: people.visible & shoulder)
    points, _, off, _ = reader.teacher_people(torch.zeros(1, 3, 256, 256))
    expected = teacher(None).points[0, 0, COCO_17.index("r_hip")]
    torch.testing.assert_close(points[0, 0, SKELETON.index("r_hip")], expected)
    cut = sorted(SKELETON.indices("head_top", "neck", "r_shoulder"))
    assert off[0, 0].nonzero().flatten().tolist() == cut


def test_of_whom_the_border_leaves_too_few_joints_nothing_is_said(monkeypatch):
    teacher, image = CrowdedMoveNet(), torch.zeros(1, 3, 256, 256)
    reader = KeypointReader(teacher, KeypointLifter(width=16, blocks=1), 256, threshold=0.15)
    assert reader.detect(image)[0].valid.any()
    legs = torch.arange(17) > COCO_17.index("r_shoulder")  # and arms
    monkeypatch.setattr(teacher, "cut_off", lambda people, border: people.visible & legs)
    assert not reader.detect(image)[0].valid.any()


class PicturedMoveNet(CrowdedMoveNet):
    """Knows the shape of the image in front of it."""

    def forward(self, image):
        self.shape = tuple(image.shape[-2:])
        return super().forward(image)


def test_little_of_the_bars_is_read_where_any_rectangle_can_be():
    """Of bars of 64 pixels half is read; the same places of the image are those of the photograph less that."""
    lifter, teacher = KeypointLifter(width=16, blocks=1).eval(), PicturedMoveNet()
    image, box = np.zeros((256, 256, 3), np.uint8), Letterbox.fit(512, 256, 256)
    places = {}
    for turned, shape in ((False, (192, 256)), (True, (256, 256))):
        reader = KeypointReader(teacher, lifter, 256, threshold=0.0, turned=turned)
        if turned:
            reader.read_teacher(image, box)
        else:
            people = reader.read(image, box)
            places[turned] = people.joints_px[0]
            # whole people are where the photograph's own camera sees them
            pixels, everything = torch.from_numpy(people.joints_px[:1]).float(), torch.ones(1, 15, dtype=torch.bool)
            with torch.no_grad():
                again = lifter(pixels, everything, people.camera, SEEN_REFINE)
            np.testing.assert_allclose(people.joints_mm[:1], again.joints, rtol=1e-3, atol=1)
            assert reader.read_teacher(image, box)["people"][0]["joints_px"][SKELETON.index("r_knee")] == pytest.approx(
                places[turned][SKELETON.index("r_knee")].tolist(), abs=0.01
            )
        assert teacher.shape == shape
    knee = teacher(torch.zeros(1, 3, 192, 256)).points[0, 0, COCO_17.index("r_knee")].double()
    np.testing.assert_allclose(
        places[False][SKELETON.index("r_knee")], 2 * (knee - torch.tensor([0, 32])) + 0.5, atol=1e-3
    )


def test_other_backends_are_made_for_squares(monkeypatch):
    monkeypatch.setattr(readers, "accelerate", lambda whole, *how: whole)
    teacher = PicturedMoveNet()
    reader = KeypointReader(teacher, KeypointLifter(width=16, blocks=1), 256, backend="compile")
    reader.read(np.zeros((256, 256, 3), np.uint8), Letterbox.fit(512, 256, 256))
    assert teacher.shape == (256, 256)


class UprightTeacher(DrawnTeacher):
    """Sees a person only where the head is above the pelvis, and knows how the image in front of it is turned."""

    def encode(self, image):
        self.turns = [int(corner) for corner in image[:, 0, :1, :1].flatten() * 4]
        return super().encode(image)

    def decode(self, v):
        maps = []
        for turn in self.turns:
            joints = self.joints_px
            for _ in range(turn):  # as torch.rot90 turns pixels
                joints = torch.stack([joints[..., 1], 511 - joints[..., 0]], dim=-1)
            upright = joints[..., SKELETON.index("neck"), 1] < joints[..., SKELETON.root, 1] - 20
            visible = upright[..., None].expand(joints.shape[:3])
            maps.append(draw(joints, visible, MPOSE3D, (v.shape[-2], v.shape[-1]), self.stride))
        return HMPAF(*map(torch.cat, zip(*maps, strict=True)))


def test_people_who_lie_are_seen_when_the_picture_is_turned():
    """One upright, one on the head: both found once, where they are."""
    person = SceneSampler(
        ArtificialPoses(), Camera.for_image(256, 256), 256, (1, 1), (0.7, 0.7), 0.4, 0.0, free_rotation=0.0
    )
    generator = torch.Generator().manual_seed(3)
    scene = next(s for s in (person.sample(1, generator) for _ in range(99)) if s.drawn.all())
    pixels = Camera.for_image(256, 256).project(scene.joints)
    both = torch.cat([pixels, 511 - pixels], dim=1)  # upper left, and upside down in the lower right
    lifter = KeypointLifter(width=16, blocks=1).eval()
    image = torch.zeros(1, 3, 512, 512)
    # the colour of the upper left corner says how often the image was turned
    for turn, (y, x) in enumerate(((0, 0), (0, 511), (511, 511), (511, 0))):
        image[:, 0, y, x] = turn / 4
    for turned, count in ((False, 1), (True, 2)):
        reader = KeypointReader(UprightTeacher(both), lifter, 512, turned=turned)
        roots, people = reader.detect(image)
        found = people.joints_px[roots.valid]
        assert len(found) == count
        apart = (found[:, None] - both[0, None, :count]).norm(dim=-1).mean(-1)
        assert apart.amin(1).max() < 6 and sorted(apart.argmin(1).tolist()) == list(range(count))


def test_people_of_a_turned_picture_are_where_they_are_and_count_less():
    """One person, seen in two positions: kept from the one in which more is seen, the upright one by a tenth before."""
    side, (x, y) = 20, torch.randint(0, 20, (2, 15), generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(side * side).view(side, side)
    turned = [torch.rot90(numbers, turn) == (y * side + x)[:, None, None] for turn in range(4)]
    where = [joints.nonzero()[:, 1:].flip(-1) for joints in turned]
    points = torch.stack(where).float()[:, None, None]
    for turn in range(1, 4):
        for total, kept in ((1.05, 0), (1.15, turn)):
            seen, totals = torch.zeros(4, 1, 1, 15, dtype=torch.bool), torch.zeros(4, 1, 1)
            seen[[0, turn]], totals[0], totals[turn] = True, 1.0, total
            score = seen.any(-1) * torch.tensor([0.4, 0.5, 0.5, 0.5])[:, None, None]
            cut_off = torch.arange(15).expand_as(seen) == 3 + torch.arange(4)[:, None, None, None]
            found, visible, off, sure = _of_all_positions(points, seen, cut_off, score, totals, side)
            assert off[0, 0].nonzero().item() == 3 + kept and not off[0, 1:].any()
            assert visible.any(-1).tolist() == [[True, False, False, False]]
            assert torch.equal(found[0, 0], torch.stack([x, y], dim=-1).float())
            assert sure[0].tolist() == pytest.approx([0.65 * 0.5 if kept else 0.4, 0, 0, 0])


def test_people_of_one_position_are_several_wherever_they_are():
    points = torch.rand(4, 1, 2, 15, 2, generator=torch.Generator().manual_seed(0)) * 20
    seen = torch.zeros(4, 1, 2, 15, dtype=torch.bool)
    seen[0] = True
    _, visible, _, score = _of_all_positions(points, seen, ~seen, seen.any(-1).float(), seen.sum(-1).float(), 20)
    assert visible.all(-1).sum() == 2 and score.sum() == 2


def test_the_pathway_image_needs_the_networks_own_teacher(network):
    with pytest.raises(ValueError, match="needs the teacher that the network was trained with"):
        MapReader(SmallTeacher(width=16), network, pathway="image")
    with pytest.raises(ValueError, match="the network reads maps of mpose3d, the teacher's are coco"):
        teacher = SmallTeacher(width=8)
        teacher.layout = type("Other", (), {"name": "coco"})()
        MapReader(teacher, network)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda teacher: pickle.loads(pickle.dumps(teacher))])
def test_a_copy_of_a_teacher_reads_as_it_does(network, copied):
    teacher, image, box = SmallTeacher(width=8), np.full((64, 64, 3), 90, np.uint8), Letterbox.fit(64, 64, 64)
    mine, again = (MapReader(t, network, threshold=0.0).read(image, box) for t in (teacher, copied(teacher)))
    np.testing.assert_array_equal(mine.joints_mm, again.joints_mm)
    chooser = PeakChooser(width=16, blocks=1)
    KeypointReader(copied(teacher), KeypointLifter(width=16, blocks=1), chooser=chooser)
    ChooserStage(copied(teacher), chooser)


def test_numbers_that_cannot_be_are_refused():
    for how in ({"max_people": 0}, {"teacher_size": 0}, {"refine": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(how))} .{next(iter(how.values()))}.*at least"):
            KeypointReader(CrowdedMoveNet(), KeypointLifter(width=16, blocks=1), **how)
