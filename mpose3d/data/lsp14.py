"""The 14 joints that the test protocol of 3DPW scores, regressed from the annotated SMPL meshes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mpose3d.data.smpl import smpl_body
from mpose3d.data.threedpw import ThreeDPWSequence
from mpose3d.files import reading
from mpose3d.skeleton import LSP_14

# Rows of J_regressor_h36m.npy, which has the left leg before the right one.
_ROWS = (
    "pelvis", "l_hip", "l_knee", "l_ankle", "r_hip", "r_knee", "r_ankle", "spine", "neck", "nose", "head_top",
    "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
)  # fmt: skip

_WHERE = "DIR/J_regressor_h36m.npy from the data of https://github.com/nkolot/SPIN, beside DIR/smpl with the models"


def regress_lsp14(sequence: ThreeDPWSequence, body_models: Path | str | None) -> Float[Tensor, "f p 14 3"]:
    """World mm of the joints of `LSP_14`: meshes of the annotated gender, times the regressor of SPIN's release.

    Args:
        sequence: its poses, shapes and genders.
        body_models: folder that holds `smpl/SMPL_MALE.pkl`, `smpl/SMPL_FEMALE.pkl` and `J_regressor_h36m.npy`.

    Raises:
        ImportError: the package smplx is missing.
        FileNotFoundError: a file is missing; says what to get and where to put it.
        ValueError: the regressor is damaged.
    """
    if body_models is None:
        raise FileNotFoundError(f"the 14 joints of 3DPW come from SMPL meshes: give a folder DIR, with {_WHERE}")
    root = Path(body_models)
    file = root / "J_regressor_h36m.npy"
    rows = [_ROWS.index(name) for name in LSP_14.names]
    with reading(file, _WHERE):
        regressor = torch.from_numpy(np.load(file)[rows]).float()
    actors = []
    for p, gender in enumerate(sequence.genders):
        body = smpl_body(sequence.poses[:, p], sequence.betas[p], sequence.trans[:, p] / 1000, gender, root)
        actors.append(1000 * regressor @ body.vertices)
    return torch.stack(actors, dim=1).double()
