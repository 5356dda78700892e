"""Decoders broken in one place must fail the test against the exact joint probs, where the right one passes.

Without these controls a test that never fails would prove nothing. What is broken is a part of the decoder, or one of
the functions of a step.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from sample_checks import Setting, p_value, seed_of, truncated
from torch import Tensor

from vidjacobi.decoding.commit import StepInputs, Verdict, commit
from vidjacobi.decoding.recipe import Recipe, Strategies
from vidjacobi.decoding.state import DecodeState
from vidjacobi.decoding.step import STEP, StepFunctions
from vidjacobi.decoding.strategies.couplings import (
    DraftEvidence,
    Gumbel,
    Independent,
    Maximal,
    Redraft,
)
from vidjacobi.decoding.strategies.drafts import Draft, DraftContext, PreviousFrameProbs, Uniform
from vidjacobi.decoding.strategies.verifiers import Pathwise, RejectionSampler
from vidjacobi.decoding.trace import PassRecord
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import normalise, residual
from vidjacobi.shapes import Probs

pytestmark = pytest.mark.unchecked


@dataclass(frozen=True)
class CorrectedFromTarget:
    """RejectionSampler, but what is rejected is drawn again from p."""

    guarantee: ClassVar[str] = "lossless"
    reads_draft_probs: ClassVar[bool] = True
    noise: ClassVar[Purpose] = Purpose.REDRAW

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        kept = evidence.draw(Maximal()).kept
        redrawn = evidence.from_target(Purpose.REDRAW)
        return Redraft(torch.where(kept, evidence.drafts, redrawn), kept)


@dataclass(frozen=True)
class AcceptNoiseReused:
    """RejectionSampler, but the residual is drawn by inverting its distribution function at the accept uniform."""

    guarantee: ClassVar[str] = "lossless"
    reads_draft_probs: ClassVar[bool] = True
    noise: ClassVar[Purpose] = Purpose.REDRAW

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        kept = evidence.draw(Maximal()).kept
        steps = normalise(residual(evidence.target_probs.dense(), evidence.draft_probs.dense())).cumsum(-1)
        u = evidence.noise.uniform(Purpose.ACCEPT)[..., None]
        redrawn = (steps <= u).sum(-1).clamp(max=steps.shape[-1] - 1)
        return Redraft(torch.where(kept, evidence.drafts, redrawn), kept)


@dataclass(frozen=True)
class ThresholdReuse:
    """SJD++: a draft stays because p(x) / q(x) is large."""

    threshold: float = 0.5
    guarantee: ClassVar[str] = "lossless"
    draft_noise: ClassVar[Purpose] = Purpose.FRESH
    reads_draft_probs: ClassVar[bool] = True

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        p, q = evidence.target_probs.of(evidence.drafts), evidence.draft_probs.of(evidence.drafts)
        kept = p > self.threshold * q
        return Redraft(torch.where(kept, evidence.drafts, evidence.draw(Independent()).tokens), kept)


@dataclass(frozen=True)
class FlattenedDraftProbs:
    """Draws from some probs and reports others of the same tokens."""

    keeps_probs: ClassVar[int] = 256

    def __call__(self, context: DraftContext) -> Draft:
        draft = PreviousFrameProbs()(context)
        probs = normalise(draft.probs.probs.sqrt())
        return Draft(draft.tokens, type(draft.probs)(draft.probs.ids, probs))


def storing(change: Callable[[DraftEvidence, Probs], Probs]) -> StepFunctions:
    """The probs that a pass stores are changed; drafts and target are those of the pass."""

    def changed(recipe: Recipe, inputs: StepInputs, verdict: Verdict) -> tuple[DecodeState, PassRecord]:
        after, record = commit(recipe, inputs, verdict)
        assert after.probs is not None
        assert verdict.evidence is not None
        return replace(after, probs=truncated(change(verdict.evidence, after.probs.dense()))), record

    return StepFunctions(commit=changed)


def stale(evidence: DraftEvidence, probs: Probs) -> Probs:
    """A draft that its redraft left alone keeps the probs of the pass before."""
    kept = evidence.draw(Maximal()).kept
    return torch.where(kept[..., None], evidence.draft_probs.dense(), probs)


def flattened(_: DraftEvidence, probs: Probs) -> Probs:
    """The stored q has twice the temperature that the redraft was drawn at."""
    return normalise(probs.sqrt())


def shared_between_positions(purpose: Purpose) -> StepFunctions:
    """Two neighbouring positions share the noise of one purpose."""

    class Shared(Noise):
        def keys(self, asked: Purpose) -> Tensor:
            if asked != purpose:
                return super().keys(asked)
            return Noise(self._roots, self._positions // 2, self._passes, self.dtype).keys(asked)

    return StepFunctions(noise=Shared)


class AcceptWithoutPass(Noise):
    """The accept uniform is the same in every pass."""

    def keys(self, purpose: Purpose) -> Tensor:
        if purpose != Purpose.ACCEPT:
            return super().keys(purpose)
        return Noise(self._roots, self._positions, 0 * self._passes, self.dtype).keys(purpose)


@dataclass(frozen=True)
class Control:
    """A right decoder, and what breaks it: another part, or a function of the step."""

    right: Strategies
    broken: Strategies
    using: StepFunctions = STEP


def with_step(strategies: Strategies, using: StepFunctions) -> Control:
    """Broken by a function of the step."""
    return Control(strategies, strategies, using)


SJD = Strategies(Uniform(), Independent(), RejectionSampler())
MC_SJD = Strategies(Uniform(), Maximal(), RejectionSampler())
CONTROLS = {
    "stale q kept": with_step(MC_SJD, storing(stale)),
    "correction drawn from p": Control(SJD, replace(SJD, verifier=CorrectedFromTarget())),
    "threshold reuse": Control(SJD, replace(SJD, coupling=ThresholdReuse())),
    "gumbel shared by two positions, pathwise": with_step(
        Strategies(Uniform(), Gumbel(), Pathwise()), shared_between_positions(Purpose.GUMBEL)
    ),
    "gumbel shared by two positions, rejection sampling": with_step(
        Strategies(Uniform(), Gumbel(), RejectionSampler()), shared_between_positions(Purpose.GUMBEL)
    ),
    "accept uniform shared by two positions": with_step(MC_SJD, shared_between_positions(Purpose.ACCEPT)),
    "redraw noise shared by two positions": with_step(SJD, shared_between_positions(Purpose.REDRAW)),
    "fresh noise shared by two positions": with_step(MC_SJD, shared_between_positions(Purpose.FRESH)),
    "accept noise reused for the residual": Control(SJD, replace(SJD, verifier=AcceptNoiseReused())),
    "accept uniform without its pass key": with_step(
        Strategies(PreviousFrameProbs(), Maximal(), RejectionSampler()),
        StepFunctions(noise=AcceptWithoutPass),
    ),
    "fresh draft of other probs than its q": Control(
        replace(SJD, draft=PreviousFrameProbs()), replace(SJD, draft=FlattenedDraftProbs())
    ),
    "redraft of other probs than its q": with_step(SJD, storing(flattened)),
}
SETTING = Setting(window=3, context=(1,), new_tokens=5)
SAMPLES = 40_000  # fewer than where nothing is broken: the controls must show well before
MORE = {
    "gumbel shared by two positions, rejection sampling": 80_000
}  # 40,000 show it too, but not with every seed


@pytest.mark.parametrize("name", CONTROLS)
def test_a_broken_decoder_is_caught_and_the_right_one_is_not(name: str) -> None:
    control, seed, samples = CONTROLS[name], seed_of(name), MORE.get(name, SAMPLES)
    assert p_value(SETTING, control.right, seed, samples) > 1e-3 / len(CONTROLS)
    assert p_value(SETTING, control.broken, seed, samples, control.using) < 1e-9
