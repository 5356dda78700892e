"""Acceptance maps: which frame is shown under which tokens, and what is drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vidjacobi.bench.acceptance_map import acceptance_map, last_frames, write_map
from vidjacobi.errors import InvalidArgument

FRAMES = torch.zeros(33, 32, 48, 3, dtype=torch.uint8)
MARKS = torch.arange(72).view(3, 4, 6)


def test_rows_are_the_last_frames() -> None:
    assert last_frames(33, 3, 8) == [16, 24, 32]
    assert last_frames(30, 3, 8) == [16, 24, 29]  # the end of the clip is cut off
    assert last_frames(1, 1, 8) == [0]
    with pytest.raises(InvalidArgument, match="33 frames are 5 latent frames, not 6"):
        last_frames(33, 6, 8)


def test_draws_both_maps_over_every_frame() -> None:
    figure = acceptance_map(FRAMES, MARKS, MARKS * 0, 8, "mine")
    pictures = [axis for axis in figure.axes if axis.images]
    assert len(pictures) == 9
    heat = pictures[4].images[1]
    assert np.array_equal(heat.get_array(), MARKS[1].numpy())
    assert heat.get_clim() == (0, 71)
    assert 0 < heat.get_alpha() < 1
    assert pictures[5].images[1].get_clim() == (0, 1)  # nothing was redrafted, so the colour bar ends at 1


def test_writes_a_png(tmp_path: Path) -> None:
    write_map(tmp_path / "a.png", FRAMES, MARKS, MARKS % 3, 8, "mine")
    assert Image.open(tmp_path / "a.png").format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
