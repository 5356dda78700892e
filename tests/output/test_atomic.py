"""Files and folders that appear whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import durable, replacing, replacing_folder, write_json


@pytest.mark.parametrize("write", [replacing, durable])
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "a.txt"
    with write(path) as partial:
        partial.write_text("first")
        assert not path.exists()
        assert partial.suffix == ".txt"
    with pytest.raises(ZeroDivisionError), write(path) as partial:
        partial.write_text(f"second {1 / 0}")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(BadOutput, match="is a folder"), write(tmp_path):
        pass
    with pytest.raises(BadOutput, match="cannot be written"), write(tmp_path / "no" / "b") as partial:
        partial.write_text("x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with replacing_folder(folder) as partial:
        (partial / "first").touch()
        assert not folder.exists()
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as partial:
        (partial / "second").write_text(f"{1 / 0}")
    assert os.listdir(folder) == ["first"]
    with replacing_folder(folder) as partial:
        (partial / "third").touch()
        assert os.listdir(folder) == ["first"]
    assert os.listdir(folder) == ["third"]
    assert os.listdir(tmp_path) == ["a"]


def test_json_of_any_path(tmp_path: Path) -> None:
    value = {"é": [1, None], "path": os.fsdecode(b"bad\xff")}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert '"é": [\n' in text
    assert text.endswith("}\n")
    write_json(tmp_path / "a.json", {"path": tmp_path}, indent=4)
    assert (tmp_path / "a.json").read_text() == f'{{\n    "path": "{tmp_path}"\n}}\n'
