"""Decoding a window per pass: evaluate guesses, keep what verification lets through, redraft the rest.

Every decoder of this family is this loop with other parts (lanes, draft rule, coupling, verifier, siblings).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidjacobi.decoders.prefill import start
from vidjacobi.decoders.tree import Branch, rescue
from vidjacobi.decoders.window import (
    Plan,
    chain_size,
    choose_window,
    draft_window,
    noise_of,
    pass_inputs,
    pick_siblings,
    plan,
    spare_slot,
    write,
)
from vidjacobi.distributions import is_finite, laws_of
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.lanes import Paced
from vidjacobi.model import Cache, TreeModel
from vidjacobi.runtime import Clock
from vidjacobi.shapes import Logits, Mask, Slots, Tokens
from vidjacobi.siblings import Candidates
from vidjacobi.state import (
    DecodeState,
    Parts,
    Problem,
    Progress,
    Watch,
    Window,
    cut_new,
    summarise,
)
from vidjacobi.trace import Decoded, PassRecord, Trace
from vidjacobi.trial import Trial
from vidjacobi.verify import Final, finals


@torch.inference_mode()
def run(problem: Problem) -> Decoded:
    """Decide every clip's new tokens."""
    parts = parts_of(problem)
    clock = Clock(problem.context.device, problem.measure)
    cache = problem.model.make_cache(len(problem.streams), spare_slot(problem, parts) + 1)
    started = clock.now()
    state, record = start(problem, parts, cache)
    log = [(record, clock.now() - started, clock.now() - started)]
    while True:
        started = clock.now()
        planned = plan(problem, parts, state)
        status = read(problem, state, planned, len(log))
        if not status.open:
            return finish(problem, parts, state, log)
        size = parts.lanes.nodes(status.width, chain_size(problem, parts))
        window = choose_window(planned, size)
        state = draft_window(problem, parts, state, window)
        siblings = pick_siblings(problem, parts, state)
        inputs = pass_inputs(problem, parts, state, siblings, status.furthest)
        fed = clock.now()
        logits = problem.model.forward(inputs.tokens, inputs.positions, inputs.slots, inputs.visible, cache)
        forwarded = clock.now()
        before = state
        state, record, branch = settle(problem, parts, before, logits, inputs.tokens, siblings)
        if problem.watch:
            show(problem.watch, before, state, logits, branch)
        if branch and isinstance(problem.model, TreeModel):
            move_entry(problem.model, inputs.slots[:, window.inputs.shape[1] :], branch, cache)
        log.append((record, clock.now() - started, forwarded - fed))


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
    open: bool


def read(problem: Problem, state: DecodeState, planned: Plan, passes: int) -> Status:
    """Bring a few counts to the host; raise if the model returned something that is no law."""
    position = torch.arange(planned.inputs.shape[1], device=planned.inputs.device)
    furthest = torch.where(planned.inputs, position, -1).max() + 1
    left = (problem.ends - state.frontier).clamp(min=0)
    done, total = state.decided_in.gt(0).sum(), (problem.ends - problem.starts).sum()
    numbers = torch.stack([furthest, planned.width.max(), left.max(), done, total, state.finite.long()])
    reach, width, open_still, decided, wanted, finite = numbers.tolist()
    if not finite:
        raise BadModelOutput(
            f"the model's logits of pass {passes} are not finite: check its weights and dtype"
        )
    if problem.observe:
        problem.observe(Progress(passes, decided, wanted))
    return Status(reach, width, open_still > 0)


def parts_of(problem: Problem) -> Parts:
    """The parts, which this method cannot do without."""
    if problem.parts is None:
        raise InvalidArgument("the jacobi method needs a draft rule, a coupling and a verifier")
    return problem.parts


