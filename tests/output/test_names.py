"""Folder names for outputs."""

import os
from pathlib import Path

import pytest

from vidjacobi.output.run_folder import LONGEST, output_names, safe_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clip", "clip"),
        ("größe 日本", "größe 日本"),
        ("e\u0301", "é"),
        ('a<b>:"c"|?*', "a_b_c_"),
        ("../../etc", "_.._etc"),
        ("..", "clip"),
        ("", "clip"),
        (" . ", "clip"),
        (".hidden", "hidden"),
        ("CON", "CON_"),
        ("com1.x", "com1.x_"),
        ("line\nbreak", "line_break"),
        (os.fsdecode(b"bad\xff"), "bad_"),
    ],
)
def test_safe_name(text: str, expected: str) -> None:
    assert safe_name(text) == expected


def test_long_names_are_cut_between_characters() -> None:
    assert len(safe_name("日" * 300).encode()) <= LONGEST
    assert safe_name("日" * 300) == "日" * (LONGEST // 3)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.mp4", "b.mp4"], ["a", "b"]),
        (["train/83/rgb.mp4", "train/346/rgb.mp4"], ["83_rgb", "346_rgb"]),
        (["x/1/rgb.mp4", "y/1/rgb.mp4", "y/2/rgb.mp4", "z.mp4"], ["x_1_rgb", "y_1_rgb", "2_rgb", "z"]),
        (["d/a.mp4", "d/a.webm"], ["a_mp4", "a_webm"]),
        (["a.mp4", "a.mp4", "a.mp4"], ["a", "a-2", "a-3"]),
        (["clips/A.mp4", "more/a.mp4"], ["clips_A", "more_a"]),
        (["../x.mp4", "x.mp4/../y.mp4"], ["x", "y"]),
        (["x/a.mp4", "y/a.mp4", "x_a.mp4"], ["x_a", "y_a", "x_a-2"]),
    ],
)
def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], names: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_names(paths) == names


def test_numbers_never_meet_a_name_that_is_taken() -> None:
    assert output_names(["a.mp4", "a.mp4", "a-2.mp4"]) == ["a", "a-3", "a-2"]


def test_order_does_not_change_the_names() -> None:
    paths = ["p/1/rgb.mp4", "p/2/rgb.mp4", "q/other.mp4"]
    forward, backward = output_names(paths), output_names(paths[::-1])
    assert dict(zip(paths, forward, strict=True)) == dict(zip(paths[::-1], backward, strict=True))


def test_folders_keep_their_dots(tmp_path: Path) -> None:
    (tmp_path / "take.1").mkdir()
    assert output_names([tmp_path / "take.1"]) == ["take.1"]
