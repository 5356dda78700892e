"""Synthetic checkpoints in the official layout, and what loading one takes, at full size too."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_pair import MODEL, TOKENIZER

import vidjacobi
from cosmos_adapter.synthetic import lay_out, write_synthetic
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import PRESETS, ModelSpec
from cosmos_adapter.transformer.weights import load_network
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.processes import process_memory

FULL_SIZE = "VIDJACOBI_FULL_SIZE"  # a folder with 9 GB of room: the 4B checkpoint is written and read there
# A process that loads a checkpoint and reads every weight: it prints the bytes of the weights, the most memory that
# it had, and the seconds of the load.
LOADING = """
import json, sys, time
from pathlib import Path
import torch
import vidjacobi
from vidjacobi.processes import process_memory
vidjacobi.load("nano", "cpu", "float32")  # so that everything is imported
Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
before, began = process_memory()["VmHWM"], time.perf_counter()
model, tokenizer = vidjacobi.load(Path(sys.argv[1]), "cpu", "bfloat16")
seconds, loaded = time.perf_counter() - began, process_memory()["VmHWM"] - before
modules = model.network, tokenizer.codec.net
sums = [float(part.sum()) for module in modules for part in module.parameters()]
assert all(map(torch.isfinite, torch.tensor(sums)))
weights = sum(part.nbytes for module in modules for part in module.parameters())
read = process_memory()["VmHWM"] - before
print(json.dumps({"weights": weights, "loaded": loaded, "read": read, "seconds": seconds}))
"""


def loading(folder: Path) -> dict[str, float]:
    """The bytes and seconds that a process of its own reports."""
    words = [sys.executable, "-c", LOADING, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_written(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path / "made", MODEL, TOKENIZER, seed=3)
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {"model.pt", "config.json", "tokenizer/config.json", "tokenizer/model.safetensors"}
    state = torch.load(folder / "model.pt", weights_only=True)
    assert all(name.startswith("model.") and tensor.dtype == torch.bfloat16 for name, tensor in state.items())
    assert state["model.tok_embeddings.weight"].float().std() == pytest.approx(0.02, rel=0.1)
    assert state["model.norm.weight"].eq(1).all()
    model, tokenizer = vidjacobi.load(folder, "cpu", "bfloat16")
    assert (model.spec, tokenizer.spec) == (MODEL, TOKENIZER)
    frames = torch.zeros(9, 32, 48, 3, dtype=torch.uint8)
    assert vidjacobi.rollout(frames, model, tokenizer, 8, window=8).predicted.shape == (1, 8, 32, 48, 3)
    again = write_synthetic(tmp_path / "again", MODEL, TOKENIZER, seed=3)
    others = torch.load(again / "model.pt", weights_only=True, mmap=True)
    assert others.keys() == state.keys()
    assert all(torch.equal(state[name], other) for name, other in others.items())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InvalidArgument, match="exists and is not an empty folder"):
        write_synthetic(tmp_path, MODEL, TOKENIZER)
    huge = replace(MODEL, dim=1 << 17, n_layers=2, ffn_hidden_size=1 << 20)
    with pytest.raises(InvalidArgument, match="GB are needed"):
        write_synthetic(tmp_path / "huge", huge, TOKENIZER)
    assert {path.name for path in tmp_path.iterdir()} <= {"mine", "huge"}


@pytest.mark.slow
def test_loading_makes_no_second_copy(tmp_path: Path) -> None:
    """VmHWM counts the pages of the mapped file too, so it is an upper bound of the memory that is needed."""
    spec = replace(MODEL, dim=512, n_layers=8, ffn_hidden_size=4096, vocab_size=64)
    found = loading(write_synthetic(tmp_path / "made", spec, TOKENIZER))
    assert found["weights"] > 100e6
    assert found["loaded"] < 0.15 * found["weights"]  # nothing is read before it is needed
    assert found["weights"] < found["read"] < 1.15 * found["weights"]


def official(file: Path, change: Callable[[CosmosTransformer], None] = lambda network: None) -> Path:
    """The 4B checkpoint with holes for numbers, and a changed network; a few kB on a disk with sparse files."""
    with torch.device("meta"):
        network = CosmosTransformer(PRESETS["4B"].spec).to(torch.bfloat16)
    change(network)
    lay_out(network, file)
    return file


def without_one(network: CosmosTransformer) -> None:
    network.layers[7].attention.wo = torch.nn.Identity()


def narrower(network: CosmosTransformer) -> None:
    network.layers[15].feed_forward.w2 = torch.nn.Linear(14336, 4095, bias=False, device="meta")


def test_the_4b_at_full_size(tmp_path: Path) -> None:
    file = official(tmp_path / "model.pt")
    assert file.stat().st_size == pytest.approx(8_028_176_384, rel=1e-4)
    before = process_memory()["RssAnon"]
    network = load_network(tmp_path)
    assert network.spec == ModelSpec()
    assert sum(part.numel() for part in network.parameters()) == 4_014_088_192
    assert process_memory()["RssAnon"] - before < 100e6
    with file.open("r+b") as content:
        content.truncate(6_000_000_000)
    with pytest.raises(BadCheckpoint, match=r"truncated.*fetch it again"):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_one, r"missing \(1\): layers\.7\.attention\.wo\.weight"),
        (
            narrower,
            r"wrong shape \(1\): layers\.15\.feed_forward\.w2\.weight \[4095, 14336\], expected \[4096",
        ),
    ],
)
def test_a_wrong_4b_at_full_size(change: Callable, message: str, tmp_path: Path) -> None:
    official(tmp_path / "model.pt", change)
    with pytest.raises(BadCheckpoint, match=message):
        load_network(tmp_path)


def test_a_4b_whose_config_is_another_ones(tmp_path: Path) -> None:
    official(tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(json.dumps(PRESETS["12B"].spec.to_config()))
    with pytest.raises(BadCheckpoint, match="dim is 5120 but the tensors say 4096; n_layers is 40"):
        load_network(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(FULL_SIZE not in os.environ, reason=f"{FULL_SIZE} names no folder with 9 GB of room")
def test_loading_the_4b() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ[FULL_SIZE]) as room:
        found = loading(write_synthetic(Path(room) / "4b", PRESETS["4B"].spec, TokenizerSpec()))
    assert found["weights"] == pytest.approx(8.25e9, rel=0.01)
    assert found["read"] < 1.15 * found["weights"]
