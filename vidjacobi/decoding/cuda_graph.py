"""Passes captured as graphs: what a pass is given lies where it lay before, and each size is captured once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vidjacobi.decoding.commit import Evaluated
from vidjacobi.decoding.draft import CarriedProbs
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import map_tensors, tensors_of
from vidjacobi.decoding.step import StepFunctions
from vidjacobi.decoding.window import PassTables
from vidjacobi.models.protocol import Cache

Work = Callable[[], Evaluated]
# Captures a pass, given what to run first, so that everything is compiled and allocated, and the pass itself. What it
# returns runs the pass again on the same memory and gives its results, always in the same tensors.
GraphRecorder = Callable[[Work, Work], Work]


class GraphRunner:
    """A pass in the form of compiled.py, recorded once per size and then repeated.

    Tables and probs live in buffers of their own: a pass reads them there and leaves the next probs there. The cache
    must be the same one always, and all other results (tokens, logits) are overwritten by the next pass.
    """

    def __init__(self, run: Callable[..., Evaluated], recorder: GraphRecorder) -> None:
        self._run, self._recorder = run, recorder
        self._tables: dict[int, PassTables] = {}  # by width
        self._carried: CarriedProbs | None = None
        self._replays: dict[tuple[int, int], Work] = {}

    def __call__(
        self,
        recipe: Recipe,
        using: StepFunctions,
        tables: PassTables,
        carried: CarriedProbs,
        cache: Cache,
        blocks: Tensor,
    ) -> Evaluated:
        """See compiled.py."""
        width = tables.inputs.shape[1]
        if self._carried is None:
            self._carried = map_tensors(carried, torch.clone)
        if width not in self._tables:
            self._tables[width] = map_tensors(tables, torch.clone)
        held = self._tables[width], self._carried
        for buffer, given in zip(tensors_of(*held), tensors_of(tables, carried), strict=True):
            if given is not buffer:
                buffer.copy_(given)
        size = (len(blocks), width)
        if size not in self._replays:
            work = partial(self._run, recipe, using, *held, cache, blocks)
            self._replays[size] = self._recorder(work, lambda: self._keep(work()))
        return self._replays[size]()

    def _keep(self, found: Evaluated) -> Evaluated:
        """What a pass found, its probs in the buffers."""
        assert self._carried is not None
        for buffer, new in zip(tensors_of(self._carried), tensors_of(found.carried), strict=True):
            buffer.copy_(new)
        return replace(found, carried=self._carried)
