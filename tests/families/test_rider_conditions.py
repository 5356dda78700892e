"""Clips of one batch and of one queue with prompts, classes and actions of their own."""

from typing import Any

import pytest
import torch
from tiny_riders import DIM, GRID, VOCAB, condition, rider_model, tiny_trunk
from torch import Tensor, nn

from vidjacobi import Grid, Guided, Request, SamplingParams, decode, decode_each
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.compiled import compiled
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.condition_rows import ConditionRows
from vidjacobi.families.layout import Condition, Layout, after_rows
from vidjacobi.families.mineworld import MineWorld
from vidjacobi.families.model import RiderModel
from vidjacobi.models.offload import OffloadedModel, SharedDevice
from vidjacobi.models.protocol import ConditionedModel
from vidjacobi.testing import check_model

slow = pytest.mark.slow
EXACT = [name for name in config_names("decoder") if load_decoder(name).guarantee != "lossy" and name != "ar"]
CELLS = after_rows(GRID, 1, 2)
# prompts of other lengths: the longest comes when the cache has room for shorter ones only
PROMPTS = [condition(CELLS, prompt, seed) for seed, prompt in enumerate((3, 5, 2, 140, 3, 9))]
CONTEXTS = [torch.tensor([VOCAB, *range(count)]) for count in (4, 3, 0, 7, 0, 12)]
COUNTS = [6, 9, 12, 11, 4, 6]
SAMPLED = SamplingParams(temperature=1.0, top_p=0.9, seed=2)


def model(**options: Any) -> RiderModel:
    return RiderModel(tiny_trunk(**options), GRID, CELLS)


def sampling_of(decoder: str) -> SamplingParams:
    return SamplingParams(temperature=0.0) if load_decoder(decoder).temperature == 0 else SAMPLED


def alone(own: Any, decoder: str, window: int | None, conditions: list[Any]) -> list[Tensor]:
    return [
        decode(own, [context], count, decoder, window, sampling_of(decoder), conditions=[one]).tokens[0]
        for context, count, one in zip(CONTEXTS, COUNTS, conditions, strict=True)
    ]


def batched(own: Any, decoder: str, window: int | None, conditions: list[Any]) -> list[Tensor]:
    found = decode(own, CONTEXTS, COUNTS, decoder, window, sampling_of(decoder), conditions=conditions).tokens
    return [tokens[:count] for tokens, count in zip(found, COUNTS, strict=True)]


def queued(own: Any, decoder: str, window: int | None, conditions: list[Any], rows: int = 2) -> list[Tensor]:
    requests = [
        Request(context, count, condition=one, note=row)
        for row, (context, count, one) in enumerate(zip(CONTEXTS, COUNTS, conditions, strict=True))
    ]
    done = decode_each(own, requests, rows, decoder, window, sampling_of(decoder))
    return [one.decoded.tokens[0] for one in sorted(done, key=lambda one: one.request.note)]


def test_clips_of_a_batch_and_of_a_queue_are_as_alone() -> None:
    own = model()
    wanted = alone(own, "ar", None, PROMPTS)
    assert all(map(torch.equal, batched(own, "pathwise", 5, PROMPTS), wanted))
    assert all(map(torch.equal, queued(own, "pathwise", 5, PROMPTS), wanted))


@slow
@pytest.mark.parametrize("decoder", ["ar", *EXACT])
def test_so_they_are_with_every_exact_decoder(decoder: str) -> None:
    own = model()
    for window in (None,) if decoder == "adaptive" else (5, 16):
        wanted = alone(own, decoder, window, PROMPTS)
        assert all(map(torch.equal, batched(own, decoder, window, PROMPTS), wanted))
        assert all(map(torch.equal, queued(own, decoder, window, PROMPTS), wanted))


