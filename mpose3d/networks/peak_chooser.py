"""Joints of people that were found in maps, chosen again among the peaks: a person as a whole, by attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mpose3d.geometry.constants import constant
from mpose3d.geometry.extent import spread
from mpose3d.networks.saved import StandaloneNetwork
from mpose3d.representations.hmpaf import HMPAF, LEAST_FIELD, MOST_PEAKS, People2D, limb_integrals, peaks
from mpose3d.skeleton import find_layout

# of peaks that may be a joint the least height, and of a limb between two of them the part that agrees: no more than
# what `parse` asks for, since the network weighs them
_HEIGHT, _AGREEMENT = 0.1, 0.6

# sizes of a person beyond which a peak is somebody else's
_REACH = 4.0

_HEADS = 4


class Choice(NamedTuple):
    """What each joint of n people may be: K peaks, and last the place that is estimated where it is none of them.

    Scores are logarithms of chances, but for a constant; of a peak that does not exist -inf.
    """

    scores: Float[Tensor, "n J K+1"]
    places_px: Float[Tensor, "n J K+1 2"]
    heights: Float[Tensor, "n J K+1"]


class _Block(nn.Module):
    """Of a transformer, with a bias on attention. `nn.TransformerEncoderLayer` misreads such a bias in inference."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "n t c"], bias: Float[Tensor, "n heads t t"]) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q))
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class PeakChooser(StandaloneNetwork):
    """Of each joint of a person the peak that fits all the others, or an estimate where none does.

    `parse` joins peaks limb by limb: a joint that is hidden is missing, and where two people cross, or arm and leg, one
    wrong limb takes another's peak. Here a transformer sees the tallest peaks of every joint near a person that `parse`
    found, with the maps at their places, which of them `parse` took, and the line integrals of the field between them,
    by which attention is biased; and a token for each joint, which then points at a peak or estimates the place.

    Ours; on pointing see Vinyals et al., "Pointer Networks", NeurIPS 2015.

    Args:
        layout: name of the maps' joint layout (a key of `LAYOUTS`) with limbs.
        width, blocks: of the transformer.
        peaks: K, most peaks of a joint that are looked at for a person.
    """

    def __init__(self, layout: str = "mpose3d", width: int = 128, blocks: int = 4, peaks: int = 4) -> None:
        super().__init__()
        #: what it takes to build the same network again
        self.settings = {"layout": layout, "width": width, "blocks": blocks, "peaks": peaks}
        self.layout = find_layout(layout, with_limbs=True)
        self.peaks = peaks
        joints, channels = len(self.layout), len(self.layout) + 2 * len(self.layout.limbs)
        self.of_joint = nn.Parameter(0.1 * torch.randn(joints, width))
        self.of_token = nn.Parameter(0.1 * torch.randn(joints, width))
        self.read_maps = nn.Linear(channels, width)
        self.read_peak = nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        # some heads follow the fields from the start
        self.follow = nn.Parameter(torch.linspace(0, 4, _HEADS).repeat(blocks, 1))
        self.norm = nn.LayerNorm(width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.none, self.estimate = nn.Linear(width, 1), nn.Linear(width, 2)

    def forward(self, maps: HMPAF, people: People2D, stride: float) -> Choice:
        """Maps of B images, and who was found in them -> the choice of the n valid people, in the order of `valid`.

        Raises:
            ValueError: maps or people of another layout.
        """
        joints = len(self.layout)
        if maps.heatmaps.shape[1] != joints or people.points.shape[2] != joints:
            raise ValueError(
                f"this chooser knows the {joints} joints of {self.layout.name!r}, not maps of "
                f"{maps.heatmaps.shape[1]} and people of {people.points.shape[2]}"
            )
        image, person = people.valid.nonzero(as_tuple=True)
        points, visible = people.points[image, person], people.visible[image, person]
        middle, size = spread(points, visible)
        size = size.clamp_min(1.0)  # px

        maps = HMPAF(*(part.detach().float().contiguous() for part in maps))
        places, heights, taken, joins = self._candidates(maps, image, points, visible, middle, size, stride)
        height, width = maps.heatmaps.shape[-2:]
        grid = 2 * (places + 0.5) / (stride * places.new_tensor([width, height])) - 1
        at = functional.grid_sample(torch.cat(maps, dim=1)[image], grid, align_corners=False).movedim(1, -1)
        offset = (places - middle[:, None, None]) / size[:, None, None, None]
        peak = self.read_maps(at) + self.read_peak(torch.cat([offset, heights[..., None], taken[..., None]], dim=-1))
        token = (self.of_joint + self.of_token).expand(len(points), -1, -1)
        x = torch.cat([peak + self.of_joint[:, None], token[:, :, None]], dim=2)

        exists = functional.pad(heights > 0, (0, 1), value=True)
        x, fields = x.flatten(1, 2), self._fields(joins)
        hidden = torch.where(exists.flatten(1), 0.0, -torch.inf)[:, None, None]
        for block, follow in zip(self.blocks, self.follow, strict=True):
            x = block(x, follow[:, None, None] * fields[:, None] + hidden)
        # of nobody attention has no mask to differentiate, and DDP waits for every gradient
        x = x + 0 * self.follow.sum()
        x = self.norm(x).unflatten(1, (joints, -1))
        peak, token = x[:, :, :-1], x[:, :, -1]
        fits = (self.query(token)[:, :, None] * self.key(peak)).sum(-1) / token.shape[-1] ** 0.5
        fits = torch.where(heights > 0, fits, -torch.inf)
        estimate = middle[:, None] + size[:, None, None] * self.estimate(token)
        return Choice(
            torch.cat([fits, self.none(token)], dim=-1),
            torch.cat([places, estimate[:, :, None]], dim=2),
            functional.pad(heights, (0, 1)),
        )

    def people(self, maps: HMPAF, people: People2D, stride: float) -> People2D:
        """The same people with every joint in its likeliest place; one that was estimated has score 0."""
        scores, places, heights = self(maps, people, stride)
        best = scores.argmax(-1, keepdim=True)
        points, height = people.points.clone(), torch.zeros_like(people.scores)
        points[people.valid] = places.gather(2, best[..., None].expand(-1, -1, -1, 2))[:, :, 0]
        height[people.valid] = heights.gather(2, best)[..., 0]
        return People2D(points, height, people.valid[..., None].expand_as(people.visible), people.valid)

    def _candidates(
        self,
        maps: HMPAF,
        image: Tensor,
        points: Tensor,
        visible: Tensor,
        middle: Tensor,
        size: Tensor,
        stride: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of all peaks of a person's image K a joint: the one that was taken, then the tallest within reach.

        Returns:
            places (n, J, K, 2) px, heights (n, J, K), taken (n, J, K) as 0 or 1, and line integrals (n, L, K, K).
        """
        cells, heights = peaks(maps.heatmaps, _HEIGHT, MOST_PEAKS)
        joins = limb_integrals(maps.pafs, cells, heights > 0, self.layout, LEAST_FIELD, _AGREEMENT)
        short = max(0, self.peaks - cells.shape[2])
        places = functional.pad((cells + 0.5) * stride - 0.5, (0, 0, 0, short))[image]
        heights, joins = functional.pad(heights, (0, short))[image], functional.pad(joins, (0, short, 0, short))[image]

        taken = ((places - points[:, :, None]).abs().amax(-1) < 0.1 * stride) & visible[..., None] & (heights > 0)
        near = (places - middle[:, None, None]).norm(dim=-1) < _REACH * size[:, None, None]
        heights = torch.where(near | taken, heights, 0)
        kept = (heights + 2 * taken).topk(self.peaks, dim=-1).indices
        first, second = (kept[:, end] for end in constant(self.layout.limbs, kept.device).T)
        joins = joins.gather(2, first[..., None].expand(-1, -1, -1, joins.shape[-1]))
        joins = joins.gather(3, second[:, :, None].expand(-1, -1, self.peaks, -1))
        places = places.gather(2, kept[..., None].expand(-1, -1, -1, 2))
        return places, heights.gather(2, kept), taken.gather(2, kept).to(places), joins

    def _fields(self, joins: Float[Tensor, "n L K K"]) -> Float[Tensor, "n J*(K+1) J*(K+1)"]:
        """Line integrals as a matrix over all tokens, 0 where there is no limb."""
        joints, tokens = len(self.layout), self.peaks + 1
        fields = joins.new_zeros(len(joins), joints, joints, tokens, tokens)
        first, second = constant(self.layout.limbs, joins.device).T
        padded = functional.pad(joins, (0, 1, 0, 1))
        fields[:, first, second] = padded
        fields[:, second, first] = padded.mT
        return fields.transpose(2, 3).flatten(3, 4).flatten(1, 2)
