"""Passes captured as graphs: the state stays where it is, and each size of a pass is captured once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vidjacobi.decoding.records import mapped, tensors
from vidjacobi.decoding.state import DecodeState, Problem, Strategies
from vidjacobi.decoding.step import StepOutput
from vidjacobi.decoding.window import Plan
from vidjacobi.models.protocol import Cache

Work = Callable[[], StepOutput]
# Captures a pass, given what to run first, so that everything is compiled and allocated, and the pass itself. What it
# returns runs the pass again on the same memory and gives its results, always in the same tensors.
Recorder = Callable[[Work, Work], Work]


class GraphRunner:
    """A pass in the form of ``vidjacobi.decoding.compiled``, recorded once per size and then repeated.

    State and plan live in buffers of their own: a pass reads them there and leaves the next ones there, so that
    nothing has to be copied between passes. The cache must be the same one always, and all other results (counts,
    logits) are overwritten by the next pass.
    """

    def __init__(self, run: Callable[..., StepOutput], recorder: Recorder) -> None:
        self._run, self._recorder = run, recorder
        self._held: tuple[DecodeState, Plan] | None = None
        self._replays: dict[tuple[int, int], Work] = {}

    def __call__(
        self,
        problem: Problem,
        parts: Strategies,
        state: DecodeState,
        planned: Plan,
        cache: Cache,
        blocks: Tensor,
        width: int,
    ) -> StepOutput:
        """See ``vidjacobi.decoding.compiled``."""
        held = self._take(state, planned)
        size = (len(blocks), width)
        if size not in self._replays:
            work = partial(self._run, problem, parts, *held, cache, blocks, width)
            self._replays[size] = self._recorder(work, lambda: self._keep(work()))
        return self._replays[size]()

    def _take(self, state: DecodeState, planned: Plan) -> tuple[DecodeState, Plan]:
        """The buffers, with what is not in them yet."""
        if self._held is None:
            self._held = mapped(state, torch.clone), mapped(planned, torch.clone)
        for buffer, given in zip(tensors(*self._held), tensors(state, planned), strict=True):
            if given is not buffer:
                buffer.copy_(given)
        return self._held

    def _keep(self, made: StepOutput) -> StepOutput:
        """What a pass made, its state and plan in the buffers."""
        assert self._held is not None
        made_tensors = tensors(made.state, made.ahead.planned)
        for buffer, new in zip(tensors(*self._held), made_tensors, strict=True):
            buffer.copy_(new)
        state, planned = self._held
        return replace(made, state=state, ahead=replace(made.ahead, planned=planned))
