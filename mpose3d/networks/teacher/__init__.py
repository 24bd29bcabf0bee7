"""Frozen 2D networks: image -> v (E) -> heatmaps and part-affinity fields (F). One file per real network.

Rectifiers work in place (`relu_`): each follows a convolution, whose output nothing else reads.
"""

from mpose3d.networks.teacher.base import Normalise, Teacher
from mpose3d.networks.teacher.compact import CompactTeacher, CompactTrunk
from mpose3d.networks.teacher.lightweight import LightweightOpenPose
from mpose3d.networks.teacher.mobilenet_thin import MobilenetThin
from mpose3d.networks.teacher.openpose import OpenPose
from mpose3d.networks.teacher.small import SmallTeacher

__all__ = [
    "CompactTeacher",
    "CompactTrunk",
    "LightweightOpenPose",
    "MobilenetThin",
    "Normalise",
    "OpenPose",
    "SmallTeacher",
    "Teacher",
]
