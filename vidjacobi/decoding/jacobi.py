"""The loop over passes: draft a window, evaluate it, keep what verification accepts, redraft the rest.

Every decoder of this family is this loop with other parts (lanes, draft rule, coupling, verifier, draft tree). One
pass is in step.py.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.prefill import has_free_rows, start
from vidjacobi.decoding.recipe import NO_HOOKS, Clips, Hooks, Progress, Recipe, Watch
from vidjacobi.decoding.state import DecodeState, cat_rows, select_rows, widen
from vidjacobi.decoding.step import (
    STEP,
    EagerRunner,
    PassCompiler,
    StepFunctions,
    StepOutput,
    StepRunner,
)
from vidjacobi.decoding.trace import (
    COUNTS,
    ClipGroup,
    Clock,
    GroupPass,
    PartialDecode,
    PassRecord,
    Steps,
)
from vidjacobi.decoding.window import PassPlan, plan_window
from vidjacobi.errors import BadModelOutput
from vidjacobi.models.protocol import Cache
from vidjacobi.shapes import RowIndex


@torch.inference_mode()
def steps(recipe: Recipe, clips: Clips, hooks: Hooks = NO_HOOKS, using: StepFunctions = STEP) -> Steps:
    """Decide every clip's new tokens, pass by pass. ``using``: where tests hand in a broken step."""
    batch = RowBatch(recipe, len(clips), hooks, using)
    try:
        group = batch.begin(clips)
        while batch.active:
            for retired in batch.step():
                if retired.error:
                    raise retired.error
            yield PartialDecode(group.reach.tolist(), partial(batch.tokens_of, group))
        return group.decoded(recipe.guarantee)
    finally:
        batch.runner.release()


@dataclass(frozen=True)
class Retired:
    """Clips of a group that left the batch: finished, or the model returned something that is no distribution."""

    group: ClipGroup
    clips: list[int]
    error: BadModelOutput | None


