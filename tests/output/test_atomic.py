"""Files and folders that appear whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import (
    durable,
    is_temporary,
    remove,
    replacing,
    replacing_folder,
    temporary_beside,
    write_json,
)


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


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with replacing_folder(folder, replace=False) as partial:
        (partial / "first").touch()
    with (
        pytest.raises(BadOutput, match="another run has made it meanwhile"),
        replacing_folder(folder, replace=False) as partial,
    ):
        (partial / "second").touch()
    assert os.listdir(folder) == ["first"]
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("after", [0, 1])
def test_an_interruption_between_two_names_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    folder, rename, renamed = tmp_path / "a", Path.rename, []

    def interrupted(path: Path, target: Path) -> None:
        renamed.append(target)
        if len(renamed) == 1 and not after:
            raise KeyboardInterrupt
        rename(path, target)
        if len(renamed) == 1 and after:
            raise KeyboardInterrupt

    with replacing_folder(folder) as partial:
        (partial / "first").touch()
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing_folder(folder) as partial:
        (partial / "second").touch()
    assert os.listdir(folder) == ["first"]
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_gives_way_and_what_it_points_to_stays(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    (tmp_path / "a").symlink_to(treasure)
    with replacing_folder(tmp_path / "a") as partial:
        (partial / "new").touch()
    assert not (tmp_path / "a").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a", "treasure"]
    (tmp_path / "link").symlink_to(treasure)
    remove(tmp_path / "link")
    (tmp_path / "a" / "inner").symlink_to(treasure)
    remove(tmp_path / "a")
    assert os.listdir(tmp_path) == ["treasure"]
    assert (treasure / "gold").exists()


def test_names_of_our_own_making_are_known(tmp_path: Path) -> None:
    assert is_temporary(temporary_beside(tmp_path / "a").name)
    assert is_temporary(temporary_beside(tmp_path / "a.npz", ".npz").name)
    for name in (".bashrc", ".git", "a.npz", f".{'0' * 31}", f".{'0' * 32}.tar.gz", "0" * 32):
        assert not is_temporary(name)


def test_json_of_any_path(tmp_path: Path) -> None:
    value = {"é": [1, None], "path": os.fsdecode(b"bad\xff")}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert '"é": [\n' in text
    assert text.endswith("}\n")
    write_json(tmp_path / "a.json", {"path": tmp_path}, indent=4)
    assert (tmp_path / "a.json").read_text() == f'{{\n    "path": "{tmp_path}"\n}}\n'
