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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Counts, Mask, Positions, RowIndex

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
    def empty(cls, rows: int, width: int) -> "Window":
        """A window of padding only: what comes before the first pass."""

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(rows, width, dtype=dtype, device="cpu")

        return cls(
            inputs=zeros(torch.long),
            used=zeros(torch.bool),
            valid=zeros(torch.bool),
            home=zeros(torch.long),
            lane=zeros(torch.long),
            corrects=zeros(torch.bool),
        )

    @cached_property
    def targets(self) -> Positions:
        """Position whose probs each slot gives."""
        return torch.from_numpy(self.inputs.numpy() + 1)

    @property
    def width(self) -> int:
        """Slots, padding included."""
        return self.inputs.shape[1]


@dataclass(frozen=True)
class DecodeState:
    """What one pass hands to the next. All of it lies on the host, but for the two kinds of probs.

    Attributes:
        roots: of the clip's noise (``noise_roots``).
        starts, ends: of the clip, as in Clips.
        tokens: by position: decided tokens, and drafts where the last window had some.
        decided: which are final (positions after the clip count as decided).
        cached: decided positions whose cache entry holds the decided token.
        exact_prefix: positions before it have the cache entry that one-by-one decoding would have made.
        frontier: first undecided position.
        window: of the last pass; an empty one before the first.
        probs: target probs of that window, which its redrafts follow. None where nothing reads them.
        passes: passes each clip took part in.
        frame_probs: probs by place in the frame, where the draft rule keeps them. A pass that is not compiled writes
            into them.
        decided_in: the pass (the clip's own count, prefill = 1) that decided each position.
        redrafted: how often each position's draft changed before it was decided.
        finite: no pass so far returned NaN or infinite logits for the clip.
        lane_state: what a lane rule that looks at past counts keeps.
    """

    roots: Counts
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
        return source(self.roots, positions, self.passes, dtype)


def with_fields(state: DecodeState, **fields: Any) -> DecodeState:
    """``dataclasses.replace`` at a fifth of its time: a pass does it a few times."""
    changed = object.__new__(DecodeState)
    changed.__dict__.update(state.__dict__)
    changed.__dict__.update(fields)
    return changed


def write(table: Tensor, positions: Positions, values: Tensor | bool, where: Mask) -> Tensor:
    """The table by position with some values replaced."""
    written = table.numpy().copy()
    row, slot = where.numpy().nonzero()
    new = values if isinstance(values, bool) else values.numpy()[row, slot]
    written[row, positions.numpy()[row, slot]] = new
    return torch.from_numpy(written)


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of whole numbers on the host: on a device one read. What is on meta has no numbers and counts as 0."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors)
    # Joined as int64, truth values last, and taken apart again: an int, a bool, an int travel in the order 0, 2, 1.
    kinds = [
        [tensor.flatten() for tensor in tensors if (tensor.dtype == torch.bool) == kind] for kind in (0, 1)
    ]
    joined = torch.cat([torch.cat(kind).long() for kind in kinds if kind])
    numbers = torch.zeros(joined.shape, dtype=torch.long, device="cpu") if joined.is_meta else joined.cpu()
    order = sorted(range(len(tensors)), key=lambda index: tensors[index].dtype == torch.bool)
    parts = dict(zip(order, numbers.split([tensors[index].numel() for index in order]), strict=True))
    return [parts[index].view(own.shape).to(own.dtype) for index, own in enumerate(tensors)]


def to_device(record: T, device: torch.device) -> T:
    """The record with its tensors, which are on the host, on a device: one copy, of which they are views."""
    if device.type == "cpu":
        return record
    every = tensors_of(record)
    # A view as another dtype must begin at a multiple of its size. 5 bools and 2 int64: 5 + 3 + 16 bytes.
    bytes_of = [np.ascontiguousarray(tensor.numpy()).view(np.uint8).ravel() for tensor in every]
    padded = [
        np.pad(one, (0, -len(one) % 8)) for one in bytes_of
    ]  # every tensor begins at a multiple of 8 bytes
    there = torch.from_numpy(np.concatenate(padded)).to(device)
    parts = there.split([len(one) for one in padded])
    moved = iter(
        part[: len(one)].view(own.dtype).view(own.shape)
        for part, one, own in zip(parts, bytes_of, every, strict=True)
    )
    return map_tensors(record, lambda _: next(moved))


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
    return map_tensors(record, lambda tensor: tensor[rows.to(tensor.device)])


def cat_rows(first: T, second: T) -> T:
    """The rows of both records, one below the other. Their tensors differ in the number of rows only."""
    # Both functions walk the fields in one order, so the next tensor is always the one that belongs to this field.
    others = iter(tensors_of(second))
    return map_tensors(first, lambda tensor: torch.cat([tensor, next(others)]))


def longer(record: T, width: int) -> T:
    """The record with the second axis of all its tensors ``width`` long: what is added is 0."""

    def padded(tensor: Tensor) -> Tensor:
        # 0 is False in ``used`` and ``valid``: a slot that is added decides nothing and hands no draft on.
        missing = tensor.new_zeros(len(tensor), width - tensor.shape[1], *tensor.shape[2:])
        return torch.cat([tensor, missing], 1)

    short = any(tensor.shape[1] < width for tensor in tensors_of(record))
    return map_tensors(record, padded) if short else record


def widen(state: DecodeState, width: int) -> DecodeState:
    """The state as if its last window had been ``width`` slots wide: the slots that are added hold nothing."""
    return replace(state, window=longer(state.window, width), probs=longer(state.probs, width))
