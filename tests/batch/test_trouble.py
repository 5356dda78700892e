"""Crashes, damaged files, full memory, a full disk, Ctrl-C: what is done is kept, the next call makes the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import Batch, hashes, log_lines

from vidjacobi.batch.contexts import encode_context
from vidjacobi.batch.futures import advance
from vidjacobi.decoding.clip_queue import decode_each
from vidjacobi.errors import BadOutput

pytestmark = pytest.mark.unchecked

Flags = dict[str, Any]


def test_a_crash_between_rename_and_record_is_made_good(
    batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = batch(out, **flags)
    for path in (out / "log").glob("*.jsonl"):
        path.unlink()
    times = {path: path.stat().st_mtime_ns for path in out.glob("items/*/*.npz")}
    after = batch(out, **flags)
    assert hashes(after) == alone
    assert after["b", 8, 1] == before["b", 8, 1]
    assert times == {path: path.stat().st_mtime_ns for path in out.glob("items/*/*.npz")}


def test_damaged_and_foreign_files_are_made_again(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch(out, **flags, limit=1)
    for path in (out / "log").glob("*.jsonl"):
        path.unlink()
    first, second = sorted(out.glob("items/a/*.npz"))
    tokens = {}
    for path in (first, second):
        with np.load(path) as content:
            tokens[path] = content["tokens"]
    first.write_bytes(first.read_bytes()[:-30])
    with np.load(second) as content:
        arrays = dict(content)
    arrays["record"] = np.array(str(arrays["record"]).replace('"settings": "', '"settings": "x'))
    np.savez_compressed(second, **arrays)
    batch(out, **flags, limit=1)
    assert len(log_lines(out)) == 2
    for path, before in tokens.items():
        with np.load(path) as content:
            assert np.array_equal(content["tokens"], before)
            assert '"settings": "x' not in str(content["record"])


def test_out_of_memory_halves_the_rows(
    batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path
) -> None:
    tried: list[int] = []

    def decode(model: Any, requests: Any, rows: int, *args: Any, **kwargs: Any) -> Any:
        tried.append(rows)
        for number, result in enumerate(decode_each(model, requests, rows, *args, **kwargs)):
            yield result
            if rows > 2 and number == 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")

    assert hashes(batch(tmp_path / "out", steps={"decode": decode}, **flags, rows=8)) == alone
    assert tried == [8, 4, 2]
    assert len(log_lines(tmp_path / "out")) == len(alone) + 1


@pytest.mark.parametrize(("step", "whole"), [("to_frames", advance), ("encode", encode_context)])
def test_out_of_memory_beside_decoding(
    batch: Batch,
    flags: Flags,
    alone: dict[Any, str],
    tmp_path: Path,
    step: str,
    whole: Callable[..., Any],
) -> None:
    told: list[int] = []

    def sometimes(*args: Any) -> Any:
        told.append(1)
        if len(told) in (2, 3):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return whole(*args)

    rows = batch(tmp_path / "out", steps={step: sometimes}, **flags, rows=8)
    assert hashes(rows) == alone
    assert len(told) > 3


def test_too_large_for_one_row_is_a_failure(batch: Batch, flags: Flags, tmp_path: Path) -> None:
    def decode(model: Any, requests: Any, rows: int, *args: Any, **kwargs: Any) -> Any:
        for _ in requests:
            raise torch.OutOfMemoryError("CUDA out of memory.")
            yield

    rows = batch(tmp_path / "out", steps={"decode": decode}, **flags, rows=4)
    assert [row.status for row in rows.values() if row.start is not None] == ["failed"] * 6
    assert all("out of memory" in str(row.error) for row in rows.values() if row.start is not None)


def test_a_full_disk_stops_and_keeps(
    batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "out", []
    whole = np.savez_compressed

    def full(path: Path, **arrays: Any) -> None:
        written.append(path)
        if len(written) > 4:
            Path(path).write_bytes(b"a part")
            raise OSError(28, "No space left on device")
        whole(path, **arrays)

    monkeypatch.setattr("vidjacobi.batch.future_files.np.savez_compressed", full)
    with pytest.raises(BadOutput, match="No space left on device"):
        batch(out, **flags)
    assert len(written) == 5
    assert len(log_lines(out)) - 4 in (0, 1)  # the short episode may have been seen
    assert len(list(out.glob("items/*/*"))) == 4
    assert not list(out.glob("items/*/.*"))
    monkeypatch.undo()
    assert hashes(batch(out, **flags)) == alone


def test_an_interrupt_keeps_what_is_decided(
    batch: Batch, flags: Flags, alone: dict[Any, str], tmp_path: Path
) -> None:
    def decode(*args: Any, **kwargs: Any) -> Any:
        for number, result in enumerate(decode_each(*args, **kwargs)):
            if number == 5:
                raise KeyboardInterrupt
            yield result

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        batch(out, steps={"decode": decode}, **flags)
    assert len([line for line in log_lines(out) if line["status"] == "done"]) == 5
    assert hashes(batch(out, **flags)) == alone
