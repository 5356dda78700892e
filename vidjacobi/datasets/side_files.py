"""What lies beside the frames of a dataset: texts, JSON and paths that others wrote, which are read as data only.

Whatever is wrong with one of them is a ValueError with a message for users, so that it can be one entry's trouble.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# UTF-32 goes first: its mark begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_in(content: bytes) -> str:
    """The encoding that the first bytes of a text name, without their byte order mark; UTF-8 if they name none."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")


def encoding_of(path: Path) -> str:
    """The encoding of a text file, by its first bytes. Raises OSError."""
    with path.open("rb") as file:
        return encoding_in(file.read(4))


def read_text(path: Path) -> str:
    """A whole text file. Raises OSError, and ValueError for bytes that are no text."""
    return path.read_text(encoding_of(path))


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises OSError and ValueError."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """The value that a JSON text is. Raises ValueError, also for one that is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep to be read") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(number, value) of the lines of a file of JSON lines; the value is a ValueError where a line is no JSON.

    Empty lines are passed by. Bytes that are no text become U+FFFD. Raises OSError.
    """
    with path.open(encoding=encoding_of(path), errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, parse_json(line)
            except ValueError as error:
                yield number, error


def path_below(root: Path, name: object) -> Path:
    """The path that a dataset names, which must lie below its own root.

    Links on the way are followed: a cache or a user made them, not the text of a dataset. Raises ValueError for a
    name that is no text, absolute, or leads out of ``root``.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{_shown(name)} is no path")
    # Windows' separators and drives lead out of a folder there
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or parts[0][1:2] == ":":
        raise ValueError(f"the path {_shown(name)} leads out of the dataset, and is not read")
    return root / name


def whole(value: object, what: str) -> int:
    """A whole number from 0 on, also as a float without a fraction, which pandas makes of columns with gaps.

    Raises ValueError, which names ``what``.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{what} must be a whole number from 0 on, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep; a whole number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}..."
