"""The first draft of a position that enters the window.

A rule sees only what is known to the left of a position, so its token is a draft with probs q that the verifier
can judge: one-hot for a copied token, uniform, or the model's own probs of the same place one frame earlier.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import SparseProbs
from vidjacobi.sampling.sampler import sparse_top_k, top_k_probs
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Counts, Mask, Positions, Tokens


@dataclass(frozen=True)
class Draft:
    """Guessed tokens and the distributions q that they were drawn from."""

    tokens: Tokens
    probs: SparseProbs


@dataclass(frozen=True)
class FrameProbsCache:
    """The newest probs of every place in the frame, kept sparse; place = position modulo the frame's tokens.

    After the last place there is one for what is not to be kept.

    A place that was never evaluated holds a token instead (mass 1): the context's token there, since nothing
    comes before the first input that could give its probs.

    Memory: b * frame_tokens * keep * 12 bytes (Cosmos 4B, keep 256: 8 MB a clip; dense it would be 655 MB).

    Attributes:
        ids, probs: the ``keep`` likeliest tokens of each place and their probabilities, renormalised.
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
        special: int = 0,
    ) -> "FrameProbsCache":
        """The cache before the first pass; shorter contexts are padded on the right.

        The first ``special`` tokens are never drafted. A place before them holds the first token after them, or
        token 0 where the context has none.
        """
        batch, width = context.shape
        lengths = torch.full((batch,), width, device="cpu") if lengths is None else lengths
        # The newest position of each place before the context's end. Example: frames of 4 tokens and a context
        # of 6 (positions 0-5). Places 0 and 1 were last seen at 4 and 5, places 2 and 3 at 2 and 3.
        place = torch.arange(frame_tokens, device="cpu")
        newest = lengths[:, None] - 1 - (lengths[:, None] - 1 - place) % frame_tokens
        newest = torch.nn.functional.pad(newest.clamp(min=special), (0, 1), value=special)
        held = torch.nn.functional.pad(context, (0, 1))
        ids = held.gather(1, newest.to(context.device))[..., None].repeat(1, 1, keep)
        probs = torch.zeros(batch, frame_tokens + 1, keep, dtype=dtype, device=context.device)
        probs[..., 0] = 1
        return cls(ids, probs)

    @property
    def frame_tokens(self) -> int:
        """Places in the frame."""
        return self.ids.shape[1] - 1

    @property
    def keep(self) -> int:
        """Entries of each place."""
        return self.ids.shape[2]

    def remember(
        self, places: Int[Tensor, "b n"], probs: TruncatedProbs, wanted: Mask | None = None
    ) -> "FrameProbsCache":
        """With the probs of some places (``places_of``), which are written over those of before.

        In compiled code, whose inputs stay as they are, a copy is written to. ``wanted``, on the host: no other
        slots are written.
        """
        if wanted is not None:
            some, (row, slot) = sparse_top_k(probs, self.keep, wanted), wanted.numpy().nonzero()
            there = row, places.numpy()[row, slot]
            self.ids.numpy()[there], self.probs.numpy()[there] = some.ids[0].numpy(), some.probs[0].numpy()
            return self
        new = top_k_probs(probs, self.keep)
        at = torch.arange(len(places), device=places.device)[:, None], places
        put = Tensor.index_put if probs.fused else Tensor.index_put_
        return FrameProbsCache(put(self.ids, at, new.ids), put(self.probs, at, new.probs))

    def recall(self, positions: Positions) -> SparseProbs:
        """The newest probs of the places of ``positions``."""
        place = (positions % self.frame_tokens)[..., None].expand(-1, -1, self.keep)
        return SparseProbs(self.ids.gather(1, place), self.probs.gather(1, place))


def places_of(
    positions: Int[np.ndarray, "b n"], valid: Bool[np.ndarray, "b n"], frame_tokens: int
) -> Int[np.ndarray, "b n"]:
    """The places of rising positions; of two at one place the later one, and of what is not ``valid``, has none.

    Having none is the number after the last place.
    """
    place = positions % frame_tokens
    newest = np.full((len(place), frame_tokens), -1)
    row, slot = valid.nonzero()
    newest[row, place[row, slot]] = slot  # of several at one place the last one is written last
    stays = valid & (newest[np.arange(len(place))[:, None], place] == np.arange(place.shape[1]))
    return np.where(stays, place, frame_tokens)


@dataclass(frozen=True)
class DraftContext:
    """What a draft rule may look at.

    Attributes:
        tokens: decided tokens and drafts of the clip by position; meaningless where not ``known``.
        known: positions that are decided or hold a draft, and are no special tokens, which none may draft.
        positions: of the window. Known ones get a draft too, which is not used (static shapes).
        noise: of the window.
        purpose: which noise the coupling wants a first draft to be drawn with.
        grid: frame shape.
        frame_probs: probs by place in the frame, where the rule keeps them.
        vocab_size: number of tokens.
    """

    tokens: Int[Tensor, "b p"]
    known: Bool[Tensor, "b p"]
    positions: Positions
    noise: Noise
    purpose: Purpose
    grid: Grid
    frame_probs: FrameProbsCache | None
    vocab_size: int


