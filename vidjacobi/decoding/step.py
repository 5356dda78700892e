"""One pass on one screen: choose a window, evaluate it, read what came out, commit.

The host keeps the books, a few hundred whole numbers, and the device evaluates: drafts, the forward call, verdicts
(draft.py, commit.py). They meet twice in a pass: the host tells the device about the window, and reads the verdicts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vidjacobi.decoding.commit import (
    Evaluated,
    Judged,
    StepInputs,
    TreeCheck,
    Verdict,
    commit,
    move_accepted_sibling,
    remember,
    verify,
    verify_siblings,
)
from vidjacobi.decoding.draft import CarriedProbs, DeviceInputs, draft
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState, Window, to_device, to_host, with_fields, write
from vidjacobi.decoding.strategies.draft_tree import Siblings, TreeBranch, draw_siblings
from vidjacobi.decoding.strategies.drafts import PreviousFrameProbs
from vidjacobi.decoding.strategies.lanes import RasterLane
from vidjacobi.decoding.strategies.verifiers import accept_prefix
from vidjacobi.decoding.trace import Clock, PassRecord
from vidjacobi.decoding.window import (
    PassPlan,
    PassSize,
    PassTables,
    choose_window,
    pass_tables,
    plan_window,
)
from vidjacobi.kinds import checked_logits
from vidjacobi.models.protocol import Cache
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.sampler import is_sparse
from vidjacobi.shapes import Logits, Mask


@dataclass(frozen=True)
class StepOutput:
    """What a pass made of a state. ``decided``: what was decided before."""

    state: DecodeState
    record: PassRecord
    plan: PassPlan
    logits: Logits
    decided: Bool[Tensor, "b p"]
    branch: TreeBranch | None


def forward(recipe: Recipe, inputs: DeviceInputs, cache: Cache) -> Logits:
    """The one call of the model. Raises BadModelOutput for logits of another shape."""
    fed = inputs.fed
    logits = recipe.model.forward(fed.tokens, fed.positions, fed.slots, fed.visible, cache)
    return checked_logits(logits, (*fed.tokens.shape, recipe.model.vocab_size), "forward")


@dataclass(frozen=True)
class StepFunctions:
    """The functions that a step calls. Tests hand in broken ones, and a runner one that measures ``forward``."""

    noise: type[Noise] = Noise
    draw_siblings: Callable[..., Siblings] = draw_siblings
    forward: Callable[[Recipe, DeviceInputs, Cache], Logits] = forward
    verify: Callable[[Recipe, DeviceInputs, Logits, TreeCheck], Judged] = verify
    verify_tree: TreeCheck = verify_siblings
    move: Callable[[Recipe, DeviceInputs, Judged, Cache], None] = move_accepted_sibling
    commit: Callable[[Recipe, StepInputs, Verdict], tuple[DecodeState, PassRecord]] = commit


STEP = StepFunctions()


def evaluate(
    recipe: Recipe, using: StepFunctions, tables: PassTables, carried: CarriedProbs, cache: Cache, slots: int
) -> Evaluated:
    """What the device does. ``slots``: how many of the cache are read."""
    # 1. Draft: a draft for each position of the window that the last window did not hold.
    inputs = draft(recipe, tables, carried, using.draw_siblings, slots)
    # 2. Forward: one call of the model evaluates all drafts.
    logits = using.forward(recipe, inputs, cache)
    # 3. Verify: which drafts may stay, what stands in their place if not, and redrafts.
    judged = using.verify(recipe, inputs, logits, using.verify_tree)
    # 4. Move the cache entry of an accepted sibling, and keep the probs that the next drafts come from.
    using.move(recipe, inputs, judged, cache)
    target_probs = judged.evidence.target_probs
    return Evaluated(
        CarriedProbs(
            target_probs.alone() if recipe.strategies.reads_draft_probs else None,
            carried.of_frame
            and remember(carried.of_frame, inputs, judged, decided_slots(recipe, inputs, judged)),
        ),
        inputs.drafts,
        inputs.fed.tokens,
        logits,
        inputs.siblings.exist if inputs.siblings else None,
        judged.verdict.kept,
        judged.verdict.tokens,
        judged.redraft,
        judged.finite,
        judged.branch,
        inputs=None if recipe.fused else inputs,
        evidence=None if recipe.fused else judged.evidence,
    )


def decided_slots(recipe: Recipe, inputs: DeviceInputs, judged: Judged) -> Mask | None:
    """The slots that this pass decides, where drafts of the next frame come from the probs of no others; else None.

    None where lanes run side by side, a window is longer than a frame, positions may leave it undecided, or a draft
    rule may ask for other places. Else the place of a new draft was decided a frame before, so most rows of a window
    need not be sorted for later.
    """
    parts, frame = recipe.strategies, recipe.grid.frame_tokens
    plain = type(parts.draft) is PreviousFrameProbs and isinstance(parts.lanes, RasterLane)
    stays = recipe.window <= frame and (parts.draft_tree is None or recipe.moves_entries)
    if not (plain and stays and is_sparse(judged.evidence.target_probs)):
        return None
    return accept_prefix(judged.verdict.kept, inputs.tables.valid).decided


Evaluate = Callable[[Recipe, StepFunctions, PassTables, CarriedProbs, Cache, int], Evaluated]


def step(
    recipe: Recipe,
    state: DecodeState,
    plan: PassPlan,
    size: PassSize,
    cache: Cache,
    using: StepFunctions = STEP,
    evaluate: Evaluate = evaluate,
) -> StepOutput:
    """One pass: from a state and the plan for it to the next state and the next plan."""
    # 1. Window: the positions of this pass, and what the device needs to know of them.
    window = choose_window(plan, size.width)
    tables = to_device(pass_tables(recipe, state, window, using.noise), recipe.model.device)
    # 2. Evaluate, on the device: draft -> forward -> verify.
    found = evaluate(recipe, using, tables, CarriedProbs(state.probs, state.frame_probs), cache, size.slots)
    # 3. Read: the one time in a pass that the host waits for the device. Accept drafts up to the first rejection,
    #    correct that one, redraft the rest.
    inputs, verdict = read(recipe, state, window, found)
    # 4. Commit: write down what was decided, and plan the next pass.
    after, record = using.commit(recipe, inputs, verdict)
    return StepOutput(after, record, plan_window(recipe, after), found.logits, state.decided, found.branch)


def read(recipe: Recipe, state: DecodeState, window: Window, found: Evaluated) -> tuple[StepInputs, Verdict]:
    """What a pass was given and what it found, on the host."""
    small = [found.drafts, found.fed, found.kept, found.tokens, found.redraft, found.finite]
    branch, exist = found.branch, found.exist
    if branch and exist is not None:
        small += [exist, branch.position, branch.level, branch.token, branch.hit, branch.next_token]
    drafts, fed, kept, tokens, redraft, finite, *rest = to_host(small)
    if branch:
        exist, position, level, token, hit, next_token = rest
        branch = TreeBranch(position, level, token, hit, branch.node, branch.probs, next_token)
    used = window.used.numpy()
    if exist is not None:
        used = np.concatenate([used, exist.numpy().reshape(len(used), -1)], 1)
    finite = torch.from_numpy((finite.numpy() | ~used).all(-1))
    prefix = accept_prefix(kept, window.valid, window.lane, window.corrects)
    tokens = torch.from_numpy(np.where(prefix.decided.numpy(), tokens.numpy(), redraft.numpy()))
    drafted = with_fields(state, tokens=write(state.tokens, window.targets, drafts, window.valid))
    verdict = Verdict(
        found.evidence, found.carried.last, found.carried.of_frame, prefix, tokens, branch, finite
    )
    return StepInputs(drafted, window, fed, exist, found.inputs), verdict


@runtime_checkable
class StepRunner(Protocol):
    """How passes are run: one kernel after the other, or compiled."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the rows of finished clips stay, so that the shapes stay."""
        ...

    def make_cache(self, rows: int, slots: int) -> Cache: ...

    def size(self, plan: PassPlan) -> PassSize: ...

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


