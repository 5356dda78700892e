"""Every coupling: both marginals, its agreement against theory, and what ``kept`` means."""

from typing import Any

import pytest
import torch
from sample_checks import as_draft_probs, chi_square, seed_of, truncated
from scipy.stats import norm
from torch import Tensor

from vidjacobi.decoding.strategies.couplings import COUPLINGS, Coupling, DraftEvidence, Mixture, Redraft
from vidjacobi.errors import InvalidArgument
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots
from vidjacobi.sampling.probs import gumbel_max

CLIPS = 100_000
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "reuse": [{}, {"threshold": 0.0}],
    "mixture": [
        {"alpha": 0.3, "of": "maximal"},
        {"alpha": 0.3, "of": "gumbel"},
        {"alpha": 1.0},
        {"alpha": 0.0},
    ],
}
ENTRIES = [(name, options) for name in COUPLINGS for options in OPTIONS.get(name, [{}])]
PROBS = {  # pairs (q, p)
    "near": ([0.5, 0.3, 0.2, 0.0], [0.4, 0.4, 0.2, 0.0]),
    "far": ([0.7, 0.1, 0.1, 0.1], [0.05, 0.05, 0.2, 0.7]),
    "other nucleus": ([0.5, 0.5, 0.0, 0.0], [0.0, 0.4, 0.6, 0.0]),
    "disjoint": ([0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.3, 0.7]),
    "equal": ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]),
    "one token": ([0.0, 1.0, 0.0, 0.0], [0.3, 0.3, 0.2, 0.2]),
}
LOSSLESS = [
    (name, options) for name, options in ENTRIES if COUPLINGS[name](**options).guarantee == "lossless"
]
LOSSY = [entry for entry in ENTRIES if entry not in LOSSLESS]
CHANCE = 1e-3 / (2 * len(ENTRIES) * len(PROBS))


def experiment(coupling: Coupling, q: Tensor, p: Tensor, seed: int) -> tuple[Tensor, Redraft]:
    """Drafts drawn from q with the coupling's own noise in pass 1, and their redrafts from p in pass 2."""
    noise_keys = torch.arange(CLIPS)
    positions = torch.full((CLIPS, 1), 11)
    first, second = (
        Noise(noise_roots(seed, noise_keys), positions, torch.full((CLIPS,), passes), torch.float64)
        for passes in (1, 2)
    )
    old, new = (probs.expand(CLIPS, 1, -1) for probs in (q, p))
    drafts = gumbel_max(old, first.exponential(coupling.draft_noise, len(q)))
    return drafts[:, 0], coupling(DraftEvidence(drafts, as_draft_probs(old), truncated(new), second))


def agreement_bounds(name: str, options: dict[str, Any], q: Tensor, p: Tensor) -> tuple[float, float]:
    """Least and greatest probability that draft and redraft are equal."""
    tv = float((p - q).clamp(min=0).sum())
    chance = float((p * q).sum())
    if name == "independent":
        return chance, chance
    if name == "maximal":
        return 1 - tv, 1 - tv
    if name == "gumbel":
        return (1 - tv) / (1 + tv), 1 - tv
    if name == "mixture":
        alpha = options["alpha"]
        low, high = agreement_bounds(options.get("of", "maximal"), {}, q, p)
        return alpha * low + (1 - alpha) * chance, alpha * high + (1 - alpha) * chance
    return 0.0, 1 - tv  # no coupling agrees more often


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
@pytest.mark.parametrize("pair", PROBS)
def test_marginals_and_agreement(name: str, options: dict[str, Any], pair: str) -> None:
    coupling = COUPLINGS[name](**options)
    q, p = (torch.tensor(probs, dtype=torch.float64) for probs in PROBS[pair])
    drafts, coupled = experiment(coupling, q, p, seed_of(name, options, pair))
    tokens, kept = coupled.tokens[:, 0], coupled.kept[:, 0]
    assert chi_square(drafts.bincount(minlength=4), q) > CHANCE
    assert chi_square(tokens.bincount(minlength=4), p) > CHANCE

    low, high = agreement_bounds(name, options, q, p)
    agreed = float((tokens == drafts).double().mean())
    slack = float(norm.isf(CHANCE)) * 0.5 / CLIPS**0.5
    assert low - slack * (low < 1) <= agreed <= high + slack * (high > 0)
    assert (tokens == drafts)[kept].all()  # a kept draft is the new token


@pytest.mark.parametrize(("name", "options"), LOSSY)
def test_a_coupling_labelled_lossy_is(name: str, options: dict[str, Any]) -> None:
    """Its redrafts do not follow p: otherwise the label is wrong."""
    p_values = []
    for pair, (q, p) in PROBS.items():
        old, new = (torch.tensor(probs, dtype=torch.float64) for probs in (q, p))
        drafts, coupled = experiment(COUPLINGS[name](**options), old, new, seed_of(name, options, pair))
        assert (coupled.tokens[:, 0] == drafts)[coupled.kept[:, 0]].all()
        p_values.append(chi_square(coupled.tokens[:, 0].bincount(minlength=4), new))
    assert min(p_values) < 1e-9, f"{name} {options} follows p everywhere: label it lossless"


