"""The records of a finished decode: tokens, numbers, and the trace pass by pass and token by token."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.shapes import Counts, Tokens


@dataclass(frozen=True)
class PassRecord:
    """What one pass did to each clip (0 for clips that were finished)."""

    decided: Counts
    accepted: Counts
    changed: Counts  # drafts behind the frontier whose redraft differs: the Hamming distance of two passes
    pending: Counts  # drafts that stayed undecided
    evaluated: Counts  # positions fed, siblings included


@dataclass(frozen=True)
class Trace:
    """How a decode went, pass by pass (r passes, prefill first) and token by token (n new tokens)."""

    decided: Int[Tensor, "r b"]
    accepted: Int[Tensor, "r b"]
    changed: Int[Tensor, "r b"]
    pending: Int[Tensor, "r b"]
    evaluated: Int[Tensor, "r b"]
    seconds: Float[Tensor, " r"]
    forward_seconds: Float[Tensor, " r"]
    decided_in: Int[Tensor, "b n"]
    redrafted: Int[Tensor, "b n"]

    @property
    def frontier(self) -> Int[Tensor, "r b"]:
        """Tokens decided after each pass, the frontier counted from the end of the context."""
        return self.decided.cumsum(0)


@dataclass(frozen=True)
class DecodeStats:
    """Numbers of one decode. Seconds are wall time of the whole batch."""

    law: str
    nfe: list[int]  # per clip, prefill included
    new_tokens: list[int]  # per clip
    positions: list[float]  # mean positions evaluated per pass of each clip, the prefill left out
    passes: int  # forward calls of the batch
    seconds: float
    prefill_seconds: float
    forward_seconds: float  # inside the model, prefill included

    @property
    def tokens_per_pass(self) -> list[float]:
        """Mean acceptance length of each clip: new tokens / NFE."""
        return [count / nfe for count, nfe in zip(self.new_tokens, self.nfe, strict=True)]


@dataclass(frozen=True)
class Decoded:
    """Tokens ``[b, new_tokens]`` (-1 behind the end of a shorter clip), the numbers and trace of their decoding."""

    tokens: Tokens
    stats: DecodeStats
    trace: Trace
