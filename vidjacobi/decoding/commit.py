"""The last part of a pass: verify the drafts by the logits, and commit what was decided."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState, write
from vidjacobi.decoding.strategies.couplings import DraftEvidence
from vidjacobi.decoding.strategies.draft_tree import RejectedDraft, TreeBranch
from vidjacobi.decoding.strategies.lanes import StatefulLanes
from vidjacobi.decoding.strategies.verifiers import AcceptedPrefix, TreeVerifier, accept_prefix
from vidjacobi.decoding.trace import PassRecord
from vidjacobi.decoding.window import StepInputs
from vidjacobi.models.protocol import Cache, TreeModel
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.probs import is_finite
from vidjacobi.sampling.sampler import draw, to_truncated_probs
from vidjacobi.shapes import Logits, Mask, Tokens


@dataclass(frozen=True)
class Verdict:
    """What a pass makes of its drafts.

    Attributes:
        evidence: the drafts, their q and the target p of this pass.
        prefix: which slots are accepted, and which are decided.
        tokens: of each slot: accepted, corrected, or a redraft.
        branch: what stands in place of the first rejected draft, with a draft tree.
        finite: no used row of the logits was NaN or infinite.
    """

    evidence: DraftEvidence
    prefix: AcceptedPrefix
    tokens: Tokens
    branch: TreeBranch | None
    finite: Bool[Tensor, " b"]


TreeCheck = Callable[[Recipe, StepInputs, DraftEvidence, AcceptedPrefix, Logits, type[Noise]], TreeBranch]


def verify(
    recipe: Recipe, inputs: StepInputs, logits: Logits, noise_source: type[Noise], verify_tree: TreeCheck
) -> Verdict:
    """Judge every draft by the logits of its slot."""
    state, window, parts = inputs.state, inputs.window, recipe.strategies
    # 1. Target probs p, from the logits of the chain; those of the siblings come after them.
    target_probs = to_truncated_probs(logits[:, : window.width], recipe.sampling, recipe.fused)
    # 2. The evidence: drafts, their q, p, and the noise of their positions in this pass (design rule 6 says which
    #    purpose may use which part of it).
    noise = state.noise(window.targets, target_probs.dtype, noise_source)
    drafts = state.tokens.gather(1, window.targets)
    evidence = DraftEvidence(drafts, inputs.draft_probs, target_probs, noise)
    # 3. The verifier accepts drafts up to the first rejection, and corrects that one.
    judged = evidence.draw(parts.verifier)
    prefix = accept_prefix(judged.kept, window.valid, window.lane, window.corrects)
    # 4. The coupling redrafts everything after it.
    redraft = evidence.draw(parts.coupling)
    tokens = torch.where(prefix.decided, judged.tokens, redraft.tokens)
    # 5. A sibling may take the place of the first rejected draft.
    branch, used = None, window.used
    if inputs.siblings:
        branch = verify_tree(recipe, inputs, evidence, prefix, logits[:, window.width :], noise_source)
        used = torch.cat([used, inputs.siblings.exist.flatten(1)], 1)
    return Verdict(evidence, prefix, tokens, branch, is_finite(logits, used))


def verify_siblings(
    recipe: Recipe,
    inputs: StepInputs,
    evidence: DraftEvidence,
    prefix: AcceptedPrefix,
    logits: Logits,
    noise_source: type[Noise],
) -> TreeBranch:
    """Let the verifier choose among the siblings of the first rejected draft. ``logits``: after each sibling."""
    state, window, verifier = inputs.state, inputs.window, recipe.strategies.verifier
    assert inputs.siblings is not None
    assert isinstance(verifier, TreeVerifier)
    depth, width = inputs.siblings.tokens.shape[1:]
    rejected = window.valid & prefix.decided & ~prefix.accepted
    level = rejected[:, :depth].any(-1)
    slot = rejected[:, :depth].long().argmax(-1, keepdim=True)
    position = window.targets.gather(1, slot)
    beside = slot[..., None].expand(-1, -1, width)
    found = verifier.choose_sibling(
        RejectedDraft(
            target_probs=evidence.target_probs.slots(slot).dense(),
            draft_probs=evidence.draft_probs.slots(slot).dense(),
            draft=evidence.drafts.gather(1, slot),
            corrected=evidence.draw(verifier).tokens.gather(1, slot),
            siblings=inputs.siblings.tokens.gather(1, beside)[:, 0],
            exists=inputs.siblings.exist.gather(1, beside)[:, 0],
            noise=state.noise(position, evidence.target_probs.dtype, noise_source),
        )
    )
    hit = level & (found.hit >= 0)
    node = torch.where(hit, slot[:, 0] * width + found.hit, 0)
    # The pass has the logits after every sibling: those after the accepted one decide one token more.
    after = logits.gather(1, node[:, None, None].expand(-1, -1, logits.shape[-1]))
    probs = to_truncated_probs(after, recipe.sampling, recipe.fused)
    next_token = draw(probs, state.noise(position + 1, probs.dtype, noise_source), verifier.noise)
    return TreeBranch(position[:, 0], level, found.tokens, hit, node, probs, next_token)


def commit(recipe: Recipe, inputs: StepInputs, verdict: Verdict) -> tuple[DecodeState, PassRecord]:
    """The next state, and the counts of the pass."""
    before, window, prefix = inputs.state, inputs.window, verdict.prefix
    probs = verdict.evidence.target_probs
    # 1. Tokens: decided ones and redrafts. Every draft of the window now follows the p of this pass.
    after = replace(
        before,
        window=window,
        tokens=write(before.tokens, window.targets, verdict.tokens, window.valid),
        decided=before.decided.scatter(
            1, window.targets, prefix.decided | before.decided.gather(1, window.targets)
        ),
        probs=probs.alone() if recipe.strategies.reads_draft_probs else None,
        frame_probs=before.frame_probs and before.frame_probs.remember(window.targets, probs, window.valid),
        passes=before.passes + (window.used.any(-1) & ~before.finished),
        finite=before.finite & verdict.finite,
    )
    # 2. The branch of a draft tree: the sibling and the token after it.
    if verdict.branch:
        after = take_branch(after, verdict.branch, moves=isinstance(recipe.model, TreeModel))
    # 3. Counts of the pass, of which lane rules may learn.
    record = record_of(inputs, after, prefix)
    # 4. Bookkeeping: frontier, cache entries, and the marks of every token.
    after = account(inputs, after)
    if isinstance(recipe.strategies.lanes, StatefulLanes):
        assert after.lane_state is not None
        after = replace(after, lane_state=recipe.strategies.lanes.update(after.lane_state, record.decided))
    return after, record


def take_branch(state: DecodeState, branch: TreeBranch, moves: bool) -> DecodeState:
    """The state with the branch's tokens decided.

    A model that ``moves`` the sibling's cache entry to its position needs not be fed the sibling once more.
    """
    here = branch.position[:, None]
    there = (here + 1).clamp(max=state.tokens.shape[1] - 1)  # of a finished clip: nothing happens
    level, hit = branch.level[:, None], branch.hit[:, None]
    tokens = write(state.tokens, here, branch.token, level)
    return replace(
        state,
        tokens=write(tokens, there, branch.next_token, hit),
        decided=state.decided.scatter(1, there, hit | state.decided.gather(1, there)),
        cached=state.cached.scatter(1, here, (hit & moves) | state.cached.gather(1, here)),
        frame_probs=state.frame_probs and state.frame_probs.remember(there, branch.probs, hit),
    )


def move_accepted_sibling(recipe: Recipe, inputs: StepInputs, verdict: Verdict, cache: Cache) -> None:
    """Move the cache entry of the accepted sibling to its position; onto itself where there is none."""
    branch, model = verdict.branch, recipe.model
    if branch is None or not isinstance(model, TreeModel):
        return
    source = inputs.fed.slots[:, inputs.window.width :].gather(1, branch.node[:, None])
    model.move(cache, source, torch.where(branch.hit[:, None], branch.position[:, None], source))


def account(inputs: StepInputs, after: DecodeState) -> DecodeState:
    """Frontier, cache entries and the marks of every token that follow from what was decided.

    Example: a prefix up to 4 and the drafts a b c at 5 6 7, fed by the inputs 4 5 6. If a and b are accepted and c
    is corrected, then 5 6 7 are decided, the entries at 4 5 6 hold final tokens (cached), and 7 is the first
    input of the next pass.
    """
    before, window = inputs.state, inputs.window
    columns = after.tokens.shape[1]
    position = torch.arange(columns, device=after.tokens.device)
    # Padding writes to the last column, which belongs to no clip.
    place = torch.where(window.used, window.inputs, columns - 1)
    right = after.tokens.gather(1, place) == inputs.fed.tokens[:, : window.width]  # what was fed is final
    good = window.used & right & after.decided.gather(1, place)
    cached = after.cached.scatter(1, place, good | after.cached.gather(1, place))
    # An entry is AR's own if its input saw everything to its left: the first lane, and moved siblings.
    whole = good & (window.lane <= before.frontier[:, None])
    moved = after.cached & ~before.cached
    own = torch.zeros_like(cached).scatter(1, place, whole)
    exact = own | moved | (position < before.exact_prefix[:, None])
    new = after.decided & ~before.decided
    redrafted = (after.tokens != before.tokens) & pending(inputs, after)
    return replace(
        after,
        cached=cached,
        exact_prefix=first_false(exact),
        frontier=torch.minimum(first_false(after.decided), after.ends),
        decided_in=torch.where(new, after.passes[:, None], before.decided_in),
        redrafted=before.redrafted + redrafted.long(),
    )


def first_false(mask: Tensor) -> Tensor:
    """Index of the first False of every row; the last column where there is none."""
    return torch.cat([mask[:, :-1], torch.zeros_like(mask[:, :1])], 1).logical_not().long().argmax(-1)


def pending(inputs: StepInputs, after: DecodeState) -> Mask:
    """Positions whose draft stayed undecided."""
    window = inputs.window
    return torch.zeros_like(after.decided).scatter(1, window.targets, window.valid) & ~after.decided


def record_of(inputs: StepInputs, after: DecodeState, prefix: AcceptedPrefix) -> PassRecord:
    """The counts of one pass."""
    before, siblings = inputs.state, inputs.siblings
    open_still = pending(inputs, after)
    evaluated = inputs.window.used.sum(-1) + (siblings.exist.sum((-1, -2)) if siblings else 0)
    return PassRecord(
        decided=(after.decided & ~before.decided).sum(-1),
        accepted=prefix.accepted.sum(-1),
        changed=(open_still & (after.tokens != before.tokens)).sum(-1),
        pending=open_still.sum(-1),
        evaluated=evaluated * (after.passes - before.passes),
    )
