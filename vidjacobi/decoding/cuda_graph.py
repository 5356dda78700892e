"""Passes captured as graphs: the state stays where it is, and each size of a pass is captured once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState, map_tensors, tensors_of
from vidjacobi.decoding.step import StepFunctions, StepOutput
from vidjacobi.decoding.window import PassPlan
from vidjacobi.models.protocol import Cache

Work = Callable[[], StepOutput]
# Captures a pass, given what to run first, so that everything is compiled and allocated, and the pass itself. What it
# returns runs the pass again on the same memory and gives its results, always in the same tensors.
GraphRecorder = Callable[[Work, Work], Work]


class GraphRunner:
    """A pass in the form of compiled.py, recorded once per size and then repeated.

    State and plan live in buffers of their own: a pass reads them there and leaves the next ones there, so that
    nothing has to be copied between passes. The cache must be the same one always, and all other results (counts,
    logits) are overwritten by the next pass.
    """

    def __init__(self, run: Callable[..., StepOutput], recorder: GraphRecorder) -> None:
        self._run, self._recorder = run, recorder
        self._held: tuple[DecodeState, PassPlan] | None = None
        self._replays: dict[tuple[int, int], Work] = {}

    def __call__(
        self,
        recipe: Recipe,
        using: StepFunctions,
        state: DecodeState,
        plan: PassPlan,
        cache: Cache,
        blocks: Tensor,
        width: int,
    ) -> StepOutput:
        """See compiled.py."""
        held = self._take(state, plan)
        size = (len(blocks), width)
        if size not in self._replays:
            work = partial(self._run, recipe, using, *held, cache, blocks, width)
            self._replays[size] = self._recorder(work, lambda: self._keep(work()))
        return self._replays[size]()

    def _take(self, state: DecodeState, plan: PassPlan) -> tuple[DecodeState, PassPlan]:
        """The buffers, with what is not in them yet."""
        if self._held is None:
            self._held = map_tensors(state, torch.clone), map_tensors(plan, torch.clone)
        for buffer, given in zip(tensors_of(*self._held), tensors_of(state, plan), strict=True):
            if given is not buffer:
                buffer.copy_(given)
        return self._held

    def _keep(self, output: StepOutput) -> StepOutput:
        """What a pass made, its state and plan in the buffers."""
        assert self._held is not None
        made = tensors_of(output.state, output.next.plan)
        for buffer, new in zip(tensors_of(*self._held), made, strict=True):
            buffer.copy_(new)
        state, plan = self._held
        return replace(output, state=state, next=replace(output.next, plan=plan))
