"""Negative controls of the clip queue: a row that is not refilled whole is caught."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from queued import WINDOW, Counting, alone, assert_as_alone, requests
from torch import Tensor

from vidjacobi import SamplingParams
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.decoding.clip_queue import Finished, run_queue
from vidjacobi.decoding.jacobi import RowBatch
from vidjacobi.decoding.recipe import NO_HOOKS
from vidjacobi.decoding.scheduler import Job
from vidjacobi.decoding.state import DecodeState, select_rows
from vidjacobi.decoding.trace import ClipGroup
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked


class KeepsTheCache(Counting):
    """The entries of the old clip stay."""

    def copy_rows(self, *_: Any) -> None:
        pass


class CopiesTooLittle(Counting):
    """The last entry of the context is forgotten."""

    def copy_rows(self, cache: Tensor, rows: Tensor, source: Tensor, source_rows: Tensor) -> None:
        cache[rows, : source.shape[1] - 1] = source[source_rows, :-1]


class MovesNoEntries(Counting):
    """A row that moves into a gap leaves its entries where they were."""

    def copy_rows(self, cache: Tensor, rows: Tensor, source: Tensor, source_rows: Tensor) -> None:
        if cache is not source:
            TinyVideoModel.copy_rows(self, cache, rows, source, source_rows)


class SpoilsNewRows(RowBatch):
    """What a new clip brings along is mixed with what stands in the last row."""

    def spoilt(self, state: DecodeState, last: DecodeState) -> DecodeState:
        """``last``: that row, as often as there are new clips."""
        raise NotImplementedError

    def admit(self, group: ClipGroup, state: DecodeState, cache: Any, source_rows: list[int]) -> None:
        if self.active:
            row = torch.full_like(state.passes, len(self.state.passes) - 1)
            state = self.spoilt(state, select_rows(self.state, row))
        super().admit(group, state, cache, source_rows)


class KeepsTheFrameProbs(SpoilsNewRows):
    """A new clip drafts from the probs of the row above it."""

    def spoilt(self, state: DecodeState, last: DecodeState) -> DecodeState:
        return replace(state, frame_probs=last.frame_probs)


class KeepsThePasses(SpoilsNewRows):
    """A new clip goes on counting where the old one was."""

    def spoilt(self, state: DecodeState, last: DecodeState) -> DecodeState:
        return replace(state, passes=last.passes)


class KeepsTheDrafts(SpoilsNewRows):
    """A new clip's last window holds the slots of another's, and their probs."""

    def spoilt(self, state: DecodeState, last: DecodeState) -> DecodeState:
        inputs = state.frontier[:, None] + torch.arange(last.window.width) - 1
        inputs = inputs.clamp(max=state.tokens.shape[1] - 2)
        window = replace(last.window, inputs=inputs, valid=torch.ones_like(last.window.valid))
        return replace(state, window=window, probs=last.probs)


CONTROLS: list[tuple[type[Counting], type[RowBatch], str]] = [
    (KeepsTheCache, RowBatch, "pathwise"),
    (CopiesTooLittle, RowBatch, "pathwise"),
    (MovesNoEntries, RowBatch, "pathwise"),
    (Counting, KeepsTheFrameProbs, "pathwise"),
    (Counting, KeepsTheFrameProbs, "fast"),
    (Counting, KeepsThePasses, "fast"),
    (Counting, KeepsTheDrafts, "fast"),
]


def through_three_rows(model: Counting, batch: type[RowBatch], decoder: str) -> list[Finished]:
    chosen = choose_decoder(decoder, WINDOW, SamplingParams())
    job = Job(chosen.config.method, chosen.recipe(model, model.max_positions), NO_HOOKS, batch)
    found = list(run_queue(job, requests(), chosen.sampling.seed, 3))
    assert all(isinstance(one, Finished) for one in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(("model", "batch", "decoder"), CONTROLS)
def test_a_broken_refill_is_caught(model: type[Counting], batch: type[RowBatch], decoder: str) -> None:
    with pytest.raises(AssertionError):
        assert_as_alone(through_three_rows(model(), batch, decoder), decoder)


@pytest.mark.parametrize("decoder", ["pathwise", "fast"])
def test_a_whole_refill_is_not(decoder: str) -> None:
    """In the same way, so that the controls show the broken part only."""
    alone(decoder)
    assert_as_alone(through_three_rows(Counting(), RowBatch, decoder), decoder)
