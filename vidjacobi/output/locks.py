"""Locks between processes, on files. The system releases them however a process ends, killed or not."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidjacobi.errors import BadOutput

NO_LOCKS = "this file system has no locks: see to it that no other run is at work there"
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN)


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock file; gives False where nothing is held, because the file system has no locks.

    The file is never removed: a second one of its name would be a second lock. Raises BadOutput where another process
    holds it (without ``wait``) or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise BadOutput(f"{path.parent}: cannot be written to: {error.strerror or error}") from error
    with file:
        held = True
        try:
            # The lock is the open file's, not its content's: it goes when this process ends.
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in _HELD:
                raise BadOutput(
                    f"{path.parent}: another run is at work here; wait for it, or end it"
                ) from error
            held = False
        yield held


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD
    return False
