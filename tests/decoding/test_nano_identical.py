"""The shipped world model: pathwise decoding is AR decoding, token for token."""

import pytest
import torch

import vidjacobi
from vidjacobi.bench.material import contexts_of
from vidjacobi.models.protocol import flatten

pytestmark = pytest.mark.unchecked


@pytest.fixture(scope="module")
def exact() -> tuple:
    """(model in float64, two contexts, AR's next 400 tokens)."""
    pair = vidjacobi.load("nano", device="cpu", dtype="float64")
    contexts = flatten(pair[0], contexts_of("nano", pair)[:2])
    return pair[0], contexts, vidjacobi.decode(pair[0], contexts, 400, "ar").tokens


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 2, 7, 16, 33, 64, 128])
def test_pathwise_is_ar_in_float64(exact: tuple, window: int) -> None:
    model, contexts, oracle = exact
    found = vidjacobi.decode(model, contexts, 400, "pathwise", window)
    assert torch.equal(found.tokens, oracle)
    assert max(found.stats.nfe) <= 400
    if window >= 16:
        assert max(found.stats.nfe) < 200  # drafts are right often enough to matter


@pytest.mark.slow
def test_a_clip_alone_equals_the_clip_in_a_batch(exact: tuple) -> None:
    model, contexts, oracle = exact
    assert torch.equal(vidjacobi.decode(model, contexts[1:], 400, "pathwise", 32).tokens, oracle[1:])
