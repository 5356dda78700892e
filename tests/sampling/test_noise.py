"""Noise: uniform, independent across keys, and a function of the key alone."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sample_checks import chi_square
from torch import Tensor

from vidjacobi.sampling.noise import (
    FIXED,
    Noise,
    Purpose,
    _mix32,
    exponential_from_bits,
    exponential_of,
    noise_key,
    noise_roots,
    splitmix64,
    spread_of,
)

CLIPS, WINDOW = 400, 100
CHANCE = 1e-3 / 40  # of a false alarm; about 40 statistical assertions in this file


def noise(
    clips: int = CLIPS,
    first: int = 0,
    passes: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    stride: int = 1,
    stream: int = 0,
) -> Noise:
    positions = torch.arange(first, first + WINDOW * stride, stride).expand(clips, -1)
    noise_keys = torch.arange(stream, stream + clips)
    return Noise(noise_roots(seed, noise_keys), positions, torch.full((clips,), passes), dtype)


def bins(values: Tensor, count: int = 64) -> Tensor:
    return (values * count).long().clamp(max=count - 1).flatten().bincount(minlength=count)


def is_uniform(values: Tensor) -> bool:
    return chi_square(bins(values), torch.full((64,), 1 / 64)) > CHANCE


def are_independent(a: Tensor, b: Tensor) -> bool:
    """Pairs fall evenly into an 8 x 8 grid."""
    pairs = (a * 8).long().flatten() * 8 + (b * 8).long().flatten()
    return chi_square(pairs.bincount(minlength=64), torch.full((64,), 1 / 64)) > CHANCE


def v_of(exponential: Tensor) -> Tensor:
    """The uniform that an Exp(1) number came from."""
    return -torch.expm1(-exponential)


@pytest.mark.parametrize("purpose", Purpose)
def test_draws_are_uniform(purpose: Purpose) -> None:
    assert is_uniform(noise().uniform(purpose))
    assert is_uniform(v_of(noise(clips=40).exponential(purpose, 10)))
    integers = noise().integer(purpose, 5).flatten()
    assert chi_square(integers.bincount(minlength=5), torch.full((5,), 0.2)) > CHANCE


def test_low_bits_are_uniform() -> None:
    """The last bits decide nothing alone, but sequential keys must not show in them."""
    u = noise().uniform(Purpose.ACCEPT)
    assert is_uniform((u * 2**40) % 1)


def test_neighbouring_keys_are_independent() -> None:
    own = noise().uniform(Purpose.ACCEPT)
    for other in (
        noise(first=1).uniform(Purpose.ACCEPT),
        noise(first=64).uniform(Purpose.ACCEPT),
        noise(passes=4).uniform(Purpose.ACCEPT),
        noise(stream=1).uniform(Purpose.ACCEPT),
        noise(seed=1).uniform(Purpose.ACCEPT),
        noise(seed=-1).uniform(Purpose.ACCEPT),
    ):
        assert are_independent(own, other)


@pytest.mark.parametrize(("a", "b"), combinations(Purpose, 2))
def test_purposes_are_independent(a: Purpose, b: Purpose) -> None:
    assert are_independent(noise().uniform(a), noise().uniform(b))


def test_tokens_of_a_race_are_independent() -> None:
    """Neighbouring tokens, neighbouring positions and any shift of one against the other."""
    v = v_of(noise(clips=20).exponential(Purpose.GUMBEL, 33))
    assert are_independent(v[..., :-1], v[..., 1:])
    assert are_independent(v[:, :-1], v[:, 1:])
    assert are_independent(v[:, :-1, :-1], v[:, 1:, 1:])
    assert are_independent(v[:, 1:, :-1], v[:, :-1, 1:])
    assert are_independent(v[:-1], v[1:])


def test_correlations_over_a_long_vocabulary() -> None:
    """Two keys' rows of 4,096 tokens: |r| stays below 5.5 standard deviations for every pair of 60 rows."""
    v = v_of(noise(clips=1).exponential(Purpose.GUMBEL, 4096))[0, :60]
    r = torch.corrcoef(v) - torch.eye(60, dtype=v.dtype)
    assert r.abs().max() < 5.5 / 4096**0.5


def test_only_fixed_purposes_ignore_the_pass() -> None:
    for purpose in Purpose:
        same = torch.equal(noise(passes=1).keys(purpose), noise(passes=2).keys(purpose))
        assert same == (purpose in FIXED)
    assert {Purpose.GUMBEL, Purpose.FRESH} == FIXED


def test_a_number_depends_on_its_key_alone() -> None:
    """Not on the window, the batch, or what was drawn before."""
    whole = noise(clips=5)
    part = Noise(
        noise_roots(0, torch.tensor([3, 1])),
        torch.tensor([[7, 50], [50, 7]]),
        torch.tensor([3, 3]),
        torch.float64,
    )
    part.exponential(Purpose.FRESH, 3)
    for purpose in Purpose:
        row = whole.exponential(purpose, 6)
        assert torch.equal(part.exponential(purpose, 6)[0], row[3][[7, 50]])
        assert torch.equal(part.exponential(purpose, 6)[1], row[1][[50, 7]])
        assert torch.equal(part.uniform(purpose)[1], whole.uniform(purpose)[1][[50, 7]])
        assert torch.equal(part.integer(purpose, 9)[0], whole.integer(purpose, 9)[3][[7, 50]])


