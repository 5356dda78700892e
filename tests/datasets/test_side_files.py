"""Texts, JSON and paths beside the frames: byte order marks, and paths that stay in their dataset."""

import codecs
import json
from pathlib import Path

import pytest
from clip_files import encode, moving

from vidjacobi.datasets import Episode, open_dataset
from vidjacobi.datasets.cameras import looks_like_cameras, read_cameras
from vidjacobi.datasets.clip_list import read_clip_list
from vidjacobi.datasets.side_files import json_lines, parse_json, path_below, read_json, whole

MARKED = {
    "utf-8": codecs.BOM_UTF8 + "é\r\n".encode(),
    "utf-16 le": codecs.BOM_UTF16_LE + "é\r\n".encode("utf-16-le"),
    "utf-16 be": codecs.BOM_UTF16_BE + "é\r\n".encode("utf-16-be"),
    "utf-32 le": codecs.BOM_UTF32_LE + "é\r\n".encode("utf-32-le"),
}
CAMERA = " ".join(["0", "0.5 0.9 0.5 0.5 0 0", "1 0 0 0", "0 1 0 0", "0 0 1 0"])


def marked(path: Path, text: str, kind: str) -> Path:
    mark = MARKED[kind][: -len("é\r\n".encode(kind.replace(" ", "-")))]
    path.write_bytes(mark + text.encode(kind.replace(" ", "-")))
    return path


@pytest.mark.parametrize("kind", MARKED)
def test_byte_order_marks_are_no_part_of_a_text(tmp_path: Path, kind: str) -> None:
    encode(tmp_path / "clip.mp4", moving(3, 16, 16))
    line = json.dumps({"visual_input": "clip.mp4", "prompt": "é"}, ensure_ascii=False)
    (entry,) = open_dataset(marked(tmp_path / "list.jsonl", line + "\r\n", kind))
    assert isinstance(entry, Episode)
    assert (entry.id, entry.metadata["text"]) == ("clip", "é")
    poses = marked(tmp_path / "poses.txt", f"{CAMERA}\r\n1{CAMERA}\r\n\r\n", kind)
    assert looks_like_cameras(poses)
    assert read_cameras(poses).timestamps.tolist() == [0, 10]
    assert [want.clip for want in read_clip_list(marked(tmp_path / "a.txt", "é\r\nb\r\n", kind))] == [
        "é",
        "b",
    ]
    assert [want.clip for want in read_clip_list(marked(tmp_path / "a.json", '["é"]', kind))] == ["é"]
    assert read_json(marked(tmp_path / "b.json", '{"é": 1}', kind)) == {"é": 1}


def test_a_line_separator_in_a_text_ends_no_line(tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"task": "a\u2028b"}\n\n{"task": 1}\nno\n', encoding="utf-8")
    found = dict(json_lines(tmp_path / "tasks.jsonl"))
    assert (found[1], found[3]) == ({"task": "a\u2028b"}, {"task": 1})
    assert isinstance(found[4], ValueError)


def test_json_that_is_nested_too_deep_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[" * 100_000)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a\\..\\..\\x",
        "C:/x",
        "C:x",
        "\\\\host\\x",
        "",
        "a\0b",
        None,
        7,
        ["a"],
    ],
)
def test_a_path_cannot_lead_out_of_the_dataset(name: object) -> None:
    with pytest.raises(ValueError, match=r"leads out of the dataset|is no path"):
        path_below(Path("/set"), name)
    assert path_below(Path("/set"), "videos/a..b/1:2.mp4") == Path("/set/videos/a..b/1:2.mp4")


@pytest.mark.parametrize(
    "value", [None, "1", True, -1, 1.5, float("nan"), 1 << 60, [1], {}, 10**5000], ids=range(10)
)
def test_whole_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="length must be a whole number from 0 on"):
        whole(value, "length")
    assert (whole(7, "length"), whole(7.0, "length")) == (7, 7)
