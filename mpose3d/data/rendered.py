"""The small world: D_syn scenes rendered as images, where no photograph can be had or the truth must be known."""

from __future__ import annotations

from typing import Any, Literal

import torch

from mpose3d.data.rendering import render
from mpose3d.data.scenes import SyntheticScenes
from mpose3d.sample import LabelledPhotographs, Photographs, PicturedScenes
from mpose3d.skeleton import find_layout


class RenderedWorld(SyntheticScenes):
    """Renders of endless scenes. What a training batch tells of a scene is decided by `gives`.

    Validation and test batches are `PicturedScenes`, with the truth to score against; with `gives` "labelled" they are
    `LabelledPhotographs` as in training.

    Args:
        gives: "photographs" for images alone; "labelled" for images with 2D joints, for the stages `teacher` and
            `chooser`; "paired" for images with their people in 3D, for the paired variants of phases 1 and 2.
        layout: joints of "labelled", a key of `LAYOUTS`.
        dyed: see `render`.
        scenes: see `SyntheticScenes`.
    """

    def __init__(
        self,
        gives: Literal["photographs", "labelled", "paired"] = "photographs",
        layout: str = "mpose3d",
        dyed: bool = False,
        **scenes: Any,
    ) -> None:
        super().__init__(**scenes)
        self.gives = gives
        self.layout = find_layout(layout)
        self.dyed = dyed

    def make(self, split: int, generator: torch.Generator) -> Photographs | LabelledPhotographs | PicturedScenes:
        scenes = super().make(split, generator)
        image = render(scenes, self.camera, self.input_size, generator, self.dyed)
        if self.gives == "labelled":
            points, visible = self.layout.from_skeleton(self.camera.project(scenes.joints), scenes.drawn)
            return LabelledPhotographs(image, points, visible, torch.ones_like(image[:, :1]))
        if split == 0 and self.gives == "photographs":
            return Photographs(image, torch.arange(len(image), device=image.device))
        return PicturedScenes(image, scenes)
