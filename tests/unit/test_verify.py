"""What becomes final, and the two rules of acceptance."""

import pytest
import torch
from torch import Tensor

from vidjacobi.config import LAWS
from vidjacobi.couplings import Gumbel, Maximal
from vidjacobi.distributions import normalise, race
from vidjacobi.noise import Noise, Purpose
from vidjacobi.trial import Trial
from vidjacobi.verify import VERIFIERS, Pathwise, Speculative, count_accepted, count_decided


def mask(text: str) -> Tensor:
    return torch.tensor([[letter == "1" for letter in text]])


@pytest.mark.parametrize(
    ("kept", "valid", "accepted", "decided"),
    [
        ("1101", "1111", 2, 3),  # the corrected token counts as decided
        ("0111", "1111", 0, 1),
        ("1111", "1111", 4, 4),  # nothing was corrected
        ("1111", "1100", 2, 2),  # the clip ends inside the window
        ("1011", "1100", 1, 2),
        ("1101", "1100", 2, 2),
        ("1111", "0000", 0, 0),  # a finished clip
        ("0000", "0000", 0, 0),
        ("0", "1", 0, 1),
    ],
)
def test_counts(kept: str, valid: str, accepted: int, decided: int) -> None:
    assert count_accepted(mask(kept), mask(valid)).item() == accepted
    assert count_decided(mask(kept), mask(valid)).item() == decided


def trial(clips: int = 3000) -> Trial:
    generator = torch.Generator().manual_seed(0)
    laws, target = ((2 * torch.randn(clips, 2, 5, generator=generator)).softmax(-1) for _ in range(2))
    target[..., 4] = 0
    target = normalise(target)
    positions = torch.arange(8, 10).repeat(clips, 1)
    noise = Noise(0, torch.arange(clips), positions, torch.full((clips,), 4), torch.float32)
    earlier = Noise(0, torch.arange(clips), positions, torch.full((clips,), 3), torch.float32)
    return Trial(race(laws, earlier.exponential(Purpose.FRESH, 5)), laws, target, noise)


def test_pathwise_keeps_what_ar_draws() -> None:
    case = trial()
    verdict = Pathwise()(case)
    ar = race(case.target, case.noise.exponential(Purpose.GUMBEL, 5))
    assert torch.equal(verdict.tokens, ar)
    assert torch.equal(verdict.kept, ar == case.drafts)
    assert verdict.kept.any()
    assert not verdict.kept.all()


def test_speculative_keeps_or_corrects() -> None:
    case = trial()
    verdict = Speculative()(case)
    assert torch.equal(verdict.tokens[verdict.kept], case.drafts[verdict.kept])
    # a correction comes from where p exceeds q, so it is never the rejected draft
    assert (verdict.tokens != case.drafts)[~verdict.kept].all()
    gained = (case.target > case.laws).gather(-1, verdict.tokens[..., None])[..., 0]
    assert gained[~verdict.kept].all()
    assert not verdict.kept[case.drafts == 4].any()  # p = 0


def test_a_verifier_and_a_coupling_of_one_rule_share_their_work() -> None:
    case = trial(2)
    assert case.draw(Speculative()).tokens is case.draw(Maximal()).tokens
    assert case.draw(Pathwise()).tokens is case.draw(Gumbel()).tokens


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_says_what_it_proves(name: str) -> None:
    verifier = VERIFIERS[name]()
    assert verifier.law in LAWS
    assert isinstance(verifier.reads_laws, bool)
    assert hash(verifier) == hash(VERIFIERS[name]())
