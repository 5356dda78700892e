"""Which pictures are wanted: prompts and classes of a command line, and those of a text or JSON-lines file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.datasets.side_files import json_lines, parse_json, read_text
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.output.run_folder import safe_name

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
SLUG = 40  # characters of a prompt in the name of its files


@dataclass(frozen=True)
class Entry:
    """One line of the list: a text or a class.

    Attributes:
        index: its place in the list, from 0 on.
        prompt, label: one of the two; neither where nothing is asked for.
        id: a name that keys its noise in place of its text; None where the list gives none.
        facts: what else its line says.
        repeat: how many equal entries stand before it; it keys the noise too, so that each is another picture.
    """

    index: int
    prompt: str | None = None
    label: str | int | None = None
    id: str | None = None
    facts: tuple[tuple[str, Any], ...] = ()
    repeat: int = 0

    @property
    def shown(self) -> str:
        """What is asked for, in words."""
        if self.prompt is None and self.label is None:
            return "nothing in particular"
        return self.prompt if self.prompt is not None else f"class {self.label}"

    def file_name(self, sample: int) -> str:
        """Of the files of one of its pictures, without an ending; it sorts as the list does."""
        if self.prompt is None and self.label is None:
            return f"{self.index:04d}-{sample}_picture"
        text = self.prompt if self.prompt is not None else str(self.label)
        slug = safe_name("-".join(text.lower().replace(".", " ").split())[:SLUG]).strip("-_")
        return f"{self.index:04d}-{sample}_{slug or 'picture'}"


def read_entries(
    prompts: Sequence[str], labels: Sequence[str], file: Path | None, unasked: bool = False
) -> tuple[list[Entry], list[str]]:
    """All wanted pictures in order: prompts, then labels, then the lines of the file; and what is odd about them.

    ``unasked``: where there are none, one entry asks for nothing: pictures of the model are of nothing in particular.
    Raises InvalidArgument where nothing is wanted or a prompt is empty, BadInput for a file that is no list.
    """
    found = [Entry(0, prompt=prompt) for prompt in prompts]
    found += [Entry(0, label=as_label(label)) for label in labels]
    notes = []
    if file is not None:
        lines, empty = _lines_of(file)
        found += lines
        if empty:
            notes.append(f"{file}: {number_of(empty, 'empty line')} passed by")
    if not found and unasked:
        found = [Entry(0)]
    if not found:
        raise InvalidArgument("nothing is asked for: give a prompt, --label, or a list with --prompts")
    entries = list(_numbered(found))
    for entry in entries:
        if entry.prompt is not None and not entry.prompt.strip():
            raise InvalidArgument("a prompt is empty: say what is to be seen")
    if repeated := [entry.index for entry in entries if entry.repeat]:
        shown = ", ".join(map(str, repeated[:5])) + (" ..." if len(repeated) > 5 else "")
        are = "prompt {} is" if len(repeated) == 1 else "prompts {} are"
        notes.append(f"{are.format(shown)} like an earlier one: each is drawn with noise of its own")
    return entries, notes


def as_label(text: str) -> str | int:
    """A class as it was written: a number, or a name."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _numbered(entries: Sequence[Entry]) -> Iterator[Entry]:
    # Prompts a b a have the repeats 0 0 1.
    seen: dict[tuple[Any, ...], int] = {}
    for index, one in enumerate(entries):
        key = (one.prompt, one.label, one.id)
        yield Entry(index, one.prompt, one.label, one.id, one.facts, seen.get(key, 0))
        seen[key] = seen.get(key, 0) + 1


def _lines_of(file: Path) -> tuple[list[Entry], int]:
    """The entries of a file, and how many of its lines are empty."""
    try:
        text = read_text(file)
        if file.suffix.lower() in JSON_SUFFIXES:
            found = [_entry(file, number, value) for number, value in json_lines(file)]
        else:
            found = [
                _text(file, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()
            ]
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidArgument):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{file}: this list of prompts cannot be read: {reason or error}") from error
    if not found:
        raise BadInput(f"{file}: no prompt stands in this list: write one a line")
    return found, sum(not line.strip() for line in text.splitlines())


def _text(file: Path, number: int, line: str) -> Entry:
    if line.lstrip().startswith("{"):
        try:
            parsed = isinstance(parse_json(line), dict)
        except ValueError:
            parsed = False
        if parsed:
            raise BadInput(f"{file}, line {number}: this is JSON: rename the list to {file.stem}.jsonl")
    return Entry(0, prompt=line.strip())


def _entry(file: Path, number: int, value: Any) -> Entry:
    where = f"{file}, line {number}"
    if isinstance(value, ValueError):
        raise BadInput(f"{where}: {value}")
    if isinstance(value, str):
        return Entry(0, prompt=value)
    if not isinstance(value, dict):
        raise BadInput(
            f'{where}: write a text, or {{"prompt": "..."}} or {{"label": ...}}, not {value!s:.60}'
        )
    rest = dict(value)
    prompt, label, name = (rest.pop(key, None) for key in ("prompt", "label", "id"))
    if (prompt is None) == (label is None):
        raise BadInput(f"{where}: give prompt or label, one of the two")
    if prompt is not None and not isinstance(prompt, str):
        raise BadInput(f"{where}: a prompt is a text, not {prompt!r:.60}")
    if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
        raise BadInput(f"{where}: a label is the name or number of a class, not {label!r:.60}")
    if name is not None and (isinstance(name, bool) or not isinstance(name, str | int)):
        raise BadInput(f"{where}: an id is a text or a number, not {name!r:.60}")
    return Entry(0, prompt, label, None if name is None else str(name), tuple(rest.items()))
