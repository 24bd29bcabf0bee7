"""The official protocol of MuPoTS-3D (Mehta et al., 3DV 2018; `mpii_mupots_multiperson_eval.m`), root-relative.

Per frame: annotated people, in their order, each take the unused prediction with the most joints within 40 px. A taken
prediction is moved to the pelvis, its bones are rescaled to the lengths of `univ_annot3`, and every joint's distance
is measured. Per sequence: 3DPCK at 150 mm and its AUC over 14 joints, MPJPE over all joints. Over sequences: the
unweighted mean.

Poses are in the joints of `MUPOTS_17`. A prediction of 15 joints has no spine and no head: there the neck hangs on the
pelvis, which is this project's variant and not official, and MPJPE is over 15 joints instead of 17.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from mpose3d.metrics.functional import AUC_THRESHOLDS, pmpjpe, root_error
from mpose3d.metrics.modules import keep_apart
from mpose3d.skeleton import MUPOTS_17, SKELETON

Mode = Literal["all", "matched"]
"""`all` scores every annotated person, `matched` only those whom a prediction was assigned to."""

MATCH_DISTANCE = 40.0
"""px, in x and in y"""

# Where the official evaluator puts every joint of a person who was not found (mm): no threshold reaches it. The MPJPE
# of mode `all` thereby counts such a person with about 173 m.
_NOT_FOUND = 1e5

_PELVIS = MUPOTS_17.index("pelvis")
_MATCHED = slice(MUPOTS_17.index("neck"), MUPOTS_17.index("l_ankle") + 1)  # joints 2-14, counted from 1
_SCORED = slice(MUPOTS_17.index("head_top"), MUPOTS_17.index("l_ankle") + 1)
_JOINTS = (len(MUPOTS_17), len(SKELETON))

GROUPS = {
    "Head": ("head_top",),
    "Neck": ("neck",),
    "Shou": ("r_shoulder", "l_shoulder"),
    "Elbow": ("r_elbow", "l_elbow"),
    "Wrist": ("r_wrist", "l_wrist"),
    "Hip": ("r_hip", "l_hip"),
    "Knee": ("r_knee", "l_knee"),
    "Ankle": ("r_ankle", "l_ankle"),
}
"""Joint groups of the official tables, under their official names."""


# Bones (parent, child) from the pelvis outwards. `MUPOTS_17` starts with the joints of `SKELETON`: without a spine the
# bones are those of its tree; with one, the neck hangs on the spine.
_NECK_ON_PELVIS = (_PELVIS, MUPOTS_17.index("neck"))
_TRUNK = (("pelvis", "spine"), ("spine", "neck"), ("neck", "head"))
_BONES = {
    len(SKELETON): SKELETON.tree,
    len(MUPOTS_17): [
        *((MUPOTS_17.index(parent), MUPOTS_17.index(child)) for parent, child in _TRUNK),
        *(bone for bone in SKELETON.tree if bone != _NECK_ON_PELVIS),
    ],
}


class Score(NamedTuple):
    """Percent, percent, mm. NaN where nobody was scored."""

    pck: float
    auc: float
    mpjpe: float


class SequenceScore(NamedTuple):
    """A `Score` with its parts: `groups` by the names of `GROUPS`, `joints` the MPJPE (mm) of each predicted joint.

    `pmpjpe` and `root_error` (mm) are not official: MPJPE of the people found after the best similarity of each, and
    how far their pelvis is off in camera space.
    """

    pck: float
    auc: float
    mpjpe: float
    groups: dict[str, Score]
    joints: dict[str, float]
    annotated: int
    found: int
    pmpjpe: float
    root_error: float


class MupotsScore(NamedTuple):
    """Scores by sequence, and their unweighted mean: NaN where a sequence has none."""

    sequences: dict[str, SequenceScore]
    mean: Score

    @property
    def people(self) -> dict[str, float]:
        """Mean PMPJPE and root error (mm) of everybody found, whatever the sequence; NaN where that is nobody."""
        found = [score for score in self.sequences.values() if score.found]
        people = sum(score.found for score in found)
        return {
            key: sum(score.found * getattr(score, key) for score in found) / people if people else float("nan")
            for key in ("pmpjpe", "root_error")
        }


def match_people(
    annotated_px: Float[Tensor, "f p 17 2"],
    annotated: Bool[Tensor, "f p"],
    predicted_px: Float[Tensor, "f q J 2"],
    predicted: Bool[Tensor, "f q"],
) -> Int[Tensor, "f p"]:
    """Which prediction each annotated person of each frame takes; -1 for none.

    A predicted joint at exactly (0, 0) is absent, as in the official evaluator. Of equal predictions the first is
    taken, so their order may matter; the order of the annotation does.
    """
    frames, people = annotated.shape
    matching = torch.full((frames, people), -1, dtype=torch.long, device=annotated.device)
    if predicted_px.shape[1] == 0:
        return matching
    joints = predicted_px[:, None, :, _MATCHED]
    near = ((annotated_px[:, :, None, _MATCHED] - joints).abs() < MATCH_DISTANCE).all(dim=-1)
    joints_near = (near & (joints != 0).any(dim=-1)).sum(dim=-1)  # (f, p, q)
    free = predicted.clone()
    for person in range(people):
        score, best = (joints_near[:, person] * free).max(dim=-1)
        taken = (score > 0) & annotated[:, person]
        matching[taken, person] = best[taken]
        free[taken, best[taken]] = False
    return matching


def rescale_bones(
    prediction: Float[Tensor, "*batch J 3"], target: Float[Tensor, "*batch 17 3"]
) -> Float[Tensor, "*batch J 3"]:
    """Poses with the bone directions of `prediction` (17 or 15 joints) and the bone lengths of `target`.

    A bone of length 0 has no direction: its joint and those beyond become NaN, as in the official evaluator, which
    makes them misses and their MPJPE NaN.
    """
    rescaled = list(prediction.unbind(dim=-2))
    for parent, child in _BONES[prediction.shape[-2]]:
        bone = prediction[..., child, :] - prediction[..., parent, :]
        length = (target[..., child, :] - target[..., parent, :]).norm(dim=-1, keepdim=True)
        rescaled[child] = rescaled[parent] + bone * (length / bone.norm(dim=-1, keepdim=True))
    return torch.stack(rescaled, dim=-2)


def joint_distances(
    target_mm: Float[Tensor, "f p 17 3"], predicted_mm: Float[Tensor, "f q J 3"], matching: Int[Tensor, "f p"]
) -> Float[Tensor, "f p J"]:
    """Root-relative distance (mm) of each joint after the bones are rescaled; about 173 m for people not found."""
    frames, people = matching.shape
    joints = predicted_mm.shape[-2]
    target = target_mm - target_mm[:, :, _PELVIS, None]
    prediction = target.new_full((frames, people, joints, 3), _NOT_FOUND)
    found = matching >= 0
    frame, person = found.nonzero(as_tuple=True)
    taken = predicted_mm[frame, matching[frame, person]].to(target)
    prediction[frame, person] = rescale_bones(taken - taken[:, _PELVIS, None], target[frame, person])
    return (prediction - target[:, :, :joints]).norm(dim=-1)


class Mupots3D(Metric):
    """The protocol over batches of frames and over processes; every state is a sum.

    Args:
        sequences: names, in the order of the result.
        mode: whom to score.
    """

    full_state_update = False
    distance: Tensor
    correct: Tensor
    scored: Tensor
    annotated: Tensor
    found: Tensor
    aligned: Tensor
    displaced: Tensor

    def __init__(self, sequences: tuple[str, ...], mode: Mode = "all", **kwargs) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode is {mode!r}, expected one of {', '.join(get_args(Mode))}")
        super().__init__(**kwargs)
        self.sequences = tuple(sequences)
        self.mode = mode
        count = len(self.sequences)
        for name, shape, dtype in (
            ("distance", (count, len(MUPOTS_17)), torch.float64),
            ("correct", (count, _SCORED.stop, len(AUC_THRESHOLDS)), torch.long),
            ("scored", (count, len(MUPOTS_17)), torch.long),
            ("annotated", (count,), torch.long),
            ("found", (count,), torch.long),
            ("aligned", (count,), torch.float64),
            ("displaced", (count,), torch.float64),
        ):
            self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")
        keep_apart(self)

    def update(
        self,
        sequence: str,
        annotated_px: Float[Tensor, "f p 17 2"],
        target_mm: Float[Tensor, "f p 17 3"],
        annotated: Bool[Tensor, "f p"],
        predicted_px: Float[Tensor, "f q J 2"],
        predicted_mm: Float[Tensor, "f q J 3"],
        predicted: Bool[Tensor, "f q"],
    ) -> None:
        """Add frames of one sequence; p and q are padded, `annotated` and `predicted` say who is there.

        Args:
            sequence: one of `sequences`.
            annotated_px: `annot2`.
            target_mm: `univ_annot3`.
            annotated: `isValidFrame`.
            predicted_px: pixels of the official picture.
            predicted_mm: any position and scale, but for the root error; 17 joints of `MUPOTS_17`, or its first 15.
            predicted: people who are there.

        Raises:
            ValueError: another number of joints, NaN in a prediction, or a sequence that is not one of `sequences`.
        """
        joints = predicted_mm.shape[-2]
        if joints not in _JOINTS or predicted_px.shape[-2] != joints:
            raise ValueError(
                f"{sequence}: predictions of {predicted_px.shape[-2]} joints in px and {joints} in mm, expected "
                f"{_JOINTS[0]} or {_JOINTS[1]} in both"
            )
        if not (predicted_mm[predicted].isfinite().all() and predicted_px[predicted].isfinite().all()):
            raise ValueError(f"{sequence}: a prediction is NaN or infinite")
        if sequence not in self.sequences:
            raise ValueError(f"{sequence}: not one of {', '.join(self.sequences)}")
        at = self.sequences.index(sequence)

        matching = match_people(annotated_px, annotated, predicted_px, predicted)
        found = matching >= 0
        counted = found if self.mode == "matched" else annotated
        distance = joint_distances(target_mm.double(), predicted_mm, matching)[counted]
        self.distance[at, :joints] += distance.sum(dim=0)
        self.scored[at, :joints] += len(distance)
        thresholds = distance.new_tensor(AUC_THRESHOLDS)
        self.correct[at] += (distance[:, _SCORED, None] < thresholds).sum(dim=0)
        self.annotated[at] += annotated.sum()
        self.found[at] += found.sum()
        frame, person = found.nonzero(as_tuple=True)
        taken = predicted_mm[frame, matching[frame, person]]
        target = target_mm[frame, person, :joints].to(taken)
        self.aligned[at] += pmpjpe(taken, target).double().sum()
        self.displaced[at] += root_error(taken, target, root=_PELVIS).double().sum()

    def compute(self) -> MupotsScore:
        scores = {name: self._sequence(at) for at, name in enumerate(self.sequences)}
        mean = {
            key: sum(getattr(score, key) for score in scores.values()) / max(len(scores), 1)
            for key in ("pck", "auc", "mpjpe")
        }
        return MupotsScore(scores, Score(**mean))

    def _sequence(self, at: int) -> SequenceScore:
        predicted = self.scored[at] > 0
        mpjpe = self.distance[at] / self.scored[at]
        rate = 100 * self.correct[at].double() / self.scored[at, _SCORED, None]  # (14, thresholds)
        groups = {}
        for name, members in GROUPS.items():
            indices = [MUPOTS_17.index(member) for member in members]
            groups[name] = Score(
                rate[indices, -1].mean().item(), rate[indices].mean().item(), mpjpe[indices].mean().item()
            )
        return SequenceScore(
            pck=rate[:, -1].mean().item(),
            auc=rate.mean().item(),
            mpjpe=mpjpe[predicted].mean().item(),
            groups=groups,
            joints={name: mpjpe[j].item() for j, name in enumerate(MUPOTS_17.names) if predicted[j]},
            annotated=int(self.annotated[at]),
            found=int(self.found[at]),
            pmpjpe=(self.aligned[at] / self.found[at]).item(),
            root_error=(self.displaced[at] / self.found[at]).item(),
        )