def settle(
    problem: Problem,
    parts: Parts,
    state: DecodeState,
    logits: Logits,
    fed: Tokens,
    siblings: Candidates | None = None,
) -> tuple[DecodeState, PassRecord, Branch | None]:
    """From logits to the next state: laws, verify, redraft, decide."""
    window = state.window
    assert window is not None
    size = window.inputs.shape[1]
    logits = torch.where(used_rows(window, siblings)[..., None], logits, 0)
    target = laws_of(logits[:, :size], problem.warp)
    drafts = state.tokens.gather(1, window.targets)
    trial = Trial(drafts, state.laws, target, noise_of(problem, window.targets, state.passes, target.dtype))
    verdict, redraft = trial.draw(parts.verifier), trial.draw(parts.coupling)
    final = finals(verdict.kept, window.valid, window.lane, window.corrects)
    tokens = torch.where(final.decided, verdict.tokens, redraft.tokens)
    if state.memory:
        state.memory.remember(window.targets, target, window.valid)
    after = replace(
        state,
        tokens=write(state.tokens, window.targets, tokens, window.valid),
        decided=state.decided.scatter(
            1, window.targets, final.decided | state.decided.gather(1, window.targets)
        ),
        laws=target if parts.reads_laws else None,
        passes=state.passes + (window.used.any(-1) & (state.frontier < problem.ends)),
        finite=state.finite & is_finite(logits),
    )
    branch = None
    if siblings:
        branch = rescue(
            problem, parts, state, trial, final, siblings, laws_of(logits[:, size:], problem.warp)
        )
        after = branch.apply(after, moves=isinstance(problem.model, TreeModel))
    record = record_of(state, after, drafts, final, siblings)
    after = account(problem, state, after, fed[:, :size])
    if isinstance(parts.lanes, Paced):
        assert after.pace is not None
        after = replace(after, pace=parts.lanes.after(after.pace, record.decided))
    return after, record, branch


def used_rows(window: Window, siblings: Candidates | None) -> Mask:
    """Rows of the logits that are no padding."""
    return window.used if siblings is None else torch.cat([window.used, siblings.exist.flatten(1)], 1)


def account(problem: Problem, before: DecodeState, after: DecodeState, fed: Tokens) -> DecodeState:
    """Frontier, cache entries and the marks of every token that follow from what was decided."""
    window = after.window
    assert window is not None
    columns = after.tokens.shape[1]
    position = torch.arange(columns, device=fed.device)
    spill = torch.where(window.used, window.inputs, columns - 1)
    right = after.tokens.gather(1, spill) == fed  # the entry that was written is the final token's
    good = window.used & right & after.decided.gather(1, spill)
    written = after.written.scatter(1, spill, good | after.written.gather(1, spill))
    whole = good & (window.lane <= before.frontier[:, None])  # it saw everything to its left
    moved = after.written & ~before.written  # a sibling's entry, made behind decided tokens only
    settled = (
        torch.zeros_like(written).scatter(1, spill, whole) | moved | (position < before.settled[:, None])
    )
    new = after.decided & ~before.decided
    frontier = first_false(after.decided)
    return replace(
        after,
        written=written,
        settled=first_false(settled),
        frontier=torch.minimum(frontier, problem.ends),
        decided_in=torch.where(new, after.passes[:, None], before.decided_in),
        redrafted=before.redrafted + ((after.tokens != before.tokens) & pending(window, after)).long(),
    )


def first_false(mask: Tensor) -> Tensor:
    """Index of the first False of every row; the last column where there is none."""
    return torch.cat([mask[:, :-1], torch.zeros_like(mask[:, :1])], 1).logical_not().long().argmax(-1)


def pending(window: Window, after: DecodeState) -> Tensor:
    """Positions whose draft stayed undecided."""
    return torch.zeros_like(after.decided).scatter(1, window.targets, window.valid) & ~after.decided


def record_of(
    before: DecodeState, after: DecodeState, drafts: Tokens, final: Final, siblings: Candidates | None
) -> PassRecord:
    """The counts of one pass."""
    window = before.window
    assert window is not None
    open_still = pending(window, after)
    changed = open_still & (after.tokens != before.tokens)
    evaluated = window.used.sum(-1) + (siblings.exist.sum((-1, -2)) if siblings else 0)
    return PassRecord(
        decided=(after.decided & ~before.decided).sum(-1),
        accepted=final.accepted.sum(-1),
        changed=changed.sum(-1),
        pending=open_still.sum(-1),
        evaluated=evaluated * (after.passes - before.passes),
    )


def finish(
    problem: Problem, parts: Parts, state: DecodeState, log: list[tuple[PassRecord, float, float]]
) -> Decoded:
    """Cut out the new tokens and stack the trace."""
    records = [record for record, _, _ in log]
    trace = Trace(
        decided=torch.stack([r.decided for r in records]).cpu(),
        accepted=torch.stack([r.accepted for r in records]).cpu(),
        changed=torch.stack([r.changed for r in records]).cpu(),
        pending=torch.stack([r.pending for r in records]).cpu(),
        evaluated=torch.stack([r.evaluated for r in records]).cpu(),
        seconds=torch.tensor([seconds for _, seconds, _ in log]),
        forward_seconds=torch.tensor([seconds for _, _, seconds in log]),
        decided_in=cut_new(problem, state.decided_in, 0).cpu(),
        redrafted=cut_new(problem, state.redrafted, 0).cpu(),
    )
    tokens = cut_new(problem, state.tokens, -1)
    return Decoded(tokens, summarise(problem, parts.law, trace, state.passes), trace)
