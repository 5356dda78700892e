"""Draft trees broken in one place must fail the test against the exact joint probs, where the right ones pass."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from sample_checks import Setting, p_value, seed_of
from torch import Tensor

from vidjacobi.decoding import jacobi
from vidjacobi.decoding.commit import verify_siblings
from vidjacobi.decoding.draft import DeviceInputs
from vidjacobi.decoding.recipe import Recipe, Strategies
from vidjacobi.decoding.step import STEP, StepFunctions
from vidjacobi.decoding.strategies.couplings import DraftEvidence, Gumbel, Maximal, Redraft
from vidjacobi.decoding.strategies.draft_tree import (
    DraftTree,
    RejectedDraft,
    Siblings,
    TreeBranch,
    TreeVerdict,
    draw_siblings,
    normalised,
)
from vidjacobi.decoding.strategies.drafts import PreviousFrameProbs, Uniform
from vidjacobi.decoding.strategies.verifiers import Pathwise, RejectionSampler
from vidjacobi.decoding.trace import Decoded, finish
from vidjacobi.models.protocol import TreeModel
from vidjacobi.sampling.noise import Purpose
from vidjacobi.sampling.probs import SamplingParams, gumbel_max, probability, residual
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked

SETTING = Setting(
    window=5, context=(1,), new_tokens=5, vocab_size=4, surprise=1.0, sampling=SamplingParams(1.0, 1.0)
)
INFORMED = PreviousFrameProbs()
SAMPLES = 20_000
MORE = {"drawn with replacement": 60_000}


@dataclass(frozen=True)
class Trying:
    """RejectionSampler, but it tries siblings in a way of its own."""

    update_p: bool = True
    update_q: bool = True
    uniforms: str = "own"
    guarantee: ClassVar[str] = "lossless"
    reads_draft_probs: ClassVar[bool] = True
    noise: ClassVar[Purpose] = Purpose.REDRAW
    sibling_noise: ClassVar[Purpose] = Purpose.SIBLING

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        return evidence.draw(Maximal())

    def uniform(self, rejected: RejectedDraft, index: int) -> Tensor:
        """One number of its own per test, or the one that the draft was rejected with."""
        if self.uniforms == "the draft's":
            return rejected.noise.uniform(Purpose.ACCEPT)
        every = rejected.noise.uniforms(Purpose.SIBLING_ACCEPT, rejected.siblings.shape[-1])
        return every[..., index]

    def choose_sibling(self, rejected: RejectedDraft) -> TreeVerdict:
        assert rejected.target_probs is not None
        assert rejected.draft_probs is not None
        left = normalised(residual(rejected.target_probs, rejected.draft_probs))
        draft_probs = rejected.draft_probs
        hit = torch.full_like(rejected.draft[:, 0], -1)
        for index in range(rejected.siblings.shape[-1]):
            tried = rejected.draft if index == 0 else rejected.siblings[:, index - 1, None]
            if self.update_q:
                draft_probs = normalised(draft_probs.scatter(-1, tried[..., None], 0))
            token, exists = rejected.siblings[:, index, None], rejected.exists[:, index, None]
            odds = self.uniform(rejected, index) * probability(draft_probs, token)
            accepted = (exists & (odds < probability(left, token)))[:, 0]
            hit = torch.where(accepted & (hit < 0), index, hit)
            if self.update_p:
                open_still = ((hit < 0)[:, None] & exists)[..., None]
                left = torch.where(open_still, normalised(residual(left, draft_probs)), left)
        drawn = gumbel_max(left, rejected.noise.exponential(Purpose.REDRAW, left.shape[-1]))
        chosen = rejected.siblings.gather(1, hit.clamp(min=0)[:, None])
        return TreeVerdict(torch.where((hit >= 0)[:, None], chosen, drawn), hit)


def leave_entries(*_: Any) -> None:
    """The accepted sibling's place keeps the entry of the rejected draft."""


def follow_the_chain(
    recipe: Recipe,
    inputs: DeviceInputs,
    evidence: DraftEvidence,
    verdict: Redraft,
    logits: Tensor,
) -> TreeBranch:
    """The token after a sibling is drawn from the probs after the rejected draft."""
    assert inputs.siblings is not None
    depth, width = inputs.siblings.tokens.shape[1:]
    chain = evidence.target_probs.logits
    after = chain[:, [min(level + 1, chain.shape[1] - 1) for level in range(depth)]]
    return verify_siblings(recipe, inputs, evidence, verdict, after.repeat_interleave(width, 1))


