"""The records that one pass hands to the next, and the glossary of decoding.

context      the tokens given; never re-sampled
draft        a guessed token, with the draft probs q that it was drawn from
target       the probs p that AR decoding would sample from, as this pass sees them
frontier     first undecided position of a clip
lane         a run of neighbouring positions with a frontier of its own; plain Jacobi has one
window       all positions evaluated in one pass: the union of the lanes, and the siblings
sibling      another candidate for the place of a draft near the frontier, evaluated in the same pass
slot         place in the cache: the position, but for siblings and padding. Also: place in the window
placeholder  token fed in place of one that is not known yet, before a lane that opened early
pass         one forward call. The prefill is one, and its last probs decide the first new token
NFE          passes that a clip took part in, the prefill included: AR's NFE = number of new tokens
accepted     a draft kept by verification
corrected    the token drawn where the first rejection fell
decided      accepted or corrected: final
redraft      a new draft for a position after the corrected one
acceptance length   tokens decided per pass and clip, the corrected one included
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Counts, Mask, Positions, RowIndex, Tokens

T = TypeVar("T")


@dataclass(frozen=True)
class Window:
    """The chain of a pass: the positions that it evaluates but for siblings, in rising order, padded on the right.

    Attributes:
        inputs: position of each token that is fed; the probs that come out are those of the next position.
        used: whether the slot is no padding.
        valid: whether its probs are those of an undecided position that was asked for.
        home: first position of the lane that the input lies in.
        lane: first position of the lane that the target lies in (the input's, where there is no target).
        corrects: whether a rejected draft is replaced at once.
    """

    inputs: Positions
    used: Mask
    valid: Mask
    home: Positions
    lane: Positions
    corrects: Mask

    @classmethod
    def empty(cls, rows: int, width: int, device: torch.device) -> "Window":
        """A window of padding only: what comes before the first pass.

        Every field is a tensor of its own, as after a pass: compiled code is made anew where fields share one.
        """

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(rows, width, dtype=dtype, device=device)

        return cls(
            inputs=zeros(torch.long),
            used=zeros(torch.bool),
            valid=zeros(torch.bool),
            home=zeros(torch.long),
            lane=zeros(torch.long),
            corrects=zeros(torch.bool),
        )

    @property
    def targets(self) -> Positions:
        """Position whose probs each slot gives."""
        return self.inputs + 1

    @property
    def width(self) -> int:
        """Slots, padding included."""
        return self.inputs.shape[1]


@dataclass(frozen=True)
class DecodeState:
    """What one pass hands to the next.

    Attributes:
        seeds, noise_keys, starts, ends: of the clip, as in Clips.
        tokens: by position: decided tokens, and drafts where the last window had some.
        decided: which are final (positions after the clip count as decided).
        cached: decided positions whose cache entry holds the decided token.
        exact_prefix: positions before it have the cache entry that one-by-one decoding would have made.
        frontier: first undecided position.
        window: of the last pass; an empty one before the first.
        probs: target probs of that window, which its redrafts follow. None where nothing reads them.
        passes: passes each clip took part in.
        frame_probs: probs by place in the frame, where the draft rule keeps them.
        decided_in: the pass (the clip's own count, prefill = 1) that decided each position.
        redrafted: how often each position's draft changed before it was decided.
        finite: no pass so far returned NaN or infinite logits for the clip.
        lane_state: what a lane rule that looks at past counts keeps.
    """

    seeds: Counts
    noise_keys: Counts
    starts: Counts
    ends: Counts
    tokens: Int[Tensor, "b p"]
    decided: Bool[Tensor, "b p"]
    cached: Bool[Tensor, "b p"]
    exact_prefix: Counts
    frontier: Counts
    window: Window
    probs: TruncatedProbs | None
    passes: Counts
    frame_probs: FrameProbsCache | None
    decided_in: Int[Tensor, "b p"]
    redrafted: Int[Tensor, "b p"]
    finite: Bool[Tensor, " b"]
    lane_state: Float[Tensor, "b k"] | None = None

    @property
    def finished(self) -> Bool[Tensor, " b"]:
        """Clips without an undecided position."""
        return self.frontier >= self.ends

    def noise(self, positions: Positions, dtype: torch.dtype, source: Callable[..., Noise] = Noise) -> Noise:
        """The noise of some positions in the pass after this state."""
        return source(self.seeds, self.noise_keys, positions, self.passes, dtype)


def write(table: Int[Tensor, "b p"], positions: Positions, values: Tokens, where: Mask) -> Int[Tensor, "b p"]:
    """The table by position with some values replaced."""
    return table.scatter(1, positions, torch.where(where, values, table.gather(1, positions)))


# Records as the tensors that they hold, whatever their fields are called: rows of a batch come and go, and compiled
# code keeps shapes and addresses. None stays None; the tuple of rows that the sparse path lists becomes None.


def map_tensors(record: T, change: Callable[[Tensor], Tensor]) -> T:
    """The record with every tensor changed, those of the records in it too."""
    found: Any = record
    if isinstance(record, Tensor):
        found = change(record)
    elif isinstance(record, tuple):
        found = None
    elif is_dataclass(record) and not isinstance(record, type):
        changed = {part.name: map_tensors(getattr(record, part.name), change) for part in fields(record)}
        found = replace(record, **changed)
    return found


def tensors_of(*records: Any) -> list[Tensor]:
    """All tensors of some records, in the order of their fields."""
    found: list[Tensor] = []
    for record in records:
        if isinstance(record, Tensor):
            found.append(record)
        elif is_dataclass(record):
            found += tensors_of(*(getattr(record, part.name) for part in fields(record)))
    return found


def select_rows(record: T, rows: RowIndex) -> T:
    """Some rows of every tensor, in this order."""
    return map_tensors(record, lambda tensor: tensor[rows])


def cat_rows(first: T, second: T) -> T:
    """The rows of both records, one below the other. Their tensors differ in the number of rows only."""
    others = iter(tensors_of(second))
    return map_tensors(first, lambda tensor: torch.cat([tensor, next(others)]))


def widen(state: DecodeState, width: int) -> DecodeState:
    """The state as if its last window had been ``width`` slots wide: the slots that are added hold nothing."""
    missing = width - state.window.width

    def longer(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], 1)

    if missing <= 0:
        return state
    return replace(state, window=map_tensors(state.window, longer), probs=map_tensors(state.probs, longer))
