"""nano-image: its files, its classes, and that a picture is decoded as AR decodes it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_nano_image import CLASSES, write_checkpoint

import vidjacobi
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.nano_image import NanoImage
from vidjacobi.families.opening import FamilyName, family_name, open_family
from vidjacobi.families.painters.contract import PainterOptions, Subject
from vidjacobi.families.painters.opening import open_painter
from vidjacobi.families.prompts import first_tokens
from vidjacobi.runtime import choose


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> NanoImage:
    folder = write_checkpoint(tmp_path_factory.mktemp("tiny") / "nano_image")
    return open_family("nano-image", folder, "cpu", "float32")


def test_a_picture_of_a_class(tiny: NanoImage) -> None:
    """Names and numbers mean the same; guided ``pathwise`` decides AR's tokens; another class, another picture."""
    sampling = vidjacobi.SamplingParams(temperature=1.0, top_p=0.9, seed=2)
    assert tiny.classes == tuple(CLASSES)
    model = tiny.of_classes(["kitchen", 2], scale=3.0)
    context = first_tokens(model, 2)
    wanted = vidjacobi.decode(model, context, 12, "ar", None, sampling, ["a", "a"]).tokens
    found = vidjacobi.decode(
        tiny.of_classes([1, "meadow"], 3.0), context, 12, "pathwise", 5, sampling, ["a", "a"]
    ).tokens
    assert torch.equal(found, wanted)
    assert not torch.equal(found[0], found[1])  # the same noise: what differs is the class
    alone = vidjacobi.decode(
        tiny.of_classes(["kitchen"], 1.0), context[:1], 6, "ar", None, sampling, ["a"]
    ).tokens
    assert not torch.equal(alone[0], wanted[0, :6])  # the guidance tells


def test_tokens_become_a_picture(tiny: NanoImage) -> None:
    tokens = torch.arange(640).view(2, 320) % 8064
    pictures = tiny.pixels(tokens)
    assert pictures.shape == (2, 3, 128, 160)
    assert 0 <= pictures.min() < pictures.max() <= 1
    with pytest.raises(InvalidArgument, match="a picture has 320 tokens, not 319"):
        tiny.pixels(tokens[:, :319])


def test_classes_that_are_not_there(tiny: NanoImage) -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'kitchen'"):
        tiny.of_classes(["kitchn"])
    for wrong in (3, -1, True):
        with pytest.raises(InvalidArgument, match="numbers 0 to 2, which are cave, kitchen, meadow"):
            tiny.of_classes([wrong])


def test_files_are_read_strictly(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "one")
    weights, config = folder / "model.safetensors", folder / "config.json"
    sizes = json.loads(config.read_text())
    for broken, words in (
        ({"classes": CLASSES[:2]}, "classes"),
        ({"rank": "six"}, "no nano-image"),
        ({"vocab_size": 8000}, "codes"),
        ({"dim": 25}, "no nano-image"),
    ):
        config.write_text(json.dumps({**sizes, **broken}))
        with pytest.raises(BadCheckpoint, match=words):
            open_family("nano-image", folder, "cpu", "float32")
    config.write_text(json.dumps(sizes))
    state = load_file(weights)
    left = state.pop("model.norm.weight")
    save_file(state, weights)
    with pytest.raises(BadCheckpoint, match=r"missing \(1\): model.norm.weight"):
        open_family("nano-image", folder, "cpu", "float32")
    save_file({**state, "model.norm.weight": left, "more": left.clone()}, weights)
    with pytest.raises(BadCheckpoint, match=r"unexpected \(1\): more"):
        open_family("nano-image", folder, "cpu", "float32")
    config.unlink()
    with pytest.raises(BadCheckpoint, match="export-image"):
        open_family("nano-image", folder, "cpu", "float32")


def test_a_grid_that_the_tokenizer_does_not_make(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "one")
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "video_latent_shape": [1, 8, 10]}))
    with pytest.raises(BadCheckpoint, match=r"nano's tokenizer makes \(1, 16, 20\) out of 8064"):
        open_family("nano-image", folder, "cpu", "float32")


def test_the_painter_of_the_command(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "one")
    painter = open_painter("nano-image", folder, choose("cpu", "float32"), PainterOptions())
    assert painter.describe(Subject(label="kitchen")) == {"class": 1, "class_name": "kitchen"}
    assert painter.describe(Subject(label=2)) == {"class": 2, "class_name": "meadow"}
    assert painter.grid.tokens == 320
    assert painter.model(
        [Subject(label=1), Subject(label=1)], 2.0
    ).rows_alike  # one condition: a shared prefill
    with pytest.raises(
        InvalidArgument, match="reads no text: --label CLASS in place of 'a kitchen', one of cave"
    ):
        painter.describe(Subject(prompt="a kitchen"))
    with pytest.raises(InvalidArgument, match="no use for --size"):
        open_painter("nano-image", folder, choose("cpu", "float32"), PainterOptions(size=(128, 160)))


def test_its_name_alone_is_that_of_the_bundled_weights() -> None:
    found = family_name("nano-image")
    assert found is not None
    assert found.weights.parts[-2:] == ("assets", "nano_image")
    assert family_name("nano-image:mine") == FamilyName("nano-image", "mine")
