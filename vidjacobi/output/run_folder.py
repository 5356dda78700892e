"""Output folders that appear whole or not at all, and never swallow what they did not make."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from vidjacobi.errors import BadOutput

RECORD = "rollout.json"  # its presence, at the top or one level down, says that a folder is ours


def prepare(out: Path, names: Sequence[str], overwrite: bool) -> list[Path]:
    """The folders ``out/name``, checked before any work is done.

    Raises BadOutput if ``out`` cannot be written, a folder exists and ``overwrite`` is off, or it holds
    something else than an earlier rollout.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadOutput(f"{out}: cannot be written to: {error.strerror or error}") from error
    folders = [out / name for name in names]
    for folder in folders:
        if (folder.exists() or folder.is_symlink()) and not overwrite:
            raise BadOutput(f"{folder} exists: give another --out, or --overwrite to replace it")
        if folder.exists() and not is_ours(folder):
            raise BadOutput(f"{folder} is not an earlier rollout: it is left alone; give another --out")
    return folders


def is_ours(folder: Path) -> bool:
    """Whether an earlier rollout made this folder."""
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and any(True for pattern in (RECORD, f"*/{RECORD}") for _ in folder.glob(pattern))
    )


def begin(folder: Path) -> None:
    """An empty folder whose files may be looked at while they grow, in place of what ``prepare`` let pass."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise BadOutput(f"{folder}: cannot be written: {error.strerror or error}") from error


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; on success it takes its place, on any error it is removed."""
    partial = folder.parent / f".{uuid4().hex}"
    try:
        partial.mkdir()
        yield partial
        if folder.exists():
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
