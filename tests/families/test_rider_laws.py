"""Lossless decoders on a model with riders whose continuations are enumerated, and bugs planted in the adapter."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from sample_checks import chi_square
from tiny_riders import condition, plain_logits, tiny_trunk
from torch import Tensor

import vidjacobi
from vidjacobi import Grid, SamplingParams
from vidjacobi.config.decoder import DecoderConfig, load_decoder
from vidjacobi.families import model as model_module
from vidjacobi.families.model import RiderModel
from vidjacobi.families.seats import Places, Ranks
from vidjacobi.sampling.probs import logits_to_probs
from vidjacobi.testing import sequence_index

pytestmark = [pytest.mark.slow, pytest.mark.unchecked]
VOCAB, NEW, SAMPLES, SAMPLING = 3, 4, 6_000, SamplingParams(temperature=1.0, top_p=1.0)
RIDERS = torch.tensor([1, 2, 1, 0])  # behind the four cells
TREE = {"depth": 2, "width": 3}
CHANCE, CAUGHT = 1e-4, 1e-6


def model() -> RiderModel:
    """Its prompt has three tokens."""
    return RiderModel(tiny_trunk(VOCAB), Grid(1, 2, 2), RIDERS, [condition(RIDERS, 3, size=3.0)])


def decoder(name: str) -> DecoderConfig:
    values = load_decoder(name)
    return values if name != "sjd_pac" else load_decoder(name, {"draft_tree": TREE})


def p_value(name: str, window: int) -> float:
    """Of the samples of a decoder against the product of plain probabilities."""
    own = model()
    names = [("clip", 0, sample, 0) for sample in range(SAMPLES)]
    context = torch.full((SAMPLES, 1), VOCAB)
    found = vidjacobi.decode(own, context, NEW, decoder(name), window, SAMPLING, clip_ids=names).tokens
    every = torch.tensor(list(product(range(VOCAB), repeat=NEW)))
    clips = torch.cat([torch.full((len(every), 1), VOCAB), every], 1)
    probs = logits_to_probs(plain_logits(own, clips[:, :-1]), SAMPLING)
    joint = probs.gather(-1, every[..., None])[..., 0].prod(-1)
    return chi_square(sequence_index(found, VOCAB).bincount(minlength=len(joint)), joint)


@pytest.mark.parametrize(("name", "window"), [("pathwise", 3), ("fast", 3), ("sjd_pac", 7)])
def test_tokens_follow_the_plain_law(name: str, window: int) -> None:
    assert p_value(name, window) > CHANCE


def logits_of_the_cell(ranks: Ranks) -> Tensor:
    return torch.arange(ranks.counts.shape[1]).expand_as(ranks.counts)


def unseen(rows: Any, slots: Tensor, visible: Tensor, places: Places) -> Tensor:
    seen = SEE(rows, slots, visible, places)
    seen[..., : places.core] = False
    return seen


def one_place(places: Places, slots: Tensor) -> Tensor:
    return torch.full_like(slots, places.riders)


SEE = model_module.cells_see
BUGS: dict[str, tuple[str, int, Any, str, Callable[..., Any]]] = {
    "the logits of the cell, not of its last rider": ("pathwise", 3, Ranks, "last", logits_of_the_cell),
    "riders are not seen": ("pathwise", 3, model_module, "cells_see", unseen),
    "siblings share the slots of their riders": ("sjd_pac", 7, Places, "loose", one_place),
}


@pytest.mark.parametrize("bug", BUGS)
def test_bugs_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, window, place, function, broken = BUGS[bug]
    monkeypatch.setattr(place, function, broken)
    assert p_value(name, window) < CAUGHT
