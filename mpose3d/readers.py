"""photograph -> teacher -> H, or the lifter -> people."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mpose3d.data.letterbox import Letterbox, to_tensor, trimmed
from mpose3d.geometry.camera import FOCAL_RATIO, Camera
from mpose3d.geometry.extent import bounding_box, in_box, one_in_other
from mpose3d.networks.backends import Backend, Precision, accelerate
from mpose3d.networks.cross_modal import CrossModalNetwork, Detection
from mpose3d.networks.keypoint_lifter import KeypointLifter, enough_joints
from mpose3d.networks.peak_chooser import PeakChooser
from mpose3d.networks.photograph import PhotographNetwork
from mpose3d.networks.pose_estimator import PoseEstimator2D
from mpose3d.networks.teacher import Teacher
from mpose3d.people import FORMAT, PhotographPeople, skeleton_json
from mpose3d.representations.hmpaf import HMPAF, People2D, in_order
from mpose3d.representations.neural import MAX_PEOPLE, ROOT_THRESHOLD, Roots
from mpose3d.skeleton import SKELETON

#: steps of refinement of people whom a 2D network sees: more follow its errors (docs/results.md)
SEEN_REFINE = 1

# of which the sides of an image without its bars are, beside the teacher's own: that of MoveNet
_MULTIPLE = 32

# pixels of the bars that are read all the same: somebody whom the border cuts is missed right at the edge of the input
_MARGIN = 32

# People seen in a turned picture: their totals against somebody in the same place, and their scores, are multiplied by
# these. People are upright more often than not, and patterns of any kind look like somebody from one side.
_UPRIGHT_FIRST, _SURER = 0.9, 0.65


class PeopleReader(ABC):
    """What both kinds of readers share: photographs as they lie in the square that a teacher sees.

    Args:
        teacher, network: what reads.
        whole: what of them runs in one piece, on images.
        side: of the square in pixels.
        focal_ratio: of the network's camera; None if it reads by any.
        teacher_threshold: least score of the teacher's own people in `read_teacher`.
        backend, precision: see `accelerate`; of `whole`.
    """

    def __init__(
        self,
        teacher: PoseEstimator2D,
        network: CrossModalNetwork | KeypointLifter,
        whole: nn.Module,
        side: int,
        focal_ratio: float | None,
        teacher_threshold: float,
        backend: Backend,
        precision: Precision,
    ) -> None:
        self.teacher, self.network = teacher.eval(), network.eval()
        self.side, self._focal_ratio = side, focal_ratio
        self._teacher_threshold = teacher_threshold
        self._device = next(network.parameters()).device
        self._run = accelerate(whole, torch.zeros(1, 3, side, side, device=self._device), backend, precision)

    @abstractmethod
    def detect(
        self, image: Tensor, border: Sequence[float] | None = None, focal_ratio: float | None = None
    ) -> Detection:
        """Square images (B, 3, side, side), float RGB in [0, 1] -> people, best first, in pixels of the image.

        Args:
            image: the images.
            border: (x0, y0, x1, y1) of the photograph in the image, by default all of it.
            focal_ratio: focal length over the longer side, where it is known.
        """

    def read(self, image: np.ndarray, box: Letterbox, focal_ratio: float | None = None) -> PhotographPeople:
        """A letterboxed photograph (side, side, 3) uint8 RGB -> its people, in pixels of the photograph.

        Args:
            image, box: as of `letterbox`.
            focal_ratio: as of `detect`.
        """
        image, box = self._trimmed(image, box)
        roots, people = self.detect(self._batch(image), box.border, focal_ratio)
        found = roots.valid[0]

        def to_photograph(pixels: Tensor) -> np.ndarray:
            return box.to_image(pixels[0, found].double()).cpu().numpy()

        return PhotographPeople(
            size=box.size,
            camera=self._camera(*box.size, focal_ratio),
            joints_px=to_photograph(people.joints_px),
            joints_mm=people.joints[0, found].cpu().numpy(),
            root_px=to_photograph(roots.px),
            score=roots.score[0, found].cpu().numpy(),
            embedding=people.embedding[0, found].cpu().numpy(),
        )

    @torch.inference_mode()
    def read_teacher(self, image: np.ndarray, box: Letterbox) -> dict[str, Any]:
        """The teacher's own 2D people k_q in the format of `PhotographPeople.to_json`; unseen joints are None."""
        image, box = self._trimmed(image, box)
        k_q = self._grouped(self.teacher(self._batch(image)))
        points, visible = self.teacher.layout.to_skeleton(k_q.points, k_q.visible)
        sure = k_q.valid & (self.teacher.score(k_q) >= self._teacher_threshold)
        people = []
        for p in sure[0].nonzero().flatten().tolist():
            pixels = np.round(box.to_image(points[0, p].double()).cpu().numpy(), 2).tolist()
            joints = [pixel if seen else None for pixel, seen in zip(pixels, visible[0, p].tolist(), strict=True)]
            people.append({"joints_px": joints})
        return {"version": FORMAT, "size": list(box.size), "skeleton": skeleton_json(), "people": people}

    def _camera(self, width: int, height: int, focal_ratio: float | None) -> Camera:
        return Camera.for_image(width, height, self._focal_ratio or focal_ratio or FOCAL_RATIO)

    def _grouped(self, output: HMPAF | People2D) -> People2D:
        """What the teacher gives -> people."""
        return self.teacher.people(output)

    def _trimmed(self, image: np.ndarray, box: Letterbox) -> tuple[np.ndarray, Letterbox]:
        return image, box

    def _batch(self, image: np.ndarray) -> Tensor:
        return to_tensor(image)[None].to(self._device)


