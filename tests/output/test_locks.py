"""Locks between processes."""

from pathlib import Path

import pytest

from vidjacobi.errors import BadOutput
from vidjacobi.output.locks import is_locked, locked
from vidjacobi.output.run_folder import RunFolder


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path, refused = tmp_path / "lock", pytest.raises(BadOutput, match="another run is at work")
    assert not is_locked(path)
    with locked(path, wait=False) as held:
        assert held
        assert is_locked(path)
        with refused, locked(path, wait=False):
            pass
    assert not is_locked(path)
    with locked(path, wait=False):
        pass


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", "bench", "bench.json")
    with folder.locked():
        with pytest.raises(BadOutput, match="another run is at work"), folder.locked():
            pass
        folder.overwrite()
        with pytest.raises(BadOutput, match="another run is at work"), folder.locked():
            pass  # the lock outlives what is removed
