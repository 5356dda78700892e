"""Fixtures of the adapter's tests."""

from collections.abc import Callable

import pytest
from tiny_cosmos import tiny_network

from cosmos_adapter.transformer import CosmosTransformer


@pytest.fixture
def tiny() -> Callable[..., CosmosTransformer]:
    """``tiny(spec=TINY, dtype=torch.float32, seed=0)`` makes a tiny random network."""
    return tiny_network
