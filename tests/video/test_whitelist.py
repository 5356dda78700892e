"""Nothing but the file that was named is opened, and nothing larger than the bounds is made of it."""

import io
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clip_files import encode, moving
from PIL import Image

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.models.codec import fit
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.images import image_from_bytes, stacked
from vidjacobi.video.whitelist import MOST_BYTES, MOST_STREAMS

# The bytes that are no text get them past a look for text, and to the demuxer.
PLAYLISTS = {
    "a.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#\x00\xff\n#EXTINF:2.4,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "a.mp4": b"ffconcat version 1.0\nfile secret.ts\n#\xff\xfe\n",
}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def touched(path: Path) -> bool:
    """Whether the file was read after ``os.utime(path, (0, 0))``."""
    return path.stat().st_atime > 0


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A video beside the one that is named, of which ``touched`` tells whether it was read."""
    path = encode(tmp_path / "secret.ts", moving(60), codec="mpeg2video")
    os.utime(path, (0, 0))
    assert path.read_bytes()
    if not touched(path):
        pytest.skip("this file system does not record when a file is read")
    os.utime(path, (0, 0))
    return path


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_no_other_file(tmp_path: Path, secret: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PLAYLISTS[name])
    for use in (open_clip, lambda path: read_frames(path, 0, 1)):
        with pytest.raises(BadInput, match=f"{name}: a playlist"):
            use(tmp_path / name)
    assert not touched(secret)


def with_pictures_elsewhere(path: Path, other: str) -> Path:
    """Let a .mov say that its pictures are in another file of its folder, as editing programs do."""
    # An alias record: names and dates that do not matter; one level up and one down; (2, the absolute path); the end.
    target = f"/a/{other}".encode()
    target += bytes(len(target) % 2)
    levels = struct.pack(">HH", 1, 1) + bytes(16)
    path_and_end = struct.pack(">HH", 2, len(target)) + target + struct.pack(">HH", 0xFFFF, 0)
    alias = bytes(4 + 10 + 28 + 12 + 64 + 16) + levels + path_and_end
    entry = struct.pack(">I4s", 8 + len(alias), b"alis") + alias
    data = path.read_bytes()
    at = data.index(b"url ", data.index(b"dref")) - 4
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):  # each is in the next one
        place = data.rindex(box, 0, at) - 4
        (size,) = struct.unpack_from(">I", data, place)
        data = data[:place] + struct.pack(">I", size + len(entry) - 12) + data[place + 4 :]
    path.write_bytes(data[:at] + entry + data[at + 12 :])
    return path


def test_a_mov_file_opens_no_other_file(tmp_path: Path, secret: Path) -> None:
    path = with_pictures_elsewhere(encode(tmp_path / "a.mov", moving(5)), secret.name)
    with pytest.raises(BadInput):
        read_frames(path, 0, 5)
    assert not touched(secret)
    with av.open(str(path), options={"enable_drefs": "1"}):
        assert touched(secret)  # FFmpeg understands the reference, and would follow it


def test_no_picture_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to Ghostscript, an interpreter."""
    started, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "0.png").write_bytes(EPS)
    for use in (
        lambda: open_clip(frames),
        lambda: read_frames(frames, 0, 1),
        lambda: image_from_bytes(EPS, "row 0"),
    ):
        with pytest.raises(BadInput, match="damaged or unknown image"):
            use()
    assert not started.exists()


def flat_picture(path: Path, width: int, height: int) -> Path:
    """A large picture in a small file: black, of one bit a pixel."""
    Image.new("1", (width, height)).save(path)
    return path


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(9000, 9000, "at most 64 million pixels"), (6600, 200, "at most 32 times"), (2, 99, "at most 32 times")],
)
def test_pictures_beyond_the_bounds(tmp_path: Path, width: int, height: int, message: str) -> None:
    path = flat_picture(tmp_path / "a.png", width, height)
    for use in (
        lambda: open_clip(path),
        lambda: read_frames(path, 0, 1),
        lambda: image_from_bytes(path.read_bytes(), "a.png"),
    ):
        with pytest.raises(BadInput, match=rf"a.png: pictures of {width}x{height}.*{message}"):
            use()


def test_too_many_pictures_for_one_read(tmp_path: Path) -> None:
    first = flat_picture(tmp_path / "0.png", 8000, 8000)
    needed = MOST_BYTES // (3 * 8000 * 8000) + 1
    for number in range(1, needed):
        (tmp_path / f"{number}.png").symlink_to(first)
    assert open_clip(tmp_path).frames == needed
    with pytest.raises(BadInput, match=rf"{needed} frames of 8000x8000 take 4.1 GiB.*ask for fewer"):
        read_frames(tmp_path, 0, needed)


def test_too_many_pictures_of_other_files_for_one_read() -> None:
    """Such as those in the rows of a parquet file: only the first one is made."""
    made: list[int] = []

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for number in range(30):
            made.append(number)
            yield f"row {number}", np.zeros((8000, 8000, 3), np.uint8)

    with pytest.raises(BadInput, match=r"a.parquet: 30 frames of 8000x8000 take 5.4 GiB"):
        stacked(pictures(), 30, "a.parquet")
    assert made == [0]


def test_too_many_frames_for_one_read(tmp_path: Path) -> None:
    """The same picture again and again, as it is in the file: 650 frames in 3 MB."""
    picture = io.BytesIO()
    Image.new("RGB", (2048, 1152)).save(picture, "JPEG", quality=1)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2048, 1152, "yuvj420p"
        for number in range(650):
            packet = av.Packet(picture.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            container.mux(packet)
    with pytest.raises(BadInput, match=r"650 frames of 2048x1152 take 4.3 GiB"):
        read_frames(tmp_path / "a.mkv", 0, 10**6)
    assert read_frames(tmp_path / "a.mkv", 640, 2).frames.shape == (2, 1152, 2048, 3)


def test_videos_beyond_the_bounds(tmp_path: Path) -> None:
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W16384 H8192 F25:1\nFRAME\n" + bytes(range(256)))
    with pytest.raises(BadInput, match=r"pictures of 16384x8192.*at most 64 million"):
        open_clip(tmp_path / "a.y4m")
    encode(tmp_path / "long.mp4", moving(3, 16, 640))
    with pytest.raises(BadInput, match=r"pictures of 640x16.*at most 32 times"):
        read_frames(tmp_path / "long.mp4", 0, 1)


def test_too_many_streams(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(MOST_STREAMS + 1)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(BadInput, match="holds 65 streams, and at most 64"):
        open_clip(tmp_path / "a.mkv")


def test_frames_of_which_nothing_would_stay_are_not_scaled() -> None:
    """They would be scaled to 12,800,000 x 128 pixels, 79 GB, and all but 160 columns cut away."""
    with pytest.raises(InvalidArgument, match="100000x1 would be scaled to 12800000x128"):
        fit(torch.zeros(1, 1, 100_000, 3, dtype=torch.uint8), (128, 160))
    assert fit(torch.zeros(1, 8, 256, 3, dtype=torch.uint8), (128, 160)).shape == (3, 1, 128, 160)
