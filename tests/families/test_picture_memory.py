"""``vidjacobi doctor`` of families: bytes by the files' numbers are those of the loaded model and its cache."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_nets as nets
import tiny_pictures as tiny
import tiny_worlds as worlds
import torch

import vidjacobi
from vidjacobi.acting import load_acted
from vidjacobi.cli.main import main
from vidjacobi.config.model_facts import model_names
from vidjacobi.estimate.family_memory import PROMPT, family_at, floats_of, sizes_of
from vidjacobi.families.model import RiderModel
from vidjacobi.families.opening import open_family
from vidjacobi.families.pairs import load_ivideogpt, load_mineworld
from vidjacobi.families.pusht_network import PushTCache
from vidjacobi.runtime import choose

GPU = "name: small\nmemory_mib: {memory}\nreserved_mib: 1\nbandwidth_gb_s: 100\ntflops: {{bfloat16: 1}}\nsource: x\n"


@pytest.fixture(scope="module")
def janus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("janus")
    tiny.write_janus(folder)
    return folder


def test_weights_and_cache_are_as_large_as_predicted(janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = open_family("janus", janus, "cpu", "float32")
    sizes, caches = sizes_of("janus", janus), []
    assert sizes.floats == sum(part.numel() for part in family.network.parameters())
    make = RiderModel.make_cache

    def kept(self: RiderModel, batch: int, slots: int) -> Any:
        caches.append(make(self, batch, slots))
        return caches[-1]

    monkeypatch.setattr(RiderModel, "make_cache", kept)
    model = family.images([[1, 20, 7], [1, 21, 7]], 1, 7, 3, 5.0)
    context = torch.tensor([list(model.prefix_tokens)] * 2)
    vidjacobi.decode(model, context, 16, window=8, clip_ids=["a", "b"])
    held = [
        part.nbytes
        for cache in caches
        for layer in cache.entries.layers
        for part in (layer.keys, layer.values)
        if len(part) == 2  # rows: those of the decode, not of a prefill that is shared
    ]
    found = sizes.parts(2, 2, 8, torch.float32)["keys and values"]
    prompt = (
        2 * 2 * 2 * sizes.layers * sizes.kv_heads * sizes.head * PROMPT * 4
    )  # which is taken to be so long
    assert sum(held) <= found <= 1.1 * sum(held) + prompt


def test_whether_it_fits(janus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--model", f"janus:{janus}", "--batch", "40", "--window", "16"]
    for memory in (2, 4000):
        (tmp_path / f"{memory}.yaml").write_text(GPU.format(memory=memory))
    assert main([*words, "--gpu", str(tmp_path / "4000.yaml")]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["fits"]
    assert line["memory"]["weights"] == 2 * floats_of(janus / "model.safetensors")
    assert main([*words, "--gpu", str(tmp_path / "2.yaml")]) == 2
    assert "and each of 40 pictures" in capsys.readouterr().err
    for asked, said in (
        ([*words, "--exact"], "says for each picture whether it is bitwise"),
        ([*words[:3], "--stream"], "without pixels: leave it out"),
    ):
        assert main(asked) == 2
        assert said in capsys.readouterr().err


def test_what_does_not_say_its_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", f"janus:{tmp_path}"]) == 2
    assert "its config.json does not say the sizes of janus" in capsys.readouterr().err
    assert main(["doctor", "--model", f"llamagen:{tmp_path}"]) == 2
    assert "must hold one file of weights, found none" in capsys.readouterr().err


def test_llamagen_is_known_by_the_shapes_in_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.write_llamagen(tmp_path / "weights", "class")
    family = vidjacobi.load_family(model, "cpu", "float32")
    found = sizes_of("llamagen", tmp_path / "weights")
    config = family.trunk.config
    assert (found.layers, found.kv_heads) == (config.num_hidden_layers, config.num_key_value_heads)
    assert (found.head, found.vocab, found.cells) == (32 // 4, family.trunk.vocab_size, 16)
    weights = sum(part.numel() for part in family.trunk.layers.parameters()) + found.vocab * 32
    assert found.floats == weights + family.condition["cls_embedding.embedding_table.weight"].numel()
    assert main(["doctor", "--model", model, "--batch", "3"]) == 0
    said = capsys.readouterr().out
    assert "3 pictures of 16 cells at a time" in said
    assert json.loads(said.splitlines()[-1])["fits"]


def test_imagegpt_says_its_sizes_in_gpt2_s_words(tmp_path: Path) -> None:
    network = nets.imagegpt().float()
    network.save_pretrained(tmp_path)
    found = sizes_of("imagegpt", tmp_path)
    assert found.floats == sum(part.numel() for part in network.parameters())
    assert (found.layers, found.kv_heads, found.head, found.cells) == (2, 4, 8, 16)


def numbers(*parts: torch.nn.Module) -> int:
    return sum(part.numel() for module in parts for part in module.parameters())


def test_worlds_say_their_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the shapes of the longest chunk: MineWorld 4 frames of 6 cells, iVideoGPT 5 behind 2 context frames."""
    runtime = choose("cpu", "float32")
    worlds.write_mineworld(tmp_path / "mineworld")
    mine, found = (
        load_mineworld(tmp_path / "mineworld", runtime).family,
        sizes_of("mineworld", tmp_path / "mineworld"),
    )
    assert found.floats == numbers(mine.layers, mine.head)
    assert (found.kv_heads, found.head, found.cells, found.given) == (2, 8, 24, 33)
    for acted, cells, given in ((True, 80, 4), (False, 84, 0)):
        folder = tmp_path / f"acted-{acted}"
        worlds.write_ivideogpt(folder, acted)
        pair, found = load_ivideogpt(folder, runtime), sizes_of("ivideogpt", folder)
        action = sum(part.numel() for part in pair.family.actions.values())
        assert found.floats == numbers(pair.family.layers, pair.family.head) + action
        assert (found.cells, found.given) == (cells, given)
        assert pair.new_tokens(pair.max_frames - pair.context) == cells
    assert main(["doctor", "--model", f"ivideogpt:{folder}", "--samples", "3"]) == 0
    assert "3 clips of 84 cells a chunk at a time" in capsys.readouterr().out
    (folder / "tokenizer" / "config.json").write_text("[]")
    assert main(["doctor", "--model", f"ivideogpt:{folder}"]) == 2
    assert "config.json" in capsys.readouterr().err


