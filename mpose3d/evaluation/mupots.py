"""`mpose3d evaluate mupots`: MuPoTS-3D by its official rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpose3d.data import mupots
from mpose3d.data.annotated import choose
from mpose3d.data.predictions import read_mupots_people
from mpose3d.metrics.mupots import GROUPS, Mode, Mupots3D, MupotsScore, SequenceScore
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.tables import print_table, write_table


def evaluate_mupots(
    annotations: Path,
    predictions: Path,
    mode: Mode = "all",
    sequences: list[str] | None = None,
    out: Path | None = None,
) -> None:
    """MuPoTS-3D by its official protocol: 3DPCK, AUC and MPJPE.

    Args:
        annotations: folder of TS*/annot.mat, or the one above it.
        predictions: npz keyed TSn_img_NNNNNN/px and /mm, or the folder that `mpose3d infer` wrote.
        mode: all people annotated, or only those matched by a prediction.
        sequences: names such as TS1; default: all in the folder of annotations.
        out: folder for mupots_<mode>.csv and mupots_<mode>.json.
    """
    score, frames = score_mupots(annotations, predictions, mode, sequences)
    rows = [
        {"sequence": name, "frames": frames[name][0], "annotated": s.annotated, "found": s.found, **_mupots_figures(s)}
        for name, s in score.sequences.items()
    ]
    people = {key: sum(row[key] for row in rows) for key in ("annotated", "found")}
    predicted, total = (sum(column) for column in zip(*frames.values(), strict=True))
    rows.append({"sequence": "mean", "frames": predicted, **people, **score.mean._asdict(), **score.people})
    joints = max(len(sequence.joints) for sequence in score.sequences.values())
    notes = [
        f"{predicted} of {total} annotated frames were predicted and are scored.",
        "Means are over sequences, as the official evaluator has them; of PMPJPE and root error, over everybody found.",
    ]
    if joints == len(SKELETON):
        notes.append("15 joints: the neck hangs on the pelvis, and MPJPE is over 15 joints (official: 17).")
    if mode == "all":
        notes.append("MPJPE counts a person who was not found with about 173 m, as the official evaluator does.")
    shown = [
        "sequence",
        "frames",
        "annotated",
        "found",
        "pck",
        "auc",
        "mpjpe",
        "pmpjpe",
        "root_error",
        *(f"pck_{group}" for group in GROUPS),
    ]
    print_table(f"MuPoTS-3D, {mode} people, root-relative (percent, percent, mm)", rows, shown, notes)
    content = {
        "sequences": {
            name: {
                **s._asdict(),
                "groups": {group: part._asdict() for group, part in s.groups.items()},
                "frames": dict(zip(("predicted", "annotated"), frames[name], strict=True)),
            }
            for name, s in score.sequences.items()
        },
        "mean": score.mean._asdict(),
        "people": {**people, **score.people},
        "frames": {"predicted": predicted, "annotated": total},
    }
    write_table(out, f"mupots_{mode}", rows, content)


def score_mupots(
    annotations: Path, predictions: Path, mode: Mode = "all", sequences: Sequence[str] | None = None
) -> tuple[MupotsScore, dict[str, tuple[int, int]]]:
    """The score, and (predicted, annotated) frames of each sequence; arguments and errors as `evaluate_mupots`.

    Only predicted frames are scored, see `read_mupots_people`.

    Raises:
        FileNotFoundError: annotations or predictions of a sequence are absent.
        ValueError: files that are broken, of another format, or hold NaN.
    """
    folders = {folder.name: folder for folder in mupots.find_sequences(annotations)}
    chosen = choose(sequences, folders, annotations)
    metric = Mupots3D(tuple(chosen), mode)
    truth = {name: mupots.read_sequence(folder) for name, folder in chosen.items()}
    people = read_mupots_people(predictions, {name: len(sequence.valid) for name, sequence in truth.items()})
    for name, sequence in truth.items():
        px, mm, present, predicted = people[name]
        metric.update(
            name,
            sequence.annot2[predicted],
            sequence.univ_annot3[predicted],
            sequence.valid[predicted],
            px[predicted],
            mm[predicted],
            present[predicted],
        )
    frames = {name: (int(people[name].predicted.sum()), len(truth[name].valid)) for name in truth}
    return metric.compute(), frames


def _mupots_figures(score: SequenceScore) -> dict[str, float]:
    return {
        **{key: getattr(score, key) for key in ("pck", "auc", "mpjpe", "pmpjpe", "root_error")},
        **{f"{key}_{group}": getattr(part, key) for key in ("pck", "auc") for group, part in score.groups.items()},
        **{f"mpjpe_{joint}": error for joint, error in score.joints.items()},
    }
