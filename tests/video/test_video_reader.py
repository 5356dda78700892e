"""Every kind of clip yields the frames of the simplest possible decoder, whichever library reads it."""

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from clip_files import SHARED_DATA, decode_all, encode, moving, turn

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video import decord_reader, pyav_reader
from vidjacobi.video.clips import Kind, open_clip, read_frames
from vidjacobi.video.decord_reader import DecordProcess, read_with_decord, why_not
from vidjacobi.video.index import VideoIndex, index_video

# pyproject.toml installs decord with the extra of its name, where it has a wheel
needs_decord = pytest.mark.skipif(not find_spec("decord"), reason="decord is not installed here")

# file -> whether decord may read it, and how it is encoded
FORMATS = {
    "h264.mp4": (True, {"g": "5"}),
    "hevc.mkv": (True, {"codec": "libx265", "x265-params": "log-level=none:open-gop=0"}),
    "mpeg4.avi": (False, {"codec": "mpeg4"}),
    "vp9.webm": (True, {"codec": "libvpx-vp9", "cpu-used": "8", "deadline": "realtime"}),
    "vp8.webm": (False, {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    "av1.mp4": (False, {"codec": "libsvtav1", "preset": "12"}),
    "palette.gif": (False, {"codec": "gif", "pixels": "rgb8"}),
    "ten.mp4": (False, {"pixels": "yuv420p10le"}),
    "full.mp4": (False, {"pixels": "yuv444p"}),
    "rgb.mkv": (False, {"codec": "ffv1", "pixels": "bgr0"}),
    "mpeg4.mp4": (True, {"codec": "mpeg4"}),
    "bare.h264": (False, {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_first_frames_and_last_frames_are_those_of_a_plain_decoder(tmp_path: Path, name: str) -> None:
    suits_decord, options = FORMATS[name]
    path = encode(tmp_path / name, moving(16), **options)
    expected = decode_all(path)
    index = index_video(path)
    assert (len(index.stamps), index.size, index.rate) == (16, (64, 96), expected_rate(name))
    if find_spec("decord"):
        assert (why_not(index) == "") == suits_decord
    for picks in (np.arange(7, 12), np.arange(11, 16), np.array([2, 2, 5])):
        np.testing.assert_array_equal(pyav_frames(path, index, picks), expected[picks])
    clip = read_frames(path, 0, 9, from_end=True)
    assert (clip.reader, clip.start, clip.notes) == ("pyav", 7, ())
    np.testing.assert_array_equal(clip.frames.numpy(), expected[7:])


def expected_rate(name: str) -> Fraction:
    return Fraction(24000, 1001) if name == "palette.gif" else Fraction(24)  # GIF counts time in centiseconds


def test_odd_sizes_are_left_as_they_are(tmp_path: Path) -> None:
    path = encode(tmp_path / "odd.webm", moving(5, 45, 63), codec="libvpx-vp9")
    clip = read_frames(path, 1, 3)
    assert (clip.reader, tuple(clip.frames.shape)) == ("pyav", (3, 45, 63, 3))


@pytest.mark.parametrize(
    ("matrix", "change"),
    [
        ((0, 1, -1, 0), lambda f: np.rot90(f, 3, (1, 2))),
        ((-1, 0, 0, -1), lambda f: np.rot90(f, 2, (1, 2))),
        ((0, -1, 1, 0), lambda f: np.rot90(f, 1, (1, 2))),
        ((-1, 0, 0, 1), lambda f: f[:, :, ::-1]),
        ((1, 0, 0, -1), lambda f: f[:, ::-1]),
        ((0, 1, 1, 0), lambda f: f.transpose(0, 2, 1, 3)),
    ],
)
def test_rotation_and_mirrors_of_phones_are_honoured(tmp_path: Path, matrix, change) -> None:
    path = encode(tmp_path / "phone.mp4", moving(4))
    upright = decode_all(path)
    turn(path, *matrix)
    expected = change(upright)
    info = open_clip(path)
    assert (info.height, info.width) == expected.shape[1:3]
    clip = read_frames(path, 0, 4)
    np.testing.assert_array_equal(clip.frames.numpy(), expected)
    index = index_video(path)
    np.testing.assert_array_equal(pyav_frames(path, index, np.arange(4)), expected)


def test_variable_rate_is_resampled_by_time(tmp_path: Path) -> None:
    stamps = [0, 10, 20, 30, 40, 140, 240, 340, 440, 540]  # five fast frames, then slow ones
    path = encode(tmp_path / "phone clip.mp4", moving(10), stamps=stamps)
    frames = decode_all(path)
    clip = read_frames(path, 0, 10)
    assert clip.fps == pytest.approx(9 / 0.54, rel=1e-3)
    ticks = np.arange(10) * 60
    nearest = [int(np.argmin([abs(s - t) for s in stamps])) for t in ticks]
    assert len(set(nearest)) < 10
    np.testing.assert_array_equal(clip.frames.numpy(), frames[nearest])
    assert "variable frame rate" in clip.notes[0]
    np.testing.assert_array_equal(read_frames(path, 0, 4, from_end=True).frames.numpy(), frames[nearest[6:]])


def test_rounded_and_jittering_stamps_are_a_constant_rate(tmp_path: Path) -> None:
    ntsc = encode(tmp_path / "ms.mkv", moving(40, 32, 32), rate=Fraction(30000, 1001))
    assert open_clip(ntsc).fps == Fraction(30000, 1001)
    jitter = [round(i * 40 + 12 * (-1) ** i) for i in range(20)]
    path = encode(tmp_path / "jitter.mkv", moving(20, 32, 32), stamps=jitter, rate=25)
    np.testing.assert_array_equal(index_video(path).at_constant_rate(), np.arange(20))


def test_images_and_folders_have_25_fps(tmp_path: Path) -> None:
    from PIL import Image

    for number in (10, 9, 1):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._frame0.png").write_bytes(b"left by a file manager")
    info = open_clip(tmp_path)
    assert (info.kind, info.frames, info.fps, info.height, info.width) == (Kind.FOLDER, 3, 25, 6, 8)
    clip = read_frames(tmp_path, 1, 2)
    assert (clip.frames[:, 0, 0, 0].tolist(), clip.fps, clip.reader) == ([9, 10], 25.0, "pillow")
    single = read_frames(tmp_path / "frame9.png", 0, 1)
    assert (tuple(single.frames.shape), single.fps) == ((1, 6, 8, 3), 25.0)


@pytest.mark.parametrize("name", ["a b ü 日本.mp4", "con:cat:x.mp4", "-i.mp4", "%03d.mp4", 'it\'s "q".mp4'])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, moving(3))
    clip = read_frames(path, 0, 2)
    assert (clip.reader, clip.notes) == ("pyav", ())


@needs_decord
def test_a_hanging_decord_is_killed(tmp_path: Path) -> None:
    hang = tmp_path / "hang.py"
    hang.write_text("import time\ntime.sleep(60)\n")
    path = encode(tmp_path / "a.mp4", moving(6))
    with pytest.raises(BadInput, match=r"decord failed: no answer within 0\.2.*take --reader pyav"):
        decord_reader.read(path, index_video(path), np.arange(6), DecordProcess(worker=hang, seconds=0.2))


@needs_decord
def test_decord_is_refused_when_it_counts_other_frames(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving(6), g="1")
    longer = encode(tmp_path / "b.mp4", moving(7))
    slower = encode(tmp_path / "c.mp4", moving(6), stamps=[0, 100, 200, 300, 400, 500])
    larger = encode(tmp_path / "d.mp4", moving(6, 96, 64))
    index = index_video(path)
    assert read_with_decord(path, index, np.arange(3)).shape == (3, 64, 96, 3)
    for other in (longer, slower, larger):
        with pytest.raises(BadInput, match="decord failed"):
            read_with_decord(other, index, np.arange(3))


@needs_decord
def test_decord_that_returns_other_pictures_is_refused(tmp_path: Path) -> None:
    """It is compared with what PyAV reads, and not only with what headers say."""
    path = encode(tmp_path / "a.mp4", moving(12), g="4")
    late = tmp_path / "late.py"
    worker = Path(decord_reader.__file__).with_name("decord_worker.py").read_text()
    late.write_text(worker.replace("reader.get_batch(indices)", "reader.get_batch([i + 1 for i in indices])"))
    with pytest.raises(BadInput, match="decord returns another picture than frame 3"):
        decord_reader.read(path, index_video(path), np.arange(3, 8), DecordProcess(worker=late))
    clip = read_frames(path, 3, 5, reader="decord")
    assert clip.reader == "decord"
    np.testing.assert_array_equal(clip.frames.numpy(), decode_all(path)[3:8])


def test_readers_that_are_not_there(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving(4))
    with pytest.raises(BadInput, match="not installed"):
        decord_reader.read(path, index_video(path), np.arange(4), DecordProcess(package="no_such_package"))
    with pytest.raises(InvalidArgument, match=r"unknown reader 'decored'.*did you mean 'decord'"):
        read_frames(path, 0, 1, reader="decored")


@needs_decord
def test_both_readers_agree_on_a_real_clip_of_each_source() -> None:
    clips = real_clips()
    for path in (clips["cosmos"][0], clips["bridge"][0], clips["realestate10k"][0]):
        assert_readers_agree(path)


def test_lerobot_av1() -> None:
    (path,) = real_clips()["lerobot_v3_bridge_tiny"]
    clip = read_frames(path, 0, 9, from_end=True)
    assert (clip.reader, clip.fps, clip.start, tuple(clip.frames.shape)) == (
        "pyav",
        5.0,
        93,
        (9, 480, 640, 3),
    )


@needs_decord
@pytest.mark.slow
def test_both_readers_agree_on_every_real_clip() -> None:
    clips = [p for source, paths in real_clips().items() if "lerobot" not in source for p in paths]
    assert len(clips) == 25
    for path in clips:
        assert_readers_agree(path)


def pyav_frames(path: Path, index: VideoIndex, picks: np.ndarray) -> np.ndarray:
    pictures = pyav_reader.read(path, index, picks)
    assert pictures.notes == ()
    return pictures.frames


def real_clips() -> dict[str, list[Path]]:
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real clips is not beside this checkout")
    return {folder.name: sorted(folder.rglob("*.mp4")) for folder in SHARED_DATA.iterdir()}


def assert_readers_agree(path: Path) -> None:
    index = index_video(path)
    picks = np.r_[0:9, 12:16, len(index.stamps) - 9 : len(index.stamps)]
    np.testing.assert_array_equal(read_with_decord(path, index, picks), pyav_frames(path, index, picks))


@pytest.mark.parametrize("name", ["h264.mp4", "av1.mp4"])
def test_every_third_frame(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, moving(16), **FORMATS[name][1])
    expected = decode_all(path)
    clip = read_frames(path, 2, 5, stride=3)
    assert (clip.start, clip.fps) == (2, 8.0)
    np.testing.assert_array_equal(clip.frames.numpy(), expected[[2, 5, 8, 11, 14]])
    last = read_frames(path, 0, 4, from_end=True, stride=3)
    np.testing.assert_array_equal(last.frames.numpy(), expected[[6, 9, 12, 15]])
    with pytest.raises(BadInput, match="6 frames needed from frame 2 on with stride 3, but the clip has 16"):
        read_frames(path, 2, 6, stride=3)
    with pytest.raises(BadInput, match="the stride from 1"):
        read_frames(path, 0, 1, stride=0)
