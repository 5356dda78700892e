"""Shell completion, answered by argcomplete: commands, flags, and the values of flags and of ``key=value``."""

import os
from argparse import Action, ArgumentParser
from collections.abc import Callable, Iterable
from typing import Any

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.lexers import split_line

from vidjacobi.cli.options import LAYOUTS
from vidjacobi.config.yaml_files import config_names

LISTS = ("decoders",)  # flags that may take several words with commas between them
# What a flag takes, by its name. The words are those of registries that are slow to import; a test compares them.
WORDS: dict[str, str] = {
    "compile": "off default reduce-overhead",
    "context_from": "first last",
    "dataset": f"auto {LAYOUTS}".replace(",", " ").replace(" or ", " "),
    "device": "auto cpu cuda",
    "dtype": "auto bfloat16 float32 float64",
    "engine": "local ray",
    "model": "nano micro",
    "models": "nano micro",
    "output": "videos frames tokens",
    "short": "skip pad error",
}
KINDS = {"decoder": "decoder", "decoders": "decoder", "gpu": "gpu"}  # flags that take a file of configs/KIND
Command = Callable[[], ArgumentParser]


def complete(commands: Iterable[str], parser_of: Callable[[str], ArgumentParser]) -> None:
    """Answer the shell, which asks through the environment, and end this process.

    Args:
        commands: names of one word or two.
        parser_of: the parser of a command.
    """
    # the words before the one that is being written; the script's own come first
    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    start = int(os.environ["_ARGCOMPLETE"])
    names = list(commands)
    for length in (2, 1):
        name = " ".join(words[start : start + length])
        if len(words) >= start + length and name in names:
            # argcomplete takes the command for the program and completes what follows
            os.environ["_ARGCOMPLETE"] = str(start + length)
            seconds = [other.split()[1] for other in names if other.startswith(f"{name} ")]
            is_second = len(words) == start + 1
            _answer(completed(parser_of(name), name, seconds if is_second else []))
            return
    first = ArgumentParser("vidjacobi")
    first.add_argument("--version", action="store_true")
    first.add_argument("command", choices=sorted({name.split()[0] for name in names}))
    _answer(first)


def _answer(parser: ArgumentParser) -> None:
    argcomplete.autocomplete(parser, always_complete_options=False)  # flags only after a dash


def completed(parser: ArgumentParser, name: str, seconds: Iterable[str]) -> ArgumentParser:
    """The parser of the command ``name``; its flags and words know what they may be.

    Args:
        seconds: words that make another command of this one, such as ``fvd`` after ``eval``.
    """
    values: dict[str, list[str]] = {key: words.split() for key, words in WORDS.items()}
    values |= {key: config_names(kind) for key, kind in KINDS.items()}
    actions: list[Action] = parser._actions  # as argcomplete does; argparse has no public list of them
    if any(action.dest == "config" for action in actions):
        values["config"] = config_names(name.split(maxsplit=1)[0])
    keys = [action.dest for action in actions if action.option_strings and action.nargs != 0]
    pairs = [key for key in keys if key not in ("config", "out")] if "config" in keys else []
    for action in actions:
        if action.option_strings:
            if action.dest in values and not action.choices:
                _tell(action, _Words(values[action.dest], action.dest in LISTS))
        elif action.dest == "dataset":
            _tell(action, _Words([*values["dataset"][1:], *seconds]))
        else:
            _tell(action, _PairsAndFiles(pairs, values, list(seconds)))
    return parser


def _tell(action: Action, completer: Callable[..., Iterable[str]]) -> None:
    action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks


class _Words:
    """One of some words, or a file; a list of them with commas between them if ``several``."""

    def __init__(self, words: Iterable[str], several: bool = False) -> None:
        self.words, self.several = list(words), several

    def __call__(self, prefix: str, **_: Any) -> list[str]:
        head, comma, _last = prefix.rpartition(",") if self.several else ("", "", prefix)
        found = [f"{head}{comma}{word}" for word in self.words]
        return [word for word in found if word.startswith(prefix)] or list(FilesCompleter()(prefix))


class _PairsAndFiles:
    """``key=`` and what may follow it, words that make another command, and files."""

    def __init__(self, keys: list[str], values: dict[str, list[str]], seconds: list[str]) -> None:
        self.keys, self.values, self.seconds = keys, values, seconds

    def __call__(self, prefix: str, **_: Any) -> list[str]:
        key, equals, _value = prefix.partition("=")
        if equals and key in self.keys:
            found = [f"{key}={value}" for value in self.values.get(key, [])]
        else:
            found = [*self.seconds, *(f"{key}=" for key in self.keys), *FilesCompleter()(prefix)]
        return [word for word in found if word.startswith(prefix)]
