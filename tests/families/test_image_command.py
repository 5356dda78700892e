"""``vidjacobi image``, as a user runs it, on small random checkpoints in the layouts of the releases."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pictures as tiny
import torch
from PIL import Image

import vidjacobi
from vidjacobi.cli.image_pictures import Part
from vidjacobi.cli.main import main
from vidjacobi.config.model_facts import preset
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.errors import BadOutput
from vidjacobi.estimate.family_memory import sizes_of
from vidjacobi.families.painters.contract import PainterOptions, Subject
from vidjacobi.families.painters.opening import open_painter
from vidjacobi.families.painters.t5_features import T5Features
from vidjacobi.pictures import files
from vidjacobi.runtime import choose

BARN, DOG = "a red barn in snow", "a blue dog"
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def janus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_janus(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_llamagen(tmp_path_factory.mktemp("llamagen"), "class")


@pytest.fixture
def image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command in OUT; its exit status, last line and errors."""

    def run(*words: str, out: str = "out") -> tuple[int, dict[str, Any], str]:
        status = main(
            ["image", *words, "--out", str(tmp_path / out), "--device", "cpu", "--dtype", "float32"]
        )
        said = capsys.readouterr()
        return status, json.loads(said.out.splitlines()[-1]) if status == 0 else {}, said.err

    return run


def record_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "image.json").read_text())


def hashes(out: Path) -> dict[str, str]:
    return {one["name"]: one["tokens_sha256"] for one in record_of(out)["pictures"]}


