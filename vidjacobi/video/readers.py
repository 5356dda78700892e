"""The names of the readers of video files, and which one is chosen."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# name -> "module:function", a `vidjacobi.video.reader.Reader`, imported when it is asked for. All give the same
# frames or refuse. A reader of your own is added here.
READERS = {
    "pyav": "vidjacobi.video.pyav_reader:read",
    "decord": "vidjacobi.video.decord_reader:read",
}
DEFAULT = "pyav"
_CHOSEN: ContextVar[str] = ContextVar("reader", default=DEFAULT)


def chosen_reader() -> str:
    """The reader that is taken where none is named."""
    return _CHOSEN.get()


@contextmanager
def reading_with(reader: str) -> Iterator[None]:
    """Within this context, reads that name no reader take this one."""
    token = _CHOSEN.set(reader)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
