"""Siblings broken in one place must fail the law test, where the right ones pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from law_checks import Setting, p_value, seed_of
from torch import Tensor

from vidjacobi.decoding import commit, jacobi, step, window
from vidjacobi.decoding.state import Strategies
from vidjacobi.decoding.strategies.couplings import DraftEvidence, Gumbel, Maximal, Redraft
from vidjacobi.decoding.strategies.draft_tree import DraftTree, RejectedDraft, Siblings, TreeVerdict, unit
from vidjacobi.decoding.strategies.drafts import PreviousFrameProbs, Uniform
from vidjacobi.decoding.strategies.verifiers import Pathwise, RejectionSampler
from vidjacobi.models.protocol import TreeModel
from vidjacobi.sampling.noise import Purpose
from vidjacobi.sampling.probs import SamplingParams, gumbel_max, probability, residual
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked

Patch = Callable[[pytest.MonkeyPatch], None]
SETTING = Setting(
    window=5, context=(1,), new_tokens=5, vocab_size=4, surprise=1.0, sampling=SamplingParams(1.0, 1.0)
)
LAW = PreviousFrameProbs()
SAMPLES = 20_000
MORE = {"drawn with replacement": 60_000}


@dataclass(frozen=True)
class Trying:
    """RejectionSampler verification that tries siblings in a way of its own."""

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
        left = unit(residual(rejected.target_probs, rejected.draft_probs))
        law = rejected.draft_probs
        hit = torch.full_like(rejected.draft[:, 0], -1)
        for index in range(rejected.siblings.shape[-1]):
            tried = rejected.draft if index == 0 else rejected.siblings[:, index - 1, None]
            if self.update_q:
                law = unit(law.scatter(-1, tried[..., None], 0))
            token, exists = rejected.siblings[:, index, None], rejected.exists[:, index, None]
            odds = self.uniform(rejected, index) * probability(law, token)
            accepted = (exists & (odds < probability(left, token)))[:, 0]
            hit = torch.where(accepted & (hit < 0), index, hit)
            if self.update_p:
                open_still = ((hit < 0)[:, None] & exists)[..., None]
                left = torch.where(open_still, unit(residual(left, law)), left)
        drawn = gumbel_max(left, rejected.noise.exponential(Purpose.REDRAW, left.shape[-1]))
        chosen = rejected.siblings.gather(1, hit.clamp(min=0)[:, None])
        return TreeVerdict(torch.where((hit >= 0)[:, None], chosen, drawn), hit)


def leave_entries(patch: pytest.MonkeyPatch) -> None:
    """The accepted sibling's place keeps the entry of the rejected draft."""
    patch.setattr(step, "move_entry", lambda *args: None)


def follow_the_chain(patch: pytest.MonkeyPatch) -> None:
    """The token behind a sibling is drawn from the law behind the rejected draft."""
    verify_tree = commit.verify_tree

    def chained(*args: Any) -> Any:
        *rest, evidence, final, siblings, logits = args
        width = siblings.tokens.shape[-1]
        depth = logits.shape[1] // width
        chain = evidence.target_probs.logits
        behind = chain[:, [min(level + 1, chain.shape[1] - 1) for level in range(depth)]]
        return verify_tree(*rest, evidence, final, siblings, behind.repeat_interleave(width, 1))

    patch.setattr(commit, "verify_tree", chained)


def with_replacement(patch: pytest.MonkeyPatch) -> None:
    """Every sibling is a draw of its own from q without the draft, so that two may be the same token."""

    def choose(laws: Tensor, drafts: Tensor, count: int, exponential: Tensor) -> Siblings:
        rest = laws.scatter(-1, drafts[..., None], 0)
        draws = [gumbel_max(rest, exponential.roll(shift, 0)) for shift in range(count)]
        tokens = torch.stack(draws, -1)
        return Siblings(tokens, rest.sum(-1, keepdim=True).expand(tokens.shape) > 0)

    patch.setattr(window, "choose", choose)


