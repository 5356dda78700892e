"""Many clips through few rows: each comes out as it does alone, early, and whatever stands beside it."""

import gc
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from vidjacobi import Decoded, Failed, Finished, Request, decode, decode_each
from vidjacobi.config import config_names
from vidjacobi.decoders import jacobi, rows
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.geometry import Grid
from vidjacobi.law_memory import LawMemory
from vidjacobi.model import has_free_rows
from vidjacobi.nuclei import Nuclei
from vidjacobi.state import DecodeState, Window
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked

DECODERS = config_names("decoder")
GRID, VOCAB, WINDOW = Grid(4, 2, 3), 8, 5
# (context, new tokens, futures): whole frames, mid-row, one token of either, more futures than some batches have rows
SIZES = [(6, 18, 1), (1, 20, 2), (10, 3, 3), (7, 1, 1), (12, 12, 5), (6, 18, 1), (20, 4, 1)]


class Counting(TinyVideoModel):
    """Notes the sizes of prefills and passes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(VOCAB, GRID, surprise=0.5, dtype=torch.float64, **options)
        self.prefills: list[int] = []
        self.passes: list[int] = []

    def prefill(self, tokens: Tensor, *rest: Any) -> Iterator[Tensor]:
        self.prefills.append(len(tokens))
        yield from super().prefill(tokens, *rest)
        self.passes.pop()  # that of this prefill

    def forward(self, tokens: Tensor, *rest: Any) -> Tensor:
        self.passes.append(len(tokens))
        return super().forward(tokens, *rest)


class Stiff:
    """The same model without ``move`` and ``copy_rows``."""

    def __init__(self) -> None:
        model = Counting()
        for name in ("vocab_size", "max_positions", "prefix_tokens", "device", "dtype", "prefills", "passes"):
            setattr(self, name, getattr(model, name))
        for name in ("grid_for", "make_cache", "prefill", "forward"):
            setattr(self, name, getattr(model, name))


def requests() -> list[Request]:
    generator = torch.Generator().manual_seed(0)
    return [
        Request(torch.randint(0, VOCAB, (context,), generator=generator), new, f"clip {index}", samples)
        for index, (context, new, samples) in enumerate(SIZES)
    ]


def window_of(decoder: str) -> int | None:
    return None if decoder == "ar" else WINDOW


@cache
def alone(decoder: str) -> dict[tuple[str, int], Decoded]:
    """Every future by (clip, sample), decoded on its own."""
    found = {}
    for request in requests():
        for sample in request.numbers:
            name = (str(request.name), 0, sample, 0)
            context, new = request.context[None], request.new_tokens
            found[name[0], sample] = decode(
                Counting(), context, new, decoder, window_of(decoder), clip_ids=[name]
            )
    return found


def of_all(decoder: str, rows: int, wanted: Any = None, model: Any = None, **options: Any) -> list[Finished]:
    """What comes out of the queue."""
    wanted = requests() if wanted is None else wanted
    found = list(decode_each(model or Counting(), iter(wanted), rows, decoder, window_of(decoder), **options))
    assert all(isinstance(one, Finished) for one in found)
    return found  # type: ignore[return-value]


def assert_as_alone(found: list[Finished], decoder: str, several: bool = True) -> None:
    """Tokens, numbers and traces; ``several``: all of the requests."""
    expected = alone(decoder)
    for one in found:
        own, got = expected[str(one.request.name), one.sample], one.decoded
        assert torch.equal(got.tokens, own.tokens)
        assert got.stats.nfe == own.stats.nfe
        assert got.stats.positions == own.stats.positions
        assert got.stats.tokens_per_pass == own.stats.tokens_per_pass
        for part in ("decided", "accepted", "changed", "pending", "evaluated", "decided_in", "redrafted"):
            assert torch.equal(getattr(got.trace, part), getattr(own.trace, part)), part
        assert (
            len(got.trace.seconds) == len(got.trace.forward_seconds) == got.stats.passes == got.stats.nfe[0]
        )
        assert got.stats.law == own.stats.law
    if several:
        assert sorted((str(one.request.name), one.sample) for one in found) == sorted(expected)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_future_comes_out_as_it_does_alone(decoder: str, batch: int) -> None:
    found = of_all(decoder, batch)
    assert_as_alone(found, decoder)
    assert [one.decoded.stats.prefill_shared_by for one in found if one.request.name == "clip 0"] == [[1]]


@pytest.mark.parametrize("decoder", ["pathwise", "fast", "pjd_refresh", "adaptive", "ar"])
def test_the_order_of_arrival_does_not_matter(decoder: str) -> None:
    for seed in range(3):
        wanted = requests()
        random.Random(seed).shuffle(wanted)
        assert_as_alone(of_all(decoder, 3, wanted), decoder)


@pytest.mark.parametrize("decoder", ["pathwise", "fast", "zipar"])
def test_a_model_that_cannot_copy_rows_decodes_batch_after_batch(decoder: str) -> None:
    model = Stiff()
    assert not has_free_rows(model)  # type: ignore[arg-type]
    assert_as_alone(of_all(decoder, 4, model=model), decoder)
    assert model.prefills == [4, 4, 4, 2]


def test_the_room_of_a_row_does_not_matter() -> None:
    short = [request for request in requests() if len(request.context) + request.new_tokens <= 21]
    assert_as_alone(of_all("fast", 3, short, positions=21), "fast", several=False)


def test_no_pass_waits_for_the_slowest_clip() -> None:
    """While clips wait no row is empty; behind the last one only rows with a clip are fed."""
    model = Counting()
    found = of_all("jacobi", 3, model=model)
    rows_fed = sum(one.decoded.stats.nfe[0] - 1 for one in found)
    assert sum(model.passes) == rows_fed
    assert model.passes == sorted(model.passes, reverse=True)
    assert model.passes.count(3) > len(model.passes) / 2
    names = [one.request.name for one in found]
    assert names != sorted(names, key=str)


def test_requests_are_taken_when_a_row_is_free() -> None:
    """Never more than the rows hold, and one whose futures wait."""
    taken: list[Request] = []

    def lazily() -> Iterator[Request]:
        for request in requests():
            taken.append(request)
            yield request

    finished: list[Finished] = []
    for one in decode_each(Counting(), lazily(), 2, "jacobi", WINDOW):
        assert isinstance(one, Finished)
        finished.append(one)
        complete = [
            request
            for request in taken
            if sum(done.request is request for done in finished) == len(request.numbers)
        ]
        assert len(taken) - len(complete) <= 2 + 1
    assert len(taken) == len(SIZES)


@pytest.mark.parametrize("decoder", ["pathwise", "ar"])
def test_a_queue_that_has_nothing_ready_holds_nobody_up(decoder: str) -> None:
    """None now and then, also at the beginning and the end; the rows in flight go on."""
    model, waits, seen = Counting(), [], []

    def slowly() -> Iterator[Request | None]:
        yield None
        for request in requests():
            yield request
            while request.name == "clip 1" and len(seen) < 3 and len(waits) < 200:  # the others come later
                waits.append(1)
                yield None
            yield None

    for one in decode_each(model, slowly(), 3, decoder, window_of(decoder)):
        assert isinstance(one, Finished)
        seen.append(one)
    assert_as_alone(seen, decoder)
    assert 0 < len(waits) < 200


@pytest.mark.parametrize("decoder", ["pathwise", "fast", "ar"])
def test_futures_of_one_context_share_its_prefill(decoder: str) -> None:
    model, wanted = Counting(), [request for request in requests() if request.name == "clip 4"]
    found = of_all(decoder, 8, wanted, model)
    assert model.prefills == [1]
    assert_as_alone(found, decoder, several=False)
    stats = [one.decoded.stats for one in found]
    assert [one.prefill_shared_by for one in stats] == [[5]] * 5
    assert sum(one.shared_nfe[0] for one in stats) == pytest.approx(sum(one.nfe[0] - 1 for one in stats) + 1)


@pytest.mark.parametrize("decoder", ["pathwise", "fast", "ar"])
def test_equal_contexts_of_a_batch_share_a_prefill(decoder: str) -> None:
    """Also among others of other lengths; a model that cannot copy rows prefills every row."""
    three = [requests()[index] for index in (4, 1, 4, 1, 4, 0)]
    contexts, counts = [one.context for one in three], [9, 4, 12, 20, 1, 18]
    names = [f"future {index}" for index in range(6)]
    model, stiff = Counting(), Stiff()
    shared, plain = (
        decode(each, contexts, counts, decoder, window_of(decoder), clip_ids=names)  # type: ignore[arg-type]
        for each in (model, stiff)
    )
    assert (model.prefills, stiff.prefills) == ([3], [6])
    assert torch.equal(shared.tokens, plain.tokens)
    assert shared.stats.nfe == plain.stats.nfe
    assert torch.equal(shared.trace.accepted, plain.trace.accepted)
    assert shared.stats.prefill_shared_by == [3, 2, 3, 2, 3, 1]
    assert plain.stats.prefill_shared_by == [1] * 6


def test_some_futures_of_a_clip() -> None:
    """Those that are missing, by number."""
    request = replace(requests()[4], samples=[4, 1])
    found = of_all("pathwise", 2, [request])
    assert sorted(one.sample for one in found) == [1, 4]
    assert_as_alone(found, "pathwise", several=False)


def test_start_and_chunk_key_the_noise() -> None:
    wanted = [replace(requests()[0], **more) for more in ({}, {"start": 1}, {"chunk": 1}, {"name": "x"})]
    tokens = [one.decoded.tokens for one in of_all("ar", 4, wanted)]
    assert len({tuple(row[0].tolist()) for row in tokens}) == 4
    unnamed = of_all("ar", 1, [replace(requests()[0], name=None)])[0].decoded.tokens
    assert torch.equal(unnamed, decode(Counting(), requests()[0].context[None], 18, "ar").tokens)


@pytest.mark.usefixtures("ticking_clock")
def test_shares_add_up_to_the_time_that_passed() -> None:
    for decoder in ("pathwise", "ar"):
        found = of_all(decoder, 3)
        assert sum(one.share for one in found) < sum(one.decoded.stats.seconds for one in found)
        assert all(0 < one.share <= one.decoded.stats.seconds for one in found)
        assert of_all(decoder, 1, [requests()[0]])[0].share > 0


BAD = {
    "a token outside": (lambda one: replace(one, context=one.context + VOCAB), "outside the vocabulary of 8"),
    "too long": (lambda one: replace(one, new_tokens=23), "exceed the model's 24 positions"),
    "no future": (lambda one: replace(one, samples=0), "samples must be at least 1"),
    "a future twice": (lambda one: replace(one, samples=[1, 1]), "different numbers"),
    "an empty context": (lambda one: replace(one, context=one.context[:0]), "context is empty"),
}


@pytest.mark.parametrize("decoder", ["pathwise", "ar"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_names_its_clip_and_harms_no_other(case: str, decoder: str) -> None:
    spoil, words = BAD[case]
    wanted = [spoil(one) if one.name == "clip 2" else one for one in requests()]
    found = list(decode_each(Counting(), wanted, 3, decoder, window_of(decoder), keep_going=True))
    failed = [one for one in found if isinstance(one, Failed)]
    assert [(one.request, one.sample) for one in failed] == [(wanted[2], None)]
    assert "clip 'clip 2'" in str(failed[0].error)
    assert words in str(failed[0].error)
    good = [one for one in found if isinstance(one, Finished)]
    assert len(good) == len(alone(decoder)) - 3
    assert_as_alone(good, decoder, several=False)
    with pytest.raises(InvalidArgument, match="clip 'clip 2'"):
        list(decode_each(Counting(), wanted, 3, decoder, window_of(decoder)))


@pytest.mark.parametrize("decoder", ["pathwise", "fast", "ar"])
@pytest.mark.parametrize("first", [5, 9])
def test_a_clip_without_laws_harms_no_other(decoder: str, first: int) -> None:
    """NaN from some position on, in the prefill or behind it, of one clip among others."""

    class Broken(Counting):
        def forward(self, *inputs: Any) -> Tensor:
            logits = super().forward(*inputs)
            codes = inputs[4][: len(logits), :2]
            own = self._weights[torch.arange(2), requests()[0].context[:2]]
            sick = (codes == own).all(1, keepdim=True) if codes.shape[1] == 2 else codes < 0
            return torch.where((sick & (inputs[1] >= first))[..., None], torch.nan, logits)

    found = list(decode_each(Broken(), requests(), 3, decoder, window_of(decoder), keep_going=True))
    failed = [one for one in found if isinstance(one, Failed)]
    assert [(one.request.name, one.sample) for one in failed] == [("clip 0", 0)]
    assert isinstance(failed[0].error, BadModelOutput)
    assert "not finite" in str(failed[0].error)
    assert_as_alone([one for one in found if isinstance(one, Finished)], decoder, several=False)
    with pytest.raises(BadModelOutput):
        list(decode_each(Broken(), requests(), 3, decoder, window_of(decoder)))


def run_many(count: int) -> list[int]:
    """Live tensors whenever a twentieth of the clips is finished."""

    def endless() -> Iterator[Request]:
        generator = torch.Generator().manual_seed(1)
        for _ in range(count):
            yield Request(torch.randint(0, VOCAB, (9,), generator=generator), 4, samples=1)

    live = []
    for index, _ in enumerate(decode_each(Counting(), endless(), 4, "fast", WINDOW)):
        if index % (count // 20) == 0:
            live.append(sum(type(part) is Tensor for part in gc.get_objects()))
    return live


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_memory_is_that_of_the_rows(count: int) -> None:
    """However many clips there are."""
    live = run_many(count)
    assert len(live) == 20
    assert max(live[10:]) <= max(live[1:10]) + 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": 0}, "rows must be at least 1"),
        ({"window": 0}, "window must be at least 1"),
        ({"positions": 25}, "positions must be 2 to the model's 24"),
        ({"positions": 1}, "positions must be 2 to the model's 24"),
        ({"decoder": "pathwize"}, "did you mean 'pathwise'"),
        ({"seed": 1 << 63}, "seed must fit 64 bits"),
        ({"positions": 20}, "24 positions, context and new tokens, are more than positions=20"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(decode_each(Counting(), requests(), **options))
    assert words in str(caught.value)


def test_rows_with_conditions_of_their_own_are_refused() -> None:
    model = Counting()
    model.rows_alike = False
    with pytest.raises(InvalidArgument, match="condition of its own"):
        decode_each(model, requests())
    assert decode(model, requests()[0].context[None].repeat(2, 1), 3).stats.prefill_shared_by == [1, 1]
    assert model.prefills == [2]


# What a refill must not leave behind, and what must move with a row. Each is caught by the test of the first lines.


def keep_the_cache(patch: pytest.MonkeyPatch) -> None:
    """The entries of the old clip stay."""
    patch.setattr(Counting, "copy_rows", lambda *_: None)


def copy_too_little(patch: pytest.MonkeyPatch) -> None:
    """The last entry of the context is forgotten."""

    def short(self: Any, cache: Tensor, into: Tensor, source: Tensor, of: Tensor) -> None:
        cache[into, : source.shape[1] - 1] = source[of, :-1]

    patch.setattr(Counting, "copy_rows", short)


def move_no_entries(patch: pytest.MonkeyPatch) -> None:
    """A row that moves into a gap leaves its entries behind."""
    copied = TinyVideoModel.copy_rows

    def only_new(self: Any, cache: Tensor, into: Tensor, source: Tensor, of: Tensor) -> None:
        if cache is not source:
            copied(self, cache, into, source, of)

    patch.setattr(Counting, "copy_rows", only_new)


def keep_the_memory(patch: pytest.MonkeyPatch) -> None:
    """A new clip drafts from the laws of the row above it."""
    beside = LawMemory.beside

    def wrong(self: LawMemory, other: LawMemory) -> LawMemory:
        both = beside(self, other)
        both.ids[len(self.ids) :], both.probs[len(self.ids) :] = self.ids[-1:], self.probs[-1:]
        return both

    patch.setattr(LawMemory, "beside", wrong)


def keep_the_passes(patch: pytest.MonkeyPatch) -> None:
    """A new clip goes on counting where the old one was."""
    beside = rows.beside

    def wrong(first: DecodeState, second: DecodeState) -> DecodeState:
        return beside(first, replace(second, passes=first.passes[-1:].repeat(len(second.passes))))

    patch.setattr(jacobi, "beside", wrong)


def keep_the_drafts(patch: pytest.MonkeyPatch) -> None:
    """A new clip's window holds the slots of another's, and their laws."""
    empty = rows._with_window

    def wrong(state: DecodeState, window: Window | None, laws: Nuclei | None) -> DecodeState:
        if state.window is not None or window is None:
            return empty(state, window, laws)
        last = torch.full_like(state.frontier, len(window.inputs) - 1)
        taken = rows.rows_of(window, last)
        targets = state.frontier[:, None] + torch.arange(window.inputs.shape[1])
        moved = replace(taken, inputs=targets - 1, valid=torch.ones_like(taken.valid))
        return replace(state, window=moved, laws=laws and rows.rows_of(laws, last))

    patch.setattr(rows, "_with_window", wrong)


CONTROLS = [
    (keep_the_cache, "pathwise"),
    (copy_too_little, "pathwise"),
    (move_no_entries, "pathwise"),
    (keep_the_memory, "pathwise"),
    (keep_the_memory, "fast"),
    (keep_the_passes, "fast"),
    (keep_the_drafts, "fast"),
]


@pytest.mark.parametrize(("control", "decoder"), CONTROLS)
def test_a_broken_refill_is_caught(control: Any, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(decoder)
    control(monkeypatch)
    with pytest.raises(AssertionError):
        assert_as_alone(of_all(decoder, 3), decoder)
