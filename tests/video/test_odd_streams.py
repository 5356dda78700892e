"""Streams whose oddities show only when they are decompressed, and bytes that only look like a stream."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import decode_all, encode, moving

from vidjacobi.video.bitstream import Bitstream
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.index import LOOK, index_video
from vidjacobi.video.stream import open_stream, packets_of


def rewritten(source: Path, path: Path, change: Callable[[int, av.Packet], None]) -> Path:
    """A copy with the same pictures; ``change`` gets each packet with its number."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(p for p in old.demux(video=0) if p.size):
            change(number, packet)
            packet.stream = stream
            new.mux(packet)
    return path


def test_stamps_that_turn_out_to_be_swapped_are_not_used(tmp_path: Path) -> None:
    """They look right at the beginning and in the packets; the decoder's order wins where it differs."""
    source = encode(tmp_path / "a.mp4", moving(60), g="12", bf="0")
    late = LOOK + 14

    def swap(number: int, packet: av.Packet) -> None:
        tick = int(packet.duration or 0)
        packet.dts = int(packet.dts or 0) - 2 * tick
        packet.pts = int(packet.pts or 0) + {late: tick, late + 1: -tick}.get(number, 0)

    path = rewritten(source, tmp_path / "swapped.mp4", swap)
    frames = decode_all(source)
    assert not index_video(path).counted
    assert open_clip(path).frames == 60
    for start in (0, late - 2, late, late + 1, late + 8, 51):
        np.testing.assert_array_equal(read_frames(path, start, 9).pictures, frames[start : start + 9])
    assert "its clock goes back once" in " ".join(read_frames(path, late, 2).notes)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8"])
def test_bytes_that_only_look_like_a_stream_are_no_error(codec: str) -> None:
    draw = np.random.default_rng(1)
    heads = [
        b"\x00\x00\x01\x67",
        b"\x00\x00\x01\x06\x06",
        b"\x00\x00\x01\x65",
        b"\x00\x00\x01\x26",
        b"\x01",
        b"",
    ]
    for _ in range(400):
        extradata = heads[draw.integers(len(heads))] + draw.bytes(int(draw.integers(60)))
        packet = b"".join(
            heads[draw.integers(len(heads))] + draw.bytes(int(draw.integers(9))) for _ in range(4)
        )
        assert Bitstream(codec, extradata).shows_all_after(memoryview(packet)) in (True, False)


def test_the_fields_of_high_profiles_are_found(tmp_path: Path) -> None:
    """Their parameter sets are longer: 4:4:4 has flags before the one that says frames only."""
    for pixels in ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le"):
        for interlaced in ("0", "1"):
            path = tmp_path / f"{pixels}{interlaced}.mp4"
            encode(path, moving(3), pixels=pixels, **{"x264-params": f"tff={interlaced}:cqm=jvt"})
            with open_stream(path) as (container, stream):
                bits = Bitstream("h264", bytes(stream.codec_context.extradata or b""))
                first = next(packets_of(container, stream))
                assert bits.shows_all_after(memoryview(first))
            assert bits.fields == (interlaced == "1"), (pixels, interlaced)