def likeliest(patch: pytest.MonkeyPatch) -> None:
    """The siblings are the likeliest other tokens of q, and judged as if they had been drawn."""
    choose = window.choose
    patch.setattr(
        window, "choose", lambda laws, drafts, count, e: choose(laws, drafts, count, torch.ones_like(e))
    )


def nothing(patch: pytest.MonkeyPatch) -> None:
    """The broken part stands in the verifier already."""


def parts(verifier: Any, depth: int = 1, width: int = 3, rule: Any = LAW) -> Strategies:
    coupling = Gumbel() if isinstance(verifier, Pathwise) else Maximal()
    return Strategies(rule, coupling, verifier, draft_tree=DraftTree(depth, width))


CONTROLS: dict[str, tuple[Strategies, Strategies, Patch]] = {
    "p stays when a sibling is rejected": (parts(Trying()), parts(Trying(update_p=False)), nothing),
    "q keeps the tokens that were tried": (parts(Trying()), parts(Trying(update_q=False)), nothing),
    "the uniform that the draft was rejected with": (
        parts(Trying()),
        parts(Trying(uniforms="the draft's")),
        nothing,
    ),
    "drawn with replacement": (parts(RejectionSampler()), parts(RejectionSampler()), with_replacement),
    "the likeliest instead of drawn ones": (parts(RejectionSampler()), parts(RejectionSampler()), likeliest),
    "entry not moved": (parts(RejectionSampler(), 2, 2), parts(RejectionSampler(), 2, 2), leave_entries),
    "entry not moved, pathwise": (parts(Pathwise(), 2, 2), parts(Pathwise(), 2, 2), leave_entries),
    "next token from the chain's law": (
        parts(RejectionSampler()),
        parts(RejectionSampler()),
        follow_the_chain,
    ),
    "next token from the chain's law, pathwise": (parts(Pathwise()), parts(Pathwise()), follow_the_chain),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_broken_siblings_are_caught_and_the_right_ones_are_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, broken, patch = CONTROLS[name]
    samples = MORE.get(name, SAMPLES)
    assert p_value(SETTING, right, seed_of(name), samples) > 1e-3 / len(CONTROLS)
    patch(monkeypatch)
    assert p_value(SETTING, broken, seed_of(name), samples) < 1e-9


def test_the_control_is_right_where_nothing_is_broken() -> None:
    """The copy of this file that the flags break is the shipped rule, token for token."""
    copy, shipped = (
        jacobi.run(SETTING.problem(parts(verifier, 1, 4, Uniform()), 3000)).tokens
        for verifier in (Trying(), RejectionSampler())
    )
    assert torch.equal(copy, shipped)


class Stiff(TinyVideoModel):
    """Cannot move cache entries: an accepted sibling is fed once more."""

    move = None  # type: ignore[assignment]


class StiffSetting(Setting):
    @property
    def model(self) -> Stiff:
        return Stiff(self.vocab_size, self.grid, surprise=self.surprise)


@pytest.mark.parametrize(("window", "depth"), [(2, 1), (5, 2)])
def test_the_law_holds_where_entries_cannot_be_moved(window: int, depth: int) -> None:
    """At a window of two a pass may only feed; it counts all the same."""
    setting = StiffSetting(window=window, context=(1,), new_tokens=5)
    assert not isinstance(setting.model, TreeModel)
    chosen = parts(RejectionSampler(), depth, 2)
    assert p_value(setting, chosen, seed_of(window), 2 * SAMPLES) > 1e-4
    decoded = jacobi.run(setting.problem(chosen, 500))
    fed_only = (decoded.trace.decided[1:] == 0) & (decoded.trace.evaluated[1:] > 0)
    assert fed_only.any() == (window == 2)
    assert decoded.stats.nfe == (decoded.trace.evaluated > 0).sum(0).tolist()