@pytest.mark.parametrize("pair", PROBS)
def test_reuse_keeps_what_the_model_still_likes(pair: str) -> None:
    q, p = (torch.tensor(probs, dtype=torch.float64) for probs in PROBS[pair])
    for threshold in (0.0, 0.5, 2.0):
        drafts, coupled = experiment(COUPLINGS["reuse"](threshold), q, p, 4)
        assert torch.equal(coupled.kept[:, 0], (p > threshold * q)[drafts])
        new = coupled.tokens[:, 0][~coupled.kept[:, 0]]
        if len(new):
            assert chi_square(new.bincount(minlength=4), p) > CHANCE


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="threshold"):
        COUPLINGS["reuse"](-0.1)


@pytest.mark.parametrize("pair", PROBS)
def test_maximal_keeps_a_draft_with_probability_p_over_q(pair: str) -> None:
    q, p = (torch.tensor(probs, dtype=torch.float64) for probs in PROBS[pair])
    drafts, coupled = experiment(COUPLINGS["maximal"](), q, p, 3)
    for token in range(4):
        kept = coupled.kept[:, 0][drafts == token].double()
        if len(kept) > 100:
            expected = min(1.0, float(p[token] / q[token]))
            assert float(kept.mean()) == pytest.approx(expected, abs=2.5 / len(kept) ** 0.5)
    new = coupled.tokens[:, 0][~coupled.kept[:, 0]]
    left = (p - q).clamp(min=0)
    if len(new):
        assert chi_square(new.bincount(minlength=4), left / left.sum()) > CHANCE
    if pair == "equal":
        assert coupled.kept.all()


@pytest.mark.parametrize(("name", "options"), ENTRIES)
def test_redrafts_do_not_depend_on_the_batch(name: str, options: dict[str, Any]) -> None:
    """Entry by entry: the same clip and position in another window gives the same token."""
    coupling = COUPLINGS[name](**options)
    generator = torch.Generator().manual_seed(0)
    q, target = (torch.rand(3, 5, 6, generator=generator).softmax(-1) for _ in range(2))
    drafts = torch.randint(0, 6, (3, 5), generator=generator)
    noise_keys, positions = torch.tensor([4, 5, 6]), torch.arange(20, 25).repeat(3, 1)
    passes = torch.tensor([1, 2, 7])

    def couple(rows: list[int], slots: list[int]) -> Tensor:
        noise = Noise(
            noise_roots(0, noise_keys[rows]), positions[rows][:, slots], passes[rows], torch.float32
        )
        p, drawn = truncated(target[rows][:, slots]), as_draft_probs(q[rows][:, slots])
        return coupling(DraftEvidence(drafts[rows][:, slots], drawn, p, noise)).tokens

    whole = couple([0, 1, 2], [0, 1, 2, 3, 4])
    assert torch.equal(couple([2, 0], [3, 1]), whole[[2, 0]][:, [3, 1]])


def test_a_rule_is_evaluated_once_per_pass() -> None:
    calls = []

    class Counting:
        def __call__(self, evidence: DraftEvidence) -> Redraft:
            calls.append(evidence)
            return Redraft(evidence.drafts, evidence.drafts == 0)

    noise = Noise(
        noise_roots(0, torch.zeros(1).long()), torch.zeros(1, 1).long(), torch.zeros(1).long(), torch.float32
    )
    evidence = DraftEvidence(torch.zeros(1, 1).long(), None, truncated(torch.ones(1, 1, 2) / 2), noise)
    rule = Counting()
    assert evidence.draw(rule) is evidence.draw(rule)
    assert len(calls) == 1


def test_missing_draft_probs_are_an_error() -> None:
    noise = Noise(
        noise_roots(0, torch.zeros(1).long()), torch.zeros(1, 1).long(), torch.zeros(1).long(), torch.float32
    )
    evidence = DraftEvidence(torch.zeros(1, 1).long(), None, truncated(torch.ones(1, 1, 2) / 2), noise)
    with pytest.raises(RuntimeError, match="reads_draft_probs"):
        evidence.draw(COUPLINGS["maximal"]())


@pytest.mark.parametrize(("name", "options"), ENTRIES)
def test_every_coupling_says_what_it_proves(name: str, options: dict[str, Any]) -> None:
    coupling = COUPLINGS[name](**options)
    assert coupling.guarantee in ("lossless", "lossy")
    assert isinstance(coupling, Coupling)
    assert hash(coupling) == hash(COUPLINGS[name](**options))


@pytest.mark.parametrize("options", [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha": 0.5, "of": "maximum"}])
def test_bad_mixtures_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Mixture(**options)


def test_a_mixture_asks_for_what_its_coupling_needs() -> None:
    assert Mixture(0.5, "maximal").reads_draft_probs
    assert not Mixture(0.5, "gumbel").reads_draft_probs
    assert Mixture(0.5, "gumbel").draft_noise == Purpose.GUMBEL
