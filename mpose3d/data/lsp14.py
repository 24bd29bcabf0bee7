"""The 14 joints that the test protocol of 3DPW scores, regressed from the annotated SMPL meshes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mpose3d.data.threedpw import ThreeDPWSequence
from mpose3d.skeleton import LSP_14

# Rows of J_regressor_h36m.npy, which has the left leg before the right one.
_ROWS = (
    "pelvis", "l_hip", "l_knee", "l_ankle", "r_hip", "r_knee", "r_ankle", "spine", "neck", "nose", "head_top",
    "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
)  # fmt: skip

_GENDERS = {"m": "MALE", "f": "FEMALE"}


def regress_lsp14(sequence: ThreeDPWSequence, body_models: Path | str | None) -> Float[Tensor, "f p 14 3"]:
    """World mm of the joints of `LSP_14`: meshes of the annotated gender, times the regressor of SPIN's release.

    Args:
        sequence: its poses, shapes and genders.
        body_models: folder that holds `smpl/SMPL_MALE.pkl`, `smpl/SMPL_FEMALE.pkl` and `J_regressor_h36m.npy`.

    Raises:
        ImportError: the package smplx is missing.
        FileNotFoundError: a file is missing; says what to get and where to put it.
    """
    try:
        import smplx
    except ImportError as error:
        raise ImportError("the 14 joints of 3DPW need the package smplx: pip install 'mpose3d[smpl]'") from error
    if body_models is None:
        raise FileNotFoundError(f"the 14 joints of 3DPW come from SMPL meshes: give a folder DIR; {_what('DIR')}")
    root = Path(body_models)
    wanted = [root / "smpl" / f"SMPL_{_GENDERS[gender]}.pkl" for gender in sequence.genders]
    for path in (*wanted, root / "J_regressor_h36m.npy"):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; {_what(root)}")
    rows = [_ROWS.index(name) for name in LSP_14.names]
    regressor = torch.from_numpy(np.load(root / "J_regressor_h36m.npy")[rows]).float()

    actors = []
    for p, model in enumerate(wanted):
        pose = sequence.poses[:, p].float()
        with torch.no_grad():
            mesh = smplx.SMPL(str(model), batch_size=len(pose))(
                global_orient=pose[:, :3],
                body_pose=pose[:, 3:],
                betas=sequence.betas[p].float().expand(len(pose), -1),
                transl=sequence.trans[:, p].float() / 1000,
            )
        actors.append(1000 * regressor @ mesh.vertices)
    return torch.stack(actors, dim=1).double()


def _what(root: Path | str) -> str:
    return (
        f"expected {root}/smpl/SMPL_MALE.pkl and SMPL_FEMALE.pkl from https://smpl.is.tue.mpg.de, and "
        f"{root}/J_regressor_h36m.npy from the data of https://github.com/nkolot/SPIN"
    )