def bytes_in(cache: Any) -> int:
    """Of what a cache keeps for its rows."""
    if isinstance(cache, PushTCache):
        found = [cache.ids, cache.acted, *(part for layer in cache.layers for part in layer)]
    else:
        found = [part for layer in cache.entries.layers for part in (layer.keys, layer.values)]
    return sum(part.nbytes for part in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mineworld", "ivideogpt", "nano-pusht"])
def test_caches_of_worlds_are_as_large_as_predicted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "nano-pusht":
        write = worlds.write_mineworld if name == "mineworld" else partial(worlds.write_ivideogpt, acted=True)
        name = write(tmp_path / name)
    place, (model, _, spec) = family_at(name), load_acted(name, "cpu", "float32", one_chunk=True)
    assert place is not None
    assert spec is not None
    caches: list[Any] = []
    make = type(model).make_cache
    monkeypatch.setattr(type(model), "make_cache", lambda *given: caches.append(make(*given)) or caches[-1])
    given = {"mineworld": (6, 3), "ivideogpt": (2 * 256, 6)}.get(name.partition(":")[0], (64, 7))
    actions = torch.full((given[1], spec.width), float(8192 if "mineworld" in name else 1))
    context = torch.zeros(2, given[0], dtype=torch.long)
    new = model.max_positions - given[0]
    vidjacobi.decode(model, context, new, "pathwise", 16, conditions=[spec.condition(actions)] * 2)
    found = max(map(bytes_in, caches))  # of both rows
    wanted = sizes_of(*place).parts(2, 1, 16, torch.float32)["keys and values"]
    assert found <= wanted <= 1.1 * found


@pytest.mark.parametrize("name", ["nano-image", "nano-pusht"])
def test_bundled_models_say_their_sizes(name: str) -> None:
    place = family_at(name)
    assert place is not None
    family, found = vidjacobi.load_family(name, "cpu", "float32"), sizes_of(*place)
    trunk = family.trunk if name == "nano-image" else family.network.trunk
    kept = trunk.layers if name == "nano-image" else family.network
    assert found.cells == (320 if name == "nano-image" else 8 * 8 * 8)
    assert 0 <= found.floats - numbers(kept) < found.floats / 2
    assert found.vocab == (8064 if name == "nano-image" else 4096)


@pytest.mark.parametrize("command", ["doctor", "plan"])
def test_every_model_is_answered_in_words(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files that are not there as well: ``plan`` names the tables it has, ``doctor`` what it looked for."""
    for name in model_names("family"):
        more = ["--gpu", "h100"]
        assert main([command, "--model", f"{name}:{tmp_path / 'none'}", *more]) == 2
        said = capsys.readouterr().err
        wanted = "janus-pro-7b, lumina-7b, mineworld-" if command == "plan" else "nothing is fetched here"
        assert wanted in said, name
        assert "this command has no way to give" not in said, name


def test_exact_of_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    """A model of classes is made to be asked."""
    assert main(["doctor", "--model", "nano-image", "--exact", "--dtype", "float32"]) == 0
    assert "probes of nano-image in float32" in capsys.readouterr().out