@runtime_checkable
class DraftRule(Protocol):
    """A guess for every position of ``context.positions`` that is not known, from what lies to its left."""

    @property
    def keeps_probs(self) -> int:
        """Entries of each place that the rule wants a FrameProbsCache to keep, 0 for no cache."""
        ...

    def __call__(self, context: DraftContext) -> Draft: ...


@dataclass(frozen=True)
class Uniform:
    """A token drawn uniformly, q = 1/v (SJD's random initialisation, whose public code stores a one-hot q)."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, context: DraftContext) -> Draft:
        tokens = context.noise.integer(Purpose.FRESH, context.vocab_size)
        none = tokens[..., None][..., :0]
        probs = SparseProbs(none, none.to(context.noise.dtype), floor=1 / context.vocab_size)
        return Draft(tokens, probs)


@dataclass(frozen=True)
class Left:
    """The last known token, repeated (SJD's horizontal repeat)."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, context: DraftContext) -> Draft:
        return copied(context, 1)


@dataclass(frozen=True)
class Above:
    """The token one row up in raster order."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, context: DraftContext) -> Draft:
        return copied(context, context.grid.w)


@dataclass(frozen=True)
class PreviousFrame:
    """The token at the same place one latent frame earlier."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, context: DraftContext) -> Draft:
        return copied(context, context.grid.frame_tokens)


@dataclass(frozen=True)
class PreviousFrameProbs:
    """A draw from the model's own probs of the same place one latent frame earlier.

    The newest probs are taken: of the decided token, or of a draft where the window reaches past one frame.
    ``keep`` (>= 1) likeliest tokens of every place are remembered; q is that shortened distribution, so nothing
    is lost but acceptance.
    """

    keep: int = 256

    def __post_init__(self) -> None:
        if not isinstance(self.keep, int) or self.keep < 1:
            raise InvalidArgument(f"keep must be a whole number of at least 1, not {self.keep!r}")

    @property
    def keeps_probs(self) -> int:
        return self.keep

    def __call__(self, context: DraftContext) -> Draft:
        if context.frame_probs is None:
            raise RuntimeError("previous_frame_probs needs a FrameProbsCache")
        probs = context.frame_probs.recall(context.positions)
        return Draft(
            sample_sparse(probs, context.noise.exponential_at(context.purpose, probs.ids, probs.probs > 0)),
            probs,
        )


DRAFTS: dict[str, type] = {
    "uniform": Uniform,
    "left": Left,
    "above": Above,
    "previous_frame": PreviousFrame,
    "previous_frame_probs": PreviousFrameProbs,
}


def copied(context: DraftContext, distance: int) -> Draft:
    """The nearest known token a multiple of ``distance`` to the left; the nearest of all where there is none."""
    source = nearest_left(context.known, distance)
    source = torch.where(source >= 0, source, nearest_left(context.known, 1)).clamp(min=0)
    tokens = context.tokens.gather(1, source.gather(1, context.positions))
    certain = torch.ones_like(tokens[..., None], dtype=context.noise.dtype)
    return Draft(tokens, SparseProbs(tokens[..., None], certain))


def nearest_left(known: Bool[Tensor, "b p"], distance: int) -> Int[Tensor, "b p"]:
    """For every position the nearest known one that lies a whole number of ``distance`` steps to its left, or -1.

    A distance of 1 looks at the left neighbours, ``w`` at the same column of the rows above, ``h * w`` at the same
    place of the frames before.
    """
    # Folded into rows of ``distance`` columns, a step of ``distance`` is a step down one column, and "nearest known"
    # is a running maximum of indices. An example with distance 2, where positions 0, 3 and 4 are known:
    #   index   [0 -1 | -1 3 | 4]        folded   0 -1      running   0 -1      one row later   -1 -1
    #                                            -1  3      maximum   0  3                       0 -1
    #                                             4  .                4  3                       0  3
    #   result  [-1 -1 0 -1 0]
    batch, size = known.shape
    padded = -(-size // distance) * distance
    index = torch.full((batch, padded), -1, dtype=torch.long, device=known.device)
    index[:, :size] = torch.where(known, torch.arange(size, device=known.device), -1)
    newest = index.view(batch, -1, distance).cummax(1).values.view(batch, padded)
    shifted = torch.cat([torch.full_like(newest[:, :distance], -1), newest], 1)
    return shifted[:, :size]


def sample_sparse(probs: SparseProbs, exponential: Float[Tensor, "b n k"]) -> Tokens:
    """argmax(log q + G) over the entries of sparse probs without floor."""
    winner = (probs.probs / exponential).argmax(-1, keepdim=True)
    return probs.ids.gather(-1, winner)[..., 0]