def test_pictures_of_two_prompts(image: Any, janus: str, tmp_path: Path) -> None:
    status, line, _ = image(BARN, DOG, "--model", janus, "--samples", "2", "--tokens", "--seed", "5")
    assert (status, line["new"], line["there"], len(line["outputs"])) == (0, 4, 0, 4)
    out = tmp_path / "out"
    found = record_of(out)
    assert [one["name"] for one in found["pictures"]] == [
        *("0000-0_a-red-barn-in-snow", "0000-1_a-red-barn-in-snow", "0001-0_a-blue-dog", "0001-1_a-blue-dog")
    ]
    assert found["sampling"] == {"temperature": 1.0, "top_p": 1.0, "top_k": None, "guidance": 5.0}
    assert found["config"]["seed"] == 5
    assert found["made_with"]["weights"]["model.safetensors"]["sha256"]
    one = found["pictures"][0]
    assert one["text"] == f"<|User|>: {BARN}\n\n<|Assistant|>:<begin_of_image>"
    assert one["guarantee"].startswith("identical")
    assert one["new_tokens"] == sum(one["acceptance_lengths"]) == 16
    assert one["nfe"] == len(one["acceptance_lengths"]) < 16
    assert (one["latent_grid"], one["picture_size"]) == ([4, 4], [8, 8])
    assert len(set(hashes(out).values())) == 4
    with Image.open(out / "pictures" / f"{one['name']}.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "RGB")
    assert np.load(out / "pictures" / f"{one['name']}.npy").shape == (4, 4)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 300


def test_tokens_are_those_of_the_library(image: Any, janus: str, tmp_path: Path) -> None:
    """The whole way of the command, one by one: template, ids, guidance, sampling, noise, hash."""
    image(BARN, "--model", janus, "--decoder", "ar", "--seed", "2")
    painter = open_painter("janus", Path(janus.partition(":")[2]), choose("cpu", "float32"), PainterOptions())
    words = painter.words.tokenizer  # type: ignore[attr-defined]
    ids = words(f"<|User|>: {BARN}\n\n<|Assistant|>:<begin_of_image>").input_ids
    assert ids[-1] == 7
    model = painter.family.images([ids], 1, 7, 3, 5.0)  # type: ignore[attr-defined]
    sampling = replace(preset("janus", "image").sampling, seed=2)
    context = torch.tensor([[model.vocab_size]])
    clip = (f"prompt {BARN}", 0, 0, 0)
    found = vidjacobi.decode(model, context, 16, "ar", sampling=sampling, clip_ids=[clip])
    assert list(hashes(tmp_path / "out").values()) == [hash_tokens([found.tokens[0]])]


def tokens_of(folder: Path, **names: str) -> Any:
    """The folder's tokenizer with the roles that a processor asks for."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, extra_special_tokens=names)


def janus_ids(folder: Path) -> list[int]:
    from transformers.models.janus.image_processing_janus import JanusImageProcessor
    from transformers.models.janus.processing_janus import JanusProcessor

    names = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>"}
    words = tokens_of(folder, **names, eoi_token="<end_of_image>")
    processor = JanusProcessor(JanusImageProcessor(), words)
    return (
        processor(text=f"<|User|>: {BARN}\n\n<|Assistant|>:", generation_mode="image").input_ids[0].tolist()
    )


def emu3_ids(folder: Path) -> list[int]:
    from transformers.models.emu3.image_processing_emu3 import Emu3ImageProcessor
    from transformers.models.emu3.processing_emu3 import Emu3Processor

    names = {"image_token": "<image>", "boi_token": "<|image start|>", "eoi_token": "<|image end|>"}
    words = tokens_of(folder, **names, image_wrapper_token="<|image token|>", eof_token="<|extra_201|>")
    processor = Emu3Processor(Emu3ImageProcessor(), words)
    text = f"{BARN} masterpiece, film grained, best quality."
    return processor(text=text, return_for_image_generation=True, ratio="3:2", image_area=48 * 32).input_ids[
        0
    ]


def glm_image_ids(folder: Path) -> list[int]:
    from transformers.models.glm_image.image_processing_glm_image import GlmImageImageProcessor
    from transformers.models.glm_image.processing_glm_image import GlmImageProcessor

    words = tokens_of(folder, image_token="<img>", grid_bos_token="<sop>", grid_eos_token="<eop>")
    return GlmImageProcessor(GlmImageImageProcessor(), words)(text=BARN, target_h=64, target_w=96).input_ids[
        0
    ]


@slow
@pytest.mark.parametrize(
    ("name", "size", "wanted"),
    [
        ("janus", None, janus_ids),
        ("emu3", (32, 48), emu3_ids),
        ("glm_image", (64, 96), glm_image_ids),
    ],
)
def test_prompts_are_those_of_the_processors(
    name: str, size: tuple[int, int] | None, wanted: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    """Of ``transformers``: the same ids, sizes and special tokens among them."""
    getattr(tiny, f"write_{name}")(tmp_path)
    painter = open_painter(name, tmp_path, choose("cpu", "float32"), PainterOptions(size=size))
    ids = painter.words.ids(painter.describe(Subject(BARN))["text"])  # type: ignore[attr-defined]
    assert ids == wanted(tmp_path)
    assert ids.count(0) < 2 * len(ids) / 3  # there are words among them, not only what is unknown


def test_the_release_of_glm_image_is_read_as_it_is(tmp_path: Path) -> None:
    """Weights and words lie in folders of their own, and ``tokenizer`` is another model's."""
    tiny.write_glm_image(tmp_path / "vision_language_encoder")
    (tmp_path / "processor").mkdir()
    for file in (tmp_path / "vision_language_encoder").glob("*token*"):
        file.rename(tmp_path / "processor" / file.name)
    tiny.write_words(tmp_path / "tokenizer", {"<unk>": 0}, {}, 9)
    found = [
        open_painter("glm_image", path, choose("cpu", "float32"), PainterOptions(size=(64, 64)))
        for path in (tmp_path, tmp_path / "vision_language_encoder")
    ]
    told = [painter.describe(Subject(BARN)) for painter in found]
    assert told[0] == told[1]
    assert told[0]["text"].endswith("<|dit_token_16384|>")
    assert sizes_of("glm_image", tmp_path) == sizes_of("glm_image", tmp_path / "vision_language_encoder")


@slow
@pytest.mark.unchecked
def test_pictures_depend_on_neither_rows_nor_shards_nor_interruptions(
    image: Any, janus: str, tmp_path: Path
) -> None:
    """Prompts of other lengths in one batch, two of them equal, and a list with a mark and an empty line."""
    (tmp_path / "list.txt").write_bytes(f"\ufeff{BARN}\n\n{DOG}\r\n{BARN}\nsnow\n".encode())
    wanted = ["--prompts", str(tmp_path / "list.txt"), "--model", janus]
    status, line, said = image(*wanted, "--rows", "1", out="alone")
    assert (status, line["new"]) == (0, 4)
    assert "1 empty line passed by" in said
    assert "prompt 2 is like an earlier one" in said
    alone = hashes(tmp_path / "alone")
    assert len(set(alone.values())) == 4
    image(*wanted, "--rows", "4", out="together")
    assert hashes(tmp_path / "together") == alone
    for shard in ("1/2", "0/2"):
        status, line, _ = image(*wanted, "--shard", shard, out="shards")
        assert (status, line["new"]) == (0, 2)
    assert hashes(tmp_path / "shards") == alone
    place = tmp_path / "shards" / "pictures"
    (place / "0001-0_a-blue-dog.png").unlink()
    (place / "0003-0_snow.json").write_text('{"files"')
    status, line, said = image(*wanted, out="shards")
    assert (status, line["new"], line["there"]) == (0, 2, 2)
    assert "resumes: 2 pictures done" in said
    assert hashes(tmp_path / "shards") == alone


@slow
@pytest.mark.unchecked
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_goes_on_after_an_interruption(
    number: signal.Signals, image: Any, janus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = files.PictureFolder.write, []

    def interrupted(self: Any, name: str, *rest: Any) -> Any:
        calls.append(name)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return write(self, name, *rest)

    words = [BARN, DOG, "snow", "--model", janus, "--rows", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(files.PictureFolder, "write", interrupted)
        status, _, said = image(*words)
    assert status == 128 + number
    assert f"stopped by {number.name}; what was finished is kept" in said
    assert len(record_of(tmp_path / "out")["pictures"]) == 1
    status, line, _ = image(*words)
    assert (status, line["new"], line["there"]) == (0, 2, 1)
    image(*words, out="whole")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@slow
@pytest.mark.unchecked
def test_memory_that_runs_out_is_told(
    image: Any, janus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what would take less, with what was decoded before kept."""
    done: list[int] = []

    def decoded(*rest: Any, **options: Any) -> Any:
        done.append(1)
        if len(done) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return vidjacobi.decode(*rest, **options)

    monkeypatch.setattr("vidjacobi.cli.image_pictures.decode", decoded)
    status, _, error = image(BARN, DOG, "snow", "--model", janus, "--rows", "2", "--samples", "2")
    assert status == 2
    assert "2 pictures at a time did not fit in memory: give fewer --rows than 2, a smaller --window" in error
    assert len(record_of(tmp_path / "out")["pictures"]) == 2


@slow
@pytest.mark.unchecked
def test_a_full_disk_loses_nothing_that_is_done(
    image: Any, janus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Image.Image.save

    def full(self: Any, path: Any, **options: Any) -> None:
        if len(list((tmp_path / "out" / "pictures").glob("*.json"))) == 1:
            raise OSError(28, "No space left on device")
        save(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        status, _, said = image(BARN, DOG, "--model", janus)
    assert status == 2
    assert "0001-0_a-blue-dog.png: cannot be written: No space left on device" in said
    assert len(record_of(tmp_path / "out")["pictures"]) == 1
    assert image(BARN, DOG, "--model", janus)[1]["new"] == 1


@slow
@pytest.mark.unchecked
def test_another_run_is_not_mixed_in(image: Any, janus: str, tmp_path: Path) -> None:
    words = [BARN, "--model", janus]
    image(*words)
    first = hashes(tmp_path / "out")
    for other, said in (
        (["--seed", "1"], "holds another run of pictures (config.seed: 0 there, 1 here)"),
        (["--guidance", "2"], "sampling.guidance: 5.0 there, 2.0 here"),
        (["--decoder", "ar"], "decoder.name: pathwise there, ar here"),
        (["--no-resume"], "give another --out, --resume or --overwrite"),
    ):
        status, _, error = image(*words, *other)
        assert status == 2
        assert said in error
    status, _, error = image(DOG, "--model", janus)
    assert status == 2
    assert "another picture stands here" in error
    assert hashes(tmp_path / "out") == first
    status, line, _ = image(*words, "snow")  # a list may grow
    assert (status, line["new"], line["there"]) == (0, 1, 1)
    status, line, _ = image(DOG, "--model", janus, "--overwrite")
    assert (status, line["new"]) == (0, 1)
    assert list(hashes(tmp_path / "out")) == ["0000-0_a-blue-dog"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    status, _, error = image(*words, out="mine")
    assert status == 2
    assert "holds something else (notes.txt)" in error


@slow
@pytest.mark.unchecked
def test_classes_by_number_and_name(image: Any, classes: str, tmp_path: Path) -> None:
    pixels = str(tiny.write_vq(tmp_path / "vq"))
    words = ["--model", classes, "--tokenizer", pixels, "--size", "8x8"]
    status, line, _ = image("--label", "3", "--label", "goldfish", *words)
    assert (status, line["new"]) == (0, 2)
    found = record_of(tmp_path / "out")
    assert found["sampling"] == {"temperature": 1.0, "top_p": 1.0, "top_k": 2000, "guidance": 4.0}
    assert [one["class"] for one in found["pictures"]] == [3, 1]
    assert [one["class_name"] for one in found["pictures"]] == ["tiger shark", "goldfish"]
    image("--label", "1", "--label", "tiger shark", *words, out="names")
    sha = hashes(tmp_path / "out"), hashes(tmp_path / "names")
    assert sorted(sha[0].values()) == sorted(sha[1].values())  # a class is one class, however it is called


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "goldfsh"], "no class of ImageNet is called 'goldfsh' (did you mean 'goldfish'?)"),
        (
            ["--label", "Crane"],
            "class 517: this model has the numbers 0 to 9",
        ),
        (["--label", "11"], "class 11: this model has the numbers 0 to 9"),
        ([BARN], "was trained on classes and reads no text: --label in place of 'a red barn in snow'"),
        (["--label", "1", "--negative", "bad"], "llamagen has no use for --negative"),
        (["--label", "1", "--size", "250x250"], "both sides must be multiples of 16"),
        (["--label", "1", "--size", "big"], "size is written WIDTHxHEIGHT in pixels"),
        (["--label", "1", "--decoder", "none"], "unknown decoder 'none'"),
        (["--label", "1", "--shard", "2/2"], "shard: i/n with i from 0 to n - 1 is needed"),
        ([], "nothing is asked for: give a prompt, --label, or a list with --prompts"),
        (["  "], "a prompt is empty"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_folder(
    image: Any, classes: str, tmp_path: Path, words: list[str], said: str
) -> None:
    status, _, error = image(*words, "--model", classes)
    assert status == 2
    assert said in error
    assert not (tmp_path / "out").exists()


def test_models_and_files_that_are_not_there(image: Any, janus: str, tmp_path: Path) -> None:
    for model, said in (
        ("janus", "name a family and its weights, NAME:PATH, such as janus:FOLDER"),
        ("nano", "nano makes frames that follow a clip: `vidjacobi rollout` takes it"),
        ("janus:", "says no path: name the weights too, janus:FOLDER"),
        ("januss:x", "name a family and its weights, NAME:PATH (did you mean 'janus'?)"),
        ("mineworld:x", "Minecraft frames that follow actions, no pictures: `vidjacobi rollout` takes it"),
        (f"janus:{tmp_path / 'none'}", "there is no file or folder"),
    ):
        status, _, error = image(BARN, "--model", model)
        assert status == 2, model
        assert said in error
    assert "no such" in image("--prompts", str(tmp_path / "none.txt"), "--model", janus)[2].lower()
    status, _, error = image("a <begin_of_image> dog", "--model", janus)
    assert status == 2
    assert "prompt 0: the prompt 'a <begin_of_image> dog' holds the special token <begin_of_image>" in error
    folder = tmp_path / "no_words"
    tiny.write_janus(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    status, _, error = image(BARN, "--model", f"janus:{folder}")
    assert status == 2
    assert "prompts need the one that is published beside the weights" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(image: Any, janus: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    status, _, error = image(BARN, "--model", janus)
    assert status == 2
    assert "cannot be written to" in error


@slow
def test_emu3(image: Any, tmp_path: Path) -> None:
    """Its tiny image tokenizer makes a pixel of a cell."""
    model = tiny.write_emu3(tmp_path / "emu3")
    status, _, _ = image(BARN, "--model", model, "--size", "48x32")
    found = record_of(tmp_path / "out")["pictures"][0]
    assert status == 0
    assert found["text"].endswith("masterpiece, film grained, best quality.<|image start|>4*6<|image token|>")
    assert found["negative"].startswith("lowres, bad anatomy")
    assert (found["guidance"], found["latent_grid"]) == (3.0, [4, 6])
    status, _, _ = image(BARN, "--model", model, "--size", "48x32", "--negative", "bad", out="other")
    assert record_of(tmp_path / "other")["pictures"][0]["negative"] == "bad"
    assert hashes(tmp_path / "other") != hashes(tmp_path / "out")


@slow
@pytest.mark.parametrize("name", ["lumina", "simplear", "glm_image", "emu3_5"])
def test_families_without_pixels_write_codes_and_say_so(name: str, image: Any, tmp_path: Path) -> None:
    model = getattr(tiny, f"write_{name}")(tmp_path / name)
    status, _, said = image(BARN, "--model", model, "--size", "64x64")
    assert status == 0
    assert "note: no pictures, only codes (NAME.npy):" in said
    assert record_of(tmp_path / "out")["notes"][-1].startswith("no pictures, only codes")
    (one,) = record_of(tmp_path / "out")["pictures"]
    assert one["files"] == [f"{one['name']}.npy"]
    assert one["picture_size"] is None
    assert not (tmp_path / "out" / "sheet.png").exists()
    codes = np.load(tmp_path / "out" / "pictures" / one["files"][0])
    assert codes.shape == {"glm_image": (1, 256 + 4)}.get(name, (4, 4))
    assert codes.min() >= 0
    if name == "emu3_5":
        asked = "<|extra_203|>You are a helpful assistant for t2i task. USER: a red barn in snow ASSISTANT: "
        assert one["text"] == asked + "<|extra_100|><|image start|>4*4<|image token|>"
        assert (one["guidance"], codes.max()) == (5.0, codes.max() % 6)
    if name == "lumina":
        assert one["text"] == (
            f"Generate an image of 64x64 according to the following prompt:\n{BARN}<reserved08706>"
        )
    if name == "glm_image":
        assert one["grids"] == {"preview": [16, 16], "picture": [2, 2]}
        status, _, error = image(BARN, "--model", model, "--size", "64x64", "--guidance", "3", out="guided")
        assert status == 2
        assert "has no branch to guide against: leave --guidance 3 out" in error


@pytest.mark.parametrize("coloured", [True, False])
def test_imagegpt_is_asked_for_nothing(coloured: bool, image: Any, tmp_path: Path) -> None:
    """Its pictures are of nothing in particular; their colours are in a file beside the weights."""
    model = tiny.write_imagegpt(tmp_path / "weights", coloured)
    assert image("--model", model, "--samples", "3")[0] == 0
    found = record_of(tmp_path / "out")["pictures"]
    assert [one["name"] for one in found] == ["0000-0_picture", "0000-1_picture", "0000-2_picture"]
    assert len({one["tokens_sha256"] for one in found}) == 3
    assert found[0]["files"] == ["0000-0_picture.png" if coloured else "0000-0_picture.npy"]
    assert (tmp_path / "out" / "sheet.png").exists() == coloured
    for words, said in ((["a cat"], "'a cat' out"), (["--label", "3"], "'class 3' out")):
        status, _, error = image(*words, "--model", model, out="other")
        assert (status, said in error) == (2, True)
        assert "ImageGPT reads no text and knows no classes" in error


def test_families_without_pictures_say_what_takes_them(image: Any, tmp_path: Path) -> None:
    tiny.write_emu3_tokens(tmp_path / "emu3_5", "emu3_5")
    for name, words in (
        (
            "univla",
            "UniVLA makes robot frames that follow a text, no pictures: in Python, vidjacobi.load_family",
        ),
        ("mineworld", "no pictures: `vidjacobi rollout` takes it. Families that make pictures: chameleon"),
        ("emu3_5", "has no text tokenizer .*src/tokenizer_emu3_ibq of baaivision/Emu3.5.*tokenizer.json"),
        ("janus", "there is no file or folder .*janus"),
    ):
        status, _, error = image(BARN, "--model", f"{name}:{tmp_path / name}")
        assert (status, bool(re.search(words, error))) == (2, True), error


def test_files_of_a_repository(
    image: Any, classes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LlamaGen's weights and its image tokenizer are single files of one repository."""
    there = {"c2i.pt": Path(classes.partition(":")[2]), "vq.pt": tiny.write_vq(tmp_path / "vq")}
    asked: list[str] = []

    def download(repository: str, file: str) -> str:
        asked.append(f"{repository} {file}")
        return str(there[file])

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    words = ["--label", "1", "--size", "8x8", "--model"]
    hub = "hf://owner/LlamaGen"
    assert image(*words, f"llamagen:{hub}/c2i.pt", "--tokenizer", f"{hub}/vq.pt")[0] == 0
    assert set(asked) == {"owner/LlamaGen c2i.pt", "owner/LlamaGen vq.pt"}
    image(*words, classes, "--tokenizer", str(there["vq.pt"]), out="files")
    assert hashes(tmp_path / "files") == hashes(tmp_path / "out")


@slow
def test_captions_by_an_encoder_and_by_their_features(image: Any, tmp_path: Path) -> None:
    model = tiny.write_llamagen(tmp_path / "llamagen", "caption")
    tiny.write_t5(tmp_path / "t5", 24)
    status, _, error = image(BARN, DOG, "--model", model)
    assert status == 2
    assert "name the folder of such an encoder with --text-encoder" in error
    status, _, _ = image(BARN, DOG, "--model", model, "--text-encoder", str(tmp_path / "t5"))
    assert status == 0
    features, mask = np.zeros((2, 120, 24), np.float32), np.zeros((2, 120), bool)
    reader = T5Features(tmp_path / "t5", choose("cpu", "float32"))
    for row, text in enumerate((BARN, DOG)):
        found, there = reader.of([Subject(text)])
        features[row], mask[row] = found[0], there[0]
    np.savez(tmp_path / "captions.npz", features=features, mask=mask)
    image(BARN, DOG, "--model", model, "--features", str(tmp_path / "captions.npz"), out="file")
    assert hashes(tmp_path / "file") == hashes(tmp_path / "out")
    status, _, error = image(
        BARN, DOG, "snow", "--model", model, "--features", str(tmp_path / "captions.npz"), out="three"
    )
    assert status == 2
    assert "has features of 2 captions, none of prompt 2" in error


@slow
@pytest.mark.unchecked
def test_lists_are_json_lines_too(image: Any, janus: str, tmp_path: Path) -> None:
    lines = [json.dumps(BARN), json.dumps({"prompt": DOG, "id": "d1", "source": "me"})]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    image("--prompts", str(tmp_path / "list.jsonl"), "--model", janus)
    found = record_of(tmp_path / "out")["pictures"]
    assert [(one["prompt"], one.get("id"), one["facts"]) for one in found] == [
        (BARN, None, {}),
        (DOG, "d1", {"source": "me"}),
    ]
    for text, said in (
        ('{"prompt": "a", "label": 3}', "line 1: give prompt or label, one of the two"),
        ('{"prompt": 3}', "line 1: a prompt is a text, not 3"),
        ("{prompt: a}", "line 1: not valid JSON"),
        ('"a"\n7', "line 2: write a text"),
        ("\n \n", "no prompt stands in this list"),
    ):
        (tmp_path / "list.jsonl").write_text(text)
        status, _, error = image("--prompts", str(tmp_path / "list.jsonl"), "--model", janus, out="x")
        assert status == 2, text
        assert said in error
    (tmp_path / "list.txt").write_text('{"prompt": "a"}')
    assert (
        "rename the list to list.jsonl" in image("--prompts", str(tmp_path / "list.txt"), "--model", janus)[2]
    )


def test_a_run_at_work_is_not_joined(janus: str, tmp_path: Path) -> None:
    folder = files.PictureFolder(tmp_path / "out", {"made_with": {}, "config": {}})
    with folder.opened("0/2", True, False):
        with pytest.raises(BadOutput, match="another run is at work here"), folder.opened("0/2", True, False):
            pass
        with pytest.raises(BadOutput, match="another run is at work here"), folder.opened("1/2", True, True):
            pass


@slow
@pytest.mark.unchecked
def test_a_bench_of_pictures(janus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Identical decoders decide ar's tokens; the table has a line for each decoder and window."""
    words = ["bench", "pictures", BARN, DOG, "--model", janus, "--device", "cpu", "--dtype", "float32"]
    words += ["--decoders", "pathwise", "sjd", "zipar", "--windows", "4,16", "--out", str(tmp_path / "bench")]
    assert main(words) == 0
    out = capsys.readouterr().out
    found = {(one["decoder"], one["window"]): one for one in json.loads(out.splitlines()[-1])["summary"]}
    assert [key for key in found if key[0] != "zipar"] == [
        *(("ar", 1), ("pathwise", 4), ("pathwise", 16), ("sjd", 4), ("sjd", 16))
    ]
    assert found["ar", 1]["nfe"] == 16
    assert found["pathwise", 4]["ar_agreement"] == found["pathwise", 16]["ar_agreement"] == 1.0
    assert found["sjd", 16]["ar_agreement"] < 1.0
    assert found["pathwise", 16]["tokens_per_pass"] > 1.0
    record = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert len(record["decodes"]) == 2 * len(found)
    assert "| `sjd` | 16 | lossless |" in (tmp_path / "bench" / "bench.md").read_text()
    assert main(words) == 2
    assert "exists: give another --out, or --overwrite to replace it" in capsys.readouterr().err


def test_a_folder_is_refused_before_the_model_is_loaded(image: Any, tmp_path: Path) -> None:
    """There is no model here at all."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    status, _, error = image(BARN, "--model", "janus:none", out="mine")
    assert status == 2
    assert "holds something else (notes.txt)" in error
    (tmp_path / "file").write_text("mine")
    status, _, error = image(BARN, "--model", "janus:none", out="file")
    assert status == 2
    assert "cannot be written to" in error


def test_parts_are_whole_rows() -> None:
    parts = [Part(index, 2, None, ()).of(list("abcdefg"), 2) for index in range(2)]  # type: ignore[arg-type]
    assert parts == [list("abef"), list("cdg")]


def test_a_batch_of_prompts_is_the_same_pictures(
    image: Any, janus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"{BARN}\n{DOG}\n")
    assert image("--prompts", str(prompts), "--model", janus, "--guidance", "3")[0] == 0
    asked = ["batch", str(prompts), "--model", janus, "--dtype", "float32", "--out", str(tmp_path / "batch")]
    assert main([*asked, "--devices", "cpu", "guidance=3"]) == 0
    assert hashes(tmp_path / "batch") == hashes(tmp_path / "out")
    capsys.readouterr()
    assert main([*asked, "--frames", "9", "--starts", "first"]) == 2
    assert "--starts, --frames: of clips" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--devices", "cpu"], "--device for one process or --devices"),
        (["--workers", "0"], "workers must be at least 1"),
        (["--workers", "5000"], "workers must be at most"),
    ],
)
def test_workers_that_cannot_be(image: Any, words: list[str], message: str) -> None:
    status, _, error = image("--label", "kitchen", *words)
    assert status == 2
    assert message in error


@slow
def test_two_processes_make_the_same_pictures(image: Any, janus: str, tmp_path: Path) -> None:
    """One of them is killed, and the run is taken up again."""
    words = [BARN, DOG, "--model", janus, "--samples", "3", "--rows", "2"]
    assert image(*words, out="one")[0] == 0
    out = tmp_path / "two"
    whole = [sys.executable, "-m", "vidjacobi", "image", *words, "--workers", "2", "--dtype", "float32"]
    begun = subprocess.Popen([*whole, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    workers: list[str] = []
    while not workers and begun.poll() is None:
        time.sleep(0.05)
        found = Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()
        workers = [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, error = begun.communicate(timeout=120)
    assert begun.returncode == 2
    assert "ended with exit code -9" in error
    assert image(*words, "--workers", "2", out="two")[0] == 0
    assert hashes(out) == hashes(tmp_path / "one")
