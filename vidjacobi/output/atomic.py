"""Files and folders that appear whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from vidjacobi.errors import BadOutput


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success it becomes ``path``, on any error it is removed.

    The temporary name keeps the suffix, because encoders choose their format by it, and lies in the same folder,
    so that the rename is atomic. Raises BadOutput where the folder or the disk refuses.
    """
    path = Path(path)
    if path.is_dir():
        raise BadOutput(f"{path}: is a folder; a file name is needed")
    partial = path.parent / f".{uuid4().hex}{path.suffix}"
    try:
        yield partial
        os.replace(partial, path)
    except BadOutput:
        raise
    except OSError as error:
        raise BadOutput(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def durable(path: Path) -> Iterator[Path]:
    """``replacing``, and when it returns the file survives a power cut: its content and its name are on the disk."""
    with replacing(path) as partial:
        yield partial
        sync_file(partial)
    sync_folder(path.parent)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; on success it takes its place, on any error it is removed.

    Raises BadOutput where the disk refuses.
    """
    partial = folder.parent / f".{uuid4().hex}"
    try:
        partial.mkdir()
        yield partial
        if folder.exists():
            # A folder cannot be renamed over one that is not empty, so the old one steps aside first.
            old = folder.parent / f".{uuid4().hex}"
            folder.rename(old)
            partial.rename(folder)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    except OSError as error:
        raise BadOutput(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: str | Path, value: Any, indent: int = 2) -> None:
    """Readable JSON that appears whole or not at all; what JSON has no type for is written as its text.

    Raises BadOutput.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n"
    with replacing(path) as partial:
        # A path of undecodable bytes holds lone surrogates, which UTF-8 has no code for. Their backslash form is
        # the JSON escape of the same character, so they survive.
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def sync_file(path: Path) -> None:
    """Wait until the disk has the file's content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in this folder, so that renames in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
