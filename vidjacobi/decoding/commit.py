"""What a pass decides: from logits to the next state and the counts of the pass."""

from dataclasses import replace

import torch
from torch import Tensor

from vidjacobi.decoding.state import DecodeState, Problem, Strategies, Window
from vidjacobi.decoding.strategies.draft_tree import TreeDrafts
from vidjacobi.decoding.strategies.evidence import DraftEvidence
from vidjacobi.decoding.strategies.lanes import StatefulLanes
from vidjacobi.decoding.strategies.verifiers import AcceptedPrefix, accept_prefix
from vidjacobi.decoding.trace import PassRecord
from vidjacobi.decoding.tree import TreeBranch, verify_tree
from vidjacobi.decoding.window import noise_of, write
from vidjacobi.models.protocol import TreeModel
from vidjacobi.sampling.reference import is_finite
from vidjacobi.sampling.sampler import to_truncated_probs
from vidjacobi.shapes import Logits, Mask, Tokens


def verify_and_commit(
    problem: Problem,
    parts: Strategies,
    state: DecodeState,
    logits: Logits,
    fed: Tokens,
    siblings: TreeDrafts | None = None,
) -> tuple[DecodeState, PassRecord, TreeBranch | None]:
    """From logits to the next state: laws, verify, redraft, decide."""
    window = state.window
    assert window is not None
    size = window.inputs.shape[1]
    target = to_truncated_probs(logits[:, :size], problem.sampling)
    drafts = state.tokens.gather(1, window.targets)
    trial = DraftEvidence(drafts, state.drawn, target, noise_of(state, window.targets, target.dtype))
    verdict, redraft = trial.draw(parts.verifier), trial.draw(parts.coupling)
    final = accept_prefix(verdict.kept, window.valid, window.lane, window.corrects)
    tokens = torch.where(final.decided, verdict.tokens, redraft.tokens)
    after = replace(
        state,
        tokens=write(state.tokens, window.targets, tokens, window.valid),
        decided=state.decided.scatter(
            1, window.targets, final.decided | state.decided.gather(1, window.targets)
        ),
        laws=target.alone() if parts.reads_draft_probs else None,
        drawn=None,
        memory=state.memory and state.memory.remember(window.targets, target, window.valid),
        passes=state.passes + (window.used.any(-1) & (state.frontier < state.ends)),
        finite=state.finite & is_finite(logits, used_rows(window, siblings)),
    )
    branch = None
    if siblings:
        branch = verify_tree(problem, parts, state, trial, final, siblings, logits[:, size:])
        after = branch.apply(after, moves=isinstance(problem.model, TreeModel))
    record = record_of(state, after, drafts, final, siblings)
    after = account(state, after, fed[:, :size])
    if isinstance(parts.lanes, StatefulLanes):
        assert after.pace is not None
        after = replace(after, pace=parts.lanes.after(after.pace, record.decided))
    return after, record, branch


def used_rows(window: Window, siblings: TreeDrafts | None) -> Mask:
    """Rows of the logits that are no padding."""
    return window.used if siblings is None else torch.cat([window.used, siblings.exist.flatten(1)], 1)


def account(before: DecodeState, after: DecodeState, fed: Tokens) -> DecodeState:
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
    exact_prefix = (
        torch.zeros_like(written).scatter(1, spill, whole) | moved | (position < before.exact_prefix[:, None])
    )
    new = after.decided & ~before.decided
    frontier = first_false(after.decided)
    return replace(
        after,
        written=written,
        exact_prefix=first_false(exact_prefix),
        frontier=torch.minimum(frontier, after.ends),
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
    before: DecodeState,
    after: DecodeState,
    drafts: Tokens,
    final: AcceptedPrefix,
    siblings: TreeDrafts | None,
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
