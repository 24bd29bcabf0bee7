"""`mpose3d evaluate 3dpw`: the protocols of 3DPW."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data import threedpw
from mpose3d.data.annotated import choose
from mpose3d.data.lsp14 import regress_lsp14
from mpose3d.data.predictions import read_frames, read_threedpw_people
from mpose3d.metrics.matching import assign_people
from mpose3d.metrics.threedpw import Challenge, FourteenJoints, scored_frames
from mpose3d.skeleton import COCO_18, LSP_14, SMPL_24
from mpose3d.visualise.tables import print_table, write_table


def evaluate_3dpw(
    annotations: Path,
    predictions: Path,
    protocol: Literal["challenge", "lsp14"] = "challenge",
    split: str = "test",
    sequences: list[str] | None = None,
    body_models: Path | None = None,
    out: Path | None = None,
) -> None:
    """3DPW by the protocol of its challenge (24 joints), or by the 14-joint one of its test split.

    Args:
        annotations: folder that holds sequenceFiles/.
        predictions: folder of an official submission, npz keyed SEQUENCE/mm (people, frames, 24|14, 3), or (14 joints
            only) the folder that `mpose3d infer` wrote, SEQUENCE/image_NNNNN.json.
        protocol: challenge: MPJPE, PMPJPE, PCK at 50 mm, AUC over 0-200 mm; lsp14: MPJPE, PMPJPE.
        split: train, validation or test.
        sequences: names; default: all of the split.
        body_models: folder of SMPL model files; the challenge falls back on the jointPositions of the annotation.
        out: folder for 3dpw_<protocol>.csv and .json.
    """
    files = {path.stem: path for path in threedpw.find_sequences(annotations, split)}
    rows = []
    metric_class = {"challenge": Challenge, "lsp14": FourteenJoints}[protocol]
    overall = metric_class()
    for name, file in choose(sequences, files, annotations).items():
        sequence = threedpw.read_sequence(file)
        scored = scored_frames(sequence.poses2d, sequence.campose_valid)
        poses, found = _threedpw_people(predictions, sequence, protocol, split)
        target = sequence.to_camera(_threedpw_target(sequence, protocol, body_models))
        metric, counted = metric_class(), scored & found
        for each in (metric, overall):
            each.update(poses[counted], target[counted])
        people = {"annotated": int(scored.sum()), "found": int(counted.sum())}
        rows.append({"sequence": name, **people, **metric.compute()._asdict()})
    total = {key: sum(row[key] for row in rows) for key in ("annotated", "found")}
    rows.append({"sequence": "all poses", **total, **overall.compute()._asdict()})
    notes = ["Frames without 2D detection or aligned camera are dropped; people not found are not scored."]
    if protocol == "challenge" and body_models is None:
        notes.append(
            "Targets are the annotation's jointPositions; --body_models DIR takes the joints of the SMPL mesh."
        )
    print_table(f"3DPW {split}, {protocol}", rows, list(rows[0]), notes)
    by_sequence = {row["sequence"]: {key: row[key] for key in row if key != "sequence"} for row in rows[:-1]}
    content = {
        "sequences": by_sequence,
        "all": overall.compute()._asdict(),
        "people": total,
    }
    write_table(out, f"3dpw_{protocol}", rows, content)


def _threedpw_target(
    sequence: threedpw.ThreeDPWSequence, protocol: str, body_models: Path | None
) -> Float[Tensor, "f p J 3"]:
    if protocol == "lsp14":
        return regress_lsp14(sequence, body_models)
    return sequence.joint_positions if body_models is None else sequence.smpl_joint_positions(body_models)


def _threedpw_people(
    path: Path, sequence: threedpw.ThreeDPWSequence, protocol: str, split: str
) -> tuple[Float[Tensor, "f p J 3"], Bool[Tensor, "f p"]]:
    """Poses in the order of the annotated people, and who was found."""
    frames, people = sequence.campose_valid.shape
    wanted = len(SMPL_24 if protocol == "challenge" else LSP_14)
    path = Path(path)
    if path.is_dir() and not (path / split).is_dir():
        if protocol == "challenge":
            raise ValueError(f"{path}: the 15 joints of `infer` are not the 24 of the challenge; use --protocol lsp14")
        return _assigned_lsp14(path / sequence.name, sequence)
    poses = read_threedpw_people(path, sequence.name, split, people, frames)
    if poses.shape[2] != wanted:
        raise ValueError(f"{path}: {poses.shape[2]} joints, the protocol {protocol} scores {wanted}")
    return poses, torch.ones(frames, people, dtype=torch.bool)


def _assigned_lsp14(
    folder: Path, sequence: threedpw.ThreeDPWSequence
) -> tuple[Float[Tensor, "f p 14 3"], Bool[Tensor, "f p"]]:
    """People of `infer` files, assigned to the annotated ones by 2D joints."""
    frames, people = sequence.campose_valid.shape
    poses = torch.zeros(frames, people, len(LSP_14), 3, dtype=torch.float64)
    found = torch.zeros(frames, people, dtype=torch.bool)
    # 3DPW's principal point is the middle of the picture
    size = tuple(round(2 * side) for side in sequence.cam_intrinsics[:2, 2].tolist())
    annotated, visible = COCO_18.to_skeleton(sequence.poses2d[..., :2], sequence.poses2d[..., 2] > 0)
    pictures = list(read_frames(folder, "image_00000", size))
    if not pictures:
        raise FileNotFoundError(f"{folder}: no image_*.json, yet the annotation of {sequence.name} is given")
    for frame, file, picture in pictures:
        if frame >= frames:
            raise ValueError(f"{file}: {sequence.name} has {frames} frames")
        matching = assign_people(annotated[frame], visible[frame], picture.px, picture.visible)
        found[frame] = matching >= 0
        poses[frame, found[frame]] = LSP_14.from_skeleton(picture.mm[matching[found[frame]]])[0]
    return poses, found
