"""Every kind of file, cut at many places: what is read is a beginning of the whole, and the cut is told."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from clip_files import encode, moving

from vidjacobi.errors import BadInput
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.endings import Ending, State, ending_of
from vidjacobi.video.picture_order import hole_at_end, lost_at_end, places_of
from vidjacobi.video.stream import open_stream, packets_of

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from numbered_videos import Kind, plain_kinds

CUTS = 6
KINDS = {kind.name: kind for kind in plain_kinds()}
# Of a bare stream and of a transport stream that ends with a whole picture nothing tells whether more followed.
SILENT = {"ts", "m2ts", "h264", "hevc", "m2v", "obu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuts")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_is_read_of_a_cut_file_is_a_beginning(folder: Path, tmp_path: Path, name: str) -> None:
    kind: Kind = KINDS[name]
    source = kind.file_in(folder)
    whole, data, draw = read_frames(source, 0, 40).pictures, source.read_bytes(), random.Random(name)
    assert "cut short" not in " ".join(open_clip(source).notes)
    path = tmp_path / f"cut{source.suffix}"
    for place in draw.sample(range(len(data) // 20, len(data) - 1), CUTS):
        path.write_bytes(data[:place])
        try:
            info = open_clip(path)
            clip = read_frames(path, 0, info.frames)
        except BadInput:  # its index was at its end, or nothing whole is left
            continue
        np.testing.assert_array_equal(clip.pictures, whole[: info.frames])
        assert kind.container in SILENT or info.frames == 40 or "cut short" in " ".join(clip.notes), place


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "flv", "ts", "mpg", "ogv", "wmv", "mxf"])
def test_the_container_shows_whether_its_end_is_there(tmp_path: Path, ending: str) -> None:
    codecs = {"mpg": "mpeg2video", "mxf": "mpeg2video", "ogv": "libvpx", "wmv": "wmv2", "flv": "flv"}
    path = encode(tmp_path / f"a.{ending}", moving(12), codec=codecs.get(ending, "mpeg4"), rate=25)
    with open_stream(path) as (container, stream):
        name, number = container.format.name, stream.id
    assert ending_of(path, name, number).state is not State.BROKEN
    path.write_bytes(path.read_bytes()[:-30])
    assert ending_of(path, name, number).state is State.BROKEN
    for garbage in (b"", b"\0" * 9, random.Random(1).randbytes(3000)):
        path.write_bytes(garbage)
        assert isinstance(ending_of(path, name, number), Ending)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video"])
def test_codecs_say_where_their_pictures_belong(tmp_path: Path, codec: str) -> None:
    options = {"x265-params": "log-level=none:pools=1"} if codec == "libx265" else {}
    path = encode(tmp_path / "a.mkv", moving(9), codec=codec, rate=25, g="9", bf="2", **options)
    with open_stream(path) as (container, stream):
        extradata, name = bytes(stream.codec_context.extradata or b""), stream.codec_context.name
        packets = [(packet.pts, bytes(packet)) for packet in packets_of(container, stream)]
    stamps, heads = zip(*packets, strict=True)
    places = places_of(name, extradata, heads)
    assert None not in places
    assert [*np.argsort(stamps)] == sorted(range(9), key=lambda k: places[k])  # type: ignore[arg-type, return-value]
    period = 1 / stream_rate(path)
    assert lost_at_end(places, name, period, torn=False) == 0
    assert lost_at_end(places, name, period, torn=True) >= 1
    # every beginning of the packets gives a beginning of the pictures
    for count in range(2, 9):
        kept = count - lost_at_end(places_of(name, extradata, heads[:count]), name, period, torn=False)
        assert sorted(stamps[:count])[:kept] == sorted(stamps)[:kept]


def stream_rate(path: Path):
    with open_stream(path) as (_, stream):
        return stream.average_rate


def test_holes_between_stamps() -> None:
    none, known = float("inf"), 10.0
    assert hole_at_end([0, 40, 20], none, sure=False) is None
    assert hole_at_end([0, 30], known, sure=True) == 30
    assert hole_at_end([0, 30], none, sure=True) is None
    assert hole_at_end([0, 10, 20, 40, 50, 30, 80, 90], known, sure=True) == 80
    assert hole_at_end([0, 10, 20, 30, 40, 50, 60, 70, 90, 110], none, sure=False) == 90
    assert hole_at_end([0, 10, 30, 40, 50, 60, 70, 80, 90], known, sure=True) is None
