"""Fixtures of all tests. Being here also lets every test import the helper modules of this folder."""

import itertools
import os
from pathlib import Path

# the tensors of most tests are tiny: threads, those of commands that tests run too, would only wait for each other
for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)

import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


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
