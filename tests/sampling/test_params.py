"""The numbers that a user chooses are checked where they are chosen."""

import pytest

from vidjacobi import SamplingParams
from vidjacobi.errors import InvalidArgument


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"temperature": -1.0}, "temperature must be a number >= 0, not -1.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 0.0}, "top-p must lie in (0, 1]"),
        ({"top_p": 1.5}, "top-p"),
        ({"top_p": float("nan")}, "top-p"),
        ({"top_k": 0}, "top-k must be at least 1"),
        ({"seed": 2**63}, "seed must fit 64 bits"),
        ({"seed": -(2**63) - 1}, "seed must fit 64 bits"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        SamplingParams(**numbers)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_the_temperature_is_the_users_or_the_decoders_or_one() -> None:
    assert SamplingParams(seed=3).resolve(0.0) == SamplingParams(0.0, seed=3)
    assert SamplingParams(0.5).resolve(0.0) == SamplingParams(0.5)
    assert SamplingParams().resolve(None) == SamplingParams(1.0)
    assert SamplingParams().divisor == 1
    assert SamplingParams(0.0).divisor == float("inf")
