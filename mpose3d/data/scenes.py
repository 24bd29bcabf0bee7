"""D_syn for training: endless seeded poses and scenes, made in batches on the training device.

Loaders carry nothing but the numbers of batches; `on_after_batch_transfer` makes each batch where it is used, from a
generator seeded by (seed, split, epoch, number). The same seed thus gives the same scenes however many processes share
them, and a resumed run the scenes that come next (`mpose3d.data.epochs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mpose3d.data.epochs import StreamLoader
from mpose3d.data.mocap import SPLIT_SEED, read_motion_capture, split_clips
from mpose3d.geometry.camera import FOCAL_RATIO, Camera
from mpose3d.poses.artificial import (
    ArtificialPoses,
    MixedPoses,
    MotionCapturePoses,
    PoseSource,
    SeatedPoses,
    ValidPoses,
)
from mpose3d.poses.limits import JointLimits
from mpose3d.poses.occupancy import PoseOccupancy
from mpose3d.poses.scenes import Scenes, SceneSampler


class _Numbers(Dataset):
    """(split, epoch, number) of each batch; the split is 0 for training and 1 for validation."""

    def __init__(self, split: int, length: int) -> None:
        self.split, self.length = split, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[int, int, int]:
        epoch, number = key if isinstance(key, tuple) else (0, key)
        return self.split, epoch, number


class SyntheticPoses(LightningDataModule):
    """Batches (`batch_size`, 15, 3) of canonical poses in mm, for the stage `aae`.

    Trains on a mixture of artificial poses and motion capture. Validates on motion capture whose clips were held out
    (on those of training if `held_out` is 0), or on artificial poses where there is none.

    Args:
        motion_capture: file or folder that `read_motion_capture` takes; None trains on artificial poses alone.
        artificial: fraction of artificial poses among the training poses.
        held_out, split_seed: fraction of the motion capture, in whole recordings, that is kept for validation, and the
            seed that chooses them.
        recombine, interpolate: see `MotionCapturePoses`.
        seated: fraction of the training poses of motion capture that sit or crouch (`SeatedPoses`).
        limits: file of joint limits; by default the table of `mpose3d.poses.limits`, which Psi keeps to in any case.
        occupancy: file that `mpose3d prior occupancy` wrote; artificial arms and legs keep to it.
        max_penetration: mm by which limbs may run into each other. Training poses that go beyond, and motion capture
            that leaves the joint limits, are drawn again; None takes every pose as it comes.
        batches, val_batches: batches in an epoch and in a validation.
        motion_capture_layout: joints of plain arrays in npz files of motion capture, a key of `LAYOUTS`.
        body_models: folder of SMPL model files, for motion capture of AMASS.
    """

    def __init__(
        self,
        motion_capture: str | None = None,
        artificial: float = 0.5,
        held_out: float = 0.2,
        split_seed: int = SPLIT_SEED,
        recombine: float = 0.0,
        interpolate: float = 0.0,
        seated: float = 0.0,
        limits: str | None = None,
        occupancy: str | None = None,
        max_penetration: float | None = None,
        batch_size: int = 256,
        batches: int = 1000,
        val_batches: int = 10,
        seed: int = 0,
        motion_capture_layout: str = "mupots",
        body_models: str | None = None,
    ) -> None:
        super().__init__()
        for name, fraction in (("artificial", artificial), ("seated", seated)):
            if not 0 <= fraction <= 1:
                raise ValueError(f"{name} is a fraction in [0, 1], got {fraction}")
        self.motion_capture = motion_capture
        self.motion_capture_layout, self.body_models = motion_capture_layout, body_models
        self.artificial = artificial
        self.held_out, self.split_seed = held_out, split_seed
        self.recombine, self.interpolate, self.seated = recombine, interpolate, seated
        self.limits, self.occupancy, self.max_penetration = limits, occupancy, max_penetration
        self.batch_size, self.batches, self.val_batches = batch_size, batches, val_batches
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:
        limits = JointLimits.from_file(self.limits) if self.limits else JointLimits()
        occupancy = PoseOccupancy.from_file(self.occupancy) if self.occupancy else None
        made_up = ValidPoses(ArtificialPoses(limits, occupancy), max_penetration=self.max_penetration)
        if self.motion_capture is None:
            self.sources: list[PoseSource] = [made_up, made_up]
            return
        clips = read_motion_capture(self.motion_capture, self.motion_capture_layout, self.body_models)
        train, held_out = split_clips(clips, self.held_out, self.split_seed)
        real = MotionCapturePoses(
            torch.cat(list(train.values())), recombine=self.recombine, interpolate=self.interpolate
        )
        unseen = MotionCapturePoses(torch.cat(list(held_out.values()))) if held_out else real
        kinds: list[PoseSource] = [real, SeatedPoses(real)]
        if self.max_penetration is not None:
            kinds = [ValidPoses(kind, limits, self.max_penetration) for kind in kinds]
        recorded = 1 - self.artificial
        shares = [self.artificial, recorded * (1 - self.seated), recorded * self.seated]
        self.sources = [MixedPoses([made_up, *kinds], shares), unseen]

    def train_dataloader(self) -> DataLoader:
        return StreamLoader(_Numbers(0, self.batches), batch_size=None, trainer=self.trainer, shuffle=False)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(_Numbers(1, self.val_batches), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        return self.val_dataloader()

    def on_after_batch_transfer(self, batch: Sequence[int], dataloader_idx: int) -> Tensor | Scenes:
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device
        state = np.random.SeedSequence([self.seed, *batch]).generate_state(1, np.uint64)
        return self.make(batch[0], torch.Generator(device).manual_seed(int(state[0] >> 1)))

    def make(self, split: int, generator: torch.Generator) -> Tensor | Scenes:
        """One batch of the split (0 training, 1 validation) on the generator's device."""
        return self.sources[split].sample(self.batch_size, generator)


