"""Decoding a window per pass: evaluate guesses, keep what verification lets through, redraft the rest.

Every decoder of this family is this loop with other parts (lanes, draft rule, coupling, verifier, siblings).
"""

from dataclasses import dataclass

import torch

from vidjacobi.decoders.flight import Counted, Flight, flights_of
from vidjacobi.decoders.outcome import settle
from vidjacobi.decoders.prefill import start
from vidjacobi.decoders.rows import beside, rows_of
from vidjacobi.decoders.tree import Branch
from vidjacobi.decoders.window import (
    Plan,
    chain_size,
    choose_window,
    draft_window,
    pass_inputs,
    pick_siblings,
    plan,
    spare_slot,
)
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.model import Cache, TreeModel, has_free_rows
from vidjacobi.runtime import Clock
from vidjacobi.shapes import Logits, Slots
from vidjacobi.state import DecodeState, Parts, Problem, Progress, Watch
from vidjacobi.trace import Decoded, PassRecord, together


@torch.inference_mode()
def run(problem: Problem) -> Decoded:
    """Decide every clip's new tokens."""
    batch = Batch(problem, len(problem.streams))
    batch.begin(problem)
    landed: list[Flight] = []
    while batch.flying:
        for flight in batch.step():
            if flight.error:
                raise flight.error
            landed.append(flight)
    landed.sort(key=lambda flight: flight.clip)
    return together([flight.decoded for flight in landed if flight.decoded])


@dataclass(frozen=True)
class Passed:
    """A pass that was made and whose counts have not been read yet."""

    record: PassRecord
    seconds: float
    forward_seconds: float


class Batch:
    """Clips that are decoded together: row r of the state and of the cache is that of ``flights[r]``.

    Where the model can copy rows, those of finished clips are taken out, so that nothing is fed in vain, and
    others may be seated; elsewhere they stay, as padding.

    Args:
        problem: whose model, numbers and room every clip of the batch has.
        rows: most clips at a time.
    """

    def __init__(self, problem: Problem, rows: int) -> None:
        self.problem, self.parts, self.rows = problem, parts_of(problem), rows
        self.slots = spare_slot(problem, self.parts) + 1
        self.cache = problem.model.make_cache(rows, self.slots)
        self.clock = Clock(problem.context.device, problem.measure)
        self.flights: list[Flight | None] = []
        self._state: DecodeState | None = None
        self._passed: Passed | None = None
        self._passes = self._decided = self._wanted = 0

    @property
    def flying(self) -> int:
        """Clips that are not finished."""
        return sum(flight is not None for flight in self.flights)

    @property
    def state(self) -> DecodeState:
        """Of all rows."""
        assert self._state is not None
        return self._state

    def begin(self, problem: Problem) -> None:
        """Prefill all clips of a problem at once, into the rows of an empty batch."""
        started = self.clock.now()
        self._state = start(problem, self.parts, self.cache)
        self._take_off(flights_of(problem, self.clock.now() - started))
        self._observe()

    def seat(self, flights: list[Flight], state: DecodeState, cache: Cache, source_rows: list[int]) -> None:
        """Give free rows to clips whose contexts lie in rows of another cache."""
        self._close_ranks()
        model, device = self.problem.model, state.tokens.device
        assert has_free_rows(model)
        rows = torch.arange(len(self.flights), len(self.flights) + len(flights), device=device)
        model.copy_rows(self.cache, rows, cache, torch.tensor(source_rows, device=device))
        self._state = beside(self.state, state) if self.flights else state
        self._take_off(flights)

    @torch.inference_mode()
    def step(self) -> list[Flight]:
        """Make a pass; or none where the last one finished clips: these are returned, and their rows are free."""
        started = self.clock.now()
        planned = plan(self.problem, self.parts, self.state)
        status = self._read(planned)
        landed = self._land(status)
        if landed:
            self._close_ranks()
        else:
            self._pass(planned, status, started)
        return landed

    def _pass(self, planned: Plan, status: "Status", started: float) -> None:
        problem, parts, model = self.problem, self.parts, self.problem.model
        size = parts.lanes.nodes(status.width, chain_size(problem, parts))
        window = choose_window(planned, size)
        state = draft_window(problem, parts, self.state, window)
        siblings = pick_siblings(problem, parts, state)
        inputs = pass_inputs(problem, parts, state, siblings, status.furthest)
        fed = self.clock.now()
        logits = model.forward(inputs.tokens, inputs.positions, inputs.slots, inputs.visible, self.cache)
        forwarded = self.clock.now()
        self._state, record, branch = settle(problem, parts, state, logits, inputs.tokens, siblings)
        if problem.watch:
            show(problem.watch, state, self._state, logits, branch)
        if branch and isinstance(model, TreeModel):
            move_entry(model, inputs.slots[:, window.inputs.shape[1] :], branch, self.cache)
        self._passed = Passed(record, self.clock.now() - started, forwarded - fed)

    def _read(self, planned: Plan) -> "Status":
        """Read the state, and with it the counts of the pass that was made last."""
        passed, self._passed = self._passed, None
        status = read(self.state, planned, passed.record if passed else None)
        if passed:
            took_part = [flight for flight in self.flights[: len(status.counts)] if flight]
            for flight, numbers in zip(self.flights, status.counts, strict=False):  # others were seated since
                if flight:
                    flight.count(numbers, passed.seconds, passed.forward_seconds, len(took_part))
                    self._decided += numbers[0]
            self._passes += 1
            self._observe()
        return status

    def _land(self, status: "Status") -> list[Flight]:
        """Take out the clips that are finished, or whose model returned something that is no law."""
        landed = []
        for row, flight in enumerate(self.flights):
            if flight and not status.finite[row]:
                flight.error = BadModelOutput(
                    f"the model's logits of pass {len(flight.passes)} are not finite: check its weights and dtype"
                )
                self._wipe(row)
            elif flight and not status.left[row]:
                flight.land(self.state, row, self.parts.law)
            else:
                continue
            assert flight
            landed.append(flight)
            self.flights[row] = None
        return landed

    def _wipe(self, row: int) -> None:
        """Forget cache entries that may not be finite: one that nobody sees still counts 0 times itself."""
        model = self.problem.model
        if has_free_rows(model):
            one = torch.tensor([row], device=self.state.tokens.device)
            model.copy_rows(self.cache, one, model.make_cache(1, self.slots), 0 * one)

    def _close_ranks(self) -> None:
        """Free the rows without a clip: those at the end move into the gaps in front of them."""
        model = self.problem.model
        if None not in self.flights or self.problem.watch or not has_free_rows(model):
            return
        taken = [row for row, flight in enumerate(self.flights) if flight]
        movers = taken[::-1]
        order = [row if self.flights[row] else movers.pop(0) for row in range(len(taken))]
        self.flights = [self.flights[row] for row in order]
        if not order:
            return
        index = torch.tensor(order, device=self.state.tokens.device)
        gaps = [row for row, source in enumerate(order) if row != source]
        if gaps:
            to = torch.tensor(gaps, device=index.device)
            model.copy_rows(self.cache, to, self.cache, index[to])
        self._state = rows_of(self.state, index)

    def _take_off(self, flights: list[Flight]) -> None:
        self.flights += flights
        self._decided += len(flights)
        self._wanted += sum(flight.end - flight.start for flight in flights)

    def _observe(self) -> None:
        if self.problem.observe:
            self.problem.observe(Progress(self._passes + 1, self._decided, self._wanted))


