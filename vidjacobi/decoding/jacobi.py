"""Decoding a window per pass: evaluate guesses, keep what verification lets through, redraft the rest.

Every decoder of this family is this loop with other parts (lanes, draft rule, coupling, verifier, siblings).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.batch_ops import beside, rows_of
from vidjacobi.decoding.compiled import CompiledModel
from vidjacobi.decoding.group import Group, Pass
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.standing import PartialDecode, Steps, finish
from vidjacobi.decoding.state import DecodeState, Problem, Progress, Strategies, Watch
from vidjacobi.decoding.step import EagerRunner, NextPass, Status, StepOutput, StepRunner, look, read
from vidjacobi.decoding.trace import Decoded, PassRecord
from vidjacobi.decoding.window import spare_slot
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.models.protocol import Cache, has_free_rows
from vidjacobi.runtime import Clock
from vidjacobi.shapes import RowIndex


def run(problem: Problem) -> Decoded:
    """Decide every clip's new tokens."""
    return finish(steps(problem))


@torch.inference_mode()
def steps(problem: Problem) -> Steps:
    """The same, pass by pass."""
    batch = Batch(problem, len(problem.noise_keys))
    try:
        group = batch.begin(problem)
        while batch.seated:
            for landed in batch.step():
                if landed.error:
                    raise landed.error
            yield PartialDecode(group.reach.tolist(), partial(batch.tokens_of, group))
        return group.decoded(batch.parts.guarantee)
    finally:
        batch.passes.done()


@dataclass(frozen=True)
class Retired:
    """Clips of a group that left the batch: finished, or the model returned something that is no law."""

    group: Group
    clips: list[int]
    error: BadModelOutput | None


@dataclass(frozen=True)
class Passed:
    """A pass that was made and whose counts have not been read yet."""

    record: PassRecord
    seconds: float
    forward_seconds: float


