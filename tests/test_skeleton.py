"""The skeleton and the maps between joint layouts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpose3d.data.mupots import read_sequence
from mpose3d.skeleton import BODY_25, COCO_17, COCO_18, LAYOUTS, MPI_15, MPOSE3D, MUPOTS_17, SKELETON, find_layout

CONVENTIONS = Path(__file__).resolve().parents[1] / "docs/conventions.md"


def test_the_skeleton_is_that_of_the_source():
    assert len(SKELETON) == 15 and len(SKELETON.limbs) == 14
    assert MPOSE3D.supplied_channels == 43
    assert SKELETON.names[SKELETON.root] == "pelvis"


def test_the_tree_reaches_every_joint_once_parents_first():
    seen = {SKELETON.root}
    for parent, child in SKELETON.tree:
        assert parent in seen and child not in seen
        seen.add(child)
    assert seen == set(range(len(SKELETON)))


def test_a_layout_is_found_by_its_name():
    assert find_layout("coco17") is COCO_17
    assert find_layout("openpose18", with_limbs=True).limbs
    with pytest.raises(ValueError, match=r"unknown layout 'coco', known are mpose3d, .*coco17"):
        find_layout("coco")
    with pytest.raises(ValueError, match="unknown layout with limbs 'coco17', known are mpose3d, mpi15"):
        find_layout("coco17", with_limbs=True)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_mirror_is_an_involution_that_swaps_sides(layout):
    assert [layout.mirror[j] for j in layout.mirror] == list(range(len(layout)))
    for j, twin in enumerate(layout.mirror):
        assert (j == twin) == (layout.names[j][:2] not in ("l_", "r_"))


@pytest.mark.parametrize(
    ("name", "sides"),
    {
        "mpose3d": "..rrrlllrrrlll.", "mpi15": "..rrrlllrrrlll.",
        "openpose18": "..rrrlllrrrlllrlrl", "openpose25": "..rrrlll.rrrlllrlrllllrrr",
        "coco17": ".lrlrlrlrlrlrlrlr", "mupots": "..rrrlllrrrlll...", "smpl24": ".lr.lr.lr.lr.lr.lrlrlrlr",
        "h36m17": ".rrrlll....lllrrr", "lsp14": "rrrlllrrrlll..",
    }.items(),
)  # fmt: skip
def test_sides_are_in_the_order_of_the_source(name, sides):
    """All else is the same for either side: only this tells left from right."""
    assert "".join(joint[0] if joint[1] == "_" else "." for joint in LAYOUTS[name].names) == sides


def test_limbs_are_supplied_where_both_of_their_ends_are():
    limbs = [{COCO_18.names[j] for j in COCO_18.limbs[i]} for i in COCO_18.supplied_limbs]
    assert len(limbs) == 12 and not any(joint in ("nose", "r_eye", "r_ear") for limb in limbs for joint in limb)
    assert MPI_15.supplied_limbs == tuple(range(14)) and not COCO_17.supplied_limbs


def test_bones_are_as_long_as_the_documentation_says():
    table = dict(re.findall(r"^\| ([a-z_ -]+?) \| (\d+) \|", CONVENTIONS.read_text(), re.MULTILINE))
    lengths = {frozenset(bone.split(" - ")): float(length) for bone, length in table.items()}
    named = {"shoulder-elbow": "upper arm", "elbow-wrist": "forearm", "hip-knee": "thigh", "knee-ankle": "shin"}
    for parent, child in SKELETON.tree:
        ends = [SKELETON.names[j].removeprefix("r_").removeprefix("l_") for j in (parent, child)]
        bone = "-".join(ends)
        assert SKELETON.bone_lengths[child] == lengths[frozenset([named[bone]] if bone in named else ends)], bone
    assert SKELETON.bone_lengths[SKELETON.root] == 0


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_maps_commute_with_translation_and_mirror(layout, generator):
    """Weights sum to 1, and left is treated as right."""
    points = torch.randn(4, 15, 3, generator=generator, dtype=torch.float64)
    mapped, visible = layout.from_skeleton(points)
    moved, _ = layout.from_skeleton(points + 7.0)
    torch.testing.assert_close(moved[visible], mapped[visible] + 7.0)
    flipped, _ = layout.from_skeleton(points[:, list(SKELETON.mirror)])
    torch.testing.assert_close(flipped, mapped[:, list(layout.mirror)])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_limb_joints_survive_the_round_trip(layout, generator):
    points = torch.randn(4, 15, 2, generator=generator)
    points[:, SKELETON.index("neck")] = points[:, SKELETON.indices("r_shoulder", "l_shoulder")].mean(1)
    points[:, SKELETON.root] = points[:, SKELETON.indices("r_hip", "l_hip")].mean(1)
    back, visible = layout.to_skeleton(*layout.from_skeleton(points))
    torch.testing.assert_close(back[visible], points[visible])
    unmapped = {SKELETON.names[j] for j in (~visible[0]).nonzero().flatten().tolist()}
    assert unmapped <= {"head_top"}


def test_a_joint_is_visible_only_with_all_that_it_is_made_of():
    points = torch.full((1, 18, 2), torch.nan)
    visible = torch.zeros(1, 18, dtype=torch.bool)
    for name in ("r_hip", "r_knee"):
        points[0, COCO_18.index(name)] = 3.0
        visible[0, COCO_18.index(name)] = True
    mapped, seen = COCO_18.to_skeleton(points, visible)
    assert [SKELETON.names[j] for j in seen[0].nonzero().flatten()] == ["r_hip", "r_knee"]
    assert not mapped[~seen].any()  # what invisible joints hold does not leak, nor a half of a midpoint


OF_COCO = pytest.mark.parametrize("layout", [COCO_17, COCO_18, BODY_25], ids=lambda layout: layout.name)


@OF_COCO
def test_the_top_of_the_head_is_estimated_from_ears_and_shoulders_where_that_is_asked_for(layout, generator):
    points = torch.randn(2, len(layout), 2, generator=generator, dtype=torch.float64)
    height = {"shoulder": 0.82, "ear": 0.94}  # of a standing body of height 1: the top is at 1
    for side in "rl":
        for part, y in height.items():
            points[:, layout.index(f"{side}_{part}"), 1] = y
    visible = torch.ones(points.shape[:2], dtype=torch.bool)
    visible[1, layout.index("l_ear")] = False
    head = SKELETON.index("head_top")
    assert not layout.to_skeleton(points, visible)[1][:, head].any()
    estimated, guessed = layout.to_skeleton(points, visible, estimate=True)
    assert guessed[:, head].tolist() == [True, False]
    torch.testing.assert_close(estimated[0, head, 1], torch.tensor(1.0).double())


@OF_COCO
def test_hips_are_raised_towards_shoulders_that_are_seen_where_that_is_asked_for(layout, generator):
    points = torch.randn(2, len(layout), 2, generator=generator, dtype=torch.float64)
    visible = torch.ones(points.shape[:2], dtype=torch.bool)
    visible[1, layout.index("l_shoulder")] = False
    exact, seen = layout.to_skeleton(points, visible)
    estimated, guessed = layout.to_skeleton(points, visible, estimate=True)
    hips, shoulders = (SKELETON.indices(f"r_{joint}", f"l_{joint}") for joint in ("hip", "shoulder"))
    raised = exact[:, hips] + 0.08 * (exact[:, shoulders] - exact[:, hips])
    torch.testing.assert_close(estimated[0, hips], raised[0])
    torch.testing.assert_close(estimated[:, SKELETON.root], estimated[:, hips].mean(1))
    # by the shoulder that is seen, and where it is without one
    torch.testing.assert_close(estimated[1, hips], torch.stack([raised[1, 0], exact[1, hips[1]]]))
    moved = [*hips, SKELETON.root, SKELETON.index("head_top")]
    others = [j for j in range(len(SKELETON)) if j not in moved]
    torch.testing.assert_close(estimated[:, others], exact[:, others])
    assert torch.equal(guessed[:, moved[:-1]], seen[:, moved[:-1]]) and torch.equal(guessed[:, others], seen[:, others])


def test_a_pelvis_that_is_not_seen_is_estimated_from_hips_that_are(generator):
    points = torch.randn(1, len(BODY_25), 2, generator=generator)
    visible = torch.ones(1, len(BODY_25), dtype=torch.bool)
    visible[0, BODY_25.index("pelvis")] = False
    assert not BODY_25.to_skeleton(points, visible)[1][0, SKELETON.root]
    estimated, seen = BODY_25.to_skeleton(points, visible, estimate=True)
    assert seen[0, SKELETON.root]
    torch.testing.assert_close(estimated[0, SKELETON.root], estimated[0, SKELETON.indices("r_hip", "l_hip")].mean(0))


def test_the_last_joint_of_openpose_mpi_is_the_chest_not_the_pelvis():
    points = torch.zeros(15, 2)
    points[SKELETON.index("neck")] = torch.tensor([0.0, 10.0])
    chest = MPI_15.from_skeleton(points)[0][MPI_15.index("chest")]
    assert chest.tolist() == [0.0, 5.0]
    pelvis = MPI_15.to_skeleton(torch.ones(15, 2))[0][SKELETON.root]
    assert pelvis.tolist() == [1.0, 1.0]  # from the hips


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_maps_are_no_coarser_under_mixed_precision(half):
    points = torch.rand(2, 15, 2, generator=torch.Generator().manual_seed(0)) * 1000
    points[0, 3] = 1e5  # more than float16 holds
    with torch.autocast("cpu", dtype=half):
        mapped, seen = MPI_15.from_skeleton(points)
    exact, wanted = MPI_15.from_skeleton(points)
    assert mapped.dtype is torch.float32 and torch.equal(mapped, exact) and torch.equal(seen, wanted)


def test_a_layout_that_was_first_used_in_inference_can_be_trained_through():
    layout = replace(COCO_17)  # nothing of it is made yet
    points = torch.rand(2, 17, 2, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        layout.to_skeleton(torch.rand(2, 17, 2), estimate=True)
    layout.to_skeleton(points, estimate=True)[0].sum().backward()
    assert points.grad.isfinite().all() and points.grad.any()


def test_a_layout_that_was_first_used_where_meta_is_the_default_is_whole():
    layout, points = replace(COCO_17), torch.rand(2, 17, 2)
    with torch.device("meta"):
        mapped, visible = layout.to_skeleton(points)
    assert visible.any()
    torch.testing.assert_close(mapped, COCO_17.to_skeleton(points)[0])


def test_wrong_number_of_joints_is_refused():
    with pytest.raises(ValueError, match="17 joints of the layout 'mupots'"):
        MUPOTS_17.to_skeleton(torch.zeros(15, 3))


def test_neck_of_mupots_from_ours_on_real_people(shared_data):
    """The fitted neck is 25 mm off on average; the middle of the shoulders would be 59 mm off."""
    sequence = read_sequence(shared_data / "mupots/MultiPersonTestSet/TS3")
    truth = torch.as_tensor(sequence.univ_annot3[sequence.valid]).double()
    ours, _ = MUPOTS_17.to_skeleton(truth)
    theirs, _ = MUPOTS_17.from_skeleton(ours)
    neck = MUPOTS_17.index("neck")
    fitted = (theirs - truth)[:, neck].norm(dim=-1).mean()
    middle = (ours[:, SKELETON.index("neck")] - truth[:, neck]).norm(dim=-1).mean()
    assert fitted < 35 < 45 < middle
