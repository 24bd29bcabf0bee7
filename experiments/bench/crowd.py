"""Pictures of crowds, and a teacher that finds everybody in them: what the benchmarks of inference read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mpose3d.data.letterbox import Picture
from mpose3d.data.rendering import render
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.kinematics import euler_to_rotation, rotate, translate
from mpose3d.networks.teacher import Teacher
from mpose3d.poses.artificial import ArtificialPoses
from mpose3d.poses.scenes import Scenes
from mpose3d.representations.hmpaf import HMPAF, draw

PICTURE = 720  # px


class Crowd:
    """A picture of people who stand in rows of up to five, and where their joints are."""

    def __init__(self, people: int) -> None:
        self.people = people
        camera = Camera.for_image(PICTURE, PICTURE)
        columns = min(people, 5)
        rows = math.ceil(people / columns)
        at = [((p % columns + 0.5) / columns, (p // columns + 0.5) / rows) for p in range(people)]
        generator = torch.Generator().manual_seed(people)
        height = PICTURE * min(0.8 / rows, 1.6 / columns)
        depth = torch.full((people,), camera.focal * 1700 / height)
        upright = euler_to_rotation(torch.zeros(people, 3), torch.ones(people, 3))
        poses = rotate(ArtificialPoses().sample(people, generator), upright)
        joints = translate(poses, PICTURE * torch.tensor(at), depth, camera)[None]
        drawn = torch.ones(joints.shape[:-1], dtype=torch.bool)
        image = render(Scenes(joints, drawn[..., 0], drawn, drawn), camera, PICTURE, generator)
        self.picture = Picture.whole((255 * image[0].permute(1, 2, 0)).round().byte().numpy())
        self.joints_px, self.drawn = camera.project(joints), drawn

    def maps(self, teacher: Teacher, side: int) -> HMPAF:
        """What a teacher that is always right sees of the picture at `side` pixels."""
        points, visible = teacher.layout.from_skeleton((self.joints_px + 0.5) * side / PICTURE - 0.5, self.drawn)
        size = (side // teacher.stride, side // teacher.stride)
        return draw(points, visible, teacher.layout, size, teacher.stride)


class AlwaysRight(Teacher):
    """A teacher that runs in full, and gives the maps that it is told to give."""

    def __init__(self, teacher: Teacher, maps: HMPAF) -> None:
        super().__init__(teacher.layout, teacher.stride, teacher.v_channels, teacher.cut)
        self.teacher, self.maps = teacher, maps

    def features(self, image: Tensor) -> Tensor:
        return self.teacher.features(image)

    def stages(self, v: Tensor) -> list[HMPAF]:
        self.teacher.stages(v)
        return [HMPAF(*(part.to(v.device).expand(len(v), -1, -1, -1) for part in self.maps))]