class MapReader(PeopleReader):
    """photograph -> teacher -> H -> people.

    Args:
        teacher: E and F.
        network: G, H and Psi.
        pathway: "image" is the source's, s = H(E(I)); the teacher must be the one that H was trained with. "hmpaf" goes
            by the teacher's maps, s = H(G(F(E(I)))), of any teacher of the network's layout, at any size.
        teacher_size: side of the teacher's input in pixels, by default that of the network's.
        max_people: most people, the best.
        threshold: least probability of a root, by default `ROOT_THRESHOLD`.
        backend, precision: see `accelerate`.
    """

    def __init__(
        self,
        teacher: Teacher,
        network: CrossModalNetwork,
        pathway: Literal["image", "hmpaf"] = "hmpaf",
        teacher_size: int | None = None,
        max_people: int = MAX_PEOPLE,
        threshold: float | None = None,
        backend: Backend = "eager",
        precision: Precision = "float32",
    ) -> None:
        self.threshold = ROOT_THRESHOLD if threshold is None else threshold
        whole = PhotographNetwork(teacher, network, pathway, max_people, self.threshold, teacher_size)
        focal_ratio, self._ratio = network.settings["focal_ratio"], whole.ratio
        super().__init__(teacher, network, whole, whole.side, focal_ratio, teacher.threshold, backend, precision)

    @torch.inference_mode()
    def detect(
        self, image: Tensor, border: Sequence[float] | None = None, focal_ratio: float | None = None
    ) -> Detection:
        """See `PeopleReader`; what the border cuts off the teacher's maps do not show; the camera is the network's."""
        roots, people = self._run(image)
        px, joints_px = (self._ratio * (pixels + 0.5) - 0.5 for pixels in (roots.px, people.joints_px))
        return Detection(roots._replace(px=px), people._replace(joints_px=joints_px))


