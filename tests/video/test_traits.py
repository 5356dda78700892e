"""Files that a player shows in a way of its own: the stream that it would take, and notes on what is not done."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import decode_all, encode, moving
from PIL import Image

from vidjacobi.errors import BadInput
from vidjacobi.video.clips import open_clip, read_frames


def joined(path: Path, *sources: Path, default: int | None = None) -> Path:
    """The video streams of all sources in one file; ``default`` is the number of the one to be shown."""
    with av.open(str(path), "w") as new:
        for number, source in enumerate(sources):
            with av.open(str(source)) as old:
                stream = new.add_stream_from_template(old.streams.video[0])
                if default is not None:
                    chosen = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
                    stream.disposition = chosen
        for number, source in enumerate(sources):
            with av.open(str(source)) as old:
                for packet in old.demux(video=0):
                    if packet.size:
                        packet.stream = new.streams[number]
                        new.mux(packet)
    return path


def with_edit(source: Path, path: Path, duration: int, begin: int) -> Path:
    """A copy of an mp4 whose edit list shows ``duration`` (in thousandths of a second) from ``begin`` on."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst")
    assert struct.unpack(">I", data[at + 8 : at + 12])[0] == 1
    data[at + 12 : at + 20] = struct.pack(">Ii", duration, begin)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_one_of_several_videos_is_read_and_told(tmp_path: Path, default: int) -> None:
    sources = [
        encode(tmp_path / "a.mp4", moving(12)),
        encode(tmp_path / "b.mp4", moving(12)[::-1].copy()),
    ]
    path = joined(tmp_path / "two.mkv", *sources, default=default)
    assert f"holds 2 video streams, of which number {default} is read" in open_clip(path).notes
    np.testing.assert_array_equal(read_frames(path, 0, 12).pictures, decode_all(sources[default]))


def test_tiles_of_a_photo_are_refused(tmp_path: Path) -> None:
    sources = [encode(tmp_path / f"{k}.mp4", moving(2)[k : k + 1]) for k in range(2)]
    with pytest.raises(BadInput, match=r"2 single pictures \(the tiles of a HEIC photo"):
        open_clip(joined(tmp_path / "tiles.mp4", *sources))


def test_an_animated_avif_is_no_still_picture(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture) for picture in moving(5)]
    path = tmp_path / "moving.avif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    assert open_clip(path).frames == 5


def test_the_transparency_of_an_avif_is_no_tile(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    Image.fromarray(np.dstack([moving(1)[0], np.full((64, 96), 99, np.uint8)])).save(path)
    info = open_clip(path)
    assert (info.frames, info.notes) == (1, ("its transparency is not read",))


def test_an_edit_list_that_leaves_out_the_end_is_no_damage(tmp_path: Path) -> None:
    source = encode(tmp_path / "whole.mp4", moving(48), g="12", bf="2")
    path = with_edit(source, tmp_path / "trimmed.mp4", 1000, 1024)
    info = open_clip(path)
    assert not info.notes
    assert 24 <= info.frames <= 25
    frames = decode_all(path)
    assert len(frames) == info.frames
    clip = read_frames(path, 0, 9, from_end=True)
    np.testing.assert_array_equal(clip.pictures, frames[-9:])


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "flv", "avi", "h264"])
def test_every_cut_gives_a_beginning_of_the_file(tmp_path: Path, ending: str) -> None:
    """Also where frames are lost that belong between others that are there, and where the last is torn."""
    source = encode(tmp_path / f"whole.{ending}", moving(24, 96, 128), g="24", bf="3", crf="10")
    frames, data, path = decode_all(source), source.read_bytes(), tmp_path / f"cut.{ending}"
    assert "cut short" not in " ".join(open_clip(source).notes)
    with av.open(str(source)) as container:
        places = sorted(p.pos for p in container.demux(video=0) if p.size)
    for position in [*places[3:6], *places[7::6]]:
        path.write_bytes(data[: position + 20])
        info = open_clip(path)
        assert "cut short" in " ".join(info.notes)
        assert abs(info.fps - 24) < 0.25
        clip = read_frames(path, 0, info.frames)
        np.testing.assert_array_equal(clip.pictures, frames[: info.frames])
        assert info.frames >= places.index(position) - 4


@pytest.mark.parametrize(
    "steps", [[40] * 8 + [80] * 8, [40, 80] * 8, [40] + [80] * 15, [40] * 10 + [80] + [40] * 5]
)
def test_an_uneven_rate_is_no_cut(tmp_path: Path, steps: list[int]) -> None:
    stamps = np.cumsum([0, *steps]).tolist()
    path = encode(tmp_path / "uneven.mkv", moving(17), g="17", bf="2", stamps=stamps)
    info = open_clip(path)
    assert info.frames == 17
    assert "cut short" not in " ".join(info.notes)


def test_a_gif_that_was_cut_is_told(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture) for picture in moving(5)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    assert not open_clip(path).notes
    path.write_bytes(path.read_bytes()[:-500])
    assert "cut short: its last picture may be incomplete" in open_clip(path).notes


def test_pixels_that_are_not_square_are_told(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for picture in moving(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert open_clip(path).notes == ("its pixels are 2 times as wide as high and are taken as squares",)


def test_interlaced_and_hdr_videos_are_told(tmp_path: Path) -> None:
    params = {"x264-params": "tff=1:transfer=arib-std-b67"}
    path = encode(tmp_path / "lines.mp4", moving(5), flags="+ildct+ilme", **params)
    notes = " ".join(open_clip(path).notes)
    assert "interlaced" in notes
    assert "HDR (HLG)" in notes


def test_transparency_that_is_not_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=24, options={"cpu-used": "8", "auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuva420p"
        for picture in moving(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuva420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "its transparency is not read" in open_clip(path).notes


@pytest.mark.parametrize("ending", ["tiff", "webp"])
def test_pages_are_refused_and_not_only_the_first_one_read(tmp_path: Path, ending: str) -> None:
    pictures = [Image.fromarray(picture) for picture in moving(3)]
    path = tmp_path / f"0001.{ending}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    for read in (lambda: read_frames(path, 0, 1), lambda: read_frames(tmp_path, 0, 1)):
        with pytest.raises(BadInput, match=r"3 pictures in one file|animated WebP"):
            read()
