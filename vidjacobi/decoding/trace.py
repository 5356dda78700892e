"""The records of a finished decode: tokens, numbers, and the trace pass by pass and token by token."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import sha256

import torch
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
    """Numbers of one decode. Seconds are wall time of the whole batch, as long as the clip was in it."""

    guarantee: str
    nfe: list[int]  # per clip, prefill included
    new_tokens: list[int]  # per clip
    positions: list[float]  # mean positions evaluated per pass of each clip, the prefill left out
    passes: int  # forward calls of the batch
    seconds: float
    prefill_seconds: float
    forward_seconds: float  # inside the model, prefill included
    prefill_shared_by: list[int]  # per clip: futures of one context that it has the prefill in common with

    @property
    def shared_nfe(self) -> list[float]:
        """NFE of each clip with a prefill that k clips share as 1/k, so that the sum is what was fed."""
        return [nfe - 1 + 1 / clips for nfe, clips in zip(self.nfe, self.prefill_shared_by, strict=True)]

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


def decoded_of(
    guarantee: str, tokens: Tokens, trace: Trace, nfe: Sequence[int], shared_by: list[int]
) -> Decoded:
    """A finished decode and its numbers. ``nfe``: passes that each clip took part in."""
    passes = torch.tensor(nfe)
    stats = DecodeStats(
        guarantee=guarantee,
        nfe=list(nfe),
        new_tokens=(trace.decided_in > 0).sum(1).tolist(),
        positions=(trace.evaluated[1:].sum(0) / (passes - 1).clamp(min=1)).tolist(),
        passes=trace.seconds.shape[0],
        seconds=float(trace.seconds.sum()),
        prefill_seconds=float(trace.seconds[0]),
        forward_seconds=float(trace.forward_seconds.sum()),
        prefill_shared_by=shared_by,
    )
    return Decoded(tokens, stats, trace)


def clip_of(decoded: Decoded, index: int) -> Decoded:
    """One clip of a batch, as if it had been alone (but for the seconds, which are the batch's)."""
    stats, trace = decoded.stats, decoded.trace
    passes, count = stats.nfe[index], stats.new_tokens[index]
    of_tokens = {"decided_in", "redrafted"}
    parts = {}
    for part in fields(Trace):
        table = getattr(trace, part.name)
        if part.name in of_tokens:
            parts[part.name] = table[index : index + 1, :count]
        else:
            parts[part.name] = table[:passes] if table.ndim == 1 else table[:passes, index : index + 1]
    tokens = decoded.tokens[index : index + 1, :count]
    shared = [stats.prefill_shared_by[index]]
    return decoded_of(stats.guarantee, tokens, Trace(**parts), [passes], shared)


def hash_tokens(parts: Sequence[Tensor]) -> str:
    """sha256 of tokens in this order (int32, little-endian, raster order)."""
    joined = torch.cat([part.flatten() for part in parts]).cpu()
    return sha256(joined.to(torch.int32).numpy().astype("<i4").tobytes()).hexdigest()
