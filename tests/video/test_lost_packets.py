"""Packets that a recording lost in the middle: the pictures that may show traces of others are named."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import decode_all, encode, moving

from vidjacobi.errors import BadInput
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.losses import after_gaps, spelled


def without(source: Path, path: Path, lost: int) -> Path:
    """A copy of the packets without one of them."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(p for p in old.demux(video=0) if p.size):
            if number != lost:
                packet.stream = stream
                new.mux(packet)
    return path


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_h264_tells_by_its_own_count(tmp_path: Path, ending: str) -> None:
    source = encode(tmp_path / f"a.{ending}", moving(24), g="12", bf="0")
    frames, path = decode_all(source), without(source, tmp_path / f"b.{ending}", 15)
    clip = read_frames(path, 8, 12)
    (note,) = (note for note in clip.notes if "damaged" in note)
    found = re.fullmatch(
        r"damaged: a packet is lost, and frames (\d+) to 19 may show traces of other pictures", note
    )
    assert found
    known = {frame.tobytes() for frame in frames}
    spoilt = [8 + k for k, picture in enumerate(clip.pictures) if picture.tobytes() not in known]
    assert spoilt
    assert 14 <= int(found[1]) <= spoilt[0]
    assert "damaged" not in " ".join(read_frames(path, 0, 12).notes)
    assert "damaged" not in " ".join(read_frames(source, 0, 24).notes)


def test_of_other_codecs_a_gap_in_the_times_tells(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mkv", moving(24), codec="ffv1", g="12")
    path = without(source, tmp_path / "b.mkv", 5)
    assert not open_clip(source).notes
    (note,) = (note for note in open_clip(path).notes if "gap" in note)
    assert note.startswith("1 gap between its times: if packets are lost there, frames 5 to")
    assert "may show traces of others" in note


def test_h265_leaves_out_what_it_cannot_decompress(tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none:pools=1:bframes=0", "preset": "ultrafast"}
    source = encode(tmp_path / "a.mkv", moving(12), codec="libx265", **options)
    with pytest.raises(BadInput, match="its decoder gives"):
        read_frames(without(source, tmp_path / "b.mkv", 5), 0, 9)


def test_gaps_of_a_variable_rate_are_no_loss() -> None:
    even = np.arange(20) / 10.0
    gap = even + (even > 0.9)
    assert after_gaps(even, "vp9", [0, 12]) == (0, [])
    assert after_gaps(gap, "vp9", [0, 12]) == (1, [10, 11])
    assert after_gaps(gap, "mpeg2video", [0, 12]) == (1, [6, 7, 8, 9, 10, 11])
    assert after_gaps(gap, "vp9", [0, 10]) == (1, [])
    assert after_gaps(gap, "h264", [0, 12]) == (0, [])
    assert after_gaps(np.cumsum(1.0 + np.arange(20) % 2), "vp9", [0]) == (0, [])


def test_numbers_in_words() -> None:
    assert spelled([4]) == "frame 4"
    assert spelled([9, 3, 4, 5]) == "frames 3 to 5, 9"
    assert spelled(range(0, 40, 2)) == "frames 0, 2, 4, 6, 8, 10, 12, 14 ... (20 frames)"
