"""Checkpoints whose configurations nobody meant: refused in words, or loaded as the tensors say."""

import json
from pathlib import Path

import pytest
import torch
from fuzzing import changed, dumped, each, edited, odd_texts, refused
from tiny_pair import write_pair

import vidjacobi
from cosmos_adapter.tokenizer.weights import load_tokenizer
from cosmos_adapter.transformer.weights import load_model
from vidjacobi.loading import outline

pytestmark = [pytest.mark.slow, pytest.mark.unchecked]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair") / "model")


def test_transformers(pair: Path) -> None:
    path = pair / "transformer" / "config.json"
    text = path.read_text()

    def check(config: str) -> None:
        path.write_text(config, encoding="utf-8", errors="surrogatepass")
        refused(lambda: load_model(path.parent))
        refused(lambda: outline(str(path.parent), torch.float32))

    each(
        changed(json.loads(text)).map(dumped) | edited(json.dumps(json.loads(text), indent=1)) | odd_texts,
        120,
        check,
    )
    path.write_text(text)


def test_tokenizers(pair: Path) -> None:
    path = pair / "tokenizer" / "config.json"
    text = path.read_text()

    def check(config: str) -> None:
        path.write_text(config, encoding="utf-8", errors="surrogatepass")
        refused(lambda: load_tokenizer(path.parent, "cpu", torch.float32))

    each(
        changed(json.loads(text)).map(dumped) | edited(json.dumps(json.loads(text), indent=1)) | odd_texts,
        120,
        check,
    )
    path.write_text(text)


def test_a_list_of_shards(pair: Path) -> None:
    path = pair / "transformer" / "model.safetensors.index.json"
    good = {"metadata": {"total_size": 1}, "weight_map": {"model.norm.weight": "model.safetensors"}}

    def check(index: str) -> None:
        path.write_text(index, encoding="utf-8", errors="surrogatepass")
        refused(lambda: load_model(path.parent))

    each(changed(good).map(dumped) | edited(dumped(good)) | odd_texts, 150, check)
    path.unlink()
    assert vidjacobi.load(str(pair), "cpu", "float32")
