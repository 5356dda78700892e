"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from vidjacobi.errors import BadOutput


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path`, on any error it is removed.

    The temporary name keeps the suffix, so that encoders can go by it, and lies in the same folder,
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
