"""The newest law of every place in the frame, kept sparse: what the previous-frame draft rule draws from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.sampling.reference import SparseProbs
from vidjacobi.sampling.sampler import top_k_probs
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Counts, Mask, Positions, RowIndex, Tokens


@dataclass(frozen=True)
class FrameProbsCache:
    """One sparse law per clip and place in the frame; place = position modulo the frame's tokens.

    A place that was never evaluated holds a token instead (mass 1): the context's token there, since a
    position in front of the first input has no law.

    Memory: b * frame_tokens * keep * 12 bytes (Cosmos 4B, keep 256: 8 MB a clip; dense it would be 655 MB).
    """

    ids: Int[Tensor, "b f k"]
    probs: Float[Tensor, "b f k"]

    @classmethod
    def of_context(
        cls,
        context: Tokens,
        frame_tokens: int,
        keep: int,
        dtype: torch.dtype,
        lengths: Counts | None = None,
    ) -> "FrameProbsCache":
        """The memory in front of the first law; shorter contexts are padded on the right."""
        batch, width = context.shape
        lengths = torch.full_like(context[:, 0], width) if lengths is None else lengths
        # the newest position in front of the context's end at each place of the frame
        place = torch.arange(frame_tokens, device=context.device)
        newest = lengths[:, None] - 1 - (lengths[:, None] - 1 - place) % frame_tokens
        ids = context.gather(1, newest.clamp(min=0))[..., None].repeat(1, 1, keep)
        probs = torch.zeros(batch, frame_tokens, keep, dtype=dtype, device=context.device)
        probs[..., 0] = 1
        return cls(ids, probs)

    @property
    def frame_tokens(self) -> int:
        """Places in the frame."""
        return self.ids.shape[1]

    @property
    def keep(self) -> int:
        """Entries of a law."""
        return self.ids.shape[2]

    def remember(self, positions: Positions, laws: TruncatedProbs, valid: Mask) -> "FrameProbsCache":
        """With the laws of rising ``positions`` where ``valid``; of two at one place the later one stays."""
        new = top_k_probs(laws, self.keep)
        place = positions % self.frame_tokens
        order = torch.where(valid, torch.arange(positions.shape[1], device=place.device), -1)
        newest = torch.full_like(self.ids[..., 0], -1).scatter_reduce(1, place, order, "amax")
        slot = newest.clamp(min=0)[..., None].expand_as(self.ids)
        replaced = (newest >= 0)[..., None]
        ids = torch.where(replaced, new.ids.gather(1, slot), self.ids)
        return FrameProbsCache(ids, torch.where(replaced, new.probs.gather(1, slot), self.probs))

    def recall(self, positions: Positions) -> SparseProbs:
        """The newest laws of the places of ``positions``."""
        place = (positions % self.frame_tokens)[..., None].expand(-1, -1, self.keep)
        return SparseProbs(self.ids.gather(1, place), self.probs.gather(1, place))

    def rows(self, rows: RowIndex) -> "FrameProbsCache":
        """The memory of some clips, in this order."""
        return FrameProbsCache(self.ids[rows], self.probs[rows])

    def beside(self, other: "FrameProbsCache") -> "FrameProbsCache":
        """The memory of these clips and, behind them, of those of ``other``."""
        return FrameProbsCache(torch.cat([self.ids, other.ids]), torch.cat([self.probs, other.probs]))
