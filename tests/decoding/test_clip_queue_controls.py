"""Negative controls of the clip queue: a row that is not refilled whole is caught."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from queued import Counting, alone, assert_as_alone, of_all
from torch import Tensor

from vidjacobi.decoding import batch_ops, jacobi
from vidjacobi.decoding.state import DecodeState, Window
from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked


def keep_the_cache(patch: pytest.MonkeyPatch) -> None:
    """The entries of the old clip stay."""
    patch.setattr(Counting, "copy_rows", lambda *_: None)


def copy_too_little(patch: pytest.MonkeyPatch) -> None:
    """The last entry of the context is forgotten."""

    def short(self: Any, cache: Tensor, into: Tensor, source: Tensor, of: Tensor) -> None:
        cache[into, : source.shape[1] - 1] = source[of, :-1]

    patch.setattr(Counting, "copy_rows", short)


def move_no_entries(patch: pytest.MonkeyPatch) -> None:
    """A row that moves into a gap leaves its entries behind."""
    copied = TinyVideoModel.copy_rows

    def only_new(self: Any, cache: Tensor, into: Tensor, source: Tensor, of: Tensor) -> None:
        if cache is not source:
            copied(self, cache, into, source, of)

    patch.setattr(Counting, "copy_rows", only_new)


def keep_the_memory(patch: pytest.MonkeyPatch) -> None:
    """A new clip drafts from the laws of the row above it."""
    beside = FrameProbsCache.beside

    def wrong(self: FrameProbsCache, other: FrameProbsCache) -> FrameProbsCache:
        both = beside(self, other)
        both.ids[len(self.ids) :], both.probs[len(self.ids) :] = self.ids[-1:], self.probs[-1:]
        return both

    patch.setattr(FrameProbsCache, "beside", wrong)


def keep_the_passes(patch: pytest.MonkeyPatch) -> None:
    """A new clip goes on counting where the old one was."""
    beside = batch_ops.beside

    def wrong(first: DecodeState, second: DecodeState) -> DecodeState:
        return beside(first, replace(second, passes=first.passes[-1:].repeat(len(second.passes))))

    patch.setattr(jacobi, "beside", wrong)


def keep_the_drafts(patch: pytest.MonkeyPatch) -> None:
    """A new clip's window holds the slots of another's, and their laws."""
    empty = batch_ops._with_window

    def wrong(state: DecodeState, window: Window | None, laws: TruncatedProbs | None) -> DecodeState:
        if state.window is not None or window is None:
            return empty(state, window, laws)
        last = torch.full_like(state.frontier, len(window.inputs) - 1)
        taken = batch_ops.rows_of(window, last)
        targets = state.frontier[:, None] + torch.arange(window.inputs.shape[1])
        moved = replace(taken, inputs=targets - 1, valid=torch.ones_like(taken.valid))
        return replace(state, window=moved, laws=laws and batch_ops.rows_of(laws, last))

    patch.setattr(batch_ops, "_with_window", wrong)


CONTROLS = [
    (keep_the_cache, "pathwise"),
    (copy_too_little, "pathwise"),
    (move_no_entries, "pathwise"),
    (keep_the_memory, "pathwise"),
    (keep_the_memory, "fast"),
    (keep_the_passes, "fast"),
    (keep_the_drafts, "fast"),
]


@pytest.mark.parametrize(("control", "decoder"), CONTROLS)
def test_a_broken_refill_is_caught(control: Any, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(decoder)
    control(monkeypatch)
    with pytest.raises(AssertionError):
        assert_as_alone(of_all(decoder, 3), decoder)
