"""Nuclei are the same wherever a pass begins to look for their ends."""

from itertools import product

import numpy as np
import pytest
import torch

from vidjacobi.sampling import sparse_cutoffs
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.sampling.sampler import SMALL, to_truncated_probs

GUESSES = (0.0, -1.0, -1e6, -np.inf, np.inf, np.nan)


@pytest.mark.parametrize(
    "sampling", [SamplingParams(0.9), SamplingParams(1.0, 0.999), SamplingParams(0.7, 0.95, 40)]
)
@pytest.mark.parametrize("scale", [0.01, 3.0, 12.0])
def test_any_guess_finds_the_same_nuclei(
    scale: float, sampling: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = SMALL + 5
    logits = scale * torch.randn(2, 3, size, generator=torch.Generator().manual_seed(0))
    kind = size, sampling.divisor, sampling.top_p, sampling.top_k
    monkeypatch.setattr(sparse_cutoffs, "ENDS", {})
    first = to_truncated_probs(logits, sampling)
    assert set(sparse_cutoffs.ENDS) == {kind}
    for guess in GUESSES:
        sparse_cutoffs.ENDS[kind] = guess
        again = to_truncated_probs(logits, sampling)
        for one, other in zip(first.tensors, again.tensors, strict=True):
            assert torch.equal(one, other)
        assert first.sparse_rows
        assert again.sparse_rows
        for rows, others in zip(first.sparse_rows, again.sparse_rows, strict=True):
            assert np.array_equal(rows.ids, others.ids)
            assert np.array_equal(rows.probs, others.probs)


def test_the_next_pass_begins_where_the_last_one_ended_and_no_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of flat rows, whose nuclei are long, does not slow all passes after it."""
    monkeypatch.setattr(sparse_cutoffs, "ENDS", {})
    sampling, size = SamplingParams(1.0, 0.8), SMALL + 1
    x = torch.randn(1, 4, size, generator=torch.Generator().manual_seed(1))
    ends = []
    for scale in (8.0, 0.01, 8.0):
        to_truncated_probs(scale * x, sampling)
        (end,) = sparse_cutoffs.ENDS.values()
        ends.append(float(end))
    assert ends[0] == ends[2] != ends[1]


def test_few_kinds_of_sampling_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_cutoffs, "ENDS", {})
    monkeypatch.setattr(sparse_cutoffs, "KINDS_KEPT", 2)
    x = torch.randn(1, 1, SMALL + 1, generator=torch.Generator().manual_seed(1))
    for top_p, temperature in product((0.5, 0.8), (0.9, 1.0)):
        to_truncated_probs(x, SamplingParams(temperature, top_p))
    assert 0 < len(sparse_cutoffs.ENDS) <= 2
