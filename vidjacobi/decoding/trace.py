"""What is known of a decode while it runs and when it is finished: tokens, counts and seconds, pass by pass."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.decoding.recipe import Clips
from vidjacobi.decoding.state import DecodeState
from vidjacobi.runtime import synchronize
from vidjacobi.shapes import Counts, RowIndex, Tokens


@dataclass(frozen=True)
class PassRecord:
    """What one pass did to each clip (0 for clips that were finished)."""

    decided: Counts
    accepted: Counts
    changed: Counts  # drafts after the frontier whose redraft differs: the Hamming distance of two passes
    pending: Counts  # drafts that stayed undecided
    evaluated: Counts  # positions fed, siblings included


COUNTS = tuple(part.name for part in fields(PassRecord))  # in the order in which the host reads them


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
    """Tokens ``[b, new_tokens]`` (-1 after the end of a shorter clip), the numbers and trace of their decoding."""

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


class Clock:
    """Wall seconds; waits for the device first when ``measure`` is set."""

    def __init__(self, device: torch.device, measure: bool) -> None:
        self._device = device if measure and device.type == "cuda" else None

    def now(self) -> float:
        """Seconds since some fixed moment."""
        if self._device:
            synchronize(self._device)
        return time.perf_counter()


@dataclass(frozen=True)
class PartialDecode:
    """A decode between two passes, for those who want its first tokens before its last.

    Attributes:
        reach: of each clip, how many of its new tokens are decided without a gap, from the first one on.
        tokens: gives the new tokens ``[n]`` of a clip, on the model's device; its first ``reach`` ones are final.
    """

    reach: list[int]
    tokens: Callable[[int], Int[Tensor, " n"]]


Steps = Generator[PartialDecode, None, Decoded]  # one PartialDecode a pass; closing it ends the decode


def finish(steps: Steps) -> Decoded:
    """Make all passes."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            decoded: Decoded = stop.value
            return decoded


@dataclass(frozen=True)
class GroupPass:
    """One pass of a group.

    Attributes:
        clips: the clips of the group that took part.
        counts: COUNTS of each, ``[5 m]``.
        seconds, forward_seconds: of the whole batch.
        mates: clips of the batch that took part.
    """

    clips: np.ndarray
    counts: np.ndarray
    seconds: float
    forward_seconds: float
    mates: int


class ClipGroup:
    """Clips that began together, after a prefill that took ``seconds``, as the host sees them.

    Args:
        clips: which ones.
        mates: clips that shared the time of the prefill.
        shared_by: clips that share the prefill of each.
        key, names: the caller's, for the group and for each clip.
    """

    def __init__(
        self,
        clips: Clips,
        seconds: float,
        mates: int,
        shared_by: list[int],
        key: Any = None,
        names: Sequence[int] = (),
    ) -> None:
        self.key, self.names, self._shared_by = key, names, shared_by
        self.starts, self.ends = clips.starts, clips.ends
        shape = (len(clips), clips.new_tokens)
        self.device = clips.context.device
        self._tokens = torch.full(shape, -1, dtype=torch.long, device="cpu")
        self._marks = torch.zeros(2, *shape, dtype=torch.long, device="cpu")
        every, fed = np.arange(shape[0]), self.starts.numpy()
        self._wanted = self.ends.numpy() - fed
        self.reach = 0 * fed  # new tokens of each clip that are known to be decided without a gap
        counts = np.stack([np.ones_like(fed), *(0 * fed for _ in range(3)), fed])
        self.passes = [GroupPass(every, counts, seconds, seconds, mates)]

    def __len__(self) -> int:
        return len(self._tokens)

    def retire(self, clips: RowIndex, state: DecodeState, rows: RowIndex) -> None:
        """Keep what was decided of clips that are finished, from their rows of the state."""
        starts, ends = self.starts[clips, None], self.ends[clips, None]
        position = starts + torch.arange(self._tokens.shape[1], device="cpu")
        inside, last = position < ends, state.tokens.shape[1] - 1

        def cut(table: Int[Tensor, "b p"], filler: int) -> Int[Tensor, "m n"]:
            return torch.where(inside, table[rows].gather(1, position.clamp(max=last)), filler)

        self._tokens[clips] = cut(state.tokens, -1)
        self._marks[:, clips] = torch.stack([cut(state.decided_in, 0), cut(state.redrafted, 0)])

    def reached(self, clips: np.ndarray, left: np.ndarray) -> None:
        """``left`` positions of these clips are still undecided, from their frontiers on."""
        self.reach[clips] = self._wanted[clips] - left

    def tokens_of(self, clip: int) -> Int[Tensor, " n"]:
        """New tokens of a clip that has left."""
        return self._tokens[clip].to(self.device)

    def decoded(self, guarantee: str) -> Decoded:
        """All clips; those that have not left yet are incomplete."""
        counts = np.zeros((len(COUNTS), len(self.passes), len(self)), np.int64)
        for index, one in enumerate(self.passes):
            counts[:, index, one.clips] = one.counts
        tables = dict(zip(COUNTS, torch.from_numpy(counts), strict=True))
        decided_in, redrafted = self._marks
        trace = Trace(
            **tables,
            seconds=torch.tensor([one.seconds for one in self.passes]),
            forward_seconds=torch.tensor([one.forward_seconds for one in self.passes]),
            decided_in=decided_in,
            redrafted=redrafted,
        )
        nfe = np.bincount(np.concatenate([one.clips for one in self.passes]), minlength=len(self))
        return decoded_of(guarantee, self._tokens.to(self.device), trace, nfe.tolist(), self._shared_by)

    def share(self, passes: int) -> float:
        """Seconds of a clip that took part in so many: those of each shared equally by the clips in it."""
        return sum(one.seconds / one.mates for one in self.passes[:passes])
