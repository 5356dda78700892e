"""Fixtures of the adapter's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_cosmos import tiny_network
from tiny_tokenizer import make_net

from cosmos_adapter.tokenizer.weights import save_tokenizer
from cosmos_adapter.transformer.network import CosmosTransformer


@pytest.fixture
def tiny() -> Callable[..., CosmosTransformer]:
    """``tiny(spec=TINY, dtype=torch.float32, seed=0)`` makes a tiny random network."""
    return tiny_network


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.safetensors and config.json of the tiny tokenizer."""
    path = tmp_path_factory.mktemp("weights")
    save_tokenizer(make_net(), path)
    return path
