"""Packets that a recording lost in the middle: the pictures that may show traces of others are named."""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import decode_all, encode, moving

from vidjacobi.errors import BadInput
from vidjacobi.video.anchors import AnchorCount
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.losses import after_gaps, spelled
from vidjacobi.video.mpeg import Mpeg4


def without(source: Path, path: Path, lost: int, closed: bool = False) -> Path:
    """A copy of the packets without one of them; ``closed``: and without a gap in the times of storing."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(p for p in old.demux(video=0) if p.size):
            if number != lost:
                packet.stream = stream
                if closed:
                    packet.pts = packet.dts = number - (number > lost)
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


# codec, container, options of its encoder
MPEG = [
    ("mpeg2video", "mkv", {"bf": "2"}),
    ("mpeg4", "closed avi", {"bf": "2"}),
    pytest.param("mpeg4", "closed avi", {"bf": "0"}, marks=pytest.mark.slow),
    *(
        pytest.param(codec, ending, options, marks=pytest.mark.slow)
        for codec, endings in (
            ("mpeg1video", ("avi", "mkv", "mpg")),
            ("mpeg2video", ("avi", "mkv", "mpg", "ts", "m2v")),
            ("mpeg4", ("avi", "mkv", "mp4", "ts", "m4v")),
        )
        for ending in endings
        for options in ({"bf": "2"}, {"bf": "0"})
    ),
]


@pytest.mark.parametrize(("codec", "ending", "options"), MPEG)
def test_mpeg_tells_by_the_places_of_its_pictures(
    tmp_path: Path, codec: str, ending: str, options: dict[str, str]
) -> None:
    """Whichever packet is lost: pictures that are not as they were are named, or the read is refused."""
    closed, ending = ending.startswith("closed "), ending.removeprefix("closed ")
    source = encode(tmp_path / f"a.{ending}", textured(30), codec=codec, rate=25, g="12", **options)
    frames = decode_all(source)
    known = {frame.tobytes() for frame in frames}
    assert not set(words_of_loss(read_frames(source, 0, 30).notes))
    told = 0
    for lost in range(1, 30):
        path = without(source, tmp_path / f"b.{ending}", lost, closed)
        try:
            clip = read_frames(path, 0, open_clip(path).frames)
        except BadInput:
            continue
        spoilt = {k for k, picture in enumerate(clip.pictures) if picture.tobytes() not in known}
        assert spoilt <= named_in(clip.notes), (lost, clip.notes)
        told += bool(spoilt)
    assert told > 3


def textured(total: int) -> np.ndarray:
    """A picture of noise that moves: none is like another, whichever it is predicted from."""
    noise = np.random.default_rng(0).integers(0, 60, (64, 96 + 2 * total, 3), np.uint8)
    return moving(total) // 2 + np.stack([noise[:, 2 * t : 2 * t + 96] for t in range(total)])


def words_of_loss(notes: Sequence[str]) -> list[str]:
    return [note for note in notes if "lost" in note]


def named_in(notes: Sequence[str]) -> set[int]:
    """The frames that notes name."""
    found: set[int] = set()
    for note in words_of_loss(notes):
        spans = re.search(r"frames? ([\d, to]+) ", note)
        for span in spans[1].split(", ") if spans else ():
            first, _, last = span.partition(" to ")
            found |= {*range(int(first), int(last or first) + 1)}
    return found


STORED = "I0 P3 B1 B2 P6 B4 B5 P9 B7 B8 I12 B10 B11 P15 B13 B14"
LOSSES = [  # what is lost of them, and what it spoils
    ("P6", "B4 B5 P9 B7 B8 B10 B11"),
    ("B4", "B5 P6 P9 B7 B8 B10 B11"),  # 4 may have been an anchor
    ("B5", ""),
    ("P3", "B1 B2 P6 B4 B5 P9 B7 B8 B10 B11"),
    ("P9", "B7 B8 B10 B11"),
    ("I12", "B10 B11 P15 B13 B14"),
    ("B10", "B11"),
    ("", ""),
]
END = "P9 B7 B8"  # of a group


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4"])
@pytest.mark.parametrize(("lost", "spoilt"), [*LOSSES, (END, "B10 B11")])
def test_what_the_loss_of_an_anchor_spoils(tmp_path: Path, codec: str, lost: str, spoilt: str) -> None:
    if codec != "mpeg4":  # groups count anew: that the end of one is missing cannot be told (docs/readers.md)
        spoilt = {END: "", "B10": ""}.get(lost, spoilt)
    source = encode(tmp_path / "a.mkv", moving(16), codec=codec, rate=25, g="12", bf="2")
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        packets = [packet for packet in container.demux(stream) if packet.size]
    names = STORED.split(" ")
    kept = [packet for name, packet in zip(names, packets, strict=True) if name not in lost.split()]
    count = AnchorCount(codec, extradata, Fraction(1, 25) if codec == "mpeg4" else Fraction(1))
    for packet in packets:
        packet.dts = None  # as if it were of a container without times
    passed = [*count.watch(kept)]
    assert passed == kept
    marked = [name for name, packet in zip(names, packets, strict=True) if packet.opaque is not None]
    assert marked == [name for name in names if name in spoilt.split()]


def test_two_pictures_in_one_packet_are_no_loss(tmp_path: Path) -> None:
    """As DivX and XviD pack them into AVI: P2 and B1, and then a picture without content that says the time of P2."""
    source = encode(tmp_path / "a.avi", moving(9), codec="mpeg4", rate=25, g="9", bf="1")
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        stored = [bytes(packet) for packet in container.demux(stream) if packet.size]
    packed = stored[:1]
    for number in range(1, len(stored), 2):
        bits = f"01 0 1 {number + 1:05b} 1 0 01111".replace(" ", "")  # P, this second, 1/25 s, not coded
        packed += [b"".join(stored[number : number + 2]), b"\0\0\1\xb6" + int(bits, 2).to_bytes(2, "big")]
    assert [[p.kind for p in Mpeg4(extradata).pictures(data)] for data in packed[:3]] == [
        ["I"],
        ["P", "B"],
        ["N"],
    ]
    for lost, marked in (([], 0), (packed[3:5], 4)):
        packets = [av.Packet(data) for data in packed if data not in lost]
        passed = AnchorCount("mpeg4", extradata, Fraction(1, 25)).watch(packets)
        assert sum(packet.opaque is not None for packet in passed) == marked


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
