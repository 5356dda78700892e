"""The first guess for a position that enters the window.

A rule sees only what is known left of a fresh position, so its guess is a draft with a law ``q`` that the
verifier can judge: one-hot for a copied token, uniform, or the model's law of the same place one frame earlier.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.frame_probs import FrameProbsCache
from vidjacobi.errors import InvalidArgument
from vidjacobi.grid import Grid, nearest_left
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.reference import SparseProbs
from vidjacobi.shapes import Positions, Tokens


@dataclass(frozen=True)
class Fresh:
    """Guessed tokens and the laws they were drawn from."""

    tokens: Tokens
    laws: SparseProbs


@dataclass(frozen=True)
class Past:
    """What a draft rule may look at.

    Attributes:
        tokens: decided tokens and drafts of the clip by position; meaningless where not ``known``.
        known: positions that are decided or hold a draft.
        positions: the window. Slots that are known get a guess too, which is not used (static shapes).
        noise: of the window.
        fresh: which noise the coupling wants a law to be drawn with.
        grid: frame shape.
        memory: laws by place in the frame, where the rule keeps them.
        vocab_size: number of tokens.
    """

    tokens: Int[Tensor, "b p"]
    known: Bool[Tensor, "b p"]
    positions: Positions
    noise: Noise
    fresh: Purpose
    grid: Grid
    memory: FrameProbsCache | None
    vocab_size: int


@runtime_checkable
class DraftRule(Protocol):
    """A guess for every position of ``past.positions`` that is not known, from what lies to its left."""

    @property
    def keeps_probs(self) -> int:
        """Entries per law that the rule wants remembered, 0 for none."""
        ...

    def __call__(self, past: Past) -> Fresh: ...


@dataclass(frozen=True)
class Uniform:
    """A token drawn uniformly, q = 1/v (SJD's random initialisation, whose public code stores a one-hot q)."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, past: Past) -> Fresh:
        tokens = past.noise.integer(Purpose.FRESH, past.vocab_size)
        none = tokens[..., None][..., :0]
        laws = SparseProbs(none, none.to(past.noise.dtype), floor=1 / past.vocab_size)
        return Fresh(tokens, laws)


@dataclass(frozen=True)
class Left:
    """The last known token, repeated (SJD's horizontal repeat)."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, past: Past) -> Fresh:
        return copied(past, 1)


@dataclass(frozen=True)
class Above:
    """The token one row up in raster order."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, past: Past) -> Fresh:
        return copied(past, past.grid.w)


@dataclass(frozen=True)
class PreviousFrame:
    """The token at the same place one latent frame earlier."""

    keeps_probs: ClassVar[int] = 0

    def __call__(self, past: Past) -> Fresh:
        return copied(past, past.grid.frame_tokens)


@dataclass(frozen=True)
class PreviousFrameProbs:
    """A draw from the model's own law of the same place one latent frame earlier.

    Its newest law: of the decided token, or of a draft where the window reaches past one frame. ``keep``
    (>= 1) likeliest tokens of every law are remembered; q is that shortened law, so nothing is lost but
    acceptance.
    """

    keep: int = 256

    def __post_init__(self) -> None:
        if not isinstance(self.keep, int) or self.keep < 1:
            raise InvalidArgument(f"keep must be a whole number of at least 1, not {self.keep!r}")

    @property
    def keeps_probs(self) -> int:
        return self.keep

    def __call__(self, past: Past) -> Fresh:
        if past.memory is None:
            raise RuntimeError("previous_frame_probs needs a law memory")
        laws = past.memory.recall(past.positions)
        return Fresh(sample_sparse(laws, past.noise.exponential_at(past.fresh, laws.ids)), laws)


DRAFTS: dict[str, type] = {
    "uniform": Uniform,
    "left": Left,
    "above": Above,
    "previous_frame": PreviousFrame,
    "previous_frame_probs": PreviousFrameProbs,
}


def copied(past: Past, distance: int) -> Fresh:
    """The nearest known token a multiple of ``distance`` to the left; the nearest of all where there is none."""
    source = nearest_left(past.known, distance)
    source = torch.where(source >= 0, source, nearest_left(past.known, 1)).clamp(min=0)
    tokens = past.tokens.gather(1, source.gather(1, past.positions))
    return Fresh(
        tokens, SparseProbs(tokens[..., None], torch.ones_like(tokens[..., None], dtype=past.noise.dtype))
    )


def sample_sparse(laws: SparseProbs, exponential: Float[Tensor, "b n k"]) -> Tokens:
    """argmax(log q + G) over the entries of a sparse law without floor."""
    winner = (laws.probs / exponential).argmax(-1, keepdim=True)
    return laws.ids.gather(-1, winner)[..., 0]
