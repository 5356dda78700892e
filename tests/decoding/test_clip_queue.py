"""Many clips through few rows: each comes out as it does alone, early, and whatever stands beside it."""

import gc
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from queued import (
    DECODERS,
    SIZES,
    VOCAB,
    WINDOW,
    Counting,
    PlainCounting,
    assert_as_alone,
    of_all,
    requests,
    window_of,
)
from torch import Tensor

from vidjacobi import Finished, Request, decode, decode_each
from vidjacobi.decoding.prefill import has_free_rows

pytestmark = pytest.mark.unchecked


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
    model = PlainCounting()
    assert not has_free_rows(model)  # type: ignore[arg-type]
    assert_as_alone(of_all(decoder, 4, model=model), decoder)
    assert model.prefills == [4, 4, 4, 2]


def test_the_room_of_a_row_does_not_matter() -> None:
    short = [request for request in requests() if len(request.context) + request.new_tokens <= 21]
    assert_as_alone(of_all("fast", 3, short, positions=21), "fast", several=False)


def test_no_pass_waits_for_the_slowest_clip() -> None:
    """While clips wait no row is empty; after the last one only rows with a clip are fed."""
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
    model, plain = Counting(), PlainCounting()
    shared, alone = (
        decode(each, contexts, counts, decoder, window_of(decoder), clip_ids=names)  # type: ignore[arg-type]
        for each in (model, plain)
    )
    assert (model.prefills, plain.prefills) == ([3], [6])
    assert torch.equal(shared.tokens, alone.tokens)
    assert shared.stats.nfe == alone.stats.nfe
    assert torch.equal(shared.trace.accepted, alone.trace.accepted)
    assert shared.stats.prefill_shared_by == [3, 2, 3, 2, 3, 1]
    assert alone.stats.prefill_shared_by == [1] * 6


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


def run_many(count: int) -> list[int]:
    """Live tensors whenever a twentieth of the clips is finished."""

    def endless() -> Iterator[Request]:
        generator = torch.Generator().manual_seed(1)
        for _ in range(count):
            yield Request(torch.randint(0, VOCAB, (9,), generator=generator), 4, samples=1)

    live = []
    for index, _ in enumerate(decode_each(Counting(), endless(), 4, "fast", WINDOW)):
        if index % (count // 20) == 0:
            gc.collect()  # what earlier tests left in circles is no part of it
            live.append(sum(type(part) is Tensor for part in gc.get_objects()))
    return live


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, 1000])
def test_memory_is_that_of_the_rows(count: int) -> None:
    """However many clips there are."""
    live = run_many(count)
    assert len(live) == 20
    assert max(live[10:]) <= max(live[1:10]) + 5