class Batch:
    """Clips that are decoded together, one in each row of the state and of the cache.

    Where the model can copy rows, those of finished clips are taken out, so that nothing is fed in vain, and
    others may be seated; elsewhere they stay, as padding.

    Args:
        problem: whose model, numbers and room every clip of the batch has.
        rows: most clips at a time.
    """

    def __init__(self, problem: Problem, rows: int) -> None:
        self.problem, self.parts, self.rows = problem, parts_of(problem), rows
        self.slots = spare_slot(problem, self.parts) + 1
        self.clock = Clock(problem.context.device, problem.measure)
        self.passes = passes_of(problem, self.parts, self.clock)
        self.cache = self.passes.make_cache(rows, self.slots)
        self._groups: dict[int, Group] = {}
        self._seats = np.zeros(
            (2, 0), np.int64
        )  # of each row: number of the group (-1: none), clip in the group
        self._state: DecodeState | None = None
        self._ahead: NextPass | None = None  # of the state; None where its rows have changed since
        self._passed: Passed | None = None
        self._begun = self._count = self._decided = self._wanted = 0

    @property
    def seated(self) -> int:
        """Clips that are not finished."""
        return int((self._seats[0] >= 0).sum())

    @property
    def state(self) -> DecodeState:
        """Of all rows."""
        assert self._state is not None
        return self._state

    def tokens_of(self, group: Group, clip: int) -> Int[Tensor, " n"]:
        """New tokens of a clip of a group, those behind its reach not final."""
        for row, (number, seated) in enumerate(self._seats.T.tolist()):
            if seated == clip and self._groups.get(number) is group:
                return self.state.tokens[row, group.starts[clip] : group.ends[clip]]
        return group.tokens_of(clip)

    def begin(self, problem: Problem) -> Group:
        """Prefill all clips of a problem at once, into the rows of an empty batch."""
        started = self.clock.now()
        self._state = start(problem, self.parts, self.cache)
        group = Group(problem, self.clock.now() - started, len(problem.noise_keys), problem.shared_by)
        self._add(group)
        self._observe()
        return group

    def seat(self, group: Group, state: DecodeState, cache: Cache, source_rows: list[int]) -> None:
        """Give free rows to clips whose contexts lie in rows of another cache."""
        self._close_ranks()
        model, device, taken = self.problem.model, state.tokens.device, self._seats.shape[1]
        assert has_free_rows(model)
        rows = torch.arange(taken, taken + len(group), device=device)
        model.copy_rows(self.cache, rows, cache, torch.tensor(source_rows, device=device))
        self._state, self._ahead = beside(self.state, state) if taken else state, None
        self._add(group)

    @torch.inference_mode()
    def step(self) -> list[Retired]:
        """Make a pass; or none where the last one finished clips: these are returned, and their rows are free."""
        started = self.clock.now()
        record = self._passed.record if self._passed else None
        ahead = self._ahead or look(self.problem, self.parts, self.state, record)
        status = self._read(ahead)
        landed = self._land(status)
        if landed:
            self._close_ranks()
        else:
            self._pass(ahead, status, started)
        return landed

    def _pass(self, ahead: NextPass, status: Status, started: float) -> None:
        made, seconds = self.passes.make(self.state, ahead.planned, self.passes.size(status), self.cache)
        self._state, self._ahead = made.state, made.ahead
        if self.problem.watch:
            show(self.problem.watch, made)
        self._passed = Passed(made.record, self.clock.now() - started, seconds)

    def _read(self, ahead: NextPass) -> Status:
        """Read the state, and with it the counts of the pass that was made last."""
        passed, self._passed = self._passed, None
        status = read(ahead, len(self.state.noise_keys))
        for number, group in self._groups.items():
            rows = self._seats[0] == number
            group.reached(self._seats[1][rows], status.left[rows])
        if passed:
            # rows that were seated since have no counts
            seats, counts = self._seats[:, : status.counts.shape[1]], status.counts
            mates = int((seats[0] >= 0).sum())
            for number in np.unique(seats[0][seats[0] >= 0]).tolist():
                rows = seats[0] == number
                made = Pass(seats[1][rows], counts[:, rows], passed.seconds, passed.forward_seconds, mates)
                self._groups[number].passes.append(made)
            self._decided += int(counts[0, seats[0] >= 0].sum())
            self._count += 1
            self._observe()
        return status

    def _land(self, status: Status) -> list[Retired]:
        """Take out the clips that are finished, or whose model returned something that is no law."""
        landed, device = [], self.state.tokens.device
        for lost, which in ((True, status.finite == 0), (False, status.left == 0)):
            leaving = np.flatnonzero(which & (self._seats[0] >= 0))
            for number in np.unique(self._seats[0, leaving]).tolist():
                rows = leaving[self._seats[0, leaving] == number]
                group, clips = self._groups[number], self._seats[1, rows]
                here = torch.tensor(rows, device=device)
                if lost:
                    self._wipe(here)
                else:
                    group.land(torch.tensor(clips, device=device), self.state, here)
                landed.append(Retired(group, clips.tolist(), not_finite(group) if lost else None))
            self._seats[0, leaving] = -1
        self._groups = {number: self._groups[number] for number in np.unique(self._seats[0]) if number >= 0}
        return landed

    def _wipe(self, rows: RowIndex) -> None:
        """Forget cache entries that may not be finite: one that nobody sees still counts 0 times itself."""
        model = self.problem.model
        if has_free_rows(model):
            model.copy_rows(self.cache, rows, model.make_cache(1, self.slots), 0 * rows)

    def _close_ranks(self) -> None:
        """Free the rows without a clip: those at the end move into the gaps in front of them."""
        model, taken = self.problem.model, np.flatnonzero(self._seats[0] >= 0)
        left = len(taken)
        if left == self._seats.shape[1] or self.problem.watch or self.passes.keeps_rows:
            return
        if not has_free_rows(model):
            return
        gaps = np.flatnonzero(self._seats[0, :left] < 0)
        order = np.arange(left)
        order[gaps] = taken[taken >= left]
        self._seats = self._seats[:, order]
        if not left:
            return
        index = torch.tensor(order, device=self.state.tokens.device)
        if len(gaps):
            to = torch.tensor(gaps, device=index.device)
            model.copy_rows(self.cache, to, self.cache, index[to])
        self._state, self._ahead = rows_of(self.state, index), None

    def _add(self, group: Group) -> None:
        seats = np.stack([np.full(len(group), self._begun), np.arange(len(group))])
        self._groups[self._begun] = group
        self._seats = np.concatenate([self._seats, seats], 1)
        self._begun += 1
        self._decided += len(group)
        self._wanted += int((group.ends - group.starts).sum())

    def _observe(self) -> None:
        if self.problem.observe:
            self.problem.observe(Progress(self._count + 1, self._decided, self._wanted))


def not_finite(group: Group) -> BadModelOutput:
    """What is wrong with clips of a group."""
    passes = len(group.passes)
    return BadModelOutput(f"the model's logits of pass {passes} are not finite: check its weights and dtype")


def show(watch: Watch, made: StepOutput) -> None:
    """Tell the watcher which logits decided which tokens; once more, rightly, for the one behind a sibling.

    The first new token, which the prefill decides, is never shown.
    """
    window, branch, logits = made.state.window, made.branch, made.logits
    assert window is not None
    size = made.new.shape[1]
    watch(window.targets, made.new, logits[:, :size])
    if branch:
        row = branch.node[:, None, None].expand(-1, -1, logits.shape[-1])
        watch(branch.position[:, None] + 1, branch.hit[:, None], logits[:, size:].gather(1, row))


def passes_of(problem: Problem, parts: Strategies, clock: Clock) -> StepRunner:
    """How the passes of a problem are made: as its model wants it."""
    if isinstance(problem.model, CompiledModel):
        return problem.model.passes(problem, parts, clock)
    return EagerRunner(problem, parts, clock)


def parts_of(problem: Problem) -> Strategies:
    """The parts, which this method cannot do without."""
    if problem.parts is None:
        raise InvalidArgument("the jacobi method needs a draft rule, a coupling and a verifier")
    return problem.parts
