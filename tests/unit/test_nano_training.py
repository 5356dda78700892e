"""What the nano training scripts compute apart from the training itself."""

import json
import math
from importlib import resources
from types import ModuleType

import numpy as np
import pytest
import torch
from nano_scripts import load

import vidjacobi
from cosmos_adapter.tokenizer_net import TokenizerNet


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    return load("token_counts")


def test_features_of_neighbouring_codes_are_similar(counts: ModuleType) -> None:
    features = torch.nn.functional.normalize(counts.digit_features(), dim=1)
    middle = 3 + 8 * 4 + 64 * 3 + 512 * 4
    assert features.shape[0] == 4096
    assert len(features.unique(dim=0)) == 4096
    similarity = features @ features[middle]
    assert (similarity[[middle + 1, middle + 8, middle - 64, middle + 512]] > similarity.quantile(0.99)).all()


def test_unigram_entropy(counts: ModuleType) -> None:
    assert counts.unigram_entropy(torch.arange(4096).view(4, -1)) == pytest.approx(math.log(4096))
    assert counts.unigram_entropy(torch.zeros(2, 8, dtype=torch.long)) == pytest.approx(0.0)


def test_learning_rate_rises_then_falls_with_the_larger_share_used() -> None:
    training = load("training")
    budget = training.Budget(steps=100, minutes=10.0)
    rates = []
    for budget.step in range(101):
        rates.append(budget.learning_rate(1.0, warmup=10))
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)
    budget.step, budget.seconds = 10, 540.0
    assert budget.progress == pytest.approx(0.9)


def test_the_untrained_tokenizer_already_passes_colours() -> None:
    start, rooms, specs = load("start_values"), load("rooms"), load("specs")
    clips = [rooms.render_clip(seed, frames=9) for seed in (0, 1, 2)]
    pixels = torch.stack([clip.frames for clip in clips]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    torch.manual_seed(0)
    net = TokenizerNet(specs.TOKENIZER)
    start.initialise(net, pixels[:2])
    with torch.no_grad():
        video, _ = net(pixels[2:])
    error = (video - pixels[2:]).square().mean() / 4
    spread = (pixels[2:] - pixels[2:].mean((2, 3, 4), keepdim=True)).square().mean() / 4
    assert error < 0.5 * spread


@pytest.mark.parametrize("name", ["nano", "micro"])
def test_the_shipped_transformer_is_the_one_the_scripts_build(name: str) -> None:
    text = (resources.files("vidjacobi.assets") / name / "transformer" / "config.json").read_text("utf-8")
    assert json.loads(text) == load("specs").MODELS[name].to_config()


@pytest.mark.parametrize("name", ["nano", "micro"])
def test_the_shipped_contexts_are_the_held_out_clips(name: str) -> None:
    """Rendering, scaling and encoding again give the shipped tokens, but for ties of rounding."""
    data, rooms, tokens = load("make_data"), load("rooms"), load("tokens")
    _, tokenizer = vidjacobi.load(name, device="cpu", dtype="float32")
    clip = rooms.render_clip(data.FIRST_SEED["heldout"], frames=9).frames.numpy()
    found = tokens.encode(tokenizer.codec.net, clip, tokenizer.frame_size, [])
    contexts = np.load(resources.files("vidjacobi.assets") / name / "held_out_contexts.npy")
    assert len(contexts) == 64
    assert (found == contexts[0].flatten()).mean() > 0.99