class KeypointReader(PeopleReader):
    """photograph -> a teacher's people k_q -> the lifter, which reads them one by one -> people.

    Args:
        teacher: the 2D network.
        network: the lifter.
        teacher_size: side of the teacher's input in pixels, by default its own.
        max_people: most people, the best.
        threshold: least score of a person by the teacher (`PoseEstimator2D.score`), by default the teacher's.
        turned: show the teacher the image in all four positions (`teacher_people`).
        refine: steps of refinement (`KeypointLifter.forward`).
        backend, precision: see `accelerate`; of the teacher.
        chooser: chooses the joints of the teacher's people again, in eager mode.
    """

    def __init__(
        self,
        teacher: PoseEstimator2D,
        network: KeypointLifter,
        teacher_size: int | None = None,
        max_people: int = MAX_PEOPLE,
        threshold: float | None = None,
        turned: bool = False,
        refine: int = SEEN_REFINE,
        backend: Backend = "eager",
        precision: Precision = "float32",
        chooser: PeakChooser | None = None,
    ) -> None:
        side = teacher.side if teacher_size is None else teacher_size
        if min(max_people, side) < 1 or refine < 0:
            raise ValueError(
                f"max_people ({max_people}) and teacher_size ({side}) are at least 1, refine ({refine}) is at least 0"
            )
        if side % teacher.multiple:
            raise ValueError(f"teacher_size {side} is no multiple of {teacher.multiple}, as the teacher's images are")
        if chooser is not None and chooser.layout != teacher.layout:
            raise ValueError(
                f"the chooser needs a teacher with maps of the joints of {chooser.layout.name}, which "
                f"{type(teacher).__name__} of {teacher.layout.name} is not"
            )
        self.threshold = teacher.threshold if threshold is None else threshold
        super().__init__(teacher, network, teacher, side, None, self.threshold, backend, precision)
        self.max_people, self.turned, self.refine = max_people, turned, refine
        self.chooser = None if chooser is None else chooser.eval()
        # a quarter to a half of the work is for the bars; other backends are made for squares, and so is turning
        self._trims = backend == "eager" and not turned

    @torch.inference_mode()
    def detect(
        self, image: Tensor, border: Sequence[float] | None = None, focal_ratio: float | None = None
    ) -> Detection:
        """See `PeopleReader`; images may be any rectangle where nothing is turned and the backend is eager.

        Joints that the border cuts off are not seen, unless the body that is lifted without them has them in the
        picture: then it is lifted again, with them.
        """
        points, visible, cut_off, score = self.teacher_people(image, border)
        seen = visible & ~cut_off
        valid = enough_joints(seen) & (score >= self.threshold)
        # whoever is left out takes no place
        order = (~valid).long().argsort(dim=1, stable=True)[:, : self.max_people]
        points, seen, cut_off, score, valid = (in_order(part, order) for part in (points, seen, cut_off, score, valid))
        camera = self._camera(image.shape[-1], image.shape[-2], focal_ratio)
        people = self.network(points, seen, camera, self.refine)
        after_all = cut_off & valid[..., None] & in_box(people.joints_px, image.new_tensor(_edges(image, border)))
        if after_all.any():
            seen = seen | after_all
            people = self.network(points, seen, camera, self.refine)
        # a joint that was seen is where it was seen
        joints_px = torch.where(seen[..., None], points, people.joints_px)
        roots = Roots(joints_px[..., SKELETON.root, :], score, valid)
        return Detection(roots, people._replace(joints_px=joints_px))

    @torch.inference_mode()
    def teacher_people(
        self, image: Tensor, border: Sequence[float] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """k_q of square images, best first: joints (B, P, 15, 2) px, visible and cut off (B, P, 15), score (B, P).

        Cut off are those of the visible that the border probably cuts off (`PoseEstimator2D.cut_off`). Joints that the
        network's layout can only estimate are among them. With `turned`, of the image in all four positions: a teacher
        knows people upright, and sees those who lie, or stand on their hands, better when the picture is turned. Who is
        seen in several is kept from the best.

        Args:
            image, border: as of `detect`.
        """
        turns = 4 if self.turned else 1
        teacher, layout = self.teacher, self.teacher.layout
        k_q = self._grouped(self._run(torch.cat([torch.rot90(image, turn, (2, 3)) for turn in range(turns)])))
        given = k_q.visible & k_q.valid[..., None]
        points, visible = layout.to_skeleton(k_q.points, given, estimate=True)
        x0, y0, x1, y1 = _edges(image, border)
        # turned, too, the picture is in the middle of the image
        borders = [(y0, x0, y1, x1) if turn % 2 else (x0, y0, x1, y1) for turn in range(turns)]
        beyond = teacher.cut_off(k_q, image.new_tensor(borders).repeat_interleave(len(image), 0))
        # what is made of several joints is made of those inside, if it can be
        inside_points, inside = layout.to_skeleton(k_q.points, given & ~beyond, estimate=True)
        points, cut_off = torch.where(inside[..., None], inside_points, points), visible & ~inside
        total, score = torch.where(k_q.valid, k_q.scores.sum(-1), 0), teacher.score(k_q)
        if turns == 1:
            return points, visible, cut_off, score
        parts = (part.unflatten(0, (turns, -1)) for part in (points, visible, cut_off, score, total))
        return _of_all_positions(*parts, self.side)

    def _grouped(self, output: HMPAF | People2D) -> People2D:
        people = super()._grouped(output)
        return people if self.chooser is None else self.chooser.people(output, people, self.teacher.stride)

    def _trimmed(self, image: np.ndarray, box: Letterbox) -> tuple[np.ndarray, Letterbox]:
        if not self._trims:
            return image, box
        return trimmed(image, box, math.lcm(_MULTIPLE, self.teacher.multiple), _MARGIN)


def _edges(image: Tensor, border: Sequence[float] | None) -> Sequence[float]:
    """(x0, y0, x1, y1) of the photograph in the image: `border`, or all of it."""
    height, width = image.shape[-2:]
    return border or (-0.5, -0.5, width - 0.5, height - 0.5)


def _of_all_positions(
    points: Float[Tensor, "turns b p J 2"],
    visible: Bool[Tensor, "turns b p J"],
    cut_off: Bool[Tensor, "turns b p J"],
    score: Float[Tensor, "turns b p"],
    total: Float[Tensor, "turns b p"],
    side: int,
) -> tuple[Tensor, ...]:
    """People seen in images of `side` px and in the same turned, each once: from the position of the best `total`.

    Gives points, visible, cut_off and score, of images (b) and people (p * turns).
    """
    points = points.clone()
    for turn in range(1, len(points)):
        x, y = points[turn:].unbind(-1)
        points[turn:] = torch.stack([side - 1 - y, x], dim=-1)
    score = torch.cat([score[:1], _SURER * score[1:]])
    total = torch.cat([total[:1], _UPRIGHT_FIRST * total[1:]])
    people = points.shape[2]
    parts = (points, visible, cut_off, score, total)
    points, visible, cut_off, score, total = (part.transpose(0, 1).flatten(1, 2) for part in parts)
    order = total.argsort(dim=1, descending=True)
    turn = order // people
    points, visible, cut_off, score = (in_order(part, order) for part in (points, visible, cut_off, score))
    # whoever lies mostly within the box of somebody better, seen in another position, is the same person
    box = bounding_box(points, visible)
    same = one_in_other(box[:, :, None], box[:, None])
    again = (same & (turn[:, :, None] != turn[:, None, :])).tril(-1).any(-1)
    first = again.long().argsort(dim=1, stable=True)
    visible, score = visible & ~again[..., None], torch.where(again, 0, score)
    return tuple(in_order(part, first) for part in (points, visible, visible & cut_off, score))
