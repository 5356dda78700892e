"""The newest law of every place in the frame, kept sparse: what the previous-frame draft rule draws from."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.distributions import SparseLaws, strongest
from vidjacobi.shapes import Laws, Mask, Positions, Tokens


class LawMemory:
    """One sparse law per clip and place in the frame; place = position modulo the frame's tokens.

    A place that was never evaluated holds a token instead (mass 1): the context's token there, since a
    position in front of the first input has no law.

    Memory: b * frame_tokens * keep * 12 bytes (Cosmos 4B, keep 256: 8 MB a clip; dense it would be 655 MB).
    """

    ids: Int[Tensor, "b f k"]
    probs: Float[Tensor, "b f k"]

    def __init__(self, context: Tokens, frame_tokens: int, keep: int, dtype: torch.dtype) -> None:
        batch, length = context.shape
        places = torch.arange(length - frame_tokens, length, device=context.device).clamp(min=0)
        # the context's last frame by position, rolled so that index = position modulo frame
        tokens = context[:, places].roll((length - frame_tokens) % frame_tokens, dims=1)
        self.keep = keep
        self.ids = tokens[..., None].repeat(1, 1, keep)
        self.probs = torch.zeros(batch, frame_tokens, keep, dtype=dtype, device=context.device)
        self.probs[..., 0] = 1

    @property
    def frame_tokens(self) -> int:
        """Places in the frame."""
        return self.ids.shape[1]

    def remember(self, positions: Positions, laws: Laws, valid: Mask) -> None:
        """Store the laws of ascending neighbouring ``positions`` (the newest frame of them)."""
        positions, laws, valid = (x[:, -self.frame_tokens :] for x in (positions, laws, valid))
        new = strongest(laws, self.keep)
        place = (positions % self.frame_tokens)[..., None].expand_as(new.ids)
        keep = valid[..., None]
        self.ids.scatter_(1, place, torch.where(keep, new.ids, self.ids.gather(1, place)))
        self.probs.scatter_(1, place, torch.where(keep, new.probs, self.probs.gather(1, place)))

    def recall(self, positions: Positions) -> SparseLaws:
        """The newest laws of the places of ``positions``."""
        place = (positions % self.frame_tokens)[..., None].expand(-1, -1, self.keep)
        return SparseLaws(self.ids.gather(1, place), self.probs.gather(1, place))
