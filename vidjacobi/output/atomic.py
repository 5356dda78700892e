"""Files and folders that appear whole or not at all."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from vidjacobi.errors import BadOutput

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """A hidden name that nobody has, in the folder of ``path``."""
    return path.parent / f".{uuid4().hex}{suffix}"


def is_temporary(name: str) -> bool:
    """Whether a file name is one that ``temporary_beside`` makes, and so was left by a run that was killed."""
    return _TEMPORARY.fullmatch(name) is not None


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link. What links point to is left alone.

    Raises OSError.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)  # does not follow the links in it
    else:
        path.unlink()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success it becomes ``path``, on any error it is removed.

    The temporary name keeps the suffix, because encoders choose their format by it, and lies in the same folder,
    so that the rename is atomic. Raises BadOutput where the folder or the disk refuses.
    """
    path = Path(path)
    if path.is_dir():
        raise BadOutput(f"{path}: is a folder; a file name is needed")
    partial = temporary_beside(path, path.suffix)
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
def replacing_folder(folder: Path, replace: bool = True) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; on success it takes its place, on any error it is removed.

    Raises BadOutput where the disk refuses, and where something has its name by then and ``replace`` is off.
    """
    partial, old = temporary_beside(folder), temporary_beside(folder)
    try:
        partial.mkdir()
        yield partial
        if folder.exists() or folder.is_symlink():
            if not replace:
                raise BadOutput(f"{folder}: another run has made it meanwhile; what it wrote is kept")
            # A folder cannot be renamed over one that is not empty, so the old one steps aside first.
            try:
                folder.rename(old)
                partial.rename(folder)
            except BaseException:  # Ctrl-C too
                if os.path.lexists(old) and not os.path.lexists(folder):
                    old.rename(folder)
                raise
            finally:
                if os.path.lexists(old) and os.path.lexists(folder):
                    remove(old)
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
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """UTF-8 text that appears whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        # A path of undecodable bytes holds lone surrogates, which UTF-8 has no code for. Their backslash form
        # (\udcff for the byte ff) is the JSON escape of the same character, so they survive.
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
