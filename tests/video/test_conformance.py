"""The pictures that a player shows at those places, from every kind of file (``scripts/reader_conformance.py``)."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import decode_all, encode, moving

from vidjacobi.datasets.chosen_reader import read_with
from vidjacobi.datasets.contract import Episode
from vidjacobi.datasets.frame_sources import File
from vidjacobi.errors import BadInput
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.index import index_video
from vidjacobi.video.packets import scan_packets
from vidjacobi.video.stream import open_stream
from vidjacobi.video.timing import times_of

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.append(str(SCRIPTS))  # the kinds of file, and what each reader is asked
from numbered_videos import Kind, number_in, picture, plain_kinds  # noqa: E402
from odd_videos import odd_kinds  # noqa: E402
from reader_conformance import plan, score  # noqa: E402
from tried_readers import READERS, with_vidjacobi  # noqa: E402

KINDS = {kind.name: kind for kind in [*plain_kinds(), *odd_kinds()]}
# Those whose encoders are quick, and of each trouble at least one. With decord as the default, these were wrong:
# .ts with B-frames, H.265 in groups of 2, open groups, intra refresh, fragmented mp4, flv, program streams.
QUICK = [
    *("H.264 closed, mp4", "H.264 closed, ts", "H.264 open, mp4", "H.264 open, mkv", "H.264 B-pyramid, avi"),
    *("H.264 intra refresh, mp4", "H.264 intra refresh, fmp4", "H.264 closed, fmp4", "H.264 closed, flv"),
    *("H.265 groups of 2, mp4", "H.265 open (RASL), mp4", "H.264 closed, h264", "H.264 closed, mpg"),
    *("MPEG-2, mpg", "MPEG-2, ts", "MPEG-4 with B, mp4", "MPEG-4 with B, avi", "MPEG-1, avi", "MJPEG, avi"),
    *("FFV1, mkv", "WMV 8, wmv", "Sorenson, flv", "H.263, 3gp", "Theora, ogv", "VP9, webm"),
    *(kind.name for kind in odd_kinds()),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numbered")


@pytest.mark.parametrize("name", QUICK)
def test_no_read_is_wrong(folder: Path, name: str) -> None:
    kind = KINDS[name]
    assert_right(kind, kind.file_in(folder), every=13)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_read_of_the_whole_matrix_is_wrong(folder: Path, name: str) -> None:
    assert_right(KINDS[name], KINDS[name].file_in(folder), every=1)


def test_the_matrix_is_large_enough() -> None:
    assert len(KINDS) >= 150
    assert sum(len(plan(len(kind.shown))) for kind in KINDS.values()) >= 10_000
    assert len(QUICK) == len({*QUICK}) >= 25
    assert [number_in(picture(number)) for number in range(0, 4096, 61)] == list(range(0, 4096, 61))
    assert number_in(picture(3) // 2 + picture(4) // 2) is None


def assert_right(kind: Kind, path: Path, every: int) -> None:
    """Every read has the pictures asked for, with the very bytes of a read of everything."""
    info = open_clip(path)
    assert info.frames == len(kind.shown)
    assert info.fps == (25 if "field" in kind.name or kind.container == "obu" else 30)
    whole = read_frames(path, 0, info.frames).pictures
    assert [number_in(frame) for frame in whole] == list(kind.shown)
    if kind.coding in {"H.264 open", "H.265 open (RASL)", "MPEG-2", "H.264 intra refresh"}:
        np.testing.assert_array_equal(whole, decode_all(path))
    made = score(with_vidjacobi, str(path), list(kind.shown), every)
    assert (made.wrong, made.refused) == (0, 0)
    for numbers in plan(info.frames)[:: 3 * every]:
        got = read_frames(path, numbers[0], len(numbers), stride=numbers[1] - numbers[0]).pictures
        np.testing.assert_array_equal(got, whole[numbers])


@pytest.mark.skipif(not find_spec("decord"), reason="decord is not installed here")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("H.264 closed, ts", "its container is mpegts"),
        ("H.264 closed, fmp4", "its container is mov,mp4"),
        ("H.264 open, mp4", "predicted across its key frames"),
        ("H.264 intra refresh, mp4", "predicted across its key frames"),
        ("H.265 groups of 2, mp4", "predicted across its key frames"),
        ("MPEG-4 with B, mp4", "predicted across its key frames"),
        ("H.264 field-coded, mp4", "only be told apart by decompressing"),
        ("H.264 with times in storing order, mp4", "only be told apart by decompressing"),
    ],
)
def test_decord_is_refused_where_it_is_not_known_to_be_right(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=f"decord is not known to read this file rightly: .*{reason}"):
        read_frames(KINDS[name].file_in(folder), 3, 4, reader="decord")


@pytest.mark.skipif(not find_spec("decord"), reason="decord is not installed here")
@pytest.mark.parametrize("name", ["H.264 closed, mp4", "H.264 all key, mkv", "MPEG-4, mp4"])
def test_decord_reads_the_same_where_it_is_taken(folder: Path, name: str) -> None:
    kind = KINDS[name]
    clip = read_frames(kind.file_in(folder), 7, 9, reader="decord")
    assert (clip.reader, [number_in(frame) for frame in clip.pictures]) == ("decord", list(range(7, 16)))


def test_the_reader_of_a_dataset_goes_with_its_frames(folder: Path) -> None:
    path = KINDS["H.264 closed, ts"].file_in(folder)
    entry = Episode("a", File(path), None, str(path))
    (plain,) = read_with([entry], "pyav")
    assert plain == entry
    (chosen,) = read_with([entry], "decord")
    assert isinstance(chosen, Episode)
    assert chosen.frames.count() == 40
    with pytest.raises(BadInput, match="take --reader pyav"):
        chosen.frames.read(0, 2)
    assert entry.frames.read(0, 2).reader == "pyav"  # the choice ends with the read


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("H.264 from between key frames, ts", "begins between key frames"),
        ("H.264 from an open key frame, mkv", "its 31 packets are 28 frames"),
        ("H.264 field-coded, mkv", "field-coded: its 80 packets are 40 frames"),
        ("H.264 joined, the clock restarts, ts", "its clock goes back once"),
        ("H.264 with times in storing order, mp4", "not in the order of its pictures"),
        ("H.264 with a repeated time, mkv", "repeated time stamps: 1"),
    ],
)
def test_what_is_odd_is_named(folder: Path, name: str, note: str) -> None:
    path = KINDS[name].file_in(folder)
    for notes in (open_clip(path).notes, read_frames(path, 2, 3).notes):
        assert note in " ".join(notes)


def test_damage_between_a_key_frame_and_the_frames_is_noted(tmp_path: Path) -> None:
    """Later frames of the group keep their numbers, and those of other groups are as they were."""
    path = encode(tmp_path / "a.mp4", moving(60), g="20", bf="0")
    frames, data = decode_all(path), bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][24]
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    assert "damaged" in " ".join(read_frames(path, 30, 3).notes)
    np.testing.assert_array_equal(read_frames(path, 40, 9).pictures, frames[40:49])
    np.testing.assert_array_equal(read_frames(path, 20, 4).pictures, frames[20:24])


def test_where_reading_may_begin(folder: Path) -> None:
    """Not at the key frames of a refresh, which are whole only later; at each of the others."""
    starts = {}
    for name in (
        "H.264 closed, mp4",
        "H.264 open, mp4",
        "H.264 intra refresh, mp4",
        "H.265 open (RASL), mp4",
    ):
        index = index_video(KINDS[name].file_in(folder))
        starts[name] = np.searchsorted(index.stamps, [start.shown for start in index.starts]).tolist()
    assert starts.pop("H.264 intra refresh, mp4") == [0]
    assert set(map(tuple, starts.values())) == {(0, 12, 24, 36)}


def test_most_files_are_numbered_without_decompressing_them(folder: Path) -> None:
    for name in (
        "H.264 closed, mp4",
        "H.264 open, mp4",
        "H.265 groups of 2, mp4",
        "H.264 closed, ts",
        "VP9, webm",
    ):
        assert not index_video(KINDS[name].file_in(folder)).counted
    with open_stream(KINDS["H.264 field-coded, mp4"].file_in(folder)) as opened:
        packets = scan_packets(*opened)
    assert (packets.fields, packets.believed, len(packets.stamps)) == (True, False, 80)


@pytest.mark.parametrize("share", [0.02, 0.6, 4.0])
def test_the_duration_of_the_last_frame_does_not_move_the_rate(tmp_path: Path, share: float) -> None:
    source = encode(tmp_path / "even.mp4", moving(12), rate=24, bf="0")
    path = tmp_path / "last.mp4"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [p for p in old.demux(video=0) if p.size]
        for packet in packets:
            if packet is packets[-1]:
                packet.duration = int((packet.duration or 0) * share)
            packet.stream = stream
            new.mux(packet)
    assert (open_clip(path).fps, open_clip(path).notes) == (24, ())


def test_times_where_stamps_are_missing_repeated_or_turn_back() -> None:
    base, rates = Fraction(1, 100), [Fraction(1000), Fraction(25)]
    even = times_of([0, 4, 8, 12], base, rates)
    assert (even.rate, even.notes, even.seconds.tolist()) == (25, (), [0, 0.04, 0.08, 0.12])
    filled = times_of([None, 4, None, 12, None], base, rates)
    assert filled.rate == 25
    np.testing.assert_allclose(filled.seconds, [0, 0.04, 0.08, 0.12, 0.16])
    assert filled.notes == ("frames without a time stamp: 3 of 5; they are spread evenly",)
    twice = times_of([0, 3, 3, 9, 20], base, rates)
    np.testing.assert_allclose(twice.seconds, [0, 0.03, 0.06, 0.09, 0.2])
    back = times_of([0, 4, 8, 12, 0, 4, 8], base, rates)
    assert (back.rate, "goes back once" in back.notes[0]) == (25, True)
    shuffled = times_of([0, 12, 4, 8, 24, 16, 20], base, rates)
    assert (shuffled.rate, "not in the order" in shuffled.notes[0]) == (25, True)
    assert times_of([0, 0, 0, 0, 0, 1], base, [Fraction(30)]).rate == 30
    assert times_of([None, None], base, [Fraction(90000), Fraction(30)]).rate == 30


def test_the_script_makes_its_table() -> None:
    command = [
        sys.executable,
        SCRIPTS / "reader_conformance.py",
        "--only",
        "MJPEG, avi",
        "--readers",
        "vidjacobi",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[-2:] == ["| **frames wrong** | 0 of 272 |", "| **reads refused** | 0 of 68 |"]


def test_a_reader_that_is_late_by_one_is_caught(folder: Path) -> None:
    """The score can fail."""
    path = KINDS["H.264 closed, mp4"].file_in(folder)
    late = score(
        lambda path, numbers: with_vidjacobi(path, [n + 1 for n in numbers]), str(path), list(range(39)), 9
    )
    assert late.wrong == late.frames > 0
    assert replace(READERS["vidjacobi"], every=2).every == 2
