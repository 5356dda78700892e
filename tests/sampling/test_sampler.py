"""Truncated probs, whichever way they are found, against the plain form: the same tokens."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from sample_checks import truncated
from torch import Tensor

from vidjacobi.decoding.strategies.couplings import DraftEvidence, Gumbel, Maximal
from vidjacobi.decoding.strategies.verifiers import Pathwise, RejectionSampler
from vidjacobi.sampling import dense, sampler
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots
from vidjacobi.sampling.probs import (
    SamplingParams,
    SparseProbs,
    gumbel_max,
    logits_to_probs,
    probability,
    probs_dtype,
    residual,
)
from vidjacobi.sampling.sampler import draw, to_truncated_probs, top_k_probs
from vidjacobi.sampling.sparse_cutoffs import KEPT
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs

WAYS = ("sparse", "compiled", "eager on a device")
KINDS = ("flat", "middling", "peaked", "tied", "equal", "one-hot", "zeros", "mixed", "signed zeros")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SAMPLINGS = (
    SamplingParams(),
    SamplingParams(0.7, 0.95, 40),
    SamplingParams(0.0),
    SamplingParams(1.5, 1.0),
    SamplingParams(1.0, 0.999),
    SamplingParams(1.0, 0.01),
)


ToProbs = Callable[[Tensor, SamplingParams], TruncatedProbs]


@pytest.fixture(params=WAYS)
def to_probs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ToProbs:
    """From logits to probs, and so to draws, in every way in turn, although this is a CPU."""
    if request.param == "eager on a device":
        monkeypatch.setattr(sampler, "takes_sparse_path", lambda logits: False)
    return partial(to_truncated_probs, fused=request.param == "compiled")


def logits_of(kind: str, size: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Two clips, four positions."""
    x = torch.randn(2, 4, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    likeliest = x == x.amax(-1, keepdim=True)
    made = {
        "flat": x / 100,
        "middling": 3 * x,
        "peaked": 12 * x - 30,
        "tied": (2 * x).round(),
        "equal": 0 * x - 7,
        "one-hot": torch.where(likeliest, 50.0, -50.0),
        "zeros": torch.where(likeliest | (x > 0.5), x, -torch.inf),
        "mixed": x * torch.tensor([0.01, 8.0, 1.0, 3.0])[:, None],
        "signed zeros": torch.where(x > 0, 0.0, -0.0) + torch.where(x > 1.5, x - 1.5, 0),
    }
    if kind == "signed zeros":
        made[kind] = torch.where(x > 1.5, x, torch.where(x > 0, 0.0, torch.where(x > -0.5, -0.0, x)))
    return made[kind].to(dtype)


def noise_of(dtype: torch.dtype, seed: int = 0) -> Noise:
    return Noise(
        noise_roots(seed, torch.arange(2)),
        torch.arange(20, 24).expand(2, -1),
        torch.tensor([3, 5]),
        probs_dtype(dtype),
    )


def cases(sizes: tuple[int, ...]) -> Iterator[tuple[str, int, torch.dtype, SamplingParams]]:
    return product(KINDS, sizes, DTYPES, SAMPLINGS)


def test_probs_and_draws_are_those_of_the_plain_form(to_probs: ToProbs) -> None:
    """Bit for bit: which tokens are inside, their mass, the token that wins."""
    for kind, size, dtype, sampling in cases((3, 70)):
        logits, noise = logits_of(kind, size, dtype), noise_of(dtype)
        expected, found = logits_to_probs(logits, sampling), to_probs(logits, sampling)
        assert torch.equal(found.dense(), expected), (kind, size, dtype, sampling)
        wins = gumbel_max(expected, noise.exponential(Purpose.GUMBEL, size))
        assert torch.equal(draw(found, noise, Purpose.GUMBEL), wins), (kind, size, dtype, sampling)
        assert torch.equal(found.of(wins), probability(expected, wins))


@pytest.mark.parametrize("kind", ["flat", "middling", "tied", "mixed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_vocabulary(to_probs: ToProbs, kind: str, dtype: torch.dtype) -> None:
    """Rows in several blocks, next to each other nuclei of one token and of most."""
    logits, noise = logits_of(kind, 64_000, dtype), noise_of(dtype)
    expected, found = logits_to_probs(logits, SamplingParams()), to_probs(logits, SamplingParams())
    assert torch.equal(found.dense(), expected)
    wins = gumbel_max(expected, noise.exponential(Purpose.REDRAW, 64_000))
    assert torch.equal(draw(found, noise, Purpose.REDRAW), wins)


def draft_probs_of(
    to_probs: ToProbs, size: int, dtype: torch.dtype, entries: int, floor: float
) -> tuple[DraftProbs, Tensor]:
    """Probs of drafts, some carried from the last pass and some fresh; and the same dense."""
    generator = torch.Generator().manual_seed(1)
    last = to_probs(logits_of("middling", size, dtype, seed=2), SamplingParams())
    slot = torch.tensor([[2, 0, -1, -1], [-1, 3, 1, 2]])
    ids = torch.rand(2, 4, size, generator=generator).topk(entries, -1).indices
    probs = torch.rand(2, 4, entries, generator=generator, dtype=last.dtype)
    fresh = SparseProbs(ids, probs / probs.sum(-1, keepdim=True) if entries else probs, floor)
    plain = logits_to_probs(last.logits, SamplingParams())[torch.arange(2)[:, None], slot.clamp(min=0)]
    return DraftProbs(last, slot, fresh, size), torch.where((slot >= 0)[..., None], plain, fresh.dense(size))


@pytest.mark.parametrize(("entries", "floor"), [(5, 0.0), (0, 1 / 60), (60, 0.0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_verdicts_are_those_of_the_plain_form(
    to_probs: ToProbs, dtype: torch.dtype, entries: int, floor: float
) -> None:
    for kind in KINDS:
        logits, noise, size = logits_of(kind, 60, dtype, 3), noise_of(dtype), 60
        drawn, q = draft_probs_of(to_probs, size, dtype, entries, floor)
        assert torch.equal(drawn.dense(), q)
        p = logits_to_probs(logits, SamplingParams())
        drafts = gumbel_max(q, noise.exponential(Purpose.FRESH, size))
        assert torch.equal(drawn.of(drafts), probability(q, drafts))
        evidence = DraftEvidence(drafts, drawn, to_probs(logits, SamplingParams()), noise)
        kept = noise.uniform(Purpose.ACCEPT) * probability(q, drafts) < probability(p, drafts)
        left = gumbel_max(residual(p, q), noise.exponential(Purpose.REDRAW, size))
        verdict = evidence.draw(Maximal())
        assert torch.equal(verdict.kept, kept)
        assert torch.equal(verdict.tokens, torch.where(kept, drafts, left))
        assert torch.equal(
            evidence.draw(Gumbel()).tokens, gumbel_max(p, noise.exponential(Purpose.GUMBEL, size))
        )


def test_one_race_draws_a_correction_and_the_redrafts_after_it(to_probs: ToProbs) -> None:
    """Where there is one lane; slots that the pass does not read may hold anything."""
    seen = 0
    for kind in KINDS:
        logits, noise = logits_of(kind, 60, torch.float32, 3), noise_of(torch.float32)
        drawn, q = draft_probs_of(to_probs, 60, torch.float32, 5, 0.0)
        drafts = gumbel_max(q, noise.exponential(Purpose.FRESH, 60))
        evidence = DraftEvidence(drafts, drawn, to_probs(logits, SamplingParams()), noise)
        valid = torch.ones_like(drafts, dtype=torch.bool)
        valid[:, 0] = False  # an input that decides nothing
        apart = [evidence.draw(RejectionSampler()), evidence.draw(Gumbel())]
        verdict, redraft = evidence.judge(RejectionSampler(), Gumbel(), valid, True)
        assert torch.equal(verdict.kept, apart[0].kept)
        rejected = valid & ~verdict.kept
        first = rejected & (rejected.cumsum(-1) == 1)
        after = (rejected.cumsum(-1) > 0) & ~first
        assert torch.equal(verdict.tokens[first], apart[0].tokens[first])
        assert torch.equal(redraft[after], apart[1].tokens[after])
        assert torch.equal(verdict.tokens[verdict.kept], drafts[verdict.kept])
        seen += int(after.sum() > 0)
        for rules in ((RejectionSampler(), Gumbel(), valid, False), (Pathwise(), Gumbel(), valid, True)):
            verdict, redraft = evidence.judge(*rules)
            assert torch.equal(verdict.tokens, evidence.draw(rules[0]).tokens)
            assert torch.equal(redraft, apart[1].tokens)
    assert seen > 0


def test_where_nothing_is_left_the_target_is_drawn_from(to_probs: ToProbs) -> None:
    logits, noise = logits_of("middling", 40, torch.float32), noise_of(torch.float32)
    target = to_probs(logits, SamplingParams())
    wins = gumbel_max(target.dense(), noise.exponential(Purpose.REDRAW, 40))
    assert torch.equal(draw(target, noise, Purpose.REDRAW, DraftProbs.of_pass(target)), wins)


def test_drafts_before_the_first_pass(to_probs: ToProbs) -> None:
    drawn, _ = draft_probs_of(to_probs, 50, torch.float32, 6, 0.0)
    first = replace(drawn, slot=torch.full_like(drawn.slot, -1))  # none of the last pass is read
    assert torch.equal(first.dense(), drawn.fresh.dense(50))
    ids = drawn.fresh.ids[..., 0]
    assert torch.equal(first.of(ids), drawn.fresh.probs[..., 0])
    slots = torch.tensor([[1, 3], [0, 2]])
    assert torch.equal(first.slots(slots).dense(), drawn.fresh.dense(50)[torch.arange(2)[:, None], slots])


def test_only_wanted_rows_need_a_token(to_probs: ToProbs) -> None:
    target, noise = (
        to_probs(logits_of("mixed", 80, torch.float32), SamplingParams()),
        noise_of(torch.float32),
    )
    wanted = torch.tensor([[True, False, False, True], [False, False, True, False]])
    some, every = draw(target, noise, Purpose.REDRAW, None, wanted), draw(target, noise, Purpose.REDRAW)
    assert torch.equal(some[wanted], every[wanted])
    none = torch.zeros_like(wanted)
    assert draw(target, noise, Purpose.REDRAW, None, none).shape == wanted.shape


@pytest.mark.parametrize("keep", [1, 5, 40, 300])
def test_the_likeliest(to_probs: ToProbs, keep: int) -> None:
    """The likeliest ones, renormalised; distinct, and probability 0 where there are no more."""
    for kind, sampling in product(KINDS, (SamplingParams(), SamplingParams(0.0), SamplingParams(1.0, 1.0))):
        found = to_probs(logits_of(kind, 200, torch.float32), sampling)
        short, dense = top_k_probs(found, keep), found.dense()
        assert short.ids.shape[-1] == min(keep, 200)
        best = dense.topk(short.ids.shape[-1], -1).values
        rising = short.probs.sort(-1).values
        assert torch.allclose(rising, (best / best.sum(-1, keepdim=True)).sort(-1).values, atol=1e-6)
        named = torch.zeros_like(dense, dtype=torch.long).scatter_add_(
            -1, short.ids, (short.probs > 0).long()
        )
        assert named.max() == 1
        assert (dense.gather(-1, short.ids)[short.probs > 0] > 0).all()


@pytest.mark.parametrize(
    ("size", "count", "records"),
    [
        (64_000, 2, 1),
        (64_000, 5, 2),  # more than are drawn at a time
        (64_000, 12, 0),  # more than are written down: eight rows at a time are looked at again
        (600_000, 2, 0),  # and one by one
    ],
)
def test_the_tokens_are_written_down_unless_they_are_too_many(size: int, count: int, records: int) -> None:
    sampling = SamplingParams(top_p=0.98)
    logits = torch.randn(2, count, size, generator=torch.Generator().manual_seed(0)) / 100
    found, expected = to_truncated_probs(logits, sampling), logits_to_probs(logits, sampling)
    written = found.sparse_rows
    inside = int(expected.count_nonzero())
    assert (written is None) == (inside > KEPT) == (records == 0)
    if written is not None:
        assert len(written) == records
        assert sum(len(part.ids) for part in written) == inside
    assert found.alone().sparse_rows is None
    assert torch.equal(found.dense(), expected)
    positions = torch.arange(20, 20 + count).expand(2, -1)
    noise = Noise(noise_roots(0, torch.arange(2)), positions, torch.tensor([3, 5]), torch.float32)
    for purpose in (Purpose.GUMBEL, Purpose.REDRAW):
        assert torch.equal(
            draw(found, noise, purpose), gumbel_max(expected, noise.exponential(purpose, size))
        )
    best = expected.argsort(dim=-1, descending=True, stable=True)[..., :9]
    assert torch.equal(top_k_probs(found, 9).ids, best.sort(-1).values)


def test_a_wrong_guess_of_where_nuclei_end_is_noticed() -> None:
    """The first row is peaked, the others are not: what was looked at there is not enough here."""
    sharp = torch.zeros(1, 1, 5000)
    sharp[..., 7] = 40
    wide = torch.randn(1, 6, 5000, generator=torch.Generator().manual_seed(0)) / 10
    long_tail = wide.clone()
    long_tail[..., 0] = 8
    logits = torch.cat([sharp, wide, long_tail, sharp, wide], 1)
    assert torch.equal(
        to_truncated_probs(logits, SamplingParams()).dense(), logits_to_probs(logits, SamplingParams())
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_no_probs_harm_no_other(to_probs: ToProbs, bad: float) -> None:
    """Decoders refuse them later; until then nothing may fail."""
    logits = logits_of("middling", 50, torch.float32)
    good = draw(to_probs(logits, SamplingParams()), noise_of(torch.float32), Purpose.GUMBEL)
    logits[1, 2] = bad
    found = to_probs(logits, SamplingParams())
    tokens = draw(found, noise_of(torch.float32), Purpose.GUMBEL)
    others = torch.ones_like(good, dtype=torch.bool)
    others[1, 2] = False
    assert torch.equal(tokens[others], good[others])
    assert ((tokens >= 0) & (tokens < 50)).all()
    assert top_k_probs(found, 4).ids.shape == (2, 4, 4)


def test_whole_numbers_in_the_order_of_numbers() -> None:
    """-0 lies below 0, everything else as it is; and back."""
    numbers = torch.tensor([-torch.inf, -3e38, -1.5, -1e-40, -0.0, 0.0, 1e-45, 2.0, 3e38, torch.inf])
    for dtype, bits in dense.BITS.items():
        wide = numbers.to(dtype).to(probs_dtype(dtype))[None]
        codes = dense.codes_of(wide, bits)
        assert (codes.diff()[wide.diff() > 0] > 0).all()
        assert codes[0, 4] < codes[0, 5]
        back = torch.cat([dense.number_of(code, bits, wide.dtype) for code in codes.T[..., None]], 1)
        assert torch.equal(back, wide)
    lowest = torch.full((1, 1), -(2**31), dtype=torch.int32)
    assert dense.number_of(lowest, 32, torch.float32).isneginf().all()


def test_records_made_of_dense_probs() -> None:
    """The tests' own helper."""
    probs = logits_to_probs(logits_of("middling", 30, torch.float64), SamplingParams())
    assert torch.allclose(truncated(probs).dense(), probs, atol=1e-12)
