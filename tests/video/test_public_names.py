"""What ``vidjacobi.video`` hands out, and that importing it is cheap."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vidjacobi import video


def test_frames_out_and_in_again(tmp_path: Path) -> None:
    frames = torch.full((5, 32, 48, 3), 90, dtype=torch.uint8)
    video.write_video(tmp_path / "a.mp4", frames, 10)
    info = video.open_clip(tmp_path / "a.mp4")
    assert isinstance(info, video.ClipInfo)
    assert (info.frames, info.height, info.width, info.fps) == (5, 32, 48, 10)
    clip = video.read_frames(tmp_path / "a.mp4", 1, 3)
    assert isinstance(clip, video.ReadClip)
    assert clip.frames.shape == (3, 32, 48, 3)
    assert (clip.frames.int() - 90).abs().max() <= 3
    with pytest.raises(AttributeError, match="no attribute 'read_frame'"):
        _ = video.read_frame


def test_the_import_is_cheap() -> None:
    code = "import sys, vidjacobi.video; print({'av', 'torch', 'numpy'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
