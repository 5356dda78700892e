"""nano-image as it ships: what it has learned, and that decoders decode it as AR does."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vidjacobi
from vidjacobi.bench.likelihood import score
from vidjacobi.families.nano_image import NanoImage
from vidjacobi.families.opening import load_family
from vidjacobi.families.prompts import first_tokens

FOLDER = Path(str(resources.files("vidjacobi"))) / "assets" / "nano_image"


@pytest.fixture(scope="module")
def family() -> NanoImage:
    return load_family("nano-image", "cpu", "float32")


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.from_numpy(np.load(FOLDER / "held_out_pictures.npy").astype(np.int64))


def test_what_ships_is_small_and_knows_its_classes(family: NanoImage, pictures: Tensor) -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 12e6
    assert "kitchen" in family.classes
    assert set((pictures[:, 0] - family.trunk.vocab_size).tolist()) == set(range(len(family.classes)))
    assert int(pictures[:, 1:].max()) < family.trunk.vocab_size


def test_held_out_pictures_are_likelier_than_by_frequency(family: NanoImage, pictures: Tensor) -> None:
    """The bar is 1.5 nats below the frequencies of the training tokens, 7.9 nats (model card)."""
    whole, found = vidjacobi.SamplingParams(top_p=1.0), []
    for row in pictures[[0, 3]]:
        model = family.of_classes([int(row[0]) - family.trunk.vocab_size], 1.0)
        clip = torch.cat([first_tokens(model, 1), row[None, 1:]], 1)
        found.append(float(score(model, clip, 320, whole).nll))
    assert sum(found) / 2 < 6.4


@pytest.mark.slow
def test_a_guided_picture_is_that_of_ar(family: NanoImage) -> None:
    model = family.of_classes(["kitchen"])
    context, sampling = first_tokens(model, 1), vidjacobi.SamplingParams(top_p=0.95, seed=1)
    wanted = vidjacobi.decode(model, context, 320, "ar", sampling=sampling)
    found = vidjacobi.decode(model, context, 320, "pathwise", 32, sampling)
    assert torch.equal(found.tokens, wanted.tokens)
    assert found.stats.nfe[0] < wanted.stats.nfe[0] / 2
    assert family.pixels(found.tokens).std() > 0.05
