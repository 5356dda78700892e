"""Clips that began together, as the host sees them: the counts and seconds of their passes, and what was decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.state import DecodeState, Problem
from vidjacobi.decoding.trace import Decoded, Trace, decoded_of
from vidjacobi.shapes import RowIndex

FIELDS = (
    "decided",
    "accepted",
    "changed",
    "pending",
    "evaluated",
)  # of a PassRecord, in the order they are read


@dataclass(frozen=True)
class Pass:
    """One pass of a group.

    Attributes:
        clips: the clips of the group that took part.
        counts: FIELDS of each, ``[5 m]``.
        seconds, forward_seconds: of the whole batch.
        mates: clips of the batch that took part.
    """

    clips: np.ndarray
    counts: np.ndarray
    seconds: float
    forward_seconds: float
    mates: int


class Group:
    """The clips of a problem, behind a prefill that took ``seconds``.

    Args:
        problem: which clips.
        mates: clips that shared the time of the prefill.
        shared_by: clips that share the prefill of each.
        key, names: the caller's, for the group and for each clip.
    """

    def __init__(
        self,
        problem: Problem,
        seconds: float,
        mates: int,
        shared_by: list[int],
        key: Any = None,
        names: Sequence[int] = (),
    ) -> None:
        self.key, self.names, self._shared_by = key, names, shared_by
        self.starts, self.ends = problem.starts, problem.ends
        shape = (len(problem.noise_keys), problem.new_tokens)
        self._tokens = torch.full(shape, -1, dtype=torch.long, device=self.starts.device)
        self._marks = torch.zeros(2, *shape, dtype=torch.long, device=self.starts.device)
        clips, fed = np.arange(shape[0]), self.starts.cpu().numpy()
        self._wanted = self.ends.cpu().numpy() - fed
        self.reach = 0 * fed  # new tokens of each clip that are known to be decided without a gap
        counts = np.stack([np.ones_like(fed), *(0 * fed for _ in range(3)), fed])
        self.passes = [Pass(clips, counts, seconds, seconds, mates)]

    def __len__(self) -> int:
        return len(self._tokens)

    def land(self, clips: RowIndex, state: DecodeState, rows: RowIndex) -> None:
        """Keep what was decided of clips that are finished, from their rows of the state."""
        starts, ends = self.starts[clips, None], self.ends[clips, None]
        position = starts + torch.arange(self._tokens.shape[1], device=starts.device)
        inside, last = position < ends, state.tokens.shape[1] - 1

        def cut(table: Int[Tensor, "b p"], filler: int) -> Int[Tensor, "m n"]:
            return torch.where(inside, table[rows].gather(1, position.clamp(max=last)), filler)

        self._tokens[clips] = cut(state.tokens, -1)
        self._marks[:, clips] = torch.stack([cut(state.decided_in, 0), cut(state.redrafted, 0)])

    def reached(self, clips: np.ndarray, left: np.ndarray) -> None:
        """``left`` positions of these clips are behind their frontiers."""
        self.reach[clips] = self._wanted[clips] - left

    def tokens_of(self, clip: int) -> Int[Tensor, " n"]:
        """New tokens of a clip that has landed."""
        return self._tokens[clip]

    def decoded(self, guarantee: str) -> Decoded:
        """All clips; those that have not landed yet are incomplete."""
        counts = np.zeros((len(FIELDS), len(self.passes), len(self)), np.int64)
        for index, one in enumerate(self.passes):
            counts[:, index, one.clips] = one.counts
        tables = dict(zip(FIELDS, torch.from_numpy(counts), strict=True))
        decided_in, redrafted = self._marks.cpu()
        trace = Trace(
            **tables,
            seconds=torch.tensor([one.seconds for one in self.passes]),
            forward_seconds=torch.tensor([one.forward_seconds for one in self.passes]),
            decided_in=decided_in,
            redrafted=redrafted,
        )
        nfe = np.bincount(np.concatenate([one.clips for one in self.passes]), minlength=len(self))
        return decoded_of(guarantee, self._tokens, trace, nfe.tolist(), self._shared_by)

    def share(self, passes: int) -> float:
        """Seconds of a clip that took part in so many: those of each shared equally by the clips in it."""
        return sum(one.seconds / one.mates for one in self.passes[:passes])
