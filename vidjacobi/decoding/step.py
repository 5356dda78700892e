"""One pass on one screen: draft -> forward -> verify -> commit.

Nothing here waits for the device, and no shape depends on a value, so that a pass can be compiled as one function
and captured as one graph (compiled.py, cuda_graph.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.commit import (
    TreeCheck,
    Verdict,
    commit,
    move_accepted_sibling,
    verify,
    verify_siblings,
)
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState
from vidjacobi.decoding.strategies.draft_tree import Siblings, TreeBranch, draw_siblings
from vidjacobi.decoding.trace import COUNTS, Clock, PassRecord
from vidjacobi.decoding.window import (
    PassPlan,
    PassSize,
    StepInputs,
    choose_window,
    draft_window,
    grow_tree,
    model_inputs,
    plan_window,
)
from vidjacobi.kinds import checked_logits
from vidjacobi.models.protocol import Cache
from vidjacobi.sampling.noise import Noise
from vidjacobi.shapes import Logits


@dataclass(frozen=True)
class NextPass:
    """What the next pass is to do, and all that the host needs to know before it, in one tensor."""

    plan: PassPlan
    numbers: Int[Tensor, " s"]


@dataclass(frozen=True)
class StepOutput:
    """What a pass made of a state. ``new``: the slots of its window whose targets it decided."""

    state: DecodeState
    record: PassRecord
    next: NextPass
    logits: Logits
    new: Bool[Tensor, "b m"]
    branch: TreeBranch | None


def forward(recipe: Recipe, inputs: StepInputs, cache: Cache) -> Logits:
    """The one call of the model. Raises BadModelOutput for logits of another shape."""
    fed = inputs.fed
    logits = recipe.model.forward(fed.tokens, fed.positions, fed.slots, fed.visible, cache)
    return checked_logits(logits, (*fed.tokens.shape, recipe.model.vocab_size), "forward")


@dataclass(frozen=True)
class StepFunctions:
    """The functions that a step calls. Tests hand in broken ones, and a runner one that measures ``forward``."""

    noise: type[Noise] = Noise
    draw_siblings: Callable[..., Siblings] = draw_siblings
    forward: Callable[[Recipe, StepInputs, Cache], Logits] = forward
    verify: Callable[..., Verdict] = verify
    verify_tree: TreeCheck = verify_siblings
    commit: Callable[[Recipe, StepInputs, Verdict], tuple[DecodeState, PassRecord]] = commit
    move: Callable[[Recipe, StepInputs, Verdict, Cache], None] = move_accepted_sibling


STEP = StepFunctions()


def step(
    recipe: Recipe,
    state: DecodeState,
    plan: PassPlan,
    size: PassSize,
    cache: Cache,
    using: StepFunctions = STEP,
) -> StepOutput:
    """One pass: from a state and the plan for it to the next state and the next plan."""
    # 1. Draft: the positions of the window, and a draft for each that the last window did not hold.
    inputs = draft(recipe, state, plan, size, using)
    # 2. Forward: one call of the model evaluates all drafts.
    logits = using.forward(recipe, inputs, cache)
    # 3. Verify: accept drafts up to the first rejection, correct that one, redraft the rest.
    verdict = using.verify(recipe, inputs, logits, using.noise, using.verify_tree)
    # 4. Commit: write down what was decided, and move the cache entry of an accepted sibling.
    after, record = using.commit(recipe, inputs, verdict)
    using.move(recipe, inputs, verdict, cache)
    # 5. Plan the next pass, so that one host read tells all.
    window = inputs.window
    new = window.valid & (after.decided & ~state.decided).gather(1, window.targets)
    return StepOutput(after, record, plan_next(recipe, after, record), logits, new, verdict.branch)


def draft(
    recipe: Recipe, state: DecodeState, plan: PassPlan, size: PassSize, using: StepFunctions = STEP
) -> StepInputs:
    """Everything before the forward call."""
    window = choose_window(plan, size.width)
    drafted, draft_probs = draft_window(recipe, state, window, using.noise)
    siblings = grow_tree(recipe, drafted, window, draft_probs, using.noise, using.draw_siblings)
    fed = model_inputs(recipe, drafted, window, siblings, size.slots)
    return StepInputs(drafted, window, draft_probs, siblings, fed)


def plan_next(recipe: Recipe, state: DecodeState, record: PassRecord | None = None) -> NextPass:
    """Plan the next pass, and gather what the host reads: of the plan, the state and the last pass's counts."""
    plan = plan_window(recipe, state)
    position = torch.arange(plan.inputs.shape[1], device=plan.inputs.device)
    furthest = torch.where(plan.inputs, position, -1).max() + 1
    reach = torch.stack([furthest, plan.width.max()])
    numbers = [reach, (state.ends - state.frontier).clamp(min=0), state.finite.long()]
    if record:
        numbers += [getattr(record, name) for name in COUNTS]
    return NextPass(plan, torch.cat(numbers))


