"""mp4 files that browsers play, and that appear whole or not at all."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clip_files import decode_all, moving, psnr

from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import replacing
from vidjacobi.video import writer
from vidjacobi.video.clips import open_clip, read_frames, write_video
from vidjacobi.video.writer import GrowingVideo, pad_even, write_pieces


@pytest.mark.parametrize("fps", [3, 12.5, 25.0, Fraction(30000, 1001), 30000 / 1001])
def test_round_trip_keeps_frames_rate_and_colours(tmp_path: Path, fps: float | Fraction) -> None:
    frames = moving(11)
    write_video(tmp_path / "a.mp4", torch.from_numpy(frames), fps)
    info = open_clip(tmp_path / "a.mp4")
    assert (info.frames, info.fps) == (11, Fraction(fps).limit_denominator(1001))
    assert psnr(decode_all(tmp_path / "a.mp4"), frames) > 38


@pytest.mark.parametrize("preset", ["medium", "veryfast"])
@pytest.mark.parametrize("size", [(32, 48), (128, 224)])
def test_the_same_frames_give_the_same_file(tmp_path: Path, size: tuple[int, int], preset: str) -> None:
    # processors with AVX-512 made other files now and then, and so other tokens of what was read again
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 255, (size[0] // 4, size[1] // 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    frames = torch.from_numpy(np.stack([np.roll(blocks, 2 * t, 1) for t in range(20)]))
    files = set()
    for _ in range(40):
        used = [np.full(draw.integers(1000, 60000), 255, np.uint8) for _ in range(draw.integers(0, 9))]
        del used[draw.integers(0, 2) * len(used) :]  # what is asked for next has been written to
        write_pieces(tmp_path / "a.mp4", [frames], 10, preset=preset)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_the_cores_of_a_machine_are_not_seen_in_the_file(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core")
    whole, one = (
        subprocess.run(
            [sys.executable, "-c", WRITING, tmp_path, *map(str, some)], capture_output=True, check=True
        ).stdout
        for some in (cores, cores[:1])
    )
    assert len(whole.split()) == 3
    assert whole == one


WRITING = """
import hashlib, os, sys
os.sched_setaffinity(0, map(int, sys.argv[2:]))
import numpy as np, torch
from vidjacobi.export.videos import ENCODERS, SharedVideos, VideoFormat
from vidjacobi.video.writer import GrowingVideo, write_video
from pathlib import Path

