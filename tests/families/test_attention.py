"""Attention that would be wrong without a word is refused with the reason."""

from types import SimpleNamespace

import pytest

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.trunk import check_attention


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"_attn_implementation": "flash_attention_2"}, "takes no mask over the slots of a cache"),
        ({"_attn_implementation": "flex_attention"}, "load the network with one of sdpa, eager"),
        ({"sliding_window": 4}, "sliding_window=4 forgets its window"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "by the longest place in it"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of the kinds linear_attention"),
    ],
)
def test_other_attention_is_refused(options: dict, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        check_attention(SimpleNamespace(**{"_attn_implementation": "sdpa"} | options))


def test_a_window_that_is_switched_off_is_none() -> None:
    check_attention(SimpleNamespace(_attn_implementation="eager", sliding_window=4, use_sliding_window=False))
