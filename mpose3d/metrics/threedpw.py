"""The two protocols of 3DPW (von Marcard et al., ECCV 2018). Poses in mm, in camera space, people already assigned.

`Challenge`: 24 SMPL joints, as `evaluate.py` of the ECCV 2020 challenge computes it. `FourteenJoints`: the 14 LSP
joints of the test split, as reported since HMR (Kanazawa et al., CVPR 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from mpose3d.metrics.functional import joint_errors, pmpjpe
from mpose3d.metrics.modules import keep_apart
from mpose3d.skeleton import LSP_14, SMPL_24

PCK_THRESHOLD = 50.0
"""mm"""

# 0, 1, ..., 199 mm, as the official `np.arange(0.0, 200.0)`
_AUC_THRESHOLDS = tuple(float(t) for t in range(200))

_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_PCK_JOINTS = [SMPL_24.index(f"{side}_{joint}") for joint in _LIMBS for side in "lr"]
_HIPS = [LSP_14.index("r_hip"), LSP_14.index("l_hip")]


class ChallengeScore(NamedTuple):
    """mm, mm, percent, fraction; NaN where nothing was scored."""

    mpjpe: float
    pmpjpe: float
    pck: float
    auc: float


class FourteenJointScore(NamedTuple):
    """mm; NaN where nothing was scored."""

    mpjpe: float
    pmpjpe: float


def scored_frames(
    poses2d: Float[Tensor, "*batch 18 3"], campose_valid: Bool[Tensor, "*batch"]
) -> Bool[Tensor, "*batch"]:
    """Frames of a person that both protocols score.

    Dropped are frames in which the detector saw no joint of the person (all of `poses2d` is 0), or whose camera pose
    was not aligned with the picture.
    """
    return (poses2d != 0).any(dim=-1).any(dim=-1) & campose_valid


class Challenge(Metric):
    """MPJPE at the root, PMPJPE, PCK at 50 mm and AUC over 0-200 mm, of 24 joints.

    MPJPE and PMPJPE are over all 24 joints; PCK and AUC are over the 12 limb joints after moving the pelvis only. AUC
    is the area under PCK by the trapezoid rule, as a fraction. A prediction that is one point is scored by PMPJPE as
    if it lay in the centre of the target, as the official evaluator does with one that is all zero.
    """

    full_state_update = False
    mpjpe: Tensor
    pmpjpe: Tensor
    correct: Tensor
    poses: Tensor

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.add_state("mpjpe", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pmpjpe", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros(len(_AUC_THRESHOLDS), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("poses", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        keep_apart(self)

    def update(self, prediction: Float[Tensor, "n J 3"], target: Float[Tensor, "n J 3"]) -> None:
        """Add poses of `SMPL_24` in mm; raises ValueError on other joints or NaN."""
        _check(prediction, target, len(SMPL_24))
        prediction, target = prediction.double(), target.double()
        errors = joint_errors(prediction, target, root=SMPL_24.index("pelvis"))
        self.mpjpe += errors.mean(dim=-1).sum()
        self.pmpjpe += pmpjpe(prediction, target).double().sum()
        self.correct += (errors[:, _PCK_JOINTS, None] <= errors.new_tensor(_AUC_THRESHOLDS)).sum(dim=(0, 1))
        self.poses += len(errors)

    def compute(self) -> ChallengeScore:
        pck = self.correct.double() / (self.poses * len(_PCK_JOINTS))
        return ChallengeScore(
            mpjpe=(self.mpjpe / self.poses).item(),
            pmpjpe=(self.pmpjpe / self.poses).item(),
            pck=100 * pck[_AUC_THRESHOLDS.index(PCK_THRESHOLD)].item(),
            auc=(torch.trapezoid(pck) / _AUC_THRESHOLDS[-1]).item(),
        )


class FourteenJoints(Metric):
    """MPJPE with the midpoints of the hips moved together, and PMPJPE, of 14 joints."""

    full_state_update = False
    mpjpe: Tensor
    pmpjpe: Tensor
    poses: Tensor

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.add_state("mpjpe", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pmpjpe", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("poses", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        keep_apart(self)

    def update(self, prediction: Float[Tensor, "n J 3"], target: Float[Tensor, "n J 3"]) -> None:
        """Add poses of `LSP_14` in mm; raises ValueError on other joints or NaN."""
        _check(prediction, target, len(LSP_14))
        prediction, target = (pose.double() - pose[:, _HIPS].double().mean(1, True) for pose in (prediction, target))
        self.mpjpe += joint_errors(prediction, target).mean(dim=-1).sum()
        self.pmpjpe += pmpjpe(prediction, target).double().sum()
        self.poses += len(target)

    def compute(self) -> FourteenJointScore:
        return FourteenJointScore((self.mpjpe / self.poses).item(), (self.pmpjpe / self.poses).item())


def _check(prediction: Tensor, target: Tensor, joints: int) -> None:
    if prediction.shape != target.shape or prediction.shape[-2:] != (joints, 3):
        raise ValueError(
            f"predictions of shape {tuple(prediction.shape)} for targets {tuple(target.shape)}, "
            f"expected both (N, {joints}, 3)"
        )
    if not prediction.isfinite().all():
        raise ValueError("a prediction is NaN or infinite")
