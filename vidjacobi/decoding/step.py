"""One pass, from a state to the next one.

Nothing here waits for the device, and no shape depends on a value, so that a pass can be compiled as one
function and captured as one graph (compiled.py, capture.py).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.commit import verify_and_commit
from vidjacobi.decoding.group import FIELDS
from vidjacobi.decoding.state import DecodeState, Problem, Strategies
from vidjacobi.decoding.strategies.draft_tree import TreeDrafts
from vidjacobi.decoding.trace import PassRecord
from vidjacobi.decoding.tree import TreeBranch
from vidjacobi.decoding.window import (
    Inputs,
    Plan,
    Size,
    chain_size,
    choose_window,
    draft_window,
    pass_inputs,
    pick_siblings,
    plan,
    slots_to_read,
)
from vidjacobi.models.protocol import Cache, TreeModel
from vidjacobi.runtime import Clock
from vidjacobi.shapes import Logits, Slots


@dataclass(frozen=True)
class NextPass:
    """What the next pass is to do, and all that the host needs to know before it, in one tensor."""

    planned: Plan
    numbers: Int[Tensor, " s"]


@dataclass(frozen=True)
class StepInputs:
    """The state with its drafts, and what the model is fed."""

    state: DecodeState
    siblings: TreeDrafts | None
    inputs: Inputs


@dataclass(frozen=True)
class StepOutput:
    """What a pass made of a state. ``new``: the slots of its window whose targets it decided."""

    state: DecodeState
    record: PassRecord
    ahead: NextPass
    logits: Logits
    new: Bool[Tensor, "b m"]
    branch: TreeBranch | None


@runtime_checkable
class StepRunner(Protocol):
    """How passes are made: one kernel after the other, or compiled."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the rows of finished clips stay, so that the shapes stay."""
        ...

    def make_cache(self, rows: int, slots: int) -> Cache: ...

    def size(self, status: "Status") -> Size: ...

    def make(self, state: DecodeState, planned: Plan, size: Size, cache: Cache) -> tuple[StepOutput, float]:
        """The pass, and its seconds inside the model."""
        ...

    def done(self) -> None:
        """No more passes will be asked for."""
        ...


@dataclass(frozen=True)
class EagerRunner:
    """Passes made one kernel after the other."""

    problem: Problem
    parts: Strategies
    clock: Clock
    keeps_rows: bool = False

    def make_cache(self, rows: int, slots: int) -> Cache:
        """A new one."""
        return self.problem.model.make_cache(rows, slots)

    def size(self, status: "Status") -> Size:
        """The width that the lanes choose; slots in buckets."""
        width = self.parts.lanes.nodes(status.width, chain_size(self.problem, self.parts))
        return Size(width, slots_to_read(self.problem, self.parts, status.furthest))

    def make(self, state: DecodeState, planned: Plan, size: Size, cache: Cache) -> tuple[StepOutput, float]:
        """The pass, and the seconds of its forward call."""
        fed = feed(self.problem, self.parts, state, planned, size)
        began = self.clock.now()
        logits = forward(self.problem, fed, cache)
        seconds = self.clock.now() - began
        return finish(self.problem, self.parts, fed, logits, cache), seconds

    def done(self) -> None:
        """Nothing is held."""


def one_pass(
    problem: Problem, parts: Strategies, state: DecodeState, planned: Plan, size: Size, cache: Cache
) -> StepOutput:
    """All of a pass: window, drafts, forward, laws, verdicts, redrafts, the next state and the next plan."""
    fed = feed(problem, parts, state, planned, size)
    return finish(problem, parts, fed, forward(problem, fed, cache), cache)


def feed(problem: Problem, parts: Strategies, state: DecodeState, planned: Plan, size: Size) -> StepInputs:
    """Everything in front of the forward call."""
    drafted = draft_window(problem, parts, state, choose_window(planned, size.width))
    siblings = pick_siblings(problem, parts, drafted)
    return StepInputs(drafted, siblings, pass_inputs(problem, parts, drafted, siblings, size.slots))


def forward(problem: Problem, fed: StepInputs, cache: Cache) -> Logits:
    """The forward call."""
    inputs = fed.inputs
    return problem.model.forward(inputs.tokens, inputs.positions, inputs.slots, inputs.visible, cache)


def finish(problem: Problem, parts: Strategies, fed: StepInputs, logits: Logits, cache: Cache) -> StepOutput:
    """Everything behind the forward call."""
    before, inputs, window = fed.state, fed.inputs, fed.state.window
    assert window is not None
    state, record, branch = verify_and_commit(problem, parts, before, logits, inputs.tokens, fed.siblings)
    if branch and isinstance(problem.model, TreeModel):
        move_entry(problem.model, inputs.slots[:, window.inputs.shape[1] :], branch, cache)
    new = window.valid & (state.decided & ~before.decided).gather(1, window.targets)
    return StepOutput(state, record, look(problem, parts, state, record), logits, new, branch)


def move_entry(model: TreeModel, slots: Slots, branch: TreeBranch, cache: Cache) -> None:
    """Move the cache entry of the accepted sibling to its position; onto itself where there is none."""
    source = slots.gather(1, branch.node[:, None])
    target = torch.where(branch.hit[:, None], branch.position[:, None], source)
    model.move(cache, source, target)


def look(
    problem: Problem, parts: Strategies, state: DecodeState, record: PassRecord | None = None
) -> NextPass:
    """Plan the next pass, and gather what the host reads: of the plan, the state and the last pass's counts."""
    planned = plan(problem, parts, state)
    position = torch.arange(planned.inputs.shape[1], device=planned.inputs.device)
    furthest = torch.where(planned.inputs, position, -1).max() + 1
    reach = torch.stack([furthest, planned.width.max()])
    numbers = [reach, (state.ends - state.frontier).clamp(min=0), state.finite.long()]
    if record:
        numbers += [getattr(record, name) for name in FIELDS]
    return NextPass(planned, torch.cat(numbers))


@dataclass(frozen=True)
class Status:
    """The one host read of a pass."""

    furthest: int  # largest input of the next pass, plus one
    width: int  # inputs of the clip that has the most
    left: np.ndarray  # undecided positions behind the frontier of each row
    finite: np.ndarray
    counts: np.ndarray  # [5 rows of the last pass]: the fields of its record; [5 0] if there was none


def read(ahead: NextPass, rows: int) -> Status:
    """Bring a few numbers to the host, all at once."""
    numbers = np.array(ahead.numbers.tolist())
    left, finite, counted = np.split(numbers[2:], [rows, 2 * rows])
    return Status(int(numbers[0]), int(numbers[1]), left, finite, counted.reshape(len(FIELDS), -1))
