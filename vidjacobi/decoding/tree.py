"""What siblings decide: the first rejected draft's place, and one token behind a sibling that is accepted."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.state import DecodeState, Problem, Strategies
from vidjacobi.decoding.strategies.draft_tree import RejectedDraft, TreeDrafts
from vidjacobi.decoding.strategies.evidence import DraftEvidence
from vidjacobi.decoding.strategies.verifiers import AcceptedPrefix, TreeVerifier
from vidjacobi.decoding.window import noise_of, write
from vidjacobi.sampling.sampler import draw, to_truncated_probs
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Logits, Tokens


@dataclass(frozen=True)
class TreeBranch:
    """The first rejected draft of every clip, and what stands in its place.

    Attributes:
        position: of the rejected draft.
        level: whether it lay on a level with siblings (otherwise nothing changes).
        token: in its place.
        hit: whether that is a sibling, so that the next token could be decided too.
        node: the sibling's index among all of them; 0 where there is none.
        law, next_token: the law ``[b 1 v]`` behind the sibling, and the token drawn from it.
    """

    position: Int[Tensor, " b"]
    level: Tensor
    token: Tokens
    hit: Tensor
    node: Int[Tensor, " b"]
    law: TruncatedProbs
    next_token: Tokens

    def apply(self, state: DecodeState, moves: bool) -> DecodeState:
        """The state with the branch's tokens decided.

        The loop ``moves`` the sibling's cache entry to its position, or else feeds the token once more.
        """
        here = self.position[:, None]
        there = (here + 1).clamp(max=state.tokens.shape[1] - 1)  # of a finished clip: nothing happens
        level, hit = self.level[:, None], self.hit[:, None]
        memory = state.memory and state.memory.remember(there, self.law, hit)
        tokens = write(state.tokens, here, self.token, level)
        decided = state.decided.scatter(1, there, hit | state.decided.gather(1, there))
        written = state.written.scatter(1, here, (hit & moves) | state.written.gather(1, here))
        tokens = write(tokens, there, self.next_token, hit)
        return replace(state, tokens=tokens, decided=decided, written=written, memory=memory)


def verify_tree(
    problem: Problem,
    parts: Strategies,
    state: DecodeState,
    trial: DraftEvidence,
    final: AcceptedPrefix,
    siblings: TreeDrafts,
    logits: Logits,
) -> TreeBranch:
    """Let the verifier choose among the siblings of the first rejected draft. ``logits`` are those behind them."""
    window, verifier = state.window, parts.verifier
    assert window is not None
    assert isinstance(verifier, TreeVerifier)
    depth, width = siblings.tokens.shape[1:]
    rejected = window.valid & final.decided & ~final.accepted
    level = rejected[:, :depth].any(-1)
    slot = rejected[:, :depth].long().argmax(-1, keepdim=True)
    position = window.targets.gather(1, slot)
    among = slot[..., None].expand(-1, -1, width)
    case = RejectedDraft(
        target=trial.target.slots(slot).dense(),
        laws=trial.laws.slots(slot).dense(),
        draft=trial.drafts.gather(1, slot),
        corrected=trial.draw(verifier).tokens.gather(1, slot),
        siblings=siblings.tokens.gather(1, among)[:, 0],
        exists=siblings.exist.gather(1, among)[:, 0],
        noise=noise_of(state, position, trial.target.dtype),
    )
    found = verifier.among(case)
    hit = level & (found.hit >= 0)
    node = torch.where(hit, slot[:, 0] * width + found.hit, 0)
    behind = logits.gather(1, node[:, None, None].expand(-1, -1, logits.shape[-1]))
    law = to_truncated_probs(behind, problem.sampling)
    noise = noise_of(state, position + 1, law.dtype)
    return TreeBranch(position[:, 0], level, found.tokens, hit, node, law, draw(law, noise, verifier.noise))
