"""The way from photograph to people as one file, for programs that do not have this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mpose3d.files import spare_inputs, whole_or_none
from mpose3d.inference import default_size, default_teacher, read_network
from mpose3d.networks.export import export_onnx, export_pt2, export_torchscript
from mpose3d.networks.fuse import fused
from mpose3d.networks.photograph import PhotographNetwork
from mpose3d.networks.teacher import Teacher
from mpose3d.people import check_score, skeleton_json
from mpose3d.representations.neural import MAX_PEOPLE, ROOT_THRESHOLD

FORMATS = {"onnx": export_onnx, "torchscript": export_torchscript, "pt2": export_pt2}

# what files of a format are called, where they are called anything
_SUFFIXES = {".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".pt2": "pt2"}


class ExportedPeople(nn.Module):
    """What a file holds: square photographs -> tensors of a fixed size, P = `max_people` places, best first.

    Places that are not in the mask hold zeros. Pixels are those of the photograph tensor; millimetres are of the camera
    whose focal length is the network's `focal_ratio` times its side.
    """

    def __init__(self, photograph: PhotographNetwork) -> None:
        super().__init__()
        self.photograph = photograph

    def forward(self, image: Float[Tensor, "b 3 side side"]) -> dict[str, Tensor]:
        """Float RGB in [0, 1] -> joints_mm (B, P, 15, 3), joints_px (B, P, 15, 2), root_px (B, P, 2), score (B, P),
        mask (B, P) bool."""
        roots, people = self.photograph(image)
        mask, ratio = roots.valid, self.photograph.ratio
        return {
            "joints_mm": torch.where(mask[..., None, None], people.joints, 0),
            "joints_px": torch.where(mask[..., None, None], ratio * (people.joints_px + 0.5) - 0.5, 0),
            "root_px": torch.where(mask[..., None], ratio * (roots.px + 0.5) - 0.5, 0),
            "score": roots.score,
            "mask": mask,
        }


def export(
    *,
    out: str,
    format: Literal["onnx", "torchscript", "pt2"] = "onnx",
    weights: str | None = None,
    teacher: Teacher | None = None,
    pathway: Literal["hmpaf", "image"] = "hmpaf",
    teacher_size: int | None = None,
    max_people: int = MAX_PEOPLE,
    threshold: float = ROOT_THRESHOLD,
) -> int:
    """The whole network, photograph tensor to people tensors, as one file.

    Args:
        out: file to write.
        format: "onnx" (needs the extra `export`), "torchscript" (`torch.jit.load`, C++) or "pt2" (`torch.export.load`).
        weights: `network.safetensors` of a stage; by default the weights that ship with the package.
        teacher: the 2D network; by default mobilenet_thin, which is fetched on first use.
        pathway: "hmpaf" or "image", see docs/flow.md; the other groups people outside the network.
        teacher_size: side of the photograph tensor in pixels; by default 368, or the network's by the pathway "image".
        max_people: places for people in an image.
        threshold: least probability of a root.

    Returns:
        Exit status 0.
    """
    path = Path(out)
    if (named := _SUFFIXES.get(path.suffix.lower(), format)) != format:
        raise ValueError(f"--out {out} is the name of a file of {named}, --format is {format}: change one of them")
    check_score(threshold)
    spare_inputs(path, weights)
    network = read_network(pathway, weights)
    if max_people > (cells := network.representation.grid**2):
        raise ValueError(f"--max_people {max_people} is more than the {cells} cells in which the network finds people")
    teacher = teacher or default_teacher(pathway)
    teacher_size = default_size(pathway, teacher) if teacher_size is None else teacher_size
    photograph = PhotographNetwork(teacher, network, pathway, max_people, threshold, teacher_size)
    whole, side = fused(ExportedPeople(photograph)), photograph.side

    description = {
        "image": f"float32 (B, 3, {side}, {side}), RGB in [0, 1], letterboxed",
        "skeleton": skeleton_json(),
        "focal_ratio": network.settings["focal_ratio"],
        "max_people": max_people,
        "threshold": threshold,
    }
    with whole_or_none(path) as unfinished:
        FORMATS[format](whole, torch.zeros(1, 3, side, side), unfinished, json.dumps(description))
    print(f"{path}: {description['image']} -> {max_people} people, {path.stat().st_size / 1e6:.1f} MB")
    return 0
