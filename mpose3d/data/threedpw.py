"""3DPW (von Marcard et al., ECCV 2018): annotations of its sequences, and their photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mpose3d.data.annotated import AnnotatedDataModule, AnnotatedFrames, choose
from mpose3d.data.arrays_pickle import read_arrays_pickle
from mpose3d.data.smpl import smpl_joints
from mpose3d.skeleton import SMPL_24

SPLITS = ("train", "validation", "test")

_TREE = "{root}/sequenceFiles/{split}/downtown_arguing_00.pkl and {root}/imageFiles/downtown_arguing_00/image_00000.jpg"


@dataclass(frozen=True)
class ThreeDPWSequence:
    """Annotation of one sequence of F frames with P actors (1 or 2).

    Frame f is the picture `image_<f:05d>.jpg`. Fields are named as in the official pickle, but in millimetres.

    Args:
        name: of the sequence and of its folder of pictures.
        joint_positions: (F, P, 24, 3) mm in the world, joints of `SMPL_24`.
        poses: (F, P, 72) SMPL pose, axis-angle.
        betas: (P, 10) SMPL shape.
        trans: (F, P, 3) mm.
        genders: "m" or "f" of each actor.
        poses2d: (F, P, 18, 3) px and confidence of a detector, OpenPose order; 0 where it saw too little.
        cam_poses: (F, 4, 4) world mm -> camera mm.
        cam_intrinsics: (3, 3).
        campose_valid: (F, P) whether the camera was aligned to the picture for this actor.
    """

    name: str
    joint_positions: Float[Tensor, "f p 24 3"]
    poses: Float[Tensor, "f p 72"]
    betas: Float[Tensor, "p 10"]
    trans: Float[Tensor, "f p 3"]
    genders: tuple[str, ...]
    poses2d: Float[Tensor, "f p 18 3"]
    cam_poses: Float[Tensor, "f 4 4"]
    cam_intrinsics: Float[Tensor, "3 3"]
    campose_valid: Bool[Tensor, "f p"]

    def to_camera(self, points: Float[Tensor, "f p J 3"]) -> Float[Tensor, "f p J 3"]:
        """World mm -> camera mm."""
        rotation, translation = self.cam_poses[:, None, :3, :3], self.cam_poses[:, None, None, :3, 3]
        return points @ rotation.mT + translation

    def to_image(self, points: Float[Tensor, "f p J 3"]) -> Float[Tensor, "f p J 2"]:
        """Camera mm -> pixels of the official picture."""
        homogeneous = points @ self.cam_intrinsics.T
        return homogeneous[..., :2] / homogeneous[..., 2:]

    def smpl_joint_positions(self, body_models: Path | str) -> Float[Tensor, "f p 24 3"]:
        """World mm, from pose and shape through the SMPL model files in `body_models`; raises as `smpl_joints`."""
        actors = [
            smpl_joints(self.poses[:, p], self.betas[p], self.trans[:, p] / 1000, gender, Path(body_models))[0]
            for p, gender in enumerate(self.genders)
        ]
        return torch.from_numpy(np.stack(actors, axis=1)).double()


def read_sequence(path: Path | str) -> ThreeDPWSequence:
    """A pickle of `sequenceFiles`, in float64, without running code that it may hide.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, of other fields or shapes, NaN, or a pickle of anything but arrays.
    """
    path = Path(path)
    content = read_arrays_pickle(path)
    fields = {"jointPositions", "poses", "betas", "trans", "genders", "poses2d", "cam_poses", "cam_intrinsics"}
    fields.add("campose_valid")
    if not isinstance(content, dict) or not fields <= content.keys():
        missing = ", ".join(sorted(fields - content.keys())) if isinstance(content, dict) else "a dict"
        raise ValueError(f"{path}: not a 3DPW sequence, it lacks {missing}")
    try:
        people, frames = len(content["poses"]), len(content["cam_poses"])
        cam_poses = torch.from_numpy(np.asarray(content["cam_poses"], dtype=np.float64).reshape(frames, 4, 4)).clone()
        intrinsics = torch.from_numpy(np.asarray(content["cam_intrinsics"], dtype=np.float64).reshape(3, 3))
        shapes = np.stack([np.ravel(actor)[:10] for actor in content["betas"]]).astype(np.float64)
        betas = torch.from_numpy(shapes.reshape(people, 10))
        genders = tuple(map(str, content["genders"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: poses, camera, betas or genders of another shape ({error})") from error
    if len(genders) != people:
        raise ValueError(f"{path}: {len(genders)} genders of {people} actors")
    if not all(values.isfinite().all() for values in (cam_poses, intrinsics, betas)):
        raise ValueError(f"{path}: NaN or infinite values in the camera or in betas")
    cam_poses[:, :3, 3] *= 1000

    def field(name: str, *shape: int) -> Tensor:
        """Per actor (F, ...) -> (F, P, ...)."""
        try:
            actors = [np.asarray(actor, dtype=np.float64)[:frames] for actor in content[name]]
            stacked = np.stack(actors, axis=1).reshape(frames, people, *shape)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {name} is not {people} actors in {frames} frames ({error})") from error
        if not np.isfinite(stacked).all():
            raise ValueError(f"{path}: NaN or infinite values in {name}")
        return torch.from_numpy(stacked)

    return ThreeDPWSequence(
        name=path.stem,
        joint_positions=1000 * field("jointPositions", 24, 3),
        poses=field("poses", 72),
        betas=betas,
        trans=1000 * field("trans", 3),
        genders=genders,
        # stored as 3 rows (x, y, confidence) per frame
        poses2d=field("poses2d", 3, 18).mT,
        cam_poses=cam_poses,
        cam_intrinsics=intrinsics,
        campose_valid=field("campose_valid").bool(),
    )


def find_sequences(root: Path | str, split: str = "test") -> list[Path]:
    """Pickles of a split, sorted by name.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"3DPW has no split {split!r}, only {', '.join(SPLITS)}")
    files = sorted(Path(root).glob(f"sequenceFiles/{split}/*.pkl"))
    if not files:
        tree = _TREE.format(root=root, split=split)
        raise FileNotFoundError(f"{root}: no 3DPW sequence of the split {split!r}; expected {tree}")
    return files


