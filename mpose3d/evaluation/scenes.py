"""`mpose3d evaluate scenes`: scenes made of motion capture, lifted."""

from __future__ import annotations

from pathlib import Path

import torch

from mpose3d.data.mocap import read_motion_capture
from mpose3d.geometry.camera import Camera
from mpose3d.lifting import Through, lift_people, read_lifter
from mpose3d.metrics.modules import MPJPE, MRPE, PMPJPE
from mpose3d.networks.backends import known_device
from mpose3d.networks.keypoint_lifter import enough_joints
from mpose3d.poses.artificial import MotionCapturePoses
from mpose3d.poses.scenes import SceneSampler
from mpose3d.skeleton import SKELETON
from mpose3d.visualise.tables import print_table, write_table

# side in pixels of the square pictures of the fixed camera
_SCENE_SIZE = 1000
# Yaw is uniform, so people are seen from all sides. They lean to any side, as upright people seem to before a camera
# that is above, below or askew. A fifth are in any rotation, lying and upside down too. Their height is from an eighth
# of the picture's to more than the picture's.
_VIEWPOINTS = {"tilt": 20.0, "free_rotation": 0.2, "height": (0.125, 1.2)}
# scenes that are sampled together; with another number the same seed gives other scenes
_SCENES_AT_ONCE = 100


def evaluate_scenes(
    mocap: Path,
    scenes: int = 200,
    seed: int = 0,
    people: tuple[int, int] = (1, 4),
    through: Through = "keypoints",
    weights: str | None = None,
    layout: str = "mupots",
    body_models: Path | None = None,
    refine: int | None = None,
    device: str = "cpu",
    out: Path | None = None,
) -> None:
    """Scenes made of motion capture: their 2D people are lifted, and compared with the truth.

    Poses are frames as they are, with the skeleton's bones (stature 1.7 m); joints outside the picture are missing.

    Args:
        mocap: motion capture that `read_motion_capture` takes (docs/data.md): npz, BVH, C3D, AMC, or a folder of them.
        scenes: how many.
        seed: the same seed gives the same scenes.
        people: fewest and most people in a scene.
        through: as in `mpose3d lift`.
        weights: the network; default: those that ship.
        layout: joints of plain arrays in npz files.
        body_models: folder of SMPL model files, for AMASS.
        refine: as in `mpose3d lift`.
        device: where to run the network, "cpu" or "cuda".
        out: folder for scenes.csv and scenes.json.
    """
    if scenes < 1:
        raise ValueError(f"--scenes is how many scenes to make, not {scenes}")
    poses = torch.cat(list(read_motion_capture(mocap, layout, body_models).values()))
    camera = Camera.for_image(_SCENE_SIZE, _SCENE_SIZE)
    sampler = SceneSampler(
        MotionCapturePoses(poses, mirror=False), camera, _SCENE_SIZE, people=tuple(people), **_VIEWPOINTS
    )
    network = read_lifter(through, weights).to(known_device(device))
    generator = torch.Generator().manual_seed(seed)
    metrics = {"mpjpe": MPJPE(SKELETON.root), "pmpjpe": PMPJPE(), "root_error": MRPE(SKELETON.root)}
    of_whole = MPJPE(SKELETON.root), PMPJPE()
    found, whole, annotated = 0, 0, 0
    for start in range(0, scenes, _SCENES_AT_ONCE):
        sample = sampler.sample(min(_SCENES_AT_ONCE, scenes - start), generator)
        scene, person = (sample.valid & enough_joints(sample.drawn)).nonzero(as_tuple=True)
        truth, drawn = sample.joints[scene, person], sample.drawn[scene, person]
        cameras = [camera] * len(sample.valid)
        # everybody has the bones of the skeleton
        lifted = lift_people(network, camera.project(truth), drawn, scene, cameras, refine, proportions=False)
        joints, uncut = lifted.joints.cpu(), drawn.all(-1)
        for metric in metrics.values():
            metric.update(joints, truth)
        for metric in of_whole:
            metric.update(joints[uncut], truth[uncut])
        found, whole, annotated = found + len(truth), whole + int(uncut.sum()), annotated + int(sample.valid.sum())
    figures = {name: metric.compute().item() for name, metric in metrics.items()}
    figures |= {"found": found, "annotated": annotated}
    notes = [
        f"{scenes} scenes of {people[0]} to {people[1]} people (seed {seed}) from {len(poses)} frames of {mocap}.",
        "Found: people with enough joints in the picture to be lifted; all 15 joints of theirs are scored.",
        f"{whole} people are wholly in the picture: "
        f"MPJPE {of_whole[0].compute():.1f}, PMPJPE {of_whole[1].compute():.1f}.",
    ]
    print_table(f"Scenes of motion capture, lifted through {through} (mm)", [figures], list(figures), notes)
    write_table(out, "scenes", [figures], figures)
