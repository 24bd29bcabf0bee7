"""The MuPoTS-3D protocol: official figures on real files, a plain per-person reference, and each of its rules."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mpose3d.evaluation.mupots import score_mupots
from mpose3d.metrics.mupots import GROUPS, Mupots3D, match_people, rescale_bones
from mpose3d.skeleton import MUPOTS_17
from tests.metrics.samples import random_frames

PELVIS = MUPOTS_17.index("pelvis")
# parents of the official mpii_get_joints('relevant'), counted from 1
PARENTS = np.array([2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2]) - 1
ORDER = np.array([16, 2, 1, 17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]) - 1


def official_errors(annotated_px, target_mm, annotated, predicted_px, predicted_mm, predicted) -> np.ndarray:
    """(people, 17) of mode `all`, person by person as the MATLAB code goes."""
    errors = []
    for px, mm, valid, pred_px, pred_mm, present in zip(
        *(x.numpy() for x in (annotated_px, target_mm, annotated, predicted_px, predicted_mm, predicted)), strict=True
    ):
        pred_px, pred_mm, used = pred_px[present], pred_mm[present], set()
        for g2, g3 in zip(px[valid], mm[valid], strict=True):
            score = [0 if j in used else (np.abs(g2[1:14] - p[1:14]) < 40).all(-1).sum() for j, p in enumerate(pred_px)]
            target = g3 - g3[PELVIS]
            if not score or max(score) == 0:
                errors.append(np.linalg.norm(1e5 - target, axis=-1))
                continue
            best = int(np.argmax(score))
            used.add(best)
            pose = pred_mm[best] - pred_mm[best][PELVIS]
            mapped = pose.copy()
            for joint in ORDER:
                bone = pose[joint] - pose[PARENTS[joint]]
                length = np.linalg.norm(target[joint] - target[PARENTS[joint]])
                mapped[joint] = mapped[PARENTS[joint]] + bone * length / np.linalg.norm(bone)
            errors.append(np.linalg.norm(mapped - target, axis=-1))
    return np.array(errors)


def test_equals_a_loop_over_people() -> None:
    frames = random_frames(0, frames=60)
    errors = official_errors(*frames)
    metric = Mupots3D(("TS1",))
    for at in range(0, 60, 25):
        metric.update("TS1", *(x[at : at + 25] for x in frames))
    score = metric.compute().sequences["TS1"]
    assert score.annotated == len(errors) and 0 < score.found == (errors[:, PELVIS] < 1e4).sum() < len(errors)
    assert score.mpjpe == pytest.approx(errors.mean())
    assert score.pck == pytest.approx(100 * (errors[:, :14] < 150).mean())
    assert score.auc == pytest.approx(100 * np.mean([(errors[:, :14] < t).mean() for t in range(0, 151, 5)]))
    assert score.groups["Wrist"].pck == pytest.approx(100 * (errors[:, [4, 7]] < 150).mean())
    assert score.joints["spine"] == pytest.approx(errors[:, 15].mean())


def test_a_joint_at_the_threshold_is_a_miss() -> None:
    """The top of the head on the other side of the neck, twice its bone away."""
    place = torch.zeros(17, 3, dtype=torch.float64)
    for joint in ORDER:  # every bone along an axis, so that its length is exact
        place[joint] = place[PARENTS[joint]] + 75 * torch.eye(3, dtype=torch.float64)[joint % 3]
    target = place[None, None] - place[PELVIS]
    turned = target.clone()
    turned[..., 0, :] = 2 * target[..., 1, :] - target[..., 0, :]
    assert (turned - target).norm(dim=-1).amax() == 150
    px, there = 10 + torch.arange(34.0).reshape(1, 1, 17, 2), torch.ones(1, 1, dtype=torch.bool)
    metric = Mupots3D(("TS1",))
    metric.update("TS1", px, target, there, px, turned, there)
    score = metric.compute().sequences["TS1"]
    assert score.groups["Head"].pck == 0 and score.pck == pytest.approx(100 * 13 / 14)


@pytest.mark.parametrize("mode", ["all", "matched"])
def test_reproduces_the_official_csv(shared_data: Path, mode: str) -> None:
    """MPJPE, PCK and AUC of every sequence, joint and joint group, to 0.01."""
    score, frames = score_mupots(shared_data / "mupots", shared_data / "mupots" / "predictions_cheng2021.npz", mode)
    assert all(predicted == total for predicted, total in frames.values())
    table = None
    seen = 0
    with open(shared_data / "mupots" / f"official_{mode}_rel.csv") as handle:
        for name, *cells in csv.reader(handle):
            if not name.startswith("TestSeq"):
                table, header = name, [cell for cell in cells if cell]
                continue
            sequence = score.sequences[name.replace("TestSeq", "TS")]
            for column, cell in zip(header, cells, strict=False):
                if table == "":
                    column = column.replace("right_", "r_").replace("left_", "l_")
                    ours = sequence.mpjpe if column == "Average" else sequence.joints[column]
                else:
                    part = sequence if column == "Total" else sequence.groups[column]
                    ours = getattr(part, table.lower())
                assert ours == pytest.approx(float(cell), abs=0.01), (name, table, column)
                seen += 1
    assert seen == 10 * (18 + 9 + 9)


def test_matched_leaves_out_whom_all_counts() -> None:
    annotated_px, target, _, predicted_px, predicted, _ = random_frames(0)
    everybody, first = torch.ones(20, 3, dtype=torch.bool), torch.arange(4).expand(20, 4) < 1
    frames = (annotated_px, target, everybody, predicted_px, predicted, first)
    scores = {}
    for mode in ("all", "matched"):
        metric = Mupots3D(("TS1",), mode)
        metric.update("TS1", *frames)
        scores[mode] = metric.compute().sequences["TS1"]
    assert scores["all"].found == scores["matched"].found == 20
    assert scores["all"].pck == pytest.approx(scores["matched"].pck / 3)
    assert scores["all"].mpjpe > 1e5 > scores["matched"].mpjpe


def test_nobody_detected_scores_0_of_all_and_nothing_of_matched() -> None:
    annotated_px, target, annotated, *_ = random_frames(0)
    nobody = torch.zeros(20, 0, 17, 2), torch.zeros(20, 0, 17, 3), torch.zeros(20, 0, dtype=torch.bool)
    for mode, expected in (("all", 0.0), ("matched", math.nan)):
        metric = Mupots3D(("TS1",), mode)
        metric.update("TS1", annotated_px, target, annotated, *nobody)
        score = metric.compute()
        assert score.mean.pck == pytest.approx(expected, nan_ok=True)
        assert score.mean.mpjpe > 1e5 or math.isnan(score.mean.mpjpe)
        assert score.sequences["TS1"].found == 0


def test_mean_is_over_sequences_but_of_pmpjpe_and_root_error_over_people_found() -> None:
    metric = Mupots3D(("TS1", "TS2"))
    metric.update("TS1", *random_frames(0, frames=2))
    metric.update("TS2", *random_frames(1, frames=30))
    score = metric.compute()
    for key in ("pck", "auc", "mpjpe"):
        values = [getattr(sequence, key) for sequence in score.sequences.values()]
        assert getattr(score.mean, key) == pytest.approx(np.mean(values))
    few, many = score.sequences.values()
    assert few.found < many.found
    for key, value in score.people.items():
        expected = few.found * getattr(few, key) + many.found * getattr(many, key)
        assert value == pytest.approx(expected / (few.found + many.found))
        assert math.isnan(Mupots3D(("TS1",)).compute().people[key])


@pytest.mark.parametrize("joints", [15, 17])
def test_root_error_is_where_people_are_and_nothing_else_is(joints: int) -> None:
    annotated_px, target, annotated, *_ = random_frames(0)
    scores = []
    for shift in ([0.0, 0.0, 0.0], [300.0, 0.0, -400.0]):
        metric = Mupots3D(("TS1",))
        predicted = (target + target.new_tensor(shift))[:, :, :joints]
        metric.update("TS1", annotated_px, target, annotated, annotated_px[:, :, :joints], predicted, annotated)
        scores.append(metric.compute().sequences["TS1"])
    assert [score.root_error for score in scores] == pytest.approx([0, 500], abs=1e-3)
    assert scores[0].found == annotated.sum()
    assert scores[0].mpjpe == pytest.approx(scores[1].mpjpe, abs=1e-3)
    assert scores[0].pmpjpe == pytest.approx(scores[1].pmpjpe, abs=1e-3)


def test_matching_is_greedy_in_the_order_of_the_annotation() -> None:
    annotated = torch.zeros(1, 2, 17, 2)
    annotated[0, 1] += 10
    predicted = torch.full((1, 2, 17, 2), 10.0)
    predicted[0, 1] = 200
    ok = torch.ones(1, 2, dtype=torch.bool)
    # both people are near the first prediction: the first person takes it, the second finds nobody
    assert match_people(annotated, ok, predicted, ok).tolist() == [[0, -1]]
    assert match_people(annotated, torch.tensor([[False, True]]), predicted, ok).tolist() == [[-1, 0]]
    assert match_people(annotated, ok, predicted, ~ok).tolist() == [[-1, -1]]


def test_matching_counts_joints_2_to_14_below_40_px_in_x_and_in_y() -> None:
    ok = torch.ones(1, 1, dtype=torch.bool)
    annotated, far = torch.full((1, 1, 17, 2), 500.0), torch.full((1, 1, 17, 2), 900.0)
    for joint, offset, matched in (
        (1, 39.9, True),
        (13, 39.9, True),
        (1, 40.0, False),
        (0, 0.0, False),
        (14, 0.0, False),
    ):
        predicted = far.clone()
        predicted[0, 0, joint] = 500 + offset
        assert (match_people(annotated, ok, predicted, ok).item() == 0) is matched
    # a joint at (0, 0) is absent
    assert match_people(torch.zeros(1, 1, 17, 2), ok, torch.zeros(1, 1, 17, 2), ok).item() == -1
    # and one on the border is there
    border = torch.tensor([0.0, 500.0]).expand(1, 1, 17, 2)
    assert match_people(border, ok, border, ok).item() == 0


def test_order_of_annotated_people_changes_nothing_where_they_are_apart() -> None:
    frames = list(random_frames(4))
    for at in (0, 3):
        frames[at] = frames[at].clone()
    frames[0] += torch.arange(3)[:, None, None] * 1000
    frames[3] = (frames[0] + 5).clone()
    frames[4], frames[5] = frames[1] + 30, torch.ones(20, 3, dtype=torch.bool)
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        metric = Mupots3D(("TS1",))
        metric.update("TS1", *(x[:, order] for x in frames[:3]), *(x[:, [1, 2, 0]] for x in frames[3:]))
        results.append(metric.compute().mean)
    assert results[0] == pytest.approx(results[1])


@pytest.mark.parametrize("joints", [17, 15])
def test_bones_keep_direction_and_take_length(joints: int, generator: torch.Generator) -> None:
    prediction = torch.randn(8, joints, 3, generator=generator, dtype=torch.float64)
    target = torch.randn(8, 17, 3, generator=generator, dtype=torch.float64)
    rescaled = rescale_bones(prediction, target)
    parents = PARENTS.copy()
    if joints == 15:
        parents[1] = PELVIS  # no spine
    for joint in range(joints):
        if joint == PELVIS:
            continue
        bone, before, wanted = (x[:, joint] - x[:, parents[joint]] for x in (rescaled, prediction, target))
        assert torch.allclose(bone.norm(dim=-1), wanted.norm(dim=-1))
        assert torch.allclose(torch.cosine_similarity(bone, before), torch.ones(8).double())


def test_15_joints_leave_spine_and_head_out() -> None:
    metric = Mupots3D(("TS1",))
    metric.update("TS1", *random_frames(0, joints=15))
    score = metric.compute().sequences["TS1"]
    assert list(score.joints) == list(MUPOTS_17.names[:15])
    assert score.mpjpe == pytest.approx(np.mean(list(score.joints.values())))
    assert list(score.groups) == list(GROUPS)


def test_a_collapsed_prediction_is_no_good_score() -> None:
    frames = list(random_frames(0))
    frames[4] = torch.zeros_like(frames[4])
    metric = Mupots3D(("TS1",), "matched")
    metric.update("TS1", *frames)
    score = metric.compute().mean
    assert score.pck == 0 and math.isnan(score.mpjpe)


def test_bad_input_is_an_error() -> None:
    frames = random_frames(0)
    with pytest.raises(ValueError, match="14 joints in px and 14 in mm, expected 17 or 15 in both"):
        Mupots3D(("TS1",)).update("TS1", *frames[:3], frames[3][:, :, :14], frames[4][:, :, :14], frames[5])
    with pytest.raises(ValueError, match="15 joints in px and 17 in mm"):
        Mupots3D(("TS1",)).update("TS1", *frames[:3], frames[3][:, :, :15], *frames[4:])
    for part in (3, 4):
        broken = [x.clone() for x in frames]
        broken[part][~frames[5]] = torch.nan  # who is not there may hold anything
        Mupots3D(("TS1",)).update("TS1", *broken)
        broken[part][0, frames[5][0].nonzero()[0, 0], 3] = torch.nan
        with pytest.raises(ValueError, match="NaN"):
            Mupots3D(("TS1",)).update("TS1", *broken)
    with pytest.raises(ValueError, match="TS9"):
        Mupots3D(("TS1",)).update("TS9", *frames)
    with pytest.raises(ValueError, match="mode"):
        Mupots3D(("TS1",), "some")
