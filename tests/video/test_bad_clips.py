"""Unusable clips: each gets its own message, which names the file. Damaged ones give what they hold."""

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import audio_only, decode_all, encode, moving
from PIL import Image

from vidjacobi.errors import BadInput
from vidjacobi.video.clips import open_clip, read_frames


def _write(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


def _half(path: Path) -> None:
    """mp4 with its index at the end, cut in the middle: what an aborted recording leaves."""
    encode(path.with_suffix(".mov"), moving(30))
    data = path.with_suffix(".mov").read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _text_folder(path: Path) -> None:
    path.mkdir()
    (path / "a.txt").write_text("x")


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.mp4": (lambda path: None, "no such file"),
    "link.mp4": (lambda path: path.symlink_to("nowhere"), "a link whose target is missing"),
    "zero.mp4": (lambda path: path.write_bytes(b""), "an empty file"),
    "text.mp4": (_write("grüße\n" * 2000), "a text file.*'grüße'"),
    "page.mp4": (_write("<!DOCTYPE html>"), "a text file.*DOCTYPE"),
    "playlist.m3u8": (_write("#EXTM3U\nfile:///etc/passwd\n"), "a text file"),
    "pointer.mp4": (_write("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
    "random.mp4": (
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        "not a video or image",
    ),
    "half.mp4": (_half, r"without a readable index \(moov\)"),
    "audio.mp4": (audio_only, "no video stream.*audio"),
    "empty.mp4": (Path.mkdir, "a folder without images.*it is empty"),
    "folder.mp4": (_text_folder, "a folder without images.*1 other file or folder"),
    "pipe.mp4": (os.mkfifo, "neither a file nor a folder"),
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("use", [open_clip, lambda path: read_frames(path, 0, 9)], ids=["open", "read"])
def test_unusable_clip(tmp_path: Path, name: str, use: Callable[[Path], object]) -> None:
    make, message = UNUSABLE[name]
    make(tmp_path / name)
    with pytest.raises(BadInput, match=message) as caught:
        use(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_addresses_are_refused() -> None:
    with pytest.raises(BadInput, match="download the file"):
        open_clip("https://example.org/a.mp4")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", moving(3))

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, as in containers, may read whatever the mode says
    with pytest.raises(BadInput, match="no permission"):
        open_clip(path)


@pytest.mark.parametrize(
    ("start", "count", "from_end", "message"),
    [
        (0, 9, False, "9 frames needed, but the clip has 6"),
        (4, 3, False, "3 frames needed from frame 4 on, but the clip has 6"),
        (6, 1, False, "1 frame needed from frame 6 on, but the clip has 6"),
        (0, 7, True, "7 frames needed, but the clip has 6"),
        (1, 2, True, "exclude each other"),
        (-1, 2, False, "the start counts from 0"),
        (0, 0, False, "the number from 1"),
    ],
)
def test_requests_that_the_clip_cannot_meet(tmp_path: Path, start, count, from_end, message) -> None:
    path = encode(tmp_path / "six.mp4", moving(6))
    with pytest.raises(BadInput, match=message):
        read_frames(path, start, count, from_end)


def test_cut_short_serves_what_is_there_and_refuses_the_end(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", moving(60, 96, 128), crf="5")
    frames, data = decode_all(whole), whole.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    info = open_clip(path)
    assert 9 < info.frames < 60
    assert "cut short" in info.notes[0]
    clip = read_frames(path, 0, 9)
    assert "cut short" in clip.notes[0]
    np.testing.assert_array_equal(clip.frames.numpy(), frames[:9])
    for start, count, from_end in ((0, 60, False), (info.frames, 1, False), (0, 9, True)):
        with pytest.raises(BadInput, match=f"only {info.frames} of its 60 frames can be read"):
            read_frames(path, start, count, from_end)


@pytest.mark.parametrize("lost", [5, 30])
def test_a_frame_lost_in_the_middle_keeps_its_number_and_is_refused(tmp_path: Path, lost: int) -> None:
    path = encode(tmp_path / "damaged.mp4", moving(40), g="1", bf="0")
    frames, data = decode_all(path), bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][lost]
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    assert open_clip(path).frames == 40
    for start, count in ((0, lost), (lost + 1, 4), (lost - 2, 2), (lost - 3, 1)):
        clip = read_frames(path, start, count)
        np.testing.assert_array_equal(clip.frames.numpy(), frames[start : start + count])
    np.testing.assert_array_equal(read_frames(path, lost - 1, 2, stride=2).frames[1], frames[lost + 1])
    with pytest.raises(BadInput, match=rf"damaged: frame {lost} cannot be decoded \(1 of those asked for\)"):
        read_frames(path, lost - 3, 9)


def test_incomplete_frames_are_noted(tmp_path: Path) -> None:
    path = encode(tmp_path / "damaged.mp4", moving(12), crf="1")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        position, size = next((p.pos, p.size) for p in container.demux(video=0) if p.size)
    data[position + size // 2 : position + size // 2 + 60] = bytes(60)
    path.write_bytes(data)
    assert "of the frames read are incomplete" in " ".join(read_frames(path, 0, 12).notes)


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_cut_images(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(moving(1)[0]).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="damaged"):
        read_frames(path, 0, 1)


def test_an_image_has_one_frame(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(BadInput, match="an image is a clip of one frame, but 9 are needed"):
        read_frames(tmp_path / "a.png", 0, 9)


def test_frames_of_a_folder_need_one_size(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "2.png")
    with pytest.raises(BadInput, match=r"2\.png: 6x4 pixels, but 1\.png has 4x4"):
        read_frames(tmp_path, 0, 2)