draw = np.random.default_rng(0)
blocks = draw.integers(0, 255, (12, 20, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
frames = torch.from_numpy(np.stack([np.roll(blocks, 2 * t, 1) for t in range(12)]))
folder = Path(sys.argv[1])
write_video(folder / "whole.mp4", frames, 10)
growing = GrowingVideo(folder / "growing.mp4", 10)
for piece in frames.split(5):
    growing.add(piece)
with SharedVideos(folder, "h264", VideoFormat(10, *blocks.shape[:2])) as shared:
    shared.add(folder / "whole.mp4", frames)
for path in (folder / "whole.mp4", folder / "growing.mp4", folder / "chunk-000" / "file-000.mp4"):
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_saturated_colours_survive_in_both_readers(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (200, 120, 40), (128, 128, 128)]
    bars = np.repeat(np.array(colours, np.uint8)[None], 32, 0).repeat(16, 1)[None].repeat(4, 0)
    write_video(tmp_path / "bars.mp4", torch.from_numpy(bars), 10)
    clip = read_frames(tmp_path / "bars.mp4", 0, 4)
    assert np.abs(clip.frames.numpy()[:, :, 8::16].astype(int) - bars[:, :, 8::16]).max() <= 4
    np.testing.assert_array_equal(clip.frames.numpy(), decode_all(tmp_path / "bars.mp4"))


def test_plays_in_a_browser(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", torch.from_numpy(moving(5)), 5)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        codec = container.streams.video[0].codec_context
        assert (codec.name, frame.format.name, frame.colorspace, frame.color_range) == (
            "h264",
            "yuv420p",
            1,
            1,
        )


@pytest.mark.parametrize(("height", "width"), [(45, 64), (48, 63), (45, 63), (1, 1)])
def test_odd_sides_are_padded_by_their_edge(tmp_path: Path, height: int, width: int) -> None:
    frames = moving(3, height, width)
    padded = pad_even(frames)
    np.testing.assert_array_equal(padded[:, :height, :width], frames)
    np.testing.assert_array_equal(padded[:, -1, -1], frames[:, -1, -1])
    write_video(tmp_path / "odd.mp4", torch.from_numpy(frames), 25)
    seen = decode_all(tmp_path / "odd.mp4")
    assert seen.shape == (3, height + height % 2, width + width % 2, 3)
    assert psnr(seen, padded) > 30


def test_a_failure_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the result of an earlier run")

    def half(partial: Path, *rest: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_encode", half)
    with pytest.raises(BadOutput, match=r"a\.mp4: cannot be written: No space left"):
        write_video(path, torch.from_numpy(moving(2)), 25)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"the result of an earlier run"
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    write_video(path, torch.from_numpy(moving(2)), 25)
    assert open_clip(path).frames == 2


def test_what_cannot_be_written(tmp_path: Path) -> None:
    frames = torch.from_numpy(moving(2))
    with pytest.raises(BadOutput, match="folder does not exist"):
        write_video(tmp_path / "no" / "a.mp4", frames, 25)
    for fps in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadOutput, match="a positive number"):
            write_video(tmp_path / "a.mp4", frames, fps)
    with pytest.raises(BadOutput, match=r"frames .* are needed"):
        write_video(tmp_path / "a.mp4", frames[:0], 25)
    with pytest.raises(BadOutput, match=r"the H\.264 encoder refused 20000x2"):
        write_video(tmp_path / "a.mp4", torch.zeros(1, 2, 20000, 3, dtype=torch.uint8), 25)
    (tmp_path / "dir.mp4").mkdir()
    with pytest.raises(BadOutput, match="is a folder"):
        write_video(tmp_path / "dir.mp4", frames, 25)
    assert [p.name for p in tmp_path.iterdir()] == ["dir.mp4"]


def _interrupted(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_growing_video_plays_at_any_moment(tmp_path: Path) -> None:
    frames, path = moving(30, 45, 63), tmp_path / "a.mp4"
    path.write_bytes(b"something older")
    video = GrowingVideo(path, Fraction(30000, 1001))
    for start, stop in pairwise((0, 9, 17, 25, 26, 30)):
        before = path.stat().st_size if start else 0
        video.add(torch.from_numpy(frames[start:stop]))
        seen = decode_all(path)
        assert len(seen) == video.frames == stop
        assert psnr(seen, pad_even(frames[:stop])) > 38
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
            assert (stream.average_rate, stream.time_base) == (Fraction(30000, 1001), Fraction(1, 30000))
        assert times == [1001 * number for number in range(stop)]
        assert path.read_bytes()[before + 4 : before + 8] == (b"moof" if start else b"ftyp")
    info = open_clip(path)
    assert (info.frames, info.fps) == (30, Fraction(30000, 1001))
    np.testing.assert_array_equal(read_frames(path, 20, 8).frames.numpy(), decode_all(path)[20:28])


def test_a_growing_video_that_was_cut_short_plays(tmp_path: Path) -> None:
    """The file is cut in the middle of a write, as by a crash; all groups before it can be read."""
    frames, path = moving(25), tmp_path / "a.mp4"
    video, sizes = GrowingVideo(path, 25), []
    for start, stop in pairwise((0, 9, 17, 25)):
        video.add(torch.from_numpy(frames[start:stop]))
        sizes.append(path.stat().st_size)
    data = path.read_bytes()
    for size, least in ((sizes[0], 9), (sizes[1], 17), ((sizes[1] + sizes[2]) // 2, 17), (sizes[1] + 20, 17)):
        (tmp_path / "cut.mp4").write_bytes(data[:size])
        seen = []
        with (
            av.open(str(tmp_path / "cut.mp4")) as container,
            suppress(av.FFmpegError),
        ):  # in the middle of a frame
            for frame in container.decode(video=0):
                seen.append(frame.to_ndarray(format="rgb24"))
        assert len(seen) >= least
        assert psnr(np.stack(seen[:least]), frames[:least]) > 38


def test_what_a_growing_video_refuses(tmp_path: Path) -> None:
    frames = torch.from_numpy(moving(2))
    with pytest.raises(BadOutput, match="a positive number"):
        GrowingVideo(tmp_path / "a.mp4", 0)
    with pytest.raises(BadOutput, match=r"a\.mp4: cannot be written"):
        GrowingVideo(tmp_path / "no" / "a.mp4", 25).add(frames)
    with pytest.raises(BadOutput, match=r"frames .* are needed"):
        GrowingVideo(tmp_path / "a.mp4", 25).add(frames[:0])
    with pytest.raises(BadOutput, match=r"the H\.264 encoder refused 20000x2"):
        GrowingVideo(tmp_path / "a.mp4", 25).add(torch.zeros(1, 2, 20000, 3, dtype=torch.uint8))
    assert list(tmp_path.iterdir()) == []


def test_pieces_are_written_as_the_whole(tmp_path: Path) -> None:
    """One piece at a time is asked for, and the pictures are the same."""
    frames = torch.randint(0, 256, (7, 32, 48, 3), generator=torch.Generator().manual_seed(3)).byte()
    write_video(tmp_path / "whole.mp4", frames, 25)
    write_pieces(tmp_path / "pieces.mp4", iter(frames.split(3)), 25)
    whole, pieces = (read_frames(tmp_path / f"{name}.mp4", 0, 7).frames for name in ("whole", "pieces"))
    assert torch.equal(whole, pieces)
    with pytest.raises(BadOutput, match="no frames"):
        write_pieces(tmp_path / "none.mp4", [], 25)


def test_a_growing_video_keeps_whole_groups_on_a_full_disk(tmp_path: Path) -> None:
    frames, path = torch.from_numpy(moving(17)), tmp_path / "a.mp4"
    video = GrowingVideo(path, 10)
    video.add(frames[:9])
    whole = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # the system then writes a part, and refuses the rest
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, limit[1]))
        with pytest.raises(BadOutput, match=r"a\.mp4: cannot be written"):
            video.add(frames[9:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == whole
    video.add(frames[9:])
    assert len(decode_all(path)) == video.frames == 17