class SyntheticScenes(SyntheticPoses):
    """Batches of `Scenes` of `batch_size` scenes each, for `phase1`, `phase2` and the lifter.

    Args:
        input_size, focal_ratio: the fixed camera; they must be those of the network.
        people, height, margin, tilt, looking_down, free_rotation, stature, proportions, crowding, occlusion, dropped:
            see `SceneSampler`. For validation scenes are sampled alike, with nothing dropped and the skeleton's own
            proportions.
        poses: see `SyntheticPoses`.
    """

    def __init__(
        self,
        input_size: int = 224,
        focal_ratio: float = FOCAL_RATIO,
        people: tuple[int, int] = (1, 8),
        height: tuple[float, float] = (0.15, 1.2),
        margin: float = 0.0,
        tilt: float = 20.0,
        looking_down: tuple[float, float] = (0.0, 0.0),
        free_rotation: float = 0.1,
        stature: float = 0.0,
        proportions: float = 0.0,
        crowding: float = 1 / 14,
        occlusion: float = 0.0,
        dropped: float = 0.0,
        **poses: Any,
    ) -> None:
        super().__init__(**poses)
        self.input_size = input_size
        self.camera = Camera.for_image(input_size, input_size, focal_ratio)
        self.placement = {
            "people": people,
            "height": height,
            "margin": margin,
            "tilt": tilt,
            "looking_down": looking_down,
            "free_rotation": free_rotation,
            "stature": stature,
            "crowding": crowding,
            "occlusion": occlusion,
        }
        self.dropped, self.proportions = dropped, proportions

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        self.samplers = [
            SceneSampler(
                source, self.camera, self.input_size, dropped=dropped, proportions=proportions, **self.placement
            )
            for source, dropped, proportions in zip(
                self.sources, (self.dropped, 0.0), (self.proportions, 0.0), strict=True
            )
        ]

    def make(self, split: int, generator: torch.Generator) -> Scenes:
        return self.samplers[split].sample(self.batch_size, generator)