def find_pictures(root: Path | str, sequence: ThreeDPWSequence) -> dict[int, Path]:
    """Frame -> picture, of every frame.

    Raises:
        FileNotFoundError: the folder of pictures, or some of them, are missing.
    """
    folder = Path(root) / "imageFiles" / sequence.name
    pictures = [folder / f"image_{frame:05d}.jpg" for frame in range(len(sequence.cam_poses))]
    present = set(folder.glob("image_*.jpg"))
    missing = [path for path in pictures if path not in present]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(pictures)} pictures are missing, first {missing[0].name}"
        )
    return dict(enumerate(pictures))


class ThreeDPWFrames(AnnotatedFrames[ThreeDPWSequence]):
    """Joints are those of `SMPL_24`, and `points` their projections.

    The data set's own 2D detections are of another layout, and have gaps.
    """

    def __init__(
        self, sequences: Sequence[ThreeDPWSequence], pictures: Sequence[Mapping[int, Path]], image_size: int
    ) -> None:
        super().__init__(
            sequences, pictures, max(sequence.campose_valid.shape[1] for sequence in sequences), image_size
        )
        self._joints = [sequence.to_camera(sequence.joint_positions) for sequence in sequences]

    def people(self, at: int, frame: int) -> tuple[Tensor, Tensor, Tensor]:
        sequence, joints = self.sequences[at], self._joints[at][frame]
        return sequence.to_image(joints), joints, sequence.campose_valid[frame]

    def official_size(self, at: int) -> tuple[int, int]:
        """By the camera, whose centre is that of the picture."""
        width, height = 2 * self.sequences[at].cam_intrinsics[:2, 2]
        return round(float(width)), round(float(height))


class ThreeDPWDataModule(AnnotatedDataModule):
    """3DPW in its official layout (docs/data.md), for test and predict.

    Args:
        root: folder that holds `sequenceFiles/` and `imageFiles/`.
        split: train, validation or test.
        sequences: names; null: all of the split.
        reading: image_size, batch_size and num_workers, see `AnnotatedDataModule`.
    """

    layout = SMPL_24

    def __init__(self, root: str, split: str = "test", sequences: list[str] | None = None, **reading: Any) -> None:
        super().__init__(**reading)
        self.root = root
        self.split = split
        self.sequences = sequences

    def setup(self, stage: str | None = None) -> None:
        """Reads the annotations and finds the pictures; raises as `read_sequence` and `find_pictures`."""
        if self.dataset is not None:
            return
        files = {path.stem: path for path in find_sequences(self.root, self.split)}
        chosen = choose(self.sequences, files, f"{self.root}, split {self.split!r} of 3DPW")
        sequences = [read_sequence(file) for file in chosen.values()]
        pictures = [find_pictures(self.root, sequence) for sequence in sequences]
        self.dataset = ThreeDPWFrames(sequences, pictures, self.image_size)
