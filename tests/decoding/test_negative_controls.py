"""Decoders broken in one place must fail the law test, where the right one passes.

Each control is one entry of design rules 1-7: without them a law test that never fails would prove nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from law_checks import Setting, nuclei, p_value, seed_of
from torch import Tensor

from vidjacobi.decoding import commit, prefill, step, window
from vidjacobi.decoding.state import Strategies
from vidjacobi.decoding.strategies.couplings import (
    Coupling,
    DraftEvidence,
    Gumbel,
    Independent,
    Maximal,
    Redraft,
)
from vidjacobi.decoding.strategies.drafts import Draft, DraftContext, DraftRule, PreviousFrameProbs, Uniform
from vidjacobi.decoding.strategies.verifiers import Pathwise, RejectionSampler, Verifier
from vidjacobi.sampling import noise
from vidjacobi.sampling.noise import FIXED, Noise, Purpose
from vidjacobi.sampling.probs import normalise, residual
from vidjacobi.shapes import Probs

pytestmark = pytest.mark.unchecked

Patch = Callable[[pytest.MonkeyPatch], None]


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
class WrongLaw:
    """Draws from one law and reports another one of the same tokens."""

    keeps_probs: ClassVar[int] = 256

    def __call__(self, past: DraftContext) -> Draft:
        fresh = PreviousFrameProbs()(past)
        probs = normalise(fresh.probs.probs.sqrt())
        return Draft(fresh.tokens, type(fresh.probs)(fresh.probs.ids, probs))


def with_laws(change: Callable[[DraftEvidence, Probs], Probs]) -> Patch:
    """The laws that a pass stores are changed; drafts and target are those of the pass."""

    def patch_loop(patch: pytest.MonkeyPatch) -> None:
        trials: list[DraftEvidence] = []
        verify_and_commit = step.verify_and_commit

        def remember(*args: object) -> DraftEvidence:
            trials.append(DraftEvidence(*args))  # type: ignore[arg-type]
            return trials[-1]

        def changed(*args: Any) -> Any:
            after, record, branch = verify_and_commit(*args)
            changed = nuclei(change(trials[-1], after.laws.dense()))
            return replace(after, laws=changed), record, branch

        patch.setattr(commit, "DraftEvidence", remember)
        patch.setattr(step, "verify_and_commit", changed)

    return patch_loop


def stale(evidence: DraftEvidence, laws: Probs) -> Probs:
    """A draft that its redraft left alone keeps the law of the pass before."""
    kept = evidence.draw(Maximal()).kept
    return torch.where(kept[..., None], evidence.draft_probs.dense(), laws)


def flattened(_: DraftEvidence, laws: Probs) -> Probs:
    """The stored q has twice the temperature that the redraft was drawn at."""
    return normalise(laws.sqrt())


def share_between_positions(purpose: Purpose) -> Patch:
    """Two neighbouring positions share the noise of one purpose."""

    class Shared(Noise):
        def keys(self, asked: Purpose) -> Tensor:
            if asked != purpose:
                return super().keys(asked)
            own, self._positions = self._positions, self._positions // 2
            keys = super().keys(asked)
            self._positions = own
            return keys

    def patch_noise(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(window, "Noise", Shared)
        patch.setattr(prefill, "Noise", Shared)

    return patch_noise


def fix_accept(patch: pytest.MonkeyPatch) -> None:
    """The accept uniform is the same in every pass."""
    patch.setattr(noise, "FIXED", FIXED | {Purpose.ACCEPT})


def nothing(patch: pytest.MonkeyPatch) -> None:
    """The broken part stands in the decoder already."""


@dataclass(frozen=True)
class Control:
    """A right decoder, and the same one broken by other parts or by a patch."""

    right: Strategies
    broken: Strategies
    patch: Patch = nothing


def patched(patch: Patch, draft: DraftRule, coupling: Coupling, verifier: Verifier) -> Control:
    parts = Strategies(draft, coupling, verifier)
    return Control(parts, parts, patch)


SJD = Strategies(Uniform(), Independent(), RejectionSampler())
CONTROLS = {
    "stale q kept": patched(with_laws(stale), Uniform(), Maximal(), RejectionSampler()),
    "correction drawn from p": Control(SJD, Strategies(Uniform(), Independent(), CorrectedFromTarget())),
    "threshold reuse": Control(SJD, Strategies(Uniform(), ThresholdReuse(), RejectionSampler())),
    "gumbel shared by two positions, pathwise": patched(
        share_between_positions(Purpose.GUMBEL), Uniform(), Gumbel(), Pathwise()
    ),
    "gumbel shared by two positions, speculative": patched(
        share_between_positions(Purpose.GUMBEL), Uniform(), Gumbel(), RejectionSampler()
    ),
    "accept uniform shared by two positions": patched(
        share_between_positions(Purpose.ACCEPT), Uniform(), Maximal(), RejectionSampler()
    ),
    "redraw noise shared by two positions": patched(
        share_between_positions(Purpose.REDRAW), Uniform(), Independent(), RejectionSampler()
    ),
    "fresh noise shared by two positions": patched(
        share_between_positions(Purpose.FRESH), Uniform(), Maximal(), RejectionSampler()
    ),
    "accept noise reused for the residual": Control(
        SJD, Strategies(Uniform(), Independent(), AcceptNoiseReused())
    ),
    "accept uniform without its pass key": patched(
        fix_accept, PreviousFrameProbs(), Maximal(), RejectionSampler()
    ),
    "fresh draft of another law than its q": Control(
        Strategies(PreviousFrameProbs(), Independent(), RejectionSampler()),
        Strategies(WrongLaw(), Independent(), RejectionSampler()),
    ),
    "redraft of another law than its q": patched(
        with_laws(flattened), Uniform(), Independent(), RejectionSampler()
    ),
}
SETTING = Setting(window=3, context=(1,), new_tokens=5)
SAMPLES = 40_000  # a fifth of the law tests': the controls must show well before


@pytest.mark.parametrize("name", CONTROLS)
def test_a_broken_decoder_is_caught_and_the_right_one_is_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, seed = CONTROLS[name], seed_of(name)
    assert p_value(SETTING, control.right, seed, SAMPLES) > 1e-3 / len(CONTROLS)
    control.patch(monkeypatch)
    assert p_value(SETTING, control.broken, seed, SAMPLES) < 1e-9
