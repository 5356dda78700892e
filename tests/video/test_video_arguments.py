"""What is no path, no number and no frames is refused in words, as callers meet it: without checks of types."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidjacobi.errors import BadOutput, InvalidArgument
from vidjacobi.video import open_clip, read_frames, write_video

pytestmark = pytest.mark.unchecked
FRAMES = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)


@pytest.mark.parametrize("path", [None, 3, b"clip.mp4", ["clip.mp4"]])
def test_what_is_no_path(path: Any) -> None:
    for call in (
        lambda: open_clip(path),
        lambda: read_frames(path, 0, 1),
        lambda: write_video(path, FRAMES, 10),
    ):
        with pytest.raises(InvalidArgument, match="must be a path"):
            call()


def test_what_is_no_number(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_video(clip, FRAMES, 10)
    for odd in (None, "1", 1.0, True, torch.zeros(2)):
        with pytest.raises(InvalidArgument, match="start must be a whole number"):
            read_frames(clip, odd, 1)
    assert len(read_frames(clip, np.int64(1), np.int32(1)).frames) == 1


@pytest.mark.parametrize(
    ("frames", "fps", "error"),
    [
        (None, 10, BadOutput),
        (np.zeros((2, 16, 16, 3), np.uint8), 10, BadOutput),
        (torch.tensor(2), 10, BadOutput),
        (FRAMES, None, InvalidArgument),
        (FRAMES, "10", InvalidArgument),
        (FRAMES, np.zeros(2), InvalidArgument),
        (FRAMES, float("nan"), BadOutput),
        (FRAMES, 1e308, BadOutput),
        (FRAMES, 1e-300, BadOutput),
    ],
)
def test_what_is_no_video(frames: Any, fps: Any, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        write_video(tmp_path / "o.mp4", frames, fps)
    assert not any(tmp_path.iterdir())


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    write_video(tmp_path / "o.mp4", FRAMES, np.float32(12.5))
    assert open_clip(tmp_path / "o.mp4").fps == 12.5
