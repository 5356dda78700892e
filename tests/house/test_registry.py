"""Looking names up."""

import pytest

from vidjacobi.decoding.strategies.couplings import COUPLINGS, Mixture
from vidjacobi.decoding.strategies.drafts import DRAFTS, PreviousFrameProbs
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import build, lookup, suggest


def test_lookup() -> None:
    assert lookup("thing", "a", {"a": 1}) == 1


def test_an_unknown_name_shows_the_nearest_and_all() -> None:
    with pytest.raises(InvalidArgument, match=r"unknown thing 'alhpa' \(did you mean 'alpha'.*alpha, beta"):
        lookup("thing", "alhpa", {"alpha": 1, "beta": 2})
    with pytest.raises(InvalidArgument, match=r"unknown thing 'zzz'. There are: alpha"):
        lookup("thing", "zzz", {"alpha": 1})


def test_suggest() -> None:
    assert suggest("windw", ["window", "guarantee"]) == " (did you mean 'window'?)"
    assert suggest("qqq", ["window"]) == ""


def test_build_passes_the_options_on() -> None:
    assert build("draft rule", {"name": "previous_frame_probs", "keep": 3}, DRAFTS) == PreviousFrameProbs(3)
    assert build("coupling", {"name": "mixture", "alpha": 0.25}, COUPLINGS) == Mixture(0.25)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "maximum"}, "did you mean 'maximal'"),
        ({}, "unknown coupling"),
        ({"name": "mixture"}, "alpha"),
        ({"name": "mixture", "alfa": 0.5}, "mixture"),
        ({"name": "mixture", "alpha": "half"}, "mixture"),
        ({"name": "maximal", "alpha": 0.5}, "alpha"),
    ],
)
def test_build_refuses(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        build("coupling", options, COUPLINGS)
