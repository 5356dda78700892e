"""A model that keeps what it was asked for, and the window loop pass by pass with everything in between."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidjacobi.decoding import commit, step
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.state import DecodeState, Problem, Strategies, Window
from vidjacobi.decoding.strategies.draft_tree import Siblings
from vidjacobi.decoding.window import (
    Inputs,
    chain_size,
    choose_window,
    draft_window,
    pass_inputs,
    pick_siblings,
    plan,
    slots_to_read,
    spare_slot,
)
from vidjacobi.grid import Grid
from vidjacobi.models.protocol import TreeModel
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel

GRID = Grid(6, 4, 5)  # frames of 20, clips of 120
CONTEXT, NEW, VOCAB = 23, 90, 6


class Recording(TinyVideoModel):
    """Keeps the inputs of every forward call."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, *inputs: Any) -> Tensor:
        self.calls.append(tuple(x.clone() for x in inputs))
        return super().forward(*inputs)


def problem(
    window: int,
    draft: str = "previous_frame_probs",
    coupling: str = "maximal",
    verifier: str = "rejection_sampling",
    lanes: dict[str, Any] | None = None,
    draft_tree: dict[str, Any] | None = None,
    context: int = CONTEXT,
    new_tokens: int = NEW,
) -> Problem:
    """Three clips on a recording model."""
    parts = Strategies.named({"name": draft}, {"name": coupling}, {"name": verifier}, lanes, draft_tree)
    model = Recording(VOCAB, GRID, surprise=0.3)
    tokens = torch.randint(0, VOCAB, (3, context), generator=torch.Generator().manual_seed(0))
    return Problem(model, tokens, new_tokens, SamplingParams(1.0, 0.9), window, 0, torch.arange(3), parts)


@dataclass(frozen=True)
class Step:
    """One pass: the state in front of it, with its drafts, what was fed, what came out, the state behind it."""

    before: DecodeState
    drafted: DecodeState
    window: Window
    siblings: Siblings | None
    inputs: Inputs
    logits: Tensor
    after: DecodeState
    cache: Tensor  # codes by slot, behind the pass


def every_pass(case: Problem) -> list[Step]:
    """All passes behind the prefill."""
    assert case.parts is not None
    parts, steps = case.parts, []
    cache = case.model.make_cache(len(case.noise_keys), spare_slot(case, parts) + 1)
    state = start(case, parts, cache)
    while int((case.ends - state.frontier).max()) > 0:
        planned = plan(case, parts, state)
        size = parts.lanes.nodes(int(planned.width.max()), chain_size(case, parts))
        window = choose_window(planned, size)
        drafted = draft_window(case, parts, state, window)
        siblings = pick_siblings(case, parts, drafted)
        furthest = int(torch.where(planned.inputs, torch.arange(planned.inputs.shape[1]), -1).max()) + 1
        inputs = pass_inputs(case, parts, drafted, siblings, slots_to_read(case, parts, furthest))
        logits = case.model.forward(inputs.tokens, inputs.positions, inputs.slots, inputs.visible, cache)
        after, _, branch = commit.verify_and_commit(case, parts, drafted, logits, inputs.tokens, siblings)
        if branch and isinstance(case.model, TreeModel):
            step.move_entry(case.model, inputs.slots[:, window.inputs.shape[1] :], branch, cache)
        steps.append(Step(state, drafted, window, siblings, inputs, logits, after, cache.clone()))
        state = after
    return steps
