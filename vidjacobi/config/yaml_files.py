"""YAML files: those of ``configs/`` and of users, and how they are read.

What is read is data: texts, numbers, truth values, lists and mappings, by the core schema of YAML 1.2. What could
mean something else to the reader than to the writer is refused: a key that stands twice, tags, anchors, and
``${...}``, which is no variable here.
"""

import re
from importlib import resources
from math import inf
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import suggest

LONGEST = 1 << 20  # bytes of a file
DEEPEST = 20  # mappings and lists in one another
# The core schema of YAML 1.2: 010 is ten and 0o10 is eight. What does not match is text, such as 1_000, 1:30 and yes,
# which YAML 1.1 reads as the numbers 1000 and 90 and as true.
WHOLE = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
NUMBER = re.compile(r"[-+]?(\.[0-9]{1,400}|[0-9]{1,400}(\.[0-9]{0,400})?)([eE][-+]?[0-9]{1,4})?")
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, dict[str, bool | None]] = {
    "null": dict.fromkeys(("", "~", "null", "Null", "NULL")),
    "bool": {
        **dict.fromkeys(("true", "True", "TRUE"), True),
        **dict.fromkeys(("false", "False", "FALSE"), False),
    },
}


def config_names(kind: str) -> list[str]:
    """The names of the shipped configurations of one kind, such as ``decoder``, ``rollout`` or ``bench``."""
    files = (resources.files("vidjacobi") / "configs" / kind).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def read_config(kind: str, name: str) -> dict[str, Any]:
    """The keys and values of ``configs/KIND/NAME.yaml``, or of the file at a path that ends in .yaml or .yml.

    Raises:
        InvalidArgument: there is no such file, no shipped configuration of this name, or it cannot be read.
    """
    values = parse_yaml(_text(kind, name), f"{kind} {name!r}")
    if values is None:  # nothing but comments
        return {}
    if not isinstance(values, dict):
        raise InvalidArgument(f"{kind} {name!r}: expected keys and values, got {abridged(values)}")
    for key in values:
        if not isinstance(key, str):
            raise InvalidArgument(f"{kind} {name!r}: a key must be text, not {key!r}")
    return values


def _text(kind: str, name: str) -> str:
    # Only the ending tells a path from a name, so that a file called "pathwise" in the working folder cannot
    # replace the shipped decoder unnoticed.
    if name.endswith((".yaml", ".yml")):
        return _text_of_file(kind, name)
    names = config_names(kind)
    if name not in names:
        raise InvalidArgument(f"unknown {kind} {name!r}{suggest(name, names)}. There are: {', '.join(names)}")
    return (resources.files("vidjacobi") / "configs" / kind / f"{name}.yaml").read_text(encoding="utf-8")


def _text_of_file(kind: str, name: str) -> str:
    path = Path(name)
    try:
        if not path.is_file():
            raise InvalidArgument(f"there is no {kind} file {name}")
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise InvalidArgument(
                f"{kind} {name!r} is longer than {LONGEST:,} bytes: this is no configuration"
            )
        return content.decode("utf-8-sig")  # without a byte order mark
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{kind} {name!r} is not UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    except OSError as error:
        raise InvalidArgument(f"{kind} {name!r} cannot be read: {error.strerror or error}") from error


def parse_yaml(text: str, what: str) -> Any:
    """The value that a text is. Raises InvalidArgument, which names ``what`` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InvalidArgument(f"{what}{line}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{what}: {str(error).splitlines()[0]}") from error
    except (ValueError, OverflowError) as error:  # PyYAML's chr(0xFFFFFFFF)
        raise InvalidArgument(f"{what}: an escape that is no character, such as \\UFFFFFFFF") from error


def to_whole(text: str) -> int | None:
    """The whole number that a text is, None for any other text."""
    if not WHOLE.fullmatch(text):
        return None
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def to_number(text: str) -> float | None:
    """The number that a text is, None for any other text."""
    whole = to_whole(text)
    if whole is not None:
        return float(whole)
    return float(text) if NUMBER.fullmatch(text) else None


def abridged(value: object) -> str:
    """A value in a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "so large a number"
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Loader(yaml.SafeLoader):
    """Data only, by the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's way, as the next one
    yaml_constructors: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node; refuses what is never needed here, and nesting that the interpreter's stack cannot hold."""
        event = self.peek_event()
        if event.anchor is not None:
            raise _problem(event.start_mark, "anchors and aliases are not read: write the value again")
        if getattr(event, "tag", None) is not None:
            raise _problem(event.start_mark, f"tags are not read: {event.tag!r}")
        if self.depth == DEEPEST:
            raise _problem(event.start_mark, f"more than {DEEPEST} lists and mappings in one another")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def text(self, node: Any) -> str:
        """A text that can be printed, written to a file, and used as a path."""
        if "${" in node.value:
            raise _problem(
                node.start_mark, f"{node.value!r}: nothing is filled in for ${{...}}: write the value"
            )
        if "\0" in node.value or any("\ud800" <= char <= "\udfff" for char in node.value):
            raise _problem(node.start_mark, f"{node.value!r} has a character that no text can hold")
        return str(node.value)

    def number(self, node: Any) -> int | float:
        """A whole number, or another one."""
        whole = to_whole(node.value)
        found = float(node.value) if whole is None else whole
        if found in (inf, -inf):
            raise _problem(node.start_mark, f"{node.value} is beyond every number that can be computed with")
        return found

    def word(self, node: Any) -> bool | None:
        """null, true or false."""
        return _WORDS[node.tag.removeprefix(_TAG)][node.value]

    def sequence(self, node: Any) -> list[Any]:
        """A list."""
        return [self.construct_object(item, deep=True) for item in node.value]

    def mapping(self, node: Any) -> dict[str | int, Any]:
        """Keys, each once, and values."""
        found: dict[str | int, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise _problem(key_node.start_mark, f"a key must be text or a whole number, not {key!r}")
            if key in found:
                raise _problem(key_node.start_mark, f"the key {key!r} is there twice")
            found[key] = self.construct_object(value_node, deep=True)
        return found


def _problem(mark: Any, text: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)


# What a plain text is, by the first pattern that it matches as a whole. PyYAML keeps these on the class.
for _name, _pattern in (
    ("null", "~|null|Null|NULL|"),
    ("bool", "true|True|TRUE|false|False|FALSE"),
    ("int", WHOLE.pattern),
    ("float", NUMBER.pattern),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)
for _name, _constructor in (
    ("null", _Loader.word),
    ("bool", _Loader.word),
    ("int", _Loader.number),
    ("float", _Loader.number),
    ("str", _Loader.text),
    ("seq", _Loader.sequence),
    ("map", _Loader.mapping),
):
    _Loader.add_constructor(_TAG + _name, _constructor)