@dataclass(frozen=True)
class HostView:
    """The one host read of a pass."""

    furthest: int  # largest input of the next pass, plus one
    width: int  # inputs of the clip that has the most
    left: np.ndarray  # undecided positions from the frontier of each row on
    finite: np.ndarray
    counts: np.ndarray  # [5, rows of the last pass]: the fields of its record; [5, 0] if there was none


def read(upcoming: NextPass, rows: int) -> HostView:
    """Bring a few numbers to the host, all at once."""
    numbers = np.array(upcoming.numbers.tolist())
    left, finite, counted = np.split(numbers[2:], [rows, 2 * rows])
    return HostView(int(numbers[0]), int(numbers[1]), left, finite, counted.reshape(len(COUNTS), -1))


@runtime_checkable
class StepRunner(Protocol):
    """How passes are run: one kernel after the other, or compiled."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the rows of finished clips stay, so that the shapes stay."""
        ...

    def make_cache(self, rows: int, slots: int) -> Cache: ...

    def size(self, seen: HostView) -> PassSize: ...

    def run(
        self, state: DecodeState, plan: PassPlan, size: PassSize, cache: Cache
    ) -> tuple[StepOutput, float]:
        """The pass, and its seconds inside the model."""
        ...

    def release(self) -> None:
        """No more passes will be asked for."""
        ...


@runtime_checkable
class PassCompiler(Protocol):
    """A model that brings a runner of its own (``vidjacobi.decoding.compiled.CompiledModel``)."""

    def step_runner(self, recipe: Recipe, rows: int, clock: Clock, using: StepFunctions) -> StepRunner:
        """Runs the passes of ``rows`` clips."""
        ...


@dataclass(frozen=True)
class EagerRunner:
    """Passes run one kernel after the other."""

    recipe: Recipe
    clock: Clock
    using: StepFunctions = STEP
    keeps_rows: bool = False

    def make_cache(self, rows: int, slots: int) -> Cache:
        """A new one."""
        return self.recipe.model.make_cache(rows, slots)

    def size(self, seen: HostView) -> PassSize:
        """The width that the lanes choose; slots in buckets."""
        width = self.recipe.strategies.lanes.pass_width(seen.width, self.recipe.chain)
        return PassSize(width, self.recipe.slots_to_read(seen.furthest))

    def run(
        self, state: DecodeState, plan: PassPlan, size: PassSize, cache: Cache
    ) -> tuple[StepOutput, float]:
        """The pass, and the seconds of its forward call."""
        seconds = 0.0

        def timed(recipe: Recipe, inputs: StepInputs, cache: Cache) -> Logits:
            nonlocal seconds
            began = self.clock.now()
            logits = self.using.forward(recipe, inputs, cache)
            seconds = self.clock.now() - began
            return logits

        output = step(self.recipe, state, plan, size, cache, replace(self.using, forward=timed))
        return output, seconds

    def release(self) -> None:
        """Nothing is held."""
