"""How far below the centres of the joints COCO's hips lie: by how much raised, bodies of our proportions fit best.

python -m experiments.coco_hips --annotations person_keypoints_train2017.json

People of whom every limb is annotated are lifted, with each hip moved towards the shoulder of its side. The projection
of the body that comes out lies some way off the joints; that way is printed, in sizes of the person.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from mpose3d.cli import plainly
from mpose3d.data.coco_json import read_annotations
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.extent import spread
from mpose3d.lifting import lift_people, read_lifter
from mpose3d.networks.keypoint_lifter import REFINE, KeypointLifter
from mpose3d.skeleton import COCO_17
from mpose3d.visualise.tables import print_table

RAISED = tuple(0.02 * step for step in range(-2, 11))

_LIMBS = [j for j, name in enumerate(COCO_17.names) if name.startswith(("l_", "r_")) and name[2:] not in ("eye", "ear")]
_HIPS, _SHOULDERS = ([COCO_17.index(f"{side}_{joint}") for side in "rl"] for joint in ("hip", "shoulder"))

# people this small (`spread`, px) are annotated too coarsely
_SMALLEST = 20.0


def whole_people(annotations: Path) -> tuple[Tensor, list[Camera]]:
    """Joints (P, 17, 2) of people all of whose limbs are annotated, faces as they are, and who sees each."""
    content = read_annotations(annotations)
    cameras = {i["id"]: Camera.for_image(i["width"], i["height"]) for i in content["images"]}
    joints, seen_by = [], []
    for person in content["annotations"]:
        keypoints = torch.tensor(person["keypoints"], dtype=torch.float64).reshape(-1, 3)
        limbs = keypoints[_LIMBS]
        if (limbs[:, 2] > 0).all() and spread(limbs[:, :2])[1] >= _SMALLEST:
            joints.append(keypoints[:, :2])
            seen_by.append(cameras[person["image_id"]])
    return torch.stack(joints), seen_by


def distance(network: KeypointLifter, joints: Tensor, cameras: list[Camera], raised: float, refine: int) -> float:
    """Mean distance of the projected body from the joints, in sizes of the person, hips being raised by a part."""
    joints = joints.clone()
    joints[:, _HIPS] += raised * (joints[:, _SHOULDERS] - joints[:, _HIPS])
    limbs = torch.zeros(joints.shape[:2], dtype=torch.bool)
    limbs[:, _LIMBS] = True
    points, visible = COCO_17.to_skeleton(joints, limbs)
    people = lift_people(network, points, visible, torch.arange(len(points)), cameras, refine, proportions=False)
    off = (people.joints_px - points).norm(dim=-1) / spread(points, visible)[1][:, None]
    return float(off[visible].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="person_keypoints_*.json of COCO")
    joints, cameras = whole_people(parser.parse_args().annotations)
    network = read_lifter("keypoints")
    rows = [
        {"raised": f"{raised:.2f}"}
        | {f"refine {steps}": distance(network, joints, cameras, raised, steps) for steps in (0, 1, REFINE)}
        for raised in RAISED
    ]
    title = "Distance of lifted bodies from the joints, in sizes of the person"
    print_table(title, rows, list(rows[0]), [f"{len(joints)} people with every limb annotated."], digits=4)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
