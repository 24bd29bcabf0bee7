"""The 15-joint skeleton of mpose3d, and the joint layouts of other sources with the maps between them.

Everything here is data: no other module writes a joint index as a number. Ask `SKELETON.index("l_hip")`,
`COCO_18.to_skeleton(points, visible)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


class _Joints:
    """Joints by name."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        return self.names.index(name)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """Index of each joint's left/right twin; a joint on the midline is its own."""
        swap = {"l_": "r_", "r_": "l_"}
        return tuple(self.index(swap.get(n[:2], n[:2]) + n[2:]) for n in self.names)


@dataclass(frozen=True)
class Skeleton(_Joints):
    """Joints, limbs and bone lengths of one body.

    `limbs` are (from, to) pairs in the order of the part-affinity channels; `tree` are (parent, child) pairs rooted at
    `root`, parents first. `bone_lengths` (mm) belong to the child joint and are those of a body of `stature` mm.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    tree: tuple[tuple[int, int], ...]
    root: int
    bone_lengths: tuple[float, ...]
    stature: float

    def indices(self, *names: str) -> list[int]:
        return [self.index(name) for name in names]

    @cached_property
    def right(self) -> tuple[int, ...]:
        """Each joint's twin on the right side, or itself."""
        return tuple(min(pair) for pair in enumerate(self.mirror))

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Parent of each joint in the kinematic tree; the root is its own parent."""
        parent = dict((child, parent) for parent, child in self.tree)
        return tuple(parent.get(j, j) for j in range(len(self.names)))


_NAMES = (
    "head_top", "neck",
    "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
    "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle",
    "pelvis",
)  # fmt: skip


def _pairs(names: tuple[str, ...], *pairs: str) -> tuple[tuple[int, int], ...]:
    """`"a-b"` -> (index of a, index of b)."""
    return tuple((names.index(a), names.index(b)) for a, b in (pair.split("-") for pair in pairs))


# Mean of joint-centre distances in CMU, deepmimic and MPI-INF-3DHP-style annotations, scaled to a stature of 1.7 m
# and rounded to 5 mm (docs/conventions.md). The source fixes the ratios, and gives no numbers.
_LENGTHS = {
    "head_top": 250.0, "neck": 440.0, "shoulder": 165.0, "elbow": 280.0, "wrist": 240.0,
    "hip": 100.0, "knee": 425.0, "ankle": 400.0, "pelvis": 0.0,
}  # fmt: skip

#: The skeleton of the source (43 channels: 15 joints, 2 x 14 limbs).
SKELETON = Skeleton(
    names=_NAMES,
    limbs=_pairs(
        _NAMES,
        "head_top-neck",
        "neck-r_shoulder", "r_shoulder-r_elbow", "r_elbow-r_wrist",
        "neck-l_shoulder", "l_shoulder-l_elbow", "l_elbow-l_wrist",
        "neck-pelvis",
        "pelvis-r_hip", "r_hip-r_knee", "r_knee-r_ankle",
        "pelvis-l_hip", "l_hip-l_knee", "l_knee-l_ankle",
    ),
    tree=_pairs(
        _NAMES,
        "pelvis-neck", "neck-head_top",
        "neck-r_shoulder", "r_shoulder-r_elbow", "r_elbow-r_wrist",
        "neck-l_shoulder", "l_shoulder-l_elbow", "l_elbow-l_wrist",
        "pelvis-r_hip", "r_hip-r_knee", "r_knee-r_ankle",
        "pelvis-l_hip", "l_hip-l_knee", "l_knee-l_ankle",
    ),
    root=_NAMES.index("pelvis"),
    bone_lengths=tuple(_LENGTHS[n.removeprefix("r_").removeprefix("l_")] for n in _NAMES),
    stature=1700.0,
)  # fmt: skip

#: joint that is *defined* as the midpoint of two others -> these two
MIDPOINTS = {
    SKELETON.index("neck"): SKELETON.indices("r_shoulder", "l_shoulder"),
    SKELETON.root: SKELETON.indices("r_hip", "l_hip"),
}


_Weights = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Layout(_Joints):
    """The joints of another source, and the linear maps between them and `SKELETON`.

    A joint that is absent from a map cannot be had: it comes out invisible, never guessed. Every row of weights sums
    to 1, so one map serves 2D and 3D points.

    Args:
        name: what users type, for example ``coco17``.
        names: the joints, in the order of the source's arrays and heatmap channels.
        limbs: (from, to) pairs in the order of the source's part-affinity channels; empty where it has none.
        to_weights: joint of `SKELETON` -> {joint of this layout: weight}.
        from_weights: joint of this layout -> {joint of `SKELETON`: weight}.
        estimates: joints of `SKELETON` that this layout lacks or has in another place of the body, as {joint of this
            layout: weight}: good enough to read a pose from, not to score one by.
    """

    name: str
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    to_weights: _Weights
    from_weights: _Weights
    estimates: _Weights = field(default_factory=dict)

    @cached_property
    def supplied_joints(self) -> tuple[int, ...]:
        """Joints of this layout that the skeleton can supply, in order."""
        return tuple(j for j, name in enumerate(self.names) if name in self.from_weights)

    @cached_property
    def supplied_limbs(self) -> tuple[int, ...]:
        """Limbs of this layout both of whose ends the skeleton can supply, in order."""
        have = set(self.supplied_joints)
        return tuple(i for i, (a, b) in enumerate(self.limbs) if a in have and b in have)

    @property
    def supplied_channels(self) -> int:
        """Channels of m_syn in this layout: one per supplied joint, two (x, y) per supplied limb."""
        return len(self.supplied_joints) + 2 * len(self.supplied_limbs)

    def to_skeleton(
        self, points: Tensor, visible: Tensor | None = None, estimate: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Points of this layout (..., J, D) -> points (..., 15, D) of `SKELETON` and their visibility (..., 15).

        A mapped joint is visible where every joint that it is made of is visible (`visible` (..., J); default: all).
        Invisible joints are 0. With `estimate`, `estimates` go before `to_weights` where they can be had.
        """
        mapped, seen = _apply(self._to, points, visible, self.name)
        if not estimate or not self.estimates:
            return mapped, seen
        estimated, known = _apply(self._estimates, points, visible, self.name)
        mapped, seen = torch.where(known[..., None], estimated, mapped), seen | known
        # the pelvis is the midpoint of the hips, wherever those are
        hips = MIDPOINTS[SKELETON.root]
        both = seen[..., hips].all(-1, keepdim=True)
        mapped[..., SKELETON.root, :] = torch.where(both, mapped[..., hips, :].mean(-2), mapped[..., SKELETON.root, :])
        seen[..., SKELETON.root] |= both[..., 0]
        return mapped, seen

    def from_skeleton(self, points: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Points (..., 15, D) of `SKELETON` -> points (..., J, D) of this layout and their visibility (..., J)."""
        return _apply(self._from, points, visible, "mpose3d")

    @cached_property
    def _to(self) -> Tensor:
        return _matrix(SKELETON.names, self.names, self.to_weights)

    @cached_property
    def _estimates(self) -> Tensor:
        return _matrix(SKELETON.names, self.names, self.estimates)

    @cached_property
    def _from(self) -> Tensor:
        return _matrix(self.names, SKELETON.names, self.from_weights)


def _matrix(rows: tuple[str, ...], columns: tuple[str, ...], weights: _Weights) -> Tensor:
    # It is kept for later calls: made in inference mode it could not be used in training, and made on the device meta
    # it would hold no numbers.
    with torch.inference_mode(False), torch.device("cpu"):
        matrix = torch.zeros(len(rows), len(columns), dtype=torch.float64)
        for row, terms in weights.items():
            for column, weight in terms.items():
                matrix[rows.index(row), columns.index(column)] = weight
    return matrix


def _apply(matrix: Tensor, points: Tensor, visible: Tensor | None, source: str) -> tuple[Tensor, Tensor]:
    joints = matrix.shape[1]
    if points.shape[-2] != joints:
        raise ValueError(
            f"expected {joints} joints of the layout {source!r}, got points of shape {tuple(points.shape)}"
        )
    if visible is None:
        visible = torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device)
    matrix = matrix.to(points)
    needed = (matrix != 0).to(points)
    with torch.autocast(points.device.type, enabled=False):  # pixels and mm are float32 under mixed precision too
        mapped_visible = ((~visible).to(points) @ needed.T == 0) & needed.any(dim=-1)
        # invisible input may hold anything, NaN too: keep it out of the sum
        mapped = matrix @ torch.where(visible[..., None], points, 0)
    return torch.where(mapped_visible[..., None], mapped, 0), mapped_visible


def _same(*names: str) -> dict[str, dict[str, float]]:
    return {name: {name: 1.0} for name in names}


_ARMS = ("r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist")
_LEGS = ("r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle")
_LIMB_JOINTS = _ARMS + _LEGS
_MID_SHOULDER = {"neck": {"r_shoulder": 0.5, "l_shoulder": 0.5}}
_MID_HIP = {"pelvis": {"r_hip": 0.5, "l_hip": 0.5}}
_CENTRE = _MID_SHOULDER | _MID_HIP

# Of a standing body shoulders, eyes and ears, and the top of the head are at 0.82, 0.94 and 1.00 of its height (Drillis
# and Contini, 1966, in Winter, Biomechanics and Motor Control of Human Movement): the head goes on from the ears by
# half of the way from the shoulders to them.
_HEAD_FROM_EARS = {"head_top": {"l_ear": 0.75, "r_ear": 0.75, "l_shoulder": -0.25, "r_shoulder": -0.25}}

# COCO's hips lie lower than the centres of the joints, by 0.08 of the way to the shoulder of the same side: so moved,
# COCO's own annotated people come closest to bodies of our proportions (`experiments.coco_hips`).
_HIPS_OF_COCO = {
    "r_hip": {"r_hip": 0.92, "r_shoulder": 0.08},
    "l_hip": {"l_hip": 0.92, "l_shoulder": 0.08},
}
_FROM_COCO = _HEAD_FROM_EARS | _HIPS_OF_COCO

# Least-squares fit over 7,811 bodies of MuPoTS-3D: its neck lies 59 mm above the midpoint of the shoulders, and is
# recovered with a mean error of 25 mm (docs/conventions.md).
_MPI_NECK = {"neck": {"neck": 0.971, "head_top": 0.093, "pelvis": -0.064}}

#: This project's own joints.
MPOSE3D = Layout("mpose3d", SKELETON.names, SKELETON.limbs, _same(*SKELETON.names), _same(*SKELETON.names))

_MPI_NAMES = (*SKELETON.names[:-1], "chest")
#: OpenPose MPI. Its last joint is the chest (middle of the trunk), not the pelvis; its neck is the upper neck.
MPI_15 = Layout(
    "mpi15",
    _MPI_NAMES,
    _pairs(
        _MPI_NAMES,
        "head_top-neck",
        "neck-r_shoulder", "r_shoulder-r_elbow", "r_elbow-r_wrist",
        "neck-l_shoulder", "l_shoulder-l_elbow", "l_elbow-l_wrist",
        "neck-chest",
        "chest-r_hip", "r_hip-r_knee", "r_knee-r_ankle",
        "chest-l_hip", "l_hip-l_knee", "l_knee-l_ankle",
    ),
    to_weights=_same("head_top", *_LIMB_JOINTS) | _CENTRE,
    from_weights=_same("head_top", *_LIMB_JOINTS) | _MPI_NECK | {"chest": {"neck": 0.5, "pelvis": 0.5}},
)  # fmt: skip

_COCO_18_NAMES = (
    "nose", "neck",
    "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
    "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle",
    "r_eye", "l_eye", "r_ear", "l_ear",
)  # fmt: skip
#: OpenPose COCO (and its lightweight kin). Its neck is the midpoint of the shoulders, as ours; it has no top of the
#: head and no pelvis, and our skeleton has no face.
COCO_18 = Layout(
    "openpose18",
    _COCO_18_NAMES,
    _pairs(
        _COCO_18_NAMES,
        "neck-r_hip", "r_hip-r_knee", "r_knee-r_ankle", "neck-l_hip", "l_hip-l_knee", "l_knee-l_ankle",
        "neck-r_shoulder", "r_shoulder-r_elbow", "r_elbow-r_wrist", "r_shoulder-r_ear",
        "neck-l_shoulder", "l_shoulder-l_elbow", "l_elbow-l_wrist", "l_shoulder-l_ear",
        "neck-nose", "nose-r_eye", "nose-l_eye", "r_eye-r_ear", "l_eye-l_ear",
    ),
    to_weights=_same("neck", *_LIMB_JOINTS) | _MID_HIP,
    from_weights=_same("neck", *_LIMB_JOINTS),
    estimates=_FROM_COCO,
)  # fmt: skip

_BODY_25_NAMES = (
    "nose", "neck",
    "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist",
    "pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle",
    "r_eye", "l_eye", "r_ear", "l_ear",
    "l_big_toe", "l_small_toe", "l_heel", "r_big_toe", "r_small_toe", "r_heel",
)  # fmt: skip
#: OpenPose BODY_25, whose pelvis is called MidHip. Neck and pelvis are midpoints, as ours; no top of the head.
BODY_25 = Layout(
    "openpose25",
    _BODY_25_NAMES,
    _pairs(
        _BODY_25_NAMES,
        "neck-pelvis",
        "r_hip-r_knee", "r_knee-r_ankle", "pelvis-r_hip", "pelvis-l_hip", "l_hip-l_knee", "l_knee-l_ankle",
        "neck-r_shoulder", "r_shoulder-r_elbow", "r_elbow-r_wrist", "r_shoulder-r_ear",
        "neck-l_shoulder", "l_shoulder-l_elbow", "l_elbow-l_wrist", "l_shoulder-l_ear",
        "neck-nose", "nose-r_eye", "nose-l_eye", "r_eye-r_ear", "l_eye-l_ear",
        "l_ankle-l_big_toe", "l_big_toe-l_small_toe", "l_ankle-l_heel",
        "r_ankle-r_big_toe", "r_big_toe-r_small_toe", "r_ankle-r_heel",
    ),
    to_weights=_same("neck", "pelvis", *_LIMB_JOINTS),
    from_weights=_same("neck", "pelvis", *_LIMB_JOINTS),
    estimates=_FROM_COCO,
)  # fmt: skip

#: COCO keypoints 2017: annotations and most detectors. No neck, no pelvis: both are midpoints.
COCO_17 = Layout(
    "coco17",
    (
        "nose", "l_eye", "r_eye", "l_ear", "r_ear",
        "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist",
        "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle",
    ),
    (),
    to_weights=_same(*_LIMB_JOINTS) | _CENTRE,
    from_weights=_same(*_LIMB_JOINTS),
    estimates=_FROM_COCO,
)  # fmt: skip

#: MuPoTS-3D and MPI-INF-3DHP (17 joints). Its spine and its "head" (between neck and top) cannot be supplied.
MUPOTS_17 = Layout(
    "mupots",
    (*SKELETON.names, "spine", "head"),
    (),
    to_weights=_same("head_top", *_LIMB_JOINTS) | _CENTRE,
    from_weights=_same("head_top", "pelvis", *_LIMB_JOINTS) | _MPI_NECK,
)

#: SMPL. Its "head" is the base of the skull and its "neck" the top of the thorax: neither is ours, in either direction.
SMPL_24 = Layout(
    "smpl24",
    (
        "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3",
        "l_foot", "r_foot", "neck", "l_collar", "r_collar", "head",
        "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist", "l_hand", "r_hand",
    ),
    (),
    to_weights=_same(*_LIMB_JOINTS) | _CENTRE,
    from_weights=_same(*_LIMB_JOINTS),
)  # fmt: skip

#: Human3.6M (17 joints). Its "thorax" is the upper neck; spine and nose cannot be supplied.
H36M_17 = Layout(
    "h36m17",
    (
        "pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "spine", "thorax", "nose", "head_top",
        "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
    ),
    (),
    to_weights=_same("head_top", *_LIMB_JOINTS) | _CENTRE,
    from_weights=_same("pelvis", "head_top", *_LIMB_JOINTS),
)  # fmt: skip

#: LSP (14 joints): the 14-joint protocol of 3DPW. Its neck is the upper neck.
LSP_14 = Layout(
    "lsp14",
    (
        "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle",
        "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist", "neck", "head_top",
    ),
    (),
    to_weights=_same("head_top", *_LIMB_JOINTS) | _CENTRE,
    from_weights=_same("head_top", *_LIMB_JOINTS) | _MPI_NECK,
)  # fmt: skip

LAYOUTS = {
    layout.name: layout for layout in (MPOSE3D, MPI_15, COCO_18, BODY_25, COCO_17, MUPOTS_17, SMPL_24, H36M_17, LSP_14)
}


def find_layout(name: str, with_limbs: bool = False) -> Layout:
    """The layout of `LAYOUTS` that has this name.

    Raises:
        ValueError: there is none, or `with_limbs` and it has none.
    """
    known = [layout.name for layout in LAYOUTS.values() if layout.limbs or not with_limbs]
    if name not in known:
        kind = "layout with limbs" if with_limbs and name in LAYOUTS else "layout"
        raise ValueError(f"unknown {kind} {name!r}, known are {', '.join(known)}")
    return LAYOUTS[name]