class EagerRunner:
    """Passes run one kernel after the other."""

    keeps_rows = False

    def __init__(self, recipe: Recipe, clock: Clock, using: StepFunctions = STEP) -> None:
        self.recipe, self._clock, self._forward, self._seconds = recipe, clock, using.forward, 0.0
        self._timed = replace(using, forward=self._measured)

    def _measured(self, recipe: Recipe, inputs: DeviceInputs, cache: Cache) -> Logits:
        began = self._clock.now()
        logits = self._forward(recipe, inputs, cache)
        self._seconds = self._clock.now() - began
        return logits

    def make_cache(self, rows: int, slots: int) -> Cache:
        """A new one."""
        return self.recipe.model.make_cache(rows, slots)

    def size(self, plan: PassPlan) -> PassSize:
        """The width that the lanes choose; slots in buckets."""
        width = self.recipe.strategies.lanes.pass_width(plan.widest, self.recipe.chain)
        return PassSize(width, self.recipe.slots_to_read(plan.furthest))

    def run(
        self, state: DecodeState, plan: PassPlan, size: PassSize, cache: Cache
    ) -> tuple[StepOutput, float]:
        """The pass, and the seconds of its forward call."""
        output = step(self.recipe, state, plan, size, cache, self._timed)
        return output, self._seconds

    def release(self) -> None:
        """Nothing is held."""
