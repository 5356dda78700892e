"""A bad request or clip names itself and harms no other in the queue."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from queued import VOCAB, Counting, alone, assert_as_alone, requests, window_of
from torch import Tensor

from vidjacobi import Failed, Finished, decode, decode_each
from vidjacobi.errors import BadModelOutput, InvalidArgument

pytestmark = pytest.mark.unchecked

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
def test_a_clip_without_probs_harms_no_other(decoder: str, first: int) -> None:
    """NaN from some position on, in the prefill or after it, of one clip among others."""

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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": 0}, "rows must be at least 1"),
        ({"window": 0}, "window must be at least 1"),
        ({"positions": 25}, "positions must be 2 to the model's 24"),
        ({"positions": 1}, "positions must be 2 to the model's 24"),
        ({"decoder": "pathwize"}, "did you mean 'pathwise'"),
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