@slow
def test_conditions_that_stay_behind_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: rows of a cache that are refilled with keys and values, not with their conditions."""
    wanted, own = alone(model(), "pathwise", 5, PROMPTS), model()
    real = ConditionRows.copy_rows

    def stays(self: ConditionRows, rows: Tensor, source: ConditionRows, source_rows: Tensor) -> None:
        if not self.there[rows].all():
            real(self, rows, source, source_rows)

    monkeypatch.setattr(ConditionRows, "copy_rows", stays)
    assert not all(map(torch.equal, queued(own, "pathwise", 5, PROMPTS), wanted))


@slow
def test_a_shorter_condition_leaves_no_riders_of_the_longer_one() -> None:
    """The control: what the new condition does not have stays of the one before."""
    own, orders = model(), [3, 0, 1, 2, 4, 5]
    conditions = [PROMPTS[row] for row in orders]
    wanted = alone(own, "ar", None, conditions)
    assert all(map(torch.equal, queued(own, "pathwise", 5, conditions, rows=1), wanted))


@slow
def test_guided_clips() -> None:
    """Each branch has prompts of its own lengths."""
    own = Guided(model(), model(), 3.0)
    pairs = list(zip(PROMPTS, PROMPTS[1:] + PROMPTS[:1], strict=True))
    wanted = alone(own, "ar", None, pairs)
    for found in (batched(own, "pathwise", 5, pairs), queued(own, "pathwise", 5, pairs)):
        assert all(map(torch.equal, found, wanted))


@slow
@pytest.mark.unchecked
def test_compiled_and_offloaded_models_take_conditions() -> None:
    wanted = alone(model(), "ar", None, PROMPTS)
    made = compiled(model(), backend="eager")
    own = model()
    modules = {"transformer": own.trunk.layers, "tokenizer": nn.Identity()}
    offloaded = OffloadedModel(own, SharedDevice(modules, torch.device("cpu")))
    for other in (made, offloaded):
        assert isinstance(other, ConditionedModel)
        assert all(map(torch.equal, batched(other, "pathwise", 5, PROMPTS), wanted))
        assert all(map(torch.equal, queued(other, "pathwise", 5, PROMPTS), wanted))


@slow
@pytest.mark.unchecked
def test_it_keeps_the_promises_of_a_model() -> None:
    check_model(model(), conditions=PROMPTS[:2])
    check_model(Guided(model(), rider_model(4), 2.0), conditions=[(PROMPTS[0], None), (PROMPTS[3], None)])


def test_a_captured_cache_does_not_grow() -> None:
    """Graphs know its addresses."""
    own = rider_model(3)
    cache = own.make_cache(1, 65)
    own.set_conditions(cache, [PROMPTS[1]])
    cache.zero_()
    table = cache.rows.owner
    own.set_conditions(cache, [PROMPTS[2]])
    assert cache.rows.owner is table
    with pytest.raises(InvalidArgument, match="decode the longest first"):
        own.set_conditions(cache, [PROMPTS[3]])


def test_a_name_tells_conditions_apart_in_every_dtype() -> None:
    names = [PROMPTS[row].name for row in range(6)]
    assert len(set(names)) == 6
    layout = PROMPTS[0].layout
    given = PROMPTS[0].given
    assert Condition(layout, given.clone()).name == names[0]
    assert Condition(layout, given.float()).name != names[0]
    assert Condition(layout, given.float(), b"3 4").name == Condition(layout, given, b"3 4").name
    assert Condition(layout, given, b"3 4").name != Condition(layout, given, b"3 5").name
    assert Condition(Layout(layout.riders, layout.places + 1), given).name != names[0]


def test_what_is_no_condition_is_refused() -> None:
    own, one = model(), PROMPTS[0]
    wide = Condition(one.layout, torch.zeros(len(one.given), DIM + 1))
    other = condition(after_rows(GRID, 2, 1), 3)
    turned = Condition(Layout(one.layout.riders, one.layout.places.expand(3, -1)), one.given)
    short = condition(CELLS[:6], 3)
    for wrong, words in (
        ("a red barn", "is one of those that its family makes"),
        (wide, "33 numbers an embedding and 1 rotary a place"),
        (turned, "32 numbers an embedding and 3 rotary a place"),
        (other, "its tokens ride on other cells"),
        (short, "a condition of 7 positions for a clip of 10"),
        (Condition(one.layout, one.given[1:]), "embeddings for"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            decode(own, torch.full((1, 1), VOCAB), 9, conditions=[wrong])
    assert decode(own, torch.full((1, 1), VOCAB), 6, conditions=[short]).tokens.shape == (1, 6)
    with pytest.raises(InvalidArgument, match="a row of the cache has no condition"):
        list(own.prefill(torch.full((1, 1), VOCAB), own.make_cache(1, 65), 1))


def test_clips_of_one_world_have_actions_of_their_own() -> None:
    """Of other lengths: a shorter one is that of a model of so many frames."""
    torch.manual_seed(1)
    family = MineWorld(tiny_trunk().layers, nn.Linear(DIM, 60, bias=False, dtype=torch.float64), (2, 3), 40)
    actions = [torch.randint(40, 60, (steps, 4)) for steps in (1, 3, 2)]
    world = family.world(actions[:1], frames=4)
    given = family.world(actions).conditions
    context, counts = torch.arange(6).expand(3, -1), [6, 18, 12]
    found = decode(
        world, context, counts, "pathwise", 5, SAMPLED, clip_ids=["a", "b", "c"], conditions=given
    ).tokens
    for row, (own, count) in enumerate(zip(actions, counts, strict=True)):
        wanted = decode(
            family.world([own]), context[:1], count, "ar", sampling=SAMPLED, clip_ids=["abc"[row]]
        ).tokens
        assert torch.equal(found[row, :count], wanted[0])
    with pytest.raises(InvalidArgument, match="a condition of 12 positions for a clip of 18"):
        decode(world, context[:1], 12, conditions=given[:1])
    with pytest.raises(InvalidArgument, match="a condition of 12 positions for a clip of 18"):
        decode(world, context[:1], 12)
    assert Grid(4, 2, 3).tokens == world.max_positions
