"""Fixtures of all tests."""

import itertools
import os
from pathlib import Path

# before PyTorch is loaded, here and in processes that tests start: threads that wait take no core from other tests
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)  # the tensors of most tests are tiny: threads would only wait for each other


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Shapes are checked in every test that is not marked ``unchecked``."""
    jaxtyping.config.update("jaxtyping_disable", item.get_closest_marker("unchecked") is not None)


SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of facts and golden tensors next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the developers' shared/ folder is not next to this checkout")
    return SHARED


@pytest.fixture
def ticking_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves at every look: some machines' own is so coarse that a tiny pass takes 0 seconds."""
    ticks = itertools.count()
    monkeypatch.setattr("vidjacobi.decoding.trace.time.perf_counter", lambda: float(next(ticks)))


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random checkpoint: see ``tiny_pair.py``."""
    from tiny_pair import write_pair

    return write_pair(tmp_path_factory.mktemp("tiny_pair") / "model")