def with_replacement(probs: Tensor, drafts: Tensor, count: int, exponential: Tensor) -> Siblings:
    """Every sibling is a draw of its own from q without the draft, so that two may be the same token."""
    rest = probs.scatter(-1, drafts[..., None], 0)
    draws = [gumbel_max(rest, exponential.roll(shift, 0)) for shift in range(count)]
    tokens = torch.stack(draws, -1)
    return Siblings(tokens, rest.sum(-1, keepdim=True).expand(tokens.shape) > 0)


def likeliest(probs: Tensor, drafts: Tensor, count: int, exponential: Tensor) -> Siblings:
    """The siblings are the likeliest other tokens of q, and judged as if they had been drawn."""
    return draw_siblings(probs, drafts, count, torch.ones_like(exponential))


def strategies(verifier: Any, depth: int = 1, width: int = 3, draft: Any = INFORMED) -> Strategies:
    coupling = Gumbel() if isinstance(verifier, Pathwise) else Maximal()
    return Strategies(draft, coupling, verifier, draft_tree=DraftTree(depth, width))


REJECTION, SMALL_REJECTION = strategies(RejectionSampler()), strategies(RejectionSampler(), 2, 2)
PATHWISE, SMALL_PATHWISE = strategies(Pathwise()), strategies(Pathwise(), 2, 2)
# the right decoder, and what breaks it: another verifier, or a function of the step
CONTROLS: dict[str, tuple[Strategies, Strategies, StepFunctions]] = {
    "p stays when a sibling is rejected": (
        strategies(Trying()),
        strategies(Trying(update_p=False)),
        STEP,
    ),
    "q keeps the tokens that were tried": (
        strategies(Trying()),
        strategies(Trying(update_q=False)),
        STEP,
    ),
    "the uniform that the draft was rejected with": (
        strategies(Trying()),
        strategies(Trying(uniforms="the draft's")),
        STEP,
    ),
    "drawn with replacement": (REJECTION, REJECTION, StepFunctions(draw_siblings=with_replacement)),
    "the likeliest instead of drawn ones": (REJECTION, REJECTION, StepFunctions(draw_siblings=likeliest)),
    "entry not moved": (SMALL_REJECTION, SMALL_REJECTION, StepFunctions(move=leave_entries)),
    "entry not moved, pathwise": (SMALL_PATHWISE, SMALL_PATHWISE, StepFunctions(move=leave_entries)),
    "next token from the chain's probs": (REJECTION, REJECTION, StepFunctions(verify_tree=follow_the_chain)),
    "next token from the chain's probs, pathwise": (
        PATHWISE,
        PATHWISE,
        StepFunctions(verify_tree=follow_the_chain),
    ),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_broken_siblings_are_caught_and_the_right_ones_are_not(name: str) -> None:
    right, broken, using = CONTROLS[name]
    samples = MORE.get(name, SAMPLES)
    assert p_value(SETTING, right, seed_of(name), samples) > 1e-3 / len(CONTROLS)
    assert p_value(SETTING, broken, seed_of(name), samples, using) < 1e-9


def decode(setting: Setting, chosen: Strategies, samples: int) -> Decoded:
    return finish(jacobi.steps(setting.recipe(chosen), setting.clips(samples)))


def test_the_control_is_right_where_nothing_is_broken() -> None:
    """The copy of this file that the flags break is the shipped rule, token for token."""
    copy, shipped = (
        decode(SETTING, strategies(verifier, 1, 4, Uniform()), 3000).tokens
        for verifier in (Trying(), RejectionSampler())
    )
    assert torch.equal(copy, shipped)


class Unmovable(TinyVideoModel):
    """Cannot move cache entries: an accepted sibling is fed once more."""

    move = None  # type: ignore[assignment]


class UnmovableSetting(Setting):
    @property
    def model(self) -> Unmovable:
        return Unmovable(self.vocab_size, self.grid, surprise=self.surprise)


@pytest.mark.parametrize(("window", "depth"), [(2, 1), (5, 2)])
def test_the_probs_hold_where_entries_cannot_be_moved(window: int, depth: int) -> None:
    """At a window of two a pass may only feed; it counts all the same."""
    setting = UnmovableSetting(window=window, context=(1,), new_tokens=5)
    assert not isinstance(setting.model, TreeModel)
    chosen = strategies(RejectionSampler(), depth, 2)
    assert p_value(setting, chosen, seed_of(window), 2 * SAMPLES) > 1e-4
    decoded = decode(setting, chosen, 500)
    fed_only = (decoded.trace.decided[1:] == 0) & (decoded.trace.evaluated[1:] > 0)
    assert fed_only.any() == (window == 2)
    assert decoded.stats.nfe == (decoded.trace.evaluated > 0).sum(0).tolist()
