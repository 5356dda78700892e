"""The second part of what the device does in a pass: what the logits make of every draft.

Nothing here waits for the device, and in compiled code no shape depends on a value.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.draft import DeviceInputs
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.strategies.couplings import DraftEvidence, Redraft
from vidjacobi.decoding.strategies.draft_tree import RejectedDraft, TreeBranch
from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.decoding.strategies.verifiers import TreeVerifier
from vidjacobi.models.protocol import Cache, TreeModel
from vidjacobi.sampling.noise import on_host
from vidjacobi.sampling.probs import is_finite
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
        finite: no used row of the logits was NaN or infinite.
    """

    evidence: DraftEvidence
    verdict: Redraft
    redraft: Redraft
    branch: TreeBranch | None
    finite: Bool[Tensor, " b"]


@dataclass(frozen=True)
class CarriedProbs:
    """What stays on the device from pass to pass: ``DecodeState.probs`` and ``DecodeState.frame_probs``."""

    last: TruncatedProbs | None
    of_frame: FrameProbsCache | None


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
    finite: Bool[Tensor, " b"]
    branch: TreeBranch | None
    inputs: DeviceInputs | None
    evidence: DraftEvidence | None


TreeCheck = Callable[[Recipe, DeviceInputs, DraftEvidence, Redraft, Logits], TreeBranch]


def verify(recipe: Recipe, inputs: DeviceInputs, logits: Logits, verify_tree: TreeCheck) -> Judged:
    """Judge every draft by the logits of its slot."""
    tables, parts, width = inputs.tables, recipe.strategies, inputs.drafts.shape[1]
    # 1. Target probs p, from the logits of the chain; those of the siblings come after them.
    target_probs = to_truncated_probs(logits[:, :width], recipe.sampling, recipe.fused)
    # 2. The evidence: drafts, their q, p, and the noise of their positions in this pass (design rule 6 says which
    #    purpose may use which part of it).
    evidence = DraftEvidence(inputs.drafts, inputs.draft_probs, target_probs, tables.noise)
    # 3. The verifier says which drafts may be accepted, and corrects the others; the coupling redrafts.
    verdict, redraft = evidence.draw(parts.verifier), evidence.draw(parts.coupling)
    finite = (target_probs.peak[..., 0].isfinite() | ~tables.used).all(-1)
    # 4. A sibling may take the place of the first rejected draft.
    if inputs.siblings is None:
        return Judged(evidence, verdict, redraft, None, finite)
    after = logits[:, width:]
    branch = verify_tree(recipe, inputs, evidence, verdict, after)
    finite = finite & is_finite(after, inputs.siblings.exist.flatten(1))
    return Judged(evidence, verdict, redraft, branch, finite)


def verify_siblings(
    recipe: Recipe, inputs: DeviceInputs, evidence: DraftEvidence, verdict: Redraft, logits: Logits
) -> TreeBranch:
    """Let the verifier choose among the siblings of the first rejected draft. ``logits``: after each sibling."""
    tables, verifier = inputs.tables, recipe.strategies.verifier
    assert inputs.siblings is not None
    assert isinstance(verifier, TreeVerifier)
    depth, width = inputs.siblings.tokens.shape[1:]
    rejected = tables.valid & ~verdict.kept
    slot = rejected.long().argmax(-1, keepdim=True)  # of the first one
    level = rejected.any(-1) & (slot[:, 0] < depth)
    slot = slot.clamp(max=depth - 1)
    beside = slot[..., None].expand(-1, -1, width)
    reads = verifier.reads_draft_probs
    found = verifier.choose_sibling(
        RejectedDraft(
            target_probs=evidence.target_probs.slots(slot).dense() if reads else None,
            draft_probs=evidence.draft_probs.slots(slot).dense() if reads else None,
            draft=evidence.drafts.gather(1, slot),
            corrected=verdict.tokens.gather(1, slot),
            siblings=inputs.siblings.tokens.gather(1, beside)[:, 0],
            exists=inputs.siblings.exist.gather(1, beside)[:, 0],
            noise=tables.noise.at(slot),
        )
    )
    hit = level & (found.hit >= 0)
    node = torch.where(hit, slot[:, 0] * width + found.hit, 0)
    position = tables.targets.gather(1, slot)[:, 0]
    if not recipe.fused and on_host(hit) and not hit.numpy().any():
        return TreeBranch(position, level, found.tokens, hit, node, None, found.tokens)
    # The pass has the logits after every sibling: those after the accepted one decide one token more.
    after = logits.gather(1, node[:, None, None].expand(-1, -1, logits.shape[-1]))
    probs = to_truncated_probs(after, recipe.sampling, recipe.fused)
    next_token = draw(probs, tables.noise_after.at(slot), verifier.noise)
    return TreeBranch(position, level, found.tokens, hit, node, probs, next_token)


def move_accepted_sibling(recipe: Recipe, inputs: DeviceInputs, judged: Judged, cache: Cache) -> None:
    """Move the cache entry of the accepted sibling to its position; onto itself where there is none."""
    branch, model = judged.branch, recipe.model
    if branch is None or branch.probs is None or not recipe.moves_entries:
        return
    assert isinstance(model, TreeModel)
    source = inputs.fed.slots[:, inputs.drafts.shape[1] :].gather(1, branch.node[:, None])
    model.move(cache, source, torch.where(branch.hit[:, None], branch.position[:, None], source))


def remember(frame_probs: FrameProbsCache, inputs: DeviceInputs, judged: Judged) -> FrameProbsCache:
    """With the target probs of the window, and those after an accepted sibling."""
    after = frame_probs.remember(inputs.tables.remembered, judged.evidence.target_probs)
    branch, places = judged.branch, frame_probs.frame_tokens
    if branch is None or branch.probs is None:
        return after
    place = torch.where(branch.hit, (branch.position + 1) % places, places)
    return after.remember(place[:, None], branch.probs)
