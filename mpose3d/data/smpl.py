"""Joints of the SMPL body from its parameters, through the optional package smplx and the user's own model files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from smplx.utils import SMPLOutput

#: Vertex at the top of the head in SMPL and SMPL+H meshes (Bogo et al., "Keep it SMPL", ECCV 2016, released code).
HEAD_TOP_VERTEX = 411

_WHERE = (
    "DIR/smpl/SMPL_NEUTRAL.pkl, SMPL_FEMALE.pkl and SMPL_MALE.pkl from https://smpl.is.tue.mpg.de (licence: research)"
)


def smpl_body(
    poses: ArrayLike, betas: ArrayLike, translation: ArrayLike, gender: str, body_models: Path | None
) -> SMPLOutput:
    """The body in T poses, in metres: `joints` (T, 24 or more, 3), `vertices` (T, 6890, 3).

    Args:
        poses: (T, 72) axis-angle of the 24 joints, radians.
        betas: (10,) shape.
        translation: (T, 3) in metres.
        gender: "neutral", "female" or "male" ("f" and "m" too).
        body_models: folder that holds `smpl/SMPL_<GENDER>.pkl`.

    Raises:
        ImportError: the package smplx is missing.
        FileNotFoundError: no model file where it should be.
    """
    try:
        import smplx
    except ImportError as error:
        raise ImportError("SMPL parameters need the package smplx: pip install 'mpose3d[smpl]'") from error
    if body_models is None:
        raise FileNotFoundError(f"SMPL parameters need the model files: give their folder DIR, with {_WHERE}")
    gender = {"f": "female", "m": "male"}.get(gender, gender)
    model = Path(body_models) / "smpl" / f"SMPL_{gender.upper()}.pkl"
    if not model.is_file():
        raise FileNotFoundError(f"{model}: no such SMPL model; expected {_WHERE}")
    pose, shape, place = (torch.as_tensor(np.asarray(part, dtype=np.float32)) for part in (poses, betas, translation))
    with torch.no_grad():
        return smplx.SMPL(str(model), batch_size=len(pose))(
            global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=shape[:10].expand(len(pose), -1), transl=place
        )


def smpl_joints(
    poses: ArrayLike, betas: ArrayLike, translation: ArrayLike, gender: str, body_models: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, 24, 3) and top of the head (T, 3) in mm; all else as `smpl_body`."""
    body = smpl_body(poses, betas, translation, gender, body_models)
    return 1000 * body.joints[:, :24].numpy(), 1000 * body.vertices[:, HEAD_TOP_VERTEX].numpy()
