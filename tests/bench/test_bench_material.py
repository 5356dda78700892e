"""Where the contexts of a bench come from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vidjacobi.bench.material import Source, material_of
from vidjacobi.bench.settings import BenchConfig
from vidjacobi.errors import InvalidArgument


def test_contexts_from_a_file(tmp_path: Path) -> None:
    shipped = material_of("nano", BenchConfig(clips=3), Source())
    np.save(tmp_path / "contexts.npy", shipped.grids[1:3].numpy().astype(np.uint16))
    found = material_of("nano", BenchConfig(clips=2, frames=16), Source(file=tmp_path / "contexts.npy"))
    assert torch.equal(found.grids, shipped.grids[1:3])
    assert found.new_tokens == 2 * found.grids[0, 0].numel()
    with pytest.raises(InvalidArgument, match="there are 2"):
        material_of("nano", BenchConfig(clips=3, frames=16), Source(file=tmp_path / "contexts.npy"))


def test_shipped_contexts_have_one_length() -> None:
    with pytest.raises(InvalidArgument, match="not of 17 frames"):
        material_of("nano", BenchConfig(context=17, frames=8), Source())
