"""The last part of a pass: verify the drafts by the logits, and commit what was decided.

The first half runs on the device, and waits for nothing; the second half is bookkeeping on the host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.draft import CarriedProbs, DeviceInputs
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState, Window, to_host, with_fields, write
from vidjacobi.decoding.strategies.couplings import DraftEvidence, Redraft
from vidjacobi.decoding.strategies.draft_tree import RejectedDraft, TreeBranch
from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.decoding.strategies.lanes import AdaptiveLane, RasterLane, StatefulLanes
from vidjacobi.decoding.strategies.verifiers import AcceptedPrefix, TreeVerifier
from vidjacobi.decoding.trace import PassRecord
from vidjacobi.models.protocol import Cache, TreeModel
from vidjacobi.sampling.noise import on_host
from vidjacobi.sampling.sampler import draw, to_truncated_probs
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Logits, Mask, Tokens


@dataclass(frozen=True)
class Judged:
    """What the logits make of the drafts.

    Attributes:
        evidence: the drafts, their q and the target p of this pass.
        verdict: which drafts are kept, and the tokens in place of the others; used up to the first rejected one.
        redraft: the tokens after it.
        branch: what stands in place of the first rejected draft, with a draft tree.
        finite: of each row of the logits, whether it is a distribution.
    """

    evidence: DraftEvidence
    verdict: Redraft
    redraft: Tokens
    branch: TreeBranch | None
    finite: Bool[Tensor, "b m"]


@dataclass(frozen=True)
class Evaluated:
    """What a pass leaves on the device.

    Attributes:
        carried: for the next pass.
        drafts: of the targets.
        fed, logits: tokens that were fed, and what came out; siblings after the window's inputs.
        exist: which siblings there were.
        kept, tokens, redraft, finite, branch: as in ``Judged``.
        inputs, evidence: for who looks into a pass; compiled code returns none.
    """

    carried: CarriedProbs
    drafts: Tokens
    fed: Int[Tensor, "b m"]
    logits: Float[Tensor, "b m v"]
    exist: Bool[Tensor, "b d k"] | None
    kept: Mask
    tokens: Tokens
    redraft: Tokens
    finite: Bool[Tensor, "b m"]
    branch: TreeBranch | None
    inputs: DeviceInputs | None
    evidence: DraftEvidence | None


TreeCheck = Callable[[Recipe, DeviceInputs, DraftEvidence, Redraft, Logits], TreeBranch]


def verify(recipe: Recipe, inputs: DeviceInputs, logits: Logits, verify_tree: TreeCheck) -> Judged:
    """Judge every draft by the logits of its slot."""
    tables, parts, width = inputs.tables, recipe.strategies, inputs.drafts.shape[1]
    # 1. Target probs p, from the logits of the chain; those of the siblings come after them.
    target_probs = to_truncated_probs(logits[:, :width], recipe.sampling, recipe.fused)
    # 2. The evidence: drafts, their q, p, and the noise of this pass (design rule 6: which purpose may use which).
    evidence = DraftEvidence(inputs.drafts, inputs.draft_probs, target_probs, tables.noise)
    # 3. The verifier says which drafts may be accepted, and corrects the others; the coupling redrafts.
    single = isinstance(parts.lanes, RasterLane | AdaptiveLane)
    verdict, redraft = evidence.judge(parts.verifier, parts.coupling, tables.valid, single)
    largest = target_probs.peak[..., 0]
    # 4. A sibling may take the place of the first rejected draft.
    if inputs.siblings is None:
        return Judged(evidence, verdict, redraft, None, largest.isfinite())
    after = logits[:, width:]
    branch = verify_tree(recipe, inputs, evidence, verdict, after)
    largest = torch.cat([largest, after.amax(-1)], 1)
    return Judged(evidence, verdict, redraft, branch, largest.isfinite())


def verify_siblings(
    recipe: Recipe, inputs: DeviceInputs, evidence: DraftEvidence, verdict: Redraft, logits: Logits
) -> TreeBranch:
    """Let the verifier choose among the siblings of the first rejected draft. ``logits``: after each sibling."""
    tables, verifier = inputs.tables, cast(TreeVerifier, recipe.strategies.verifier)
    assert inputs.siblings is not None
    depth, width = inputs.siblings.tokens.shape[1:]
    rejected = tables.valid & ~verdict.kept
    slot = rejected.long().argmax(-1, keepdim=True)  # of the first one
    level = rejected.any(-1) & (slot[:, 0] < depth)
    slot = slot.clamp(max=depth - 1)
    position, corrected = tables.targets.gather(1, slot)[:, 0], verdict.tokens.gather(1, slot)
    reads = verifier.reads_draft_probs

    def nothing(mask: Bool[Tensor, " b"], worth: bool) -> bool:
        """Whether there is no such clip. On a device one look a pass is worth its wait; compiled code has none."""
        return (worth or on_host(mask)) and not recipe.fused and not to_host([mask])[0].numpy().any()

    if nothing(level, worth=reads):
        return TreeBranch(position, level, corrected, level, slot[:, 0], None, corrected)
    beside = slot[..., None].expand(-1, -1, width)
    found = verifier.choose_sibling(
        RejectedDraft(
            target_probs=evidence.target_probs.dense_slots(slot) if reads else None,
            draft_probs=evidence.draft_probs.slots(slot).dense() if reads else None,
            draft=evidence.drafts.gather(1, slot),
            corrected=corrected,
            siblings=inputs.siblings.tokens.gather(1, beside)[:, 0],
            exists=inputs.siblings.exist.gather(1, beside)[:, 0],
            noise=tables.noise.at(slot),
        )
    )
    hit = level & (found.hit >= 0)
    node = torch.where(hit, slot[:, 0] * width + found.hit, 0)
    if nothing(hit, worth=not reads):
        return TreeBranch(position, level, found.tokens, hit, node, None, found.tokens)
    # The pass has the logits after every sibling: those after the accepted one decide one token more.
    after = logits.gather(1, node[:, None, None].expand(-1, -1, logits.shape[-1]))
    probs = to_truncated_probs(after, recipe.sampling, recipe.fused)
    next_token = draw(probs, tables.noise_after.at(slot), verifier.noise)
    return TreeBranch(position, level, found.tokens, hit, node, probs, next_token)


def move_accepted_sibling(recipe: Recipe, inputs: DeviceInputs, judged: Judged, cache: Cache) -> None:
    """Move the cache entry of the accepted sibling to its position; onto itself where there is none."""
    branch = judged.branch
    if branch is None or branch.probs is None or not recipe.moves_entries:
        return
    model = cast(TreeModel, recipe.model)
    source = inputs.fed.slots[:, inputs.drafts.shape[1] :].gather(1, branch.node[:, None])
    model.move(cache, source, torch.where(branch.hit[:, None], branch.position[:, None], source))


def remember(
    frame_probs: FrameProbsCache, inputs: DeviceInputs, judged: Judged, wanted: Mask | None
) -> FrameProbsCache:
    """With the target probs of the window, or of the ``wanted`` slots, and those after an accepted sibling."""
    after = frame_probs.remember(inputs.tables.remembered, judged.evidence.target_probs, wanted)
    branch, places = judged.branch, frame_probs.frame_tokens
    if branch is None or branch.probs is None:
        return after
    place = torch.where(branch.hit, (branch.position + 1) % places, places)
    return after.remember(place[:, None], branch.probs)


@dataclass(frozen=True)
class StepInputs:
    """What the pass was given, as the host sees it after the pass.

    Attributes:
        state: before the pass, with the new drafts among its tokens.
        window: the positions of this pass.
        fed: the tokens that the model was fed, siblings last.
        siblings: which of them there were, if any.
        on_device: the same as the device had it; None where the pass was compiled.
    """

    state: DecodeState
    window: Window
    fed: Int[Tensor, "b m"]
    siblings: Bool[Tensor, "b d k"] | None
    on_device: DeviceInputs | None


@dataclass(frozen=True)
class Verdict:
    """What a pass makes of its drafts.

    Attributes:
        evidence: the drafts, their q and the target p of this pass; None where the pass was compiled.
        probs: p as they are kept for the next pass; None where nothing reads them.
        frame_probs: with those of this pass, where the draft rule keeps them.
        prefix: which slots are accepted, and which are decided.
        tokens: of each slot: accepted, corrected, or a redraft.
        branch: what stands in place of the first rejected draft, with a draft tree.
        finite: no used row of the logits was NaN or infinite.
    """

    evidence: DraftEvidence | None
    probs: TruncatedProbs | None
    frame_probs: FrameProbsCache | None
    prefix: AcceptedPrefix
    tokens: Tokens
    branch: TreeBranch | None
    finite: Bool[Tensor, " b"]


def commit(recipe: Recipe, inputs: StepInputs, verdict: Verdict) -> tuple[DecodeState, PassRecord]:
    """The next state, and the counts of the pass."""
    before, window = inputs.state, inputs.window
    used = window.used.numpy().any(-1)
    # 1. Tokens: decided ones and redrafts. Every draft of the window now follows the p of this pass.
    after = with_fields(
        before,
        window=window,
        tokens=write(before.tokens, window.targets, verdict.tokens, window.valid),
        decided=write(before.decided, window.targets, True, verdict.prefix.decided),
        probs=verdict.probs,
        frame_probs=verdict.frame_probs,
        passes=torch.from_numpy(before.passes.numpy() + (used & ~before.finished.numpy())),
        finite=torch.from_numpy(before.finite.numpy() & verdict.finite.numpy()),
    )
    # 2. The branch of a draft tree: the sibling and the token after it.
    if verdict.branch:
        after = take_branch(after, verdict.branch, moves=recipe.moves_entries)
    # 3. Bookkeeping: frontier, cache entries, the marks of every token, and the counts of the pass.
    after, record = account(inputs, after, verdict.prefix)
    lanes = recipe.strategies.lanes
    if after.lane_state is not None and isinstance(lanes, StatefulLanes):
        after = with_fields(after, lane_state=lanes.update(after.lane_state, record.decided))
    return after, record


def take_branch(state: DecodeState, branch: TreeBranch, moves: bool) -> DecodeState:
    """The state with the branch's tokens decided.

    A model that ``moves`` the sibling's cache entry to its position needs not be fed the sibling once more.
    """
    here = branch.position[:, None]
    there = (here + 1).clamp(max=state.tokens.shape[1] - 1)  # of a finished clip: nothing happens
    level, hit = branch.level[:, None], branch.hit[:, None]
    tokens = write(state.tokens, here, branch.token, level)
    return with_fields(
        state,
        tokens=write(tokens, there, branch.next_token, hit),
        decided=write(state.decided, there, True, hit),
        cached=write(state.cached, here, True, hit) if moves else state.cached,
    )


def account(inputs: StepInputs, after: DecodeState, prefix: AcceptedPrefix) -> tuple[DecodeState, PassRecord]:
    """Frontier, cache entries and the marks of every token that follow from what was decided; and the counts.

    Example: a prefix up to 4 and the drafts a b c at 5 6 7, fed by the inputs 4 5 6. If a and b are accepted and c
    is corrected, then 5 6 7 are decided, the entries at 4 5 6 hold final tokens (cached), and 7 is the first
    input of the next pass.
    """
    before, window = inputs.state, inputs.window
    tokens, decided, was_decided = (x.numpy() for x in (after.tokens, after.decided, before.decided))
    position, every = np.arange(tokens.shape[1]), np.arange(len(tokens))[:, None]
    # 1. Entries of what was fed, if it is final. Padding writes to the last column, which belongs to no clip.
    used = window.used.numpy()
    place = np.where(used, window.inputs.numpy(), len(position) - 1)
    good = used & (tokens[every, place] == inputs.fed.numpy()[:, : window.width]) & decided[every, place]
    cached = after.cached.numpy().copy()
    moved = cached & ~before.cached.numpy()  # the places of accepted siblings
    cached[every, place] |= good
    # 2. An entry is AR's own if its input saw everything to its left: the first lane, and moved siblings.
    exact = moved | (position < before.exact_prefix.numpy()[:, None])
    exact[every, place] |= good & (window.lane.numpy() <= before.frontier.numpy()[:, None])
    # 3. Marks of every token.
    new = decided & ~was_decided
    pending = np.zeros(decided.shape, bool)
    row, slot = window.valid.numpy().nonzero()
    pending[row, window.inputs.numpy()[row, slot] + 1] = True
    pending &= ~decided
    changed = pending & (tokens != before.tokens.numpy())
    passes = after.passes.numpy()
    marked = {
        "cached": cached,
        "exact_prefix": first_false(exact),
        "frontier": np.minimum(first_false(decided), after.ends.numpy()),
        "decided_in": np.where(new, passes[:, None], before.decided_in.numpy()),
        "redrafted": before.redrafted.numpy() + changed,
    }
    # 4. Counts of the pass.
    evaluated = used.sum(-1) + (0 if inputs.siblings is None else inputs.siblings.numpy().sum((-1, -2)))
    counts = (
        new.sum(-1),
        prefix.accepted.numpy().sum(-1),
        changed.sum(-1),
        pending.sum(-1),
        evaluated * (passes - before.passes.numpy()),
    )
    state = with_fields(after, **{name: torch.from_numpy(array) for name, array in marked.items()})
    return state, PassRecord(*map(torch.from_numpy, counts))


def first_false(mask: Bool[np.ndarray, "b p"]) -> np.ndarray:
    """Index of the first False of every row; the last column where there is none."""
    return (mask & (np.arange(mask.shape[1]) < mask.shape[1] - 1)).argmin(-1)
