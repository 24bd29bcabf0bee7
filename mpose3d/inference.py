"""Photographs in, 3D people out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from rich.progress import Progress
from torch import Tensor, nn

from mpose3d import assets
from mpose3d.data.images import is_video, open_source
from mpose3d.data.letterbox import Letterbox, letterbox, to_tensor, trimmed
from mpose3d.geometry.camera import Camera
from mpose3d.geometry.extent import bounding_box, one_in_other
from mpose3d.lifting import read_lifter
from mpose3d.networks.backends import Backend, Precision, accelerate, known_device
from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.keypoint_lifter import KeypointLifter, enough_joints
from mpose3d.networks.movenet import MoveNet
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.photograph import PhotographNetwork
from mpose3d.networks.teacher import MobilenetThin, Teacher
from mpose3d.people import FOCAL_RATIO, FORMAT, PhotographPeople, skeleton_json, write_people
from mpose3d.places import output_places, spare_pictures, spare_teacher_people
from mpose3d.representations.hmpaf import HMPAF, People2D, in_order
from mpose3d.representations.neural import Roots
from mpose3d.skeleton import SKELETON

Pathway = Literal["image", "hmpaf", "keypoints"]

#: side in pixels of a teacher's input by maps, unless another is asked for: what OpenPose and its kin were trained at
MAPS_SIZE = 368

#: the default teacher reads an image at these multiples of its input's size (docs/results.md)
SCALES = (1.0, 0.5, 1.5)

#: steps of refinement of people whom a 2D network sees: more follow its errors (docs/results.md)
SEEN_REFINE = 1

# of which the sides of an image without its bars are: that of MoveNet, and of the stride of any teacher
_MULTIPLE = 32

# pixels of the bars that are read all the same: somebody whom the border cuts is missed right at the edge of the input
_MARGIN = 32

# people are upright more often than not: who is seen in a picture that was turned counts a little less against somebody
# in the same place, and has to be surer to count at all, since patterns of any kind look like somebody from one side
_UPRIGHT_FIRST, _SURER = 0.9, 0.65


class PeopleReader:
    """photograph -> teacher -> H, or the lifter -> people.

    Args:
        teacher: E and F; by the pathway "keypoints" MoveNet too.
        network: G, H and Psi, or the lifter by the pathway "keypoints".
        pathway: "image" is the source's, s = H(E(I)); the teacher must be the one that H was trained with. The others
            take any teacher of the network's layout, at any size: "hmpaf" goes by its maps, s = H(G(F(E(I)))),
            "keypoints" by its people k_q, whom the lifter reads one by one.
        teacher_size: side of the teacher's input in pixels.
        max_people: most people, the best.
        threshold: least score of a person: the probability of a root, by keypoints see `teacher_people`. By default
            that of the teacher.
        turned: by keypoints, show the teacher the image in all four positions (`teacher_people`).
        refine: by keypoints, steps of refinement (`KeypointLifter.forward`), by default `SEEN_REFINE`.
        chooser: by keypoints, chooses the joints of the teacher's people again, in eager mode.
        backend, precision: see `accelerate`; "keypoints" runs the teacher by them.
    """

    def __init__(
        self,
        teacher: Teacher | MoveNet,
        network: CrossModalNetwork | KeypointLifter,
        pathway: Pathway = "hmpaf",
        teacher_size: int | None = None,
        max_people: int = 20,
        threshold: float | None = None,
        turned: bool = False,
        refine: int | None = None,
        backend: Backend = "eager",
        precision: Precision = "float32",
        chooser: PeakChooser | None = None,
    ) -> None:
        if (pathway == "keypoints") != isinstance(network, KeypointLifter):
            raise ValueError(
                f"the pathway {pathway!r} does not go through a {type(network).__name__}: keypoints takes the weights "
                "of the stage lifter, the others those of distill, phase1 or phase2"
            )
        if min(max_people, 1 if teacher_size is None else teacher_size) < 1 or (refine or 0) < 0:
            raise ValueError(
                f"max_people ({max_people}) and teacher_size ({teacher_size}) are at least 1, "
                f"refine ({refine}) is at least 0"
            )
        if pathway != "keypoints" and (turned or refine is not None):
            raise ValueError(f"turned and refine are of the pathway 'keypoints', {pathway!r} has no use for them")
        self.teacher, self.network = teacher.eval(), network.eval()
        self.pathway = pathway
        self.max_people = max_people
        self.threshold = teacher.threshold if threshold is None else threshold
        self.turned, self.refine = turned, SEEN_REFINE if refine is None else refine
        if chooser is not None and pathway != "keypoints":
            raise ValueError(f"a chooser is of the pathway 'keypoints', {pathway!r} has no use for it")
        if chooser is not None and chooser.layout is not teacher.layout:
            raise ValueError(
                f"the chooser needs a teacher with maps of the joints of {chooser.layout.name}, which "
                f"{type(teacher).__name__} of {teacher.layout.name} is not"
            )
        self.chooser = None if chooser is None else chooser.eval()
        # what runs in one piece: photograph -> the people or maps of the teacher, or -> 3D people
        if isinstance(network, KeypointLifter):
            whole: nn.Module = teacher
            self.side = teacher_size or teacher.side
            self._ratio, self._focal_ratio = 1.0, FOCAL_RATIO
            # a quarter to a half of the work is for the bars; other backends are made for squares, and so is turning
            self._trims = backend == "eager" and not turned
        else:
            whole = PhotographNetwork(teacher, network, pathway, max_people, self.threshold, teacher_size)
            self.side = whole.side
            self._ratio, self._focal_ratio = whole.ratio, network.settings["focal_ratio"]
            self._trims = False
        blank = torch.zeros(1, 3, self.side, self.side, device=next(network.parameters()).device)
        self._run = accelerate(whole, blank, backend, precision)

    @torch.inference_mode()
    def detect(self, image: Tensor, border: Sequence[float] | None = None) -> Detection:
        """Square images (B, 3, side, side), float RGB in [0, 1] -> people, best first.

        In pixels of the network's input, or by keypoints of the image, which may be any rectangle where nothing is
        turned and the backend is eager. `border` is as of `teacher_people`.
        """
        if self.pathway != "keypoints":
            return self._run(image)
        points, visible, score = self.teacher_people(image, border)
        valid = enough_joints(visible) & (score >= self.threshold)
        # whoever is left out takes no place
        order = (~valid).long().argsort(dim=1, stable=True)[:, : self.max_people]
        points, visible, score, valid = (in_order(part, order) for part in (points, visible, score, valid))
        height, width = image.shape[-2:]
        camera = Camera.for_image(width, height, self._focal_ratio)
        people = self.network(points, visible, camera, self.refine)
        # a joint that was seen is where it was seen
        joints_px = torch.where(visible[..., None], points, people.joints_px)
        roots = Roots(joints_px[..., SKELETON.root, :], score, valid)
        return Detection(roots, people._replace(joints_px=joints_px))

    @torch.inference_mode()
    def teacher_people(self, image: Tensor, border: Sequence[float] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """k_q of square images, best first: joints (B, P, 15, 2) px, visible (B, P, 15), score (B, P).

        Joints that the network's layout can only estimate are among them. With `turned`, of the image in all four
        positions: a teacher knows people upright, and sees those who lie, or stand on their hands, better when the
        picture is turned. Who is seen in several is kept from the best.

        Args:
            image: as of `detect`.
            border: (x0, y0, x1, y1) of the photograph in the image, by default all of it: MoveNet's joints that it
                cuts off are not seen (`MoveNet.seen_inside`).
        """
        turns = 4 if self.turned else 1
        teacher, layout = self.teacher, self.teacher.layout
        k_q = self._grouped(self._run(torch.cat([torch.rot90(image, turn, (2, 3)) for turn in range(turns)])))
        if isinstance(teacher, MoveNet):
            height, width = image.shape[-2:]
            x0, y0, x1, y1 = border or (-0.5, -0.5, width - 0.5, height - 0.5)
            borders = image.new_tensor([(x0, y0, x1, y1), (y0, x0, y1, x1)])  # the picture is in the middle
            k_q = teacher.seen_inside(k_q, borders.repeat(turns, 1)[:turns].repeat_interleave(len(image), 0))
        points, visible = layout.to_skeleton(k_q.points, k_q.visible & k_q.valid[..., None], estimate=True)
        total, score = torch.where(k_q.valid, k_q.scores.sum(-1), 0), teacher.score(k_q)
        if turns == 1:
            return points, visible, score
        parts = (part.unflatten(0, (turns, -1)) for part in (points, visible, score, total))
        return _of_all_positions(*parts, self.side)

    def read(self, image: np.ndarray, box: Letterbox) -> PhotographPeople:
        """A letterboxed photograph (side, side, 3) uint8 RGB -> its people, in pixels of the photograph."""
        image, box = self._trimmed(image, box)
        roots, people = self.detect(self._batch(image), box.border)
        found = roots.valid[0]

        def to_photograph(pixels: Tensor) -> np.ndarray:
            # the network's pixels -> the teacher's, which are the letterbox's -> the photograph's
            return box.to_image(self._ratio * (pixels[0, found].double() + 0.5) - 0.5).cpu().numpy()

        return PhotographPeople(
            size=box.size,
            camera=Camera.for_image(*box.size, self._focal_ratio),
            joints_px=to_photograph(people.joints_px),
            joints_mm=people.joints[0, found].cpu().numpy(),
            root_px=to_photograph(roots.px),
            score=roots.score[0, found].cpu().numpy(),
            embedding=people.embedding[0, found].cpu().numpy(),
        )

    @torch.inference_mode()
    def read_teacher(self, image: np.ndarray, box: Letterbox) -> dict[str, Any]:
        """The teacher's own 2D people k_q in the format of `PhotographPeople.to_json`; unseen joints are None.

        Those who are sure enough, by the same measure as in `teacher_people`.
        """
        image, box = self._trimmed(image, box)
        k_q = self._grouped(self.teacher(self._batch(image)))
        points, visible = self.teacher.layout.to_skeleton(k_q.points, k_q.visible)
        least = self.threshold if self.pathway == "keypoints" else self.teacher.threshold
        sure = k_q.valid & (self.teacher.score(k_q) >= least)
        people = []
        for p in sure[0].nonzero().flatten().tolist():
            pixels = np.round(box.to_image(points[0, p].double()).cpu().numpy(), 2).tolist()
            joints = [pixel if seen else None for pixel, seen in zip(pixels, visible[0, p].tolist(), strict=True)]
            people.append({"joints_px": joints})
        return {"version": FORMAT, "size": list(box.size), "skeleton": skeleton_json(), "people": people}

    def _grouped(self, output: HMPAF | People2D) -> People2D:
        """What the teacher gives -> people."""
        people = self.teacher.people(output)
        return people if self.chooser is None else self.chooser.people(output, people, self.teacher.stride)

    def _trimmed(self, image: np.ndarray, box: Letterbox) -> tuple[np.ndarray, Letterbox]:
        return trimmed(image, box, _MULTIPLE, _MARGIN) if self._trims else (image, box)

    def _batch(self, image: np.ndarray) -> Tensor:
        return to_tensor(image)[None].to(next(self.network.parameters()).device)


def _of_all_positions(
    points: Float[Tensor, "turns b p J 2"],
    visible: Bool[Tensor, "turns b p J"],
    score: Float[Tensor, "turns b p"],
    total: Float[Tensor, "turns b p"],
    side: int,
) -> tuple[Float[Tensor, "b p*turns J 2"], Bool[Tensor, "b p*turns J"], Float[Tensor, "b p*turns"]]:
    """People seen in images of `side` px and in the same turned, each once: from the position of the best `total`."""
    points = points.clone()
    for turn in range(1, len(points)):
        x, y = points[turn:].unbind(-1)
        points[turn:] = torch.stack([side - 1 - y, x], dim=-1)
    score = torch.cat([score[:1], _SURER * score[1:]])
    total = torch.cat([total[:1], _UPRIGHT_FIRST * total[1:]])
    people = points.shape[2]
    points, visible, score, total = (part.transpose(0, 1).flatten(1, 2) for part in (points, visible, score, total))
    order = total.argsort(dim=1, descending=True)
    turn = order // people
    points, visible, score = (in_order(part, order) for part in (points, visible, score))
    # whoever lies mostly within the box of somebody better, seen in another position, is the same person
    box = bounding_box(points, visible)
    same = one_in_other(box[:, :, None], box[:, None])
    again = (same & (turn[:, :, None] != turn[:, None, :])).tril(-1).any(-1)
    first = again.long().argsort(dim=1, stable=True)
    visible, score = visible & ~again[..., None], torch.where(again, 0, score)
    return tuple(in_order(part, first) for part in (points, visible, score))


def infer(
    paths: list[str],
    *,
    out: str,
    weights: str | None = None,
    teacher: Teacher | MoveNet | None = None,
    pathway: Pathway = "keypoints",
    teacher_size: int | None = None,
    max_people: int = 20,
    threshold: float | None = None,
    turned: bool | None = None,
    scales: list[float] | None = None,
    refine: int | None = None,
    chooser: str | None = None,
    video_step: int = 1,
    overlay: bool = True,
    page: bool = True,
    teacher_people: bool = False,
    device: str = "cpu",
    backend: Backend = "eager",
    precision: Precision = "float32",
) -> int:
    """Photographs and videos, or folders of them -> 3D people: a JSON, a picture and a page for each.

    What cannot be read is listed at the end, and the others are done all the same. Frames of a video are read one by
    one, as photographs, into a folder with its name; nobody is followed from frame to frame.

    Args:
        paths: photographs, videos and folders, which are searched recursively. Of several folders, each keeps its name
            under `out`.
        out: folder to write to.
        weights: `network.safetensors` of a stage; by default the weights that ship with the package.
        teacher: the 2D network; by default MoveNet by "keypoints" and mobilenet_thin by the others, fetched on first
            use.
        pathway: "keypoints", "hmpaf" or "image", see docs/flow.md.
        teacher_size: side of the teacher's input in pixels: more finds smaller people; by default 512 for MoveNet and
            544 for others by "keypoints", 368 by "hmpaf", and the network's by "image".
        max_people: most people in a photograph.
        threshold: least score of a person; by default the teacher's own, 0.15 for MoveNet.
        turned: by "keypoints", look at the photograph from all four sides, at four times the cost: finds people who lie
            or stand on their hands. By default not for MoveNet, which finds them anyhow.
        scales: the default teacher reads the photograph at these multiples of `teacher_size` and averages the joints
            (`MoveNet`), by default 1, 0.5 and 1.5; `--scales "[1]"` is a quarter of the work. Another teacher has its
            own `--teacher.scales`, or none.
        refine: by "keypoints", steps by which each person is fitted to the joints seen after the network has read them,
            by default 1.
        chooser: by "keypoints", `network.safetensors` of the stage `chooser` that was trained with the teacher: chooses
            each person's joints again among the peaks of its maps.
        video_step: read one frame in so many of a video.
        overlay: draw the people over the photograph beside a 3D view (NAME.png).
        page: write a page in which the 3D people can be turned (NAME.html); of photographs, not of frames.
        teacher_people: write the teacher's own 2D people too (NAME.teacher.json), for `evaluate 2d`.
        device: where to run, "cpu" or "cuda".
        backend: how to run, "eager", "compile", "cudagraph" or "onnxruntime", see docs/performance.md.
        precision: of the convolutions, "float32", "bfloat16" or "float16".

    Returns:
        Exit status: 0, or 1 if something could not be read.
    """
    if scales is not None and (teacher is not None or pathway != "keypoints"):
        raise ValueError("--scales is for the default teacher of the pathway keypoints: leave it out, or --teacher")
    if Path(out).is_file():
        raise ValueError(f"--out {out} is a file, people are written to a folder")
    if video_step < 1:
        raise ValueError(f"--video_step is at least 1, not {video_step}")
    places = output_places([Path(path) for path in paths], Path(out))
    if overlay:
        spare_pictures(places, Path(out))
    if teacher_people:
        spare_teacher_people(places)
    network = read_network(pathway, weights)
    teacher = teacher or default_teacher(pathway, max_people, SCALES if scales is None else scales)
    teacher_size = default_size(pathway, teacher) if teacher_size is None else teacher_size
    turned = pathway == "keypoints" and teacher.upright_only if turned is None else turned
    where = known_device(device)
    teacher, network = teacher.to(where), network.to(where)
    choose = None if chooser is None else PeakChooser.from_file(chooser).to(where)
    reader = PeopleReader(
        teacher, network, pathway, teacher_size, max_people, threshold, turned, refine, backend, precision, choose
    )

    failed = []
    with Progress() as progress:
        task = progress.add_task("pictures", total=len(places))
        for path, place in places:
            try:
                source = open_source(path, video_step)
                progress.update(task, total=progress.tasks[task].total + source.frames - 1)
                for number, picture in enumerate(source.pictures()):
                    image, box = letterbox(picture, reader.side)
                    at = place / f"{number * video_step:06d}" if is_video(path) else place
                    extra = {".teacher.json": json.dumps(reader.read_teacher(image, box))} if teacher_people else {}
                    shown = picture if overlay else None, picture if page and not is_video(path) else None
                    write_people(reader.read(image, box), path.name, Path(out) / at, *shown, extra)
                    progress.advance(task)
            except (ValueError, OSError) as error:
                failed.append(str(error) if path.name in str(error) else f"{path}: {error}")
                progress.advance(task)
    what = "photographs and videos" if any(is_video(path) for path, _ in places) else "photographs"
    print(f"{len(places) - len(failed)} of {len(places)} {what} read, people written to {out}")
    for reason in failed:
        print(f"not read: {reason}", file=sys.stderr)
    return 1 if failed else 0


def read_network(pathway: Pathway, weights: str | None = None) -> CrossModalNetwork | KeypointLifter:
    """What reads people by `pathway`; `weights` are its file, by default those that ship."""
    if pathway == "image":
        return CrossModalNetwork.from_file(weights or assets.weights_file("image"))
    return read_lifter("keypoints" if pathway == "keypoints" else "maps", weights)


def default_teacher(pathway: Pathway, max_people: int = 20, scales: Sequence[float] = SCALES) -> Teacher | MoveNet:
    """The 2D network where none is named: its weights are fetched on first use (`assets.teacher_file`)."""
    if pathway == "image":
        raise ValueError(
            "--pathway image reads the very teacher that its network was trained with: name it, for the weights that "
            "ship --teacher LightweightOpenPose --teacher.weights FILE --teacher_size 224"
        )
    if pathway == "keypoints":
        # its places go by centres: with few of them, who is best by the joints might not be among them
        return MoveNet(str(assets.teacher_file("movenet")), max(20, max_people), scales)
    return MobilenetThin(str(assets.teacher_file("mobilenet_thin")))


def default_size(pathway: Pathway, teacher: Teacher | MoveNet) -> int | None:
    """Side in pixels of the teacher's input; None is that of H."""
    return {"keypoints": teacher.side, "hmpaf": MAPS_SIZE, "image": None}[pathway]
