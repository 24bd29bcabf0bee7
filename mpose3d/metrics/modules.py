"""The metrics of `functional` accumulated over batches and processes.

Every state is a sum, so the result is the same for any batch size and any split of the people over processes, uneven
ones included. `compute` gives the mean over the poses that were scored; NaN where there was none. A pose that no
prediction can be scored on (no visible joint, root invisible, one point where sizes are compared) is left out; NaN in
a prediction makes the mean NaN.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from mpose3d.geometry.alignment import MIN_ALIGNED_JOINTS, is_point
from mpose3d.geometry.extent import bounding_box
from mpose3d.metrics import functional


def keep_apart(metric: Metric) -> None:
    """Add a state that equals nothing, not even itself.

    A `MetricCollection` updates one metric for all whose states are equal after the first batch, and these may be equal
    by chance: of nobody all sums are 0.
    """
    metric.add_state("apart", torch.tensor(torch.nan), dist_reduce_fx="sum")


class _MeanOverPoses(Metric):
    """Mean of `_score` over the poses that `_scorable` keeps."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        keep_apart(self)

    def update(
        self,
        prediction: Float[Tensor, "*batch J D"],
        target: Float[Tensor, "*batch J D"],
        visible: Bool[Tensor, "*batch J"] | None = None,
    ) -> None:
        """Add poses (..., J, D), paired; `visible` (..., J) says which joints count (default: all)."""
        if prediction.shape != target.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape")
        if visible is None:
            visible = torch.ones(target.shape[:-1], dtype=torch.bool, device=target.device)
        scorable = self._scorable(target, visible)
        self.total += self._score(prediction, target, visible)[scorable].double().sum()
        self.count += scorable.sum()

    def compute(self) -> Tensor:
        return (self.total / self.count).float()

    def _scorable(self, target: Tensor, visible: Tensor) -> Tensor:
        return visible.any(dim=-1)

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        raise NotImplementedError


class _RootRelative(_MeanOverPoses):
    """A metric of poses moved to joint `root`; None takes them as they are."""

    def __init__(self, root: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.root = root

    def _scorable(self, target: Tensor, visible: Tensor) -> Tensor:
        return visible.any(dim=-1) if self.root is None else visible[..., self.root]


class MPJPE(_RootRelative):
    """Mean per-joint position error: mm of 3D poses, px of 2D poses (2D-MPJPE)."""

    higher_is_better = False

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.mpjpe(prediction, target, visible, root=self.root)


class PMPJPE(_MeanOverPoses):
    """MPJPE after a similarity without reflection per pose, mm.

    Poses with fewer than 3 visible joints, or with all of them in one point, are left out.
    """

    higher_is_better = False

    def _scorable(self, target: Tensor, visible: Tensor) -> Tensor:
        return (visible.sum(dim=-1) >= MIN_ALIGNED_JOINTS) & ~is_point(target, visible)

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.pmpjpe(prediction, target, visible)


class NMPJPE(_RootRelative):
    """MPJPE of root-relative poses after the best non-negative scale per pose, mm; one-point poses are left out."""

    higher_is_better = False
    root: int

    def __init__(self, root: int, **kwargs) -> None:
        super().__init__(root, **kwargs)

    def _scorable(self, target: Tensor, visible: Tensor) -> Tensor:
        return visible[..., self.root] & ~is_point(target - target[..., self.root, None, :], visible)

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.n_mpjpe(prediction, target, visible, root=self.root)


class PCK3D(_RootRelative):
    """3DPCK in percent; with `root` None it is PCK_abs, of camera-space positions."""

    higher_is_better = True

    def __init__(self, root: int | None = None, threshold: float = functional.PCK_THRESHOLD, **kwargs) -> None:
        super().__init__(root, **kwargs)
        self.threshold = threshold

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.pck3d(prediction, target, visible, root=self.root, threshold=self.threshold)


class AUC3D(_RootRelative):
    """Mean 3DPCK over the thresholds 0:5:150 mm, in percent."""

    higher_is_better = True

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.auc(prediction, target, visible, root=self.root)


class MRPE(_MeanOverPoses):
    """Mean root position error in camera space, mm."""

    higher_is_better = False

    def __init__(self, root: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.root = root

    def _scorable(self, target: Tensor, visible: Tensor) -> Tensor:
        return visible[..., self.root]

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.root_error(prediction, target, root=self.root)


class PCK2D(_MeanOverPoses):
    """2D-PCK in percent; `threshold` in px."""

    higher_is_better = True

    def __init__(self, threshold: float = functional.PCK_2D_THRESHOLD, **kwargs) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        return functional.pck2d(prediction, target, visible, threshold=self.threshold)


class BoxIoU(_MeanOverPoses):
    """Intersection over union of the boxes around the visible joints of predicted and annotated 2D poses, 0 to 1.

    A pose with fewer than 2 visible joints has no box and is left out.
    """

    higher_is_better = True

    def _scorable(self, target: Tensor, visible: Tensor) -> Tensor:
        return visible.sum(dim=-1) >= 2

    def _score(self, prediction: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        boxes = (bounding_box(points, visible) for points in (prediction, target))
        return functional.box_iou(*boxes)
