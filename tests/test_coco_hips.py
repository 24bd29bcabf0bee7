"""The hips of COCO against those of lifted bodies."""

from __future__ import annotations

from experiments.coco_hips import RAISED, distance, whole_people
from mpose3d.lifting import read_lifter


def test_bodies_fit_coco_best_with_the_hips_raised(shared_data):
    """As far as the skeleton's estimate raises them, or a step of the search less."""
    joints, cameras = whole_people(shared_data / "coco/annotations/person_keypoints_train2017_mini.json")
    assert len(joints) >= 10
    network = read_lifter("keypoints")
    for refine in (0, 3):
        distances = {raised: distance(network, joints, cameras, raised, refine) for raised in RAISED}
        assert round(min(distances, key=distances.get), 2) in (0.06, 0.08)
