"""Clips of one decode with conditions of their own: rows, prefills, keys, queues."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
import torch
from conditioned_model import ConditionedTiny, LeavesConditions
from sample_checks import chi_square

from vidjacobi import Guided, Request, SamplingParams, decode, decode_each
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.compiled import compiled
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import ConditionedModel, takes_conditions
from vidjacobi.testing import TinyVideoModel, check_model, joint_probs, sequence_index

GRID, VOCAB, NEW = Grid(4, 3, 4), 8, 20
EXACT = [name for name in config_names("decoder") if load_decoder(name).guarantee != "lossy" and name != "ar"]
CONTEXTS = [torch.arange(length) % VOCAB for length in (12, 5, 1, 12, 7, 9)]
COUNTS = [20, 9, 30, 12, 1, 14]
CONDITIONS = [11, 5, 11, 700, 3, 5]
SAMPLING = SamplingParams(temperature=1.0, top_p=0.9, seed=3)


def model(kind: type[ConditionedTiny] = ConditionedTiny) -> ConditionedTiny:
    return kind(VOCAB, GRID, surprise=0.5, dtype=torch.float64)


def named(decoder: str) -> list[int | None]:
    return [None] if decoder == "adaptive" else [5, 16]


def sampling_of(decoder: str) -> SamplingParams:
    greedy = load_decoder(decoder).temperature == 0
    return SamplingParams(temperature=0.0) if greedy else SAMPLING


def alone(decoder: str, window: int | None) -> list[torch.Tensor]:
    clips = zip(CONTEXTS, COUNTS, CONDITIONS, strict=True)
    return [
        decode(model(), [context], count, decoder, window, sampling_of(decoder), conditions=[own]).tokens[0]
        for context, count, own in clips
    ]


FAST = ("pathwise",)


@pytest.mark.parametrize(
    "decoder",
    [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in ("ar", *EXACT) if name not in FAST)],
)
def test_clips_of_a_batch_and_of_a_queue_are_as_alone(decoder: str) -> None:
    """Ragged contexts and lengths; six clips through two rows, so that rows take clips of other conditions."""
    for window in named(decoder):
        wanted, own = alone(decoder, window), sampling_of(decoder)
        found = decode(model(), CONTEXTS, COUNTS, decoder, window, own, conditions=CONDITIONS).tokens
        clips = zip(CONTEXTS, COUNTS, CONDITIONS, strict=True)
        requests = [
            Request(context, count, condition=one, note=row)
            for row, (context, count, one) in enumerate(clips)
        ]
        queued = {
            one.request.note: one.decoded.tokens[0]
            for one in decode_each(model(), requests, 2, decoder, window, own)
        }
        for row, tokens in enumerate(wanted):
            assert torch.equal(found[row, : COUNTS[row]], tokens)
            assert torch.equal(queued[row], tokens)


def test_tokens_depend_on_conditions() -> None:
    first, second = (
        decode(model(), CONTEXTS[:1], NEW, "pathwise", 5, clip_ids=["one"], conditions=[own]).tokens
        for own in (1, 2)
    )
    assert not torch.equal(first, second)


def test_a_condition_is_part_of_the_key_unless_a_name_is_given() -> None:
    """Of a model that does not look at its conditions, so that tokens tell the noise."""

    class Deaf(ConditionedTiny):
        def set_conditions(self, cache: Any, conditions: Any) -> None:
            pass

    contexts, own = [CONTEXTS[0]] * 3, [1, 2, 1]
    found = decode(model(Deaf), contexts, NEW, "pathwise", 5, conditions=own).tokens
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    same = decode(model(Deaf), contexts, NEW, "pathwise", 5, clip_ids=["a"] * 3, conditions=own).tokens
    assert torch.equal(same[0], same[1])
    queued = decode_each(
        model(Deaf), [Request(CONTEXTS[0], NEW, condition=one) for one in own], 3, "pathwise", 5
    )
    for one in queued:
        assert torch.equal(one.decoded.tokens[0], found[own.index(one.request.condition)])


def test_keys_of_models_without_conditions_stay() -> None:
    """The sha256 of the context alone."""
    plain = TinyVideoModel(VOCAB, GRID, surprise=0.5, dtype=torch.float64)
    conditioned = decode(model(), CONTEXTS[:1], NEW, "ar", clip_ids=["a"], conditions=[0]).tokens
    assert torch.equal(decode(plain, CONTEXTS[:1], NEW, "ar", clip_ids=["a"]).tokens, conditioned)
    name = sha256(CONTEXTS[0].int().numpy().tobytes()).hexdigest()
    wanted = decode(plain, CONTEXTS[:1], NEW, "ar", clip_ids=[name]).tokens
    assert torch.equal(decode(plain, CONTEXTS[:1], NEW, "ar").tokens, wanted)


def test_a_prefill_is_shared_by_equal_contexts_of_equal_conditions() -> None:
    contexts, own = [CONTEXTS[0]] * 4, [1, 2, 1, 1]
    names = [f"clip {row}" for row in range(4)]
    for decoder in ("pathwise", "ar"):
        found = decode(model(), contexts, NEW, decoder, 5, clip_ids=names, conditions=own)
        assert found.stats.prefill_shared_by == [3, 1, 3, 3]
        for row in range(4):
            one = decode(
                model(),
                contexts[:1],
                NEW,
                decoder,
                5,
                clip_ids=names[row : row + 1],
                conditions=own[row : row + 1],
            )
            assert torch.equal(found.tokens[row], one.tokens[0])


@pytest.mark.unchecked
def test_a_row_that_keeps_its_condition_is_seen() -> None:
    """The control: conditions that stay in their rows when these are refilled, and when a prefill is shared."""
    requests = [
        Request(context, 30, condition=one) for context, one in zip(CONTEXTS, CONDITIONS, strict=True)
    ]

    def tokens(kind: type[ConditionedTiny]) -> list[torch.Tensor]:
        found = decode_each(model(kind), requests, 2, "pathwise", 5)
        return [one.decoded.tokens[0] for one in sorted(found, key=lambda one: requests.index(one.request))]

    right, wrong = tokens(ConditionedTiny), tokens(LeavesConditions)
    assert not all(map(torch.equal, right, wrong))
    with pytest.raises(BadModelOutput, match="`copy_rows` does not copy a row"):
        check_model(model(LeavesConditions), conditions=[1, 2])


SMALL, FEW, LAW = Grid(3, 1, 2), 3, SamplingParams(temperature=1.0, top_p=1.0)
CHANCE, CAUGHT = 1e-4, 1e-6


def p_values(kind: type[ConditionedTiny], decoder: str) -> list[float]:
    """Of a queue of clips of two conditions in turn, through rows that are refilled, for each condition."""
    own, context = kind(FEW, SMALL, dtype=torch.float64), torch.tensor([0, 1])

    def requests() -> Iterator[Request]:
        for number in range(100):
            for condition in (1, 400):
                yield Request(context, 4, f"clip {number}", 16, condition=condition)

    seen: dict[int, list[torch.Tensor]] = {1: [], 400: []}
    for one in decode_each(own, requests(), 24, decoder, 3, LAW):
        seen[one.request.condition].append(one.decoded.tokens)
    found = []
    for condition, tokens in seen.items():
        joint = joint_probs(
            ConditionedTiny(FEW, SMALL, dtype=torch.float64, conditions=(condition,)), context, 4, LAW
        )
        counts = sequence_index(torch.cat(tokens), FEW).bincount(minlength=FEW**4)
        found.append(chi_square(counts, joint))
    return found


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize("decoder", ["pathwise", "fast"])
def test_a_queue_follows_the_law_of_each_condition(decoder: str) -> None:
    assert min(p_values(ConditionedTiny, decoder)) > CHANCE


@pytest.mark.slow
@pytest.mark.unchecked
def test_the_law_test_sees_rows_that_keep_their_condition() -> None:
    assert min(p_values(LeavesConditions, "pathwise")) < CAUGHT


@pytest.mark.unchecked
def test_it_keeps_the_promises_of_a_model() -> None:
    check_model(model(), conditions=[1, 2])
    check_model(ConditionedTiny(VOCAB, GRID, dtype=torch.float64, conditions=(7,)))
    with pytest.raises(InvalidArgument, match="needs a condition"):
        check_model(model())

    class Ignores(ConditionedTiny):
        def set_conditions(self, cache: Any, conditions: Any) -> None:
            pass

    with pytest.raises(BadModelOutput, match="`set_conditions` is ignored"):
        check_model(model(Ignores), conditions=[1, 2])

    class Adds(ConditionedTiny):
        def set_conditions(self, cache: Any, conditions: Any) -> None:
            cache[: len(conditions), 0] += torch.tensor(conditions)

    with pytest.raises(BadModelOutput, match="leaves something of the conditions"):
        check_model(model(Adds), conditions=[1, 2])

    class Remembers(ConditionedTiny):
        """Of the clip in the first row only."""

        def set_conditions(self, cache: Any, conditions: Any) -> None:
            cache[:, 0] = conditions[0]

    with pytest.raises(BadModelOutput, match="depend on the clips beside it"):
        check_model(model(Remembers), conditions=[1, 2])


def test_a_model_s_own_conditions() -> None:
    one = ConditionedTiny(VOCAB, GRID, dtype=torch.float64, conditions=(5,))
    two = ConditionedTiny(VOCAB, GRID, dtype=torch.float64, conditions=(5, 6))
    given = decode(model_like(()), CONTEXTS[:2], NEW, "pathwise", 5, conditions=[5, 5]).tokens
    assert torch.equal(decode(one, CONTEXTS[:2], NEW, "pathwise", 5).tokens, given)
    given = decode(model_like(()), CONTEXTS[:2], NEW, "pathwise", 5, conditions=[5, 6]).tokens
    assert torch.equal(decode(two, CONTEXTS[:2], NEW, "pathwise", 5).tokens, given)
    with pytest.raises(InvalidArgument, match="2 conditions for a batch of 3 clips"):
        decode(two, CONTEXTS[:3], NEW)
    with pytest.raises(InvalidArgument, match="2 conditions for a batch of 1 clip"):
        list(decode_each(two, [Request(CONTEXTS[0], 3)]))


def model_like(conditions: tuple[int, ...]) -> ConditionedTiny:
    return ConditionedTiny(VOCAB, GRID, dtype=torch.float64, conditions=conditions)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "each clip of this model needs a condition"),
        ([1], "1 condition for a batch of 2 clips"),
        (["a", 2], "a condition must be a whole number, not 'a'"),
        ("ab", "conditions must be a list with one for each clip, not 'ab'"),
        (7, "conditions must be a list with one for each clip, not 7"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(given: Any, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode(model(), CONTEXTS[:2], 3, conditions=given)
    assert words in str(caught.value)


def test_a_model_without_conditions_refuses_them() -> None:
    plain = TinyVideoModel(VOCAB, GRID)
    with pytest.raises(InvalidArgument, match="conditions are given, and TinyVideoModel takes none"):
        decode(plain, CONTEXTS[:1], 3, conditions=[1])
    with pytest.raises(InvalidArgument, match="takes none"):
        list(decode_each(plain, [Request(CONTEXTS[0], 3, condition=1)]))
    guided = Guided(plain, plain, 2.0)
    assert not takes_conditions(guided)
    with pytest.raises(InvalidArgument, match="conditions are given, and Guided takes none"):
        decode(guided, CONTEXTS[:1], 3, conditions=[(1, 2)])


@pytest.mark.unchecked
def test_guided_clips_have_a_condition_for_each_branch() -> None:
    branches = model(), ConditionedTiny(VOCAB, GRID, 1, 0.5, torch.float64, conditions=(9,))
    guided = Guided(*branches, 2.0)
    assert isinstance(guided, ConditionedModel)
    check_model(guided, conditions=[(1, 2), (3, None)])
    pairs = [(own, own + 1) for own in CONDITIONS]
    found = decode(guided, CONTEXTS, COUNTS, "pathwise", 5, SAMPLING, conditions=pairs).tokens
    for row, pair in enumerate(pairs):
        one = decode(
            guided, CONTEXTS[row : row + 1], COUNTS[row], "ar", sampling=SAMPLING, conditions=[pair]
        ).tokens
        assert torch.equal(found[row, : COUNTS[row]], one[0])
    # the second branch's own, where none is given
    both = decode(
        guided, CONTEXTS[:2], 9, "pathwise", 5, clip_ids=["a", "b"], conditions=[(1, 9), (2, 9)]
    ).tokens
    own = decode(
        guided, CONTEXTS[:2], 9, "pathwise", 5, clip_ids=["a", "b"], conditions=[(1, None), (2, None)]
    ).tokens
    assert torch.equal(both, own)
    for wrong, words in (
        (3, "must be a sequence with one for each of the 2 branches, not 3"),
        ((1, 2, 3), "3 conditions of a guided clip for 2 branches"),
        ((None, 1), "each clip of this model needs a condition"),
        (("x", 1), "must be a whole number"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            decode(guided, CONTEXTS[:1], 3, conditions=[wrong])
    with pytest.raises(InvalidArgument, match="conditions of 2 and 3 clips"):
        Guided(model_like((1, 2)), model_like((1, 2, 3)), 2.0)
    mixed = Guided(model_like((1, 2)), model_like((3,)), 2.0)
    assert mixed.conditions == ((1, 3), (2, 3))


def test_compiled_models_have_the_members_of_their_model() -> None:
    """Their passes are compared where networks are compiled, in tests/families."""
    assert takes_conditions(compiled(model(), backend="eager"))
    assert not takes_conditions(compiled(TinyVideoModel(VOCAB, GRID), backend="eager"))
