"""Joints of the SMPL body from its parameters, through the optional package smplx and the user's own model files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

#: Vertex at the top of the head in SMPL and SMPL+H meshes (Bogo et al., "Keep it SMPL", ECCV 2016, released code).
HEAD_TOP_VERTEX = 411

_WHERE = (
    "DIR/smpl/SMPL_NEUTRAL.pkl, SMPL_FEMALE.pkl and SMPL_MALE.pkl from https://smpl.is.tue.mpg.de (licence: research)"
)


def smpl_joints(
    poses: np.ndarray, betas: np.ndarray, translation: np.ndarray, gender: str, body_models: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, 24, 3) and top of the head (T, 3), in mm, of a body in T poses.

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
    body = smplx.SMPL(str(model), batch_size=len(poses))
    pose = torch.as_tensor(np.asarray(poses, dtype=np.float32))
    with torch.no_grad():
        out = body(
            global_orient=pose[:, :3],
            body_pose=pose[:, 3:],
            betas=torch.as_tensor(np.asarray(betas, dtype=np.float32)[None, :10]).expand(len(pose), -1),
            transl=torch.as_tensor(np.asarray(translation, dtype=np.float32)),
        )
    return 1000 * out.joints[:, :24].numpy(), 1000 * out.vertices[:, HEAD_TOP_VERTEX].numpy()