class RowBatch:
    """Clips that are decoded together, one in each row of the state and of the cache.

    Where the model can copy rows, those of finished clips are taken out, so that nothing is fed in vain, and
    others may be admitted; elsewhere they stay, as padding.

    Args:
        recipe: of every clip of the batch.
        rows: most clips at a time.
        hooks: who wants to know.
        using: the functions of a step.
    """

    def __init__(
        self, recipe: Recipe, rows: int, hooks: Hooks = NO_HOOKS, using: StepFunctions = STEP
    ) -> None:
        self.recipe, self.rows, self._hooks, self._using = recipe, rows, hooks, using
        self.slots = recipe.spare_slot + 1
        self.clock = Clock(recipe.model.device, hooks.measure)
        self.runner = runner_of(recipe, rows, self.clock, using)
        self.cache = self.runner.make_cache(rows, self.slots)
        # Of each row: the number of its group (-1 where the row is free), and its clip within that group.
        # Arrays instead of a record per row: a batch may have 100,000 rows of a tiny model.
        self._group_of, self._clip_of = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._groups: dict[int, ClipGroup] = {}
        self._state: DecodeState | None = None
        self._plan: PassPlan | None = None  # of the state; None where its rows have changed since
        self._begun = self._passes = self._decided = self._wanted = 0

    @property
    def active(self) -> int:
        """Clips that are not finished."""
        return int((self._group_of >= 0).sum())

    @property
    def state(self) -> DecodeState:
        """Of all rows."""
        assert self._state is not None
        return self._state

    def tokens_of(self, group: ClipGroup, clip: int) -> Int[Tensor, " n"]:
        """New tokens of a clip of a group, those after its reach not final."""
        for row in np.flatnonzero(self._clip_of == clip).tolist():
            if self._groups.get(int(self._group_of[row])) is group:
                return self.state.tokens[row, group.starts[clip] : group.ends[clip]].to(group.device)
        return group.tokens_of(clip)

    def begin(self, clips: Clips) -> ClipGroup:
        """Prefill all clips at once, into the rows of an empty batch."""
        began = self.clock.now()
        self._state = start(self.recipe, clips, self.cache, self._using.noise)
        group = ClipGroup(clips, self.clock.now() - began, len(clips), clips.shared_by)
        self._add(group)
        self._observe()
        return group

    def admit(self, group: ClipGroup, state: DecodeState, cache: Cache, source_rows: list[int]) -> None:
        """Give free rows to clips whose contexts lie in rows of another cache."""
        self._compact()
        model, device, taken = self.recipe.model, self.recipe.model.device, len(self._group_of)
        assert has_free_rows(model)
        rows = torch.arange(taken, taken + len(group), device=device)
        model.copy_rows(self.cache, rows, cache, torch.tensor(source_rows, device=device))
        self._state, self._plan = cat_states(self.state, state) if taken else state, None
        self._add(group)

    @torch.inference_mode()
    def step(self) -> list[Retired]:
        """Run a pass. Where the last one finished clips, these are returned instead, and their rows are free."""
        began = self.clock.now()
        # 1. Retire clips that are finished.
        retired = self._retire()
        if retired:
            self._compact()
            return retired
        # 2. Run the pass.
        plan = self._plan or plan_window(self.recipe, self.state)
        output, forward_seconds = self.runner.run(self.state, plan, self.runner.size(plan), self.cache)
        self._state, self._plan = output.state, output.plan
        # 3. Tell who wants to know.
        self._count(output.record, self.clock.now() - began, forward_seconds)
        if self._hooks.watch:
            show(self._hooks.watch, output)
        return []

    def _count(self, record: PassRecord, seconds: float, forward_seconds: float) -> None:
        """Write down what a pass did to each group."""
        counts = np.concatenate([getattr(record, name).numpy()[None] for name in COUNTS])
        left = undecided(self.state)
        there = self._group_of >= 0
        for number, group in self._groups.items():
            rows = self._group_of == number
            clips = self._clip_of[rows]
            group.passes.append(GroupPass(clips, counts[:, rows], seconds, forward_seconds, int(there.sum())))
            group.reached(clips, left[rows])
        self._decided += int(counts[0, there].sum())
        self._passes += 1
        self._observe()

    def _retire(self) -> list[Retired]:
        """Take out the clips that are finished, or whose model returned something that is no distribution."""
        found: list[Retired] = []
        finite, done = self.state.finite.numpy(), undecided(self.state) == 0
        if finite.all() and not done.any():
            return found
        for lost, which in ((True, ~finite), (False, done)):
            leaving = np.flatnonzero(which & (self._group_of >= 0))
            if not len(leaving):
                continue
            for number in np.unique(self._group_of[leaving]).tolist():
                rows = leaving[self._group_of[leaving] == number]
                group, clips = self._groups[number], self._clip_of[rows]
                here = torch.from_numpy(rows)
                if lost:
                    self._wipe(here)
                else:
                    group.retire(torch.from_numpy(clips), self.state, here)
                found.append(Retired(group, clips.tolist(), not_finite(group) if lost else None))
            self._group_of[leaving] = -1
        if not found:
            return found
        there = np.unique(self._group_of).tolist()
        self._groups = {number: group for number, group in self._groups.items() if number in there}
        return found

    def _wipe(self, rows: RowIndex) -> None:
        """Overwrite cache entries that may not be finite: a masked one still enters the sum, as 0 * NaN = NaN."""
        model = self.recipe.model
        if has_free_rows(model):
            rows = rows.to(model.device)
            model.copy_rows(self.cache, rows, model.make_cache(1, self.slots), 0 * rows)

    def _compact(self) -> None:
        """Drop the rows without a clip: those at the end move into the gaps before them.

        Example: of the rows A - B - C (two are free) three stay. C moves into the first gap: A C B.
        """
        model, taken = self.recipe.model, np.flatnonzero(self._group_of >= 0)
        left = len(taken)
        if left == len(self._group_of) or self._hooks.watch or self.runner.keeps_rows:
            return
        if not has_free_rows(model):
            return
        gaps = np.flatnonzero(self._group_of[:left] < 0)
        order = np.arange(left)
        order[gaps] = taken[taken >= left]
        self._group_of, self._clip_of = self._group_of[order], self._clip_of[order]
        if not left:
            return
        index = torch.from_numpy(order)
        if len(gaps):
            to = torch.from_numpy(gaps)
            model.copy_rows(self.cache, to.to(model.device), self.cache, index[to].to(model.device))
        self._state, self._plan = select_rows(self.state, index), None

    def _add(self, group: ClipGroup) -> None:
        self._groups[self._begun] = group
        self._group_of = np.concatenate([self._group_of, np.full(len(group), self._begun)])
        self._clip_of = np.concatenate([self._clip_of, np.arange(len(group))])
        mine = self._group_of == self._begun
        group.reached(self._clip_of[mine], undecided(self.state)[mine])
        self._begun += 1
        self._decided += len(group)
        self._wanted += int((group.ends - group.starts).sum())

    def _observe(self) -> None:
        if self._hooks.observe:
            self._hooks.observe(Progress(self._passes + 1, self._decided, self._wanted))


def undecided(state: DecodeState) -> np.ndarray:
    """Undecided positions of each row from its frontier on."""
    left: np.ndarray = np.maximum(state.ends.numpy() - state.frontier.numpy(), 0)
    return left


def cat_states(first: DecodeState, second: DecodeState) -> DecodeState:
    """The rows of both states; their last windows are made equally wide."""
    width = max(first.window.width, second.window.width)
    return cat_rows(widen(first, width), widen(second, width))


def not_finite(group: ClipGroup) -> BadModelOutput:
    """What is wrong with clips of a group."""
    passes = len(group.passes)
    return BadModelOutput(f"the model's logits of pass {passes} are not finite: check its weights and dtype")


def show(watch: Watch, output: StepOutput) -> None:
    """Tell the watcher which logits decided which tokens.

    The token after an accepted sibling is shown a second time, with the logits after the sibling that decided it.

    The first new token, which the prefill decides, is never shown.
    """
    window, branch, logits = output.state.window, output.branch, output.logits
    size, device = window.width, logits.device
    new = window.valid & (output.state.decided & ~output.decided).gather(1, window.targets)
    watch(window.targets.to(device), new.to(device), logits[:, :size])
    if branch:
        row = branch.node[:, None, None].expand(-1, -1, logits.shape[-1])
        watch(branch.position[:, None] + 1, branch.hit[:, None], logits[:, size:].gather(1, row))


def runner_of(recipe: Recipe, rows: int, clock: Clock, using: StepFunctions) -> StepRunner:
    """How the passes of a recipe are run: as its model wants it."""
    if isinstance(recipe.model, PassCompiler):
        return recipe.model.step_runner(recipe, rows, clock, using)
    return EagerRunner(recipe, clock, using)