def test_a_few_tokens_get_the_numbers_of_all() -> None:
    ids = torch.randint(0, 8_000, (2, WINDOW, 5), generator=torch.Generator().manual_seed(0))
    whole = noise(clips=2).exponential(Purpose.GUMBEL, 8_000)
    assert torch.equal(noise(clips=2).exponential_at(Purpose.GUMBEL, ids), whole.gather(-1, ids))


def test_keys_do_not_collide() -> None:
    keys = [noise(passes=p, stream=1000 * p).keys(purpose).flatten() for p in (1, 2) for purpose in Purpose]
    keys = torch.cat(keys)
    assert len(keys.unique()) == len(keys)
    assert len({noise_key("clip", start, sample, 0) for start in range(50) for sample in range(50)}) == 2500
    assert noise_key("a", "b") != noise_key("ab") != noise_key("a\x1eb")


def test_splitmix_is_the_published_one() -> None:
    """First outputs of the reference generator seeded with 1234567."""
    golden = 0x9E3779B97F4A7C15
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = [(1234567 + i * golden) % 2**64 for i in range(3)]
    signed = torch.tensor([state - 2**64 if state >= 2**63 else state for state in states])
    assert [value % 2**64 for value in splitmix64(signed).tolist()] == published


def test_exponential_of_every_kind_of_bits() -> None:
    """-log1p(-v), v = (h + 0.5) / 2^32: finite and positive at both ends, and float32 follows float64."""
    h = torch.tensor([0, 1, 2**20, 2**31 - 1, 2**31, 2**32 - 2**8, 2**32 - 1])
    bits = torch.where(h >= 2**31, h - 2**32, h).to(torch.int32)
    exact = exponential_from_bits(bits.clone(), torch.float64)
    single = exponential_from_bits(bits.clone(), torch.float32)
    assert exact[0].item() == pytest.approx(0.5 * 2**-32, rel=1e-9)  # the winner's end keeps its precision
    assert exact[3].item() == pytest.approx(0.6931471804, rel=1e-9)
    for values in (exact, single):
        assert values.isfinite().all()
        assert (values > 0).all()
        assert (values.diff() >= 0).all()
    below = h < 2**31
    assert torch.allclose(single.double()[below], exact[below], rtol=3e-7)
    assert torch.allclose(single.double(), exact, rtol=0.2)  # the losers' end may round


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_made_in_numpy_have_the_bits_of_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(-(2**63), 2**63 - 1, (5000,), generator=generator)
    ids = torch.randint(0, 2**20, (5000,), generator=generator)
    low, high = keys.to(torch.int32), (keys >> 32).to(torch.int32)
    expected = exponential_from_bits(_mix32(_mix32(spread_of(ids) ^ low) + high), dtype)
    assert torch.equal(exponential_of(keys, spread_of(ids), dtype), expected)
    assert len(set(expected.tolist())) > 4990


def test_float32_and_float64_share_their_bits() -> None:
    low, high = noise(dtype=torch.float32), noise()
    assert torch.allclose(low.uniform(Purpose.ACCEPT).double(), high.uniform(Purpose.ACCEPT), atol=2.0**-24)
    assert torch.equal(low.integer(Purpose.FRESH, 7), high.integer(Purpose.FRESH, 7))
    single, double = (x.exponential(Purpose.GUMBEL, 50)[:8] for x in (low, high))
    near = double < 5  # beyond, among the losers, float32 rounds v
    assert torch.allclose(single.double()[near], double[near], rtol=1e-5)
    assert (single.argmin(-1) == double.argmin(-1)).all()


def test_uniforms_stay_below_one() -> None:
    for dtype in (torch.float32, torch.float64):
        u = noise(clips=4000, dtype=dtype).uniform(Purpose.ACCEPT)
        assert u.dtype == dtype
        assert 0 <= u.min() < 1e-4
        assert 1 - 1e-4 < u.max() < 1


def test_noise_of_a_few_tokens_is_the_same_noise() -> None:
    """Made where a mask holds, or for a list of tokens: the numbers of the whole vocabulary."""
    noise = Noise(
        noise_roots(3, torch.tensor([5, 6])),
        torch.tensor([[7, 8, 9]] * 2),
        torch.tensor([1, 2]),
        torch.float32,
    )
    for vocabulary in (50, 3000):
        whole = noise.exponential(Purpose.REDRAW, vocabulary)
        mask = torch.rand(whole.shape, generator=torch.Generator().manual_seed(0)) < 0.1
        assert torch.equal(noise.exponential_where(Purpose.REDRAW, mask)[mask], whole[mask])
        ids = torch.randint(0, vocabulary, (2, 3, 4), generator=torch.Generator().manual_seed(1))
        assert torch.equal(noise.exponential_at(Purpose.REDRAW, ids), whole.gather(-1, ids))
        rows, columns = np.array([5, 0, 3]), np.array([vocabulary - 1, 0, 7])
        some = noise.exponential_for(Purpose.REDRAW, rows, columns)
        assert np.array_equal(some, whole.flatten(0, 1).numpy()[rows, columns])