def move_entry(model: TreeModel, slots: Slots, branch: Branch, cache: Cache) -> None:
    """Move the cache entry of the accepted sibling to its position; onto itself where there is none."""
    source = slots.gather(1, branch.node[:, None])
    target = torch.where(branch.hit[:, None], branch.position[:, None], source)
    model.move(cache, source, target)


def show(
    watch: Watch, before: DecodeState, after: DecodeState, logits: Logits, branch: Branch | None
) -> None:
    """Tell the watcher which logits decided which tokens; once more, rightly, for the one behind a sibling.

    The first new token, which the prefill decides, is never shown.
    """
    window = before.window
    assert window is not None
    new = window.valid & (after.decided & ~before.decided).gather(1, window.targets)
    size = new.shape[1]
    watch(window.targets, new, logits[:, :size])
    if branch:
        row = branch.node[:, None, None].expand(-1, -1, logits.shape[-1])
        watch(branch.position[:, None] + 1, branch.hit[:, None], logits[:, size:].gather(1, row))


@dataclass(frozen=True)
class Status:
    """The one host read of a pass."""

    furthest: int  # largest input of the next pass, plus one
    width: int  # inputs of the clip that has the most
    left: list[int]  # undecided positions behind the frontier of each row
    finite: list[int]
    counts: list[list[int]]  # of each row of the last pass, if there was one: the fields of its record


def read(state: DecodeState, planned: Plan, record: PassRecord | None) -> Status:
    """Bring a few numbers to the host, all at once."""
    position = torch.arange(planned.inputs.shape[1], device=planned.inputs.device)
    furthest = torch.where(planned.inputs, position, -1).max() + 1
    left, reach = (state.ends - state.frontier).clamp(min=0), torch.stack([furthest, planned.width.max()])
    fields = [] if record is None else [getattr(record, name) for name in Counted._fields]
    numbers = torch.cat([reach, left, state.finite.long(), *fields]).tolist()
    rows = len(state.streams)
    counted = numbers[2 + 2 * rows :]
    clips = len(counted) // len(Counted._fields)
    counts = [counted[row::clips] for row in range(clips)]
    return Status(numbers[0], numbers[1], numbers[2 : 2 + rows], numbers[2 + rows : 2 + 2 * rows], counts)


def parts_of(problem: Problem) -> Parts:
    """The parts, which this method cannot do without."""
    if problem.parts is None:
        raise InvalidArgument("the jacobi method needs a draft rule, a coupling and a verifier")
    return problem.parts
