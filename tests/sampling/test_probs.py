"""Probabilities against a brute-force nucleus, and draws against their probs."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sample_checks import chi_square
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots
from vidjacobi.sampling.probs import (
    SamplingParams,
    SparseProbs,
    gumbel_max,
    is_finite,
    logits_to_probs,
    one_hot,
    probability,
    probs_dtype,
    residual,
)

INF = math.inf


def brute_force(logits: list[float], sampling: SamplingParams) -> list[float]:
    """The definition, token by token, in Python floats."""
    if sampling.temperature == 0:
        return [float(i == logits.index(max(logits))) for i in range(len(logits))]
    weights = [math.exp((x - max(logits)) / sampling.temperature) for x in logits]
    if sampling.top_k is not None:
        kth = sorted(weights, reverse=True)[: sampling.top_k][-1]
        weights = [w if w >= kth else 0.0 for w in weights]
    total = sum(weights)
    probs = [w / total for w in weights]
    if sampling.top_p < 1:
        probs = [p if sum(q for q in probs if q > p) <= sampling.top_p else 0.0 for p in probs]
    return [p / sum(probs) for p in probs]


def probs_of(logits: list[float], sampling: SamplingParams) -> Tensor:
    return logits_to_probs(torch.tensor([[logits]], dtype=torch.float64), sampling)[0, 0]


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
def test_probs_are_those_of_the_definition(temperature: float, top_p: float, top_k: int | None) -> None:
    sampling = SamplingParams(temperature, top_p, top_k)
    generator = torch.Generator().manual_seed(1)
    for spread in (0.2, 1.0, 4.0):
        logits = torch.randn(2, 6, 9, generator=generator, dtype=torch.float64) * spread
        logits[0, :, 2] = logits[0, :, 5]  # ties
        logits[1, :, 3] = -INF
        probs = logits_to_probs(logits, sampling)
        for b in range(2):
            for n in range(6):
                expected = torch.tensor(brute_force(logits[b, n].tolist(), sampling), dtype=torch.float64)
                assert torch.allclose(probs[b, n], expected, atol=1e-12)


def test_ties_stay_together() -> None:
    """At the border of the nucleus and of the k likeliest."""
    logits = [math.log(p) for p in (0.4, 0.2, 0.2, 0.2)]
    assert probs_of(logits, SamplingParams(top_p=0.5)).count_nonzero() == 4
    assert probs_of(logits, SamplingParams(top_p=0.3)).tolist() == [1, 0, 0, 0]
    assert probs_of(logits, SamplingParams(top_p=1.0, top_k=2)).count_nonzero() == 4
    assert probs_of([0.0, 0.0, 0.0], SamplingParams(top_p=0.01)).tolist() == pytest.approx([1 / 3] * 3)


def test_the_likeliest_token_is_always_inside_and_the_border_one_too() -> None:
    logits = [math.log(p) for p in (0.9, 0.06, 0.04)]
    assert probs_of(logits, SamplingParams(top_p=0.001)).tolist() == [1, 0, 0]
    assert (
        probs_of(logits, SamplingParams(top_p=0.93)).count_nonzero() == 2
    )  # 0.9 before the second, 0.96 before the third


def test_top_p_one_is_off() -> None:
    logits = torch.randn(1, 2, 1000, generator=torch.Generator().manual_seed(0)) * 6
    assert torch.allclose(
        logits_to_probs(logits, SamplingParams(1.0, 1.0)), torch.softmax(logits, -1), rtol=1e-6
    )


def test_top_k_comes_before_top_p() -> None:
    logits = [math.log(p) for p in (0.4, 0.3, 0.2, 0.1)]
    # of 0.4 and 0.3 alone the first has 4/7 = 0.571, so that the nucleus of 0.5 ends there
    assert probs_of(logits, SamplingParams(top_p=0.5, top_k=2)).tolist() == [1, 0, 0, 0]
    assert probs_of(logits, SamplingParams(top_p=0.5)).count_nonzero() == 2


def test_temperature_zero_is_the_lowest_of_the_likeliest() -> None:
    assert probs_of([1.0, 3.0, 3.0, -INF], SamplingParams(0.0)).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_probs_are_float32_or_better(dtype: torch.dtype) -> None:
    logits = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    probs = logits_to_probs(logits, SamplingParams())
    assert probs.dtype == probs_dtype(dtype) == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(
        probs, logits_to_probs(logits.double(), SamplingParams()).to(probs.dtype), atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "sampling"), [("t0.7.p0.95", SamplingParams(0.7, 0.95)), ("t1.0.p0.8", SamplingParams(1.0, 0.8))]
)
def test_official_top_p(shared: Path, name: str, sampling: SamplingParams) -> None:
    golden = load_file(shared / "golden" / "ar_base" / "io.safetensors")
    probs = logits_to_probs(golden["logits_full"][:, -1:], sampling)[:, 0]
    official = golden[f"topp_probs.{name}"]
    assert torch.equal(probs > 0, official > 0)
    assert torch.allclose(probs, official, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": INF}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.01}, "top-p"),
        ({"top_p": math.nan}, "top-p"),
        ({"top_k": 0}, "top-k"),
    ],
)
def test_bad_numbers_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        SamplingParams(**options)  # type: ignore[arg-type]


def test_what_is_finite() -> None:
    good = torch.tensor([[[0.0, -INF], [1.0, 2.0]]])
    assert is_finite(good)
    for bad in (math.nan, INF):
        wrong = good.clone()
        wrong[0, 1, 0] = bad
        assert not is_finite(wrong)
    assert not is_finite(torch.full((1, 1, 3), -INF))
    both = torch.stack([good[0], torch.full((2, 2), math.nan)])
    assert is_finite(both).tolist() == [True, False]
    used = torch.tensor([[True, True], [False, False]])
    assert is_finite(both, used).tolist() == [True, True]


def test_residual() -> None:
    p, q = torch.tensor([[[0.5, 0.3, 0.2, 0.0]]]), torch.tensor([[[0.2, 0.6, 0.1, 0.1]]])
    assert torch.allclose(residual(p, q), torch.tensor([[[0.3, 0.0, 0.1, 0.0]]]))
    assert torch.equal(residual(p, p), p)  # nothing is left: p itself
    below = torch.nextafter(p, torch.zeros(()))
    assert (residual(p, below)[p == 0] == 0).all()  # nothing outside p opens


def test_a_race_follows_its_weights() -> None:
    weights = torch.tensor([0.5, 0.0, 2.0, 1.5, 0.0])
    noise_keys = torch.arange(40_000)
    noise = Noise(
        noise_roots(3, noise_keys), torch.zeros(40_000, 1, dtype=torch.long), noise_keys * 0, torch.float32
    )
    tokens = gumbel_max(weights.expand(40_000, 1, 5), noise.exponential(Purpose.GUMBEL, 5))
    assert chi_square(tokens[:, 0].bincount(minlength=5), weights / weights.sum()) > 1e-4


def test_one_hot_and_probability() -> None:
    tokens = torch.tensor([[2, 0]])
    probs = one_hot(tokens, 3, torch.float64)
    assert probs.tolist() == [[[0, 0, 1], [1, 0, 0]]]
    assert probability(probs, torch.tensor([[2, 1]])).tolist() == [[1, 0]]


def test_sparse_probs() -> None:
    ids, probs = torch.tensor([[[2, 0], [1, 3]]]), torch.tensor([[[0.75, 0.25], [1.0, 0.0]]])
    assert SparseProbs(ids, probs).dense(4).tolist() == [[[0.25, 0, 0.75, 0], [0, 1, 0, 0]]]
    none = torch.zeros(1, 2, 0)
    assert torch.equal(SparseProbs(none.long(), none, floor=0.25).dense(4), torch.full((1, 2, 4), 0.25))


def test_sparse_probs_written_over_others() -> None:
    ids, probs = torch.tensor([[[2, 0], [1, 3]]]), torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])
    old = torch.full((1, 2, 4), 0.25)
    for floor in (0.0, 0.125):
        some = SparseProbs(ids, probs, floor)
        found = some.instead_of(old.clone(), torch.tensor([[False, True]]))
        assert torch.equal(found[0, 0], old[0, 0])
        assert torch.equal(found[0, 1], some.dense(4)[0, 1])
