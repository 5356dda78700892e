"""The parser that every command uses, and the flags that several commands share, each said once.

Where a command reads a configuration, a flag that is not given is None, so that the configuration's value stays.
The other commands pass their default here.
"""

import os
import re
import sys
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vidjacobi.errors import InvalidArgument

# names in vidjacobi.datasets.DATASETS, which --help does not import
LAYOUTS = "realestate10k, lerobot, bridge, jsonl, webdataset or folder"
Add = Callable[..., Action]  # add_argument of a parser, or of a group of its flags


def new_parser(name: str, description: str, examples: str = "") -> ArgumentParser:
    """A parser that keeps the line breaks of its texts, and refuses as the rest of the command does."""
    made = _Parser(
        f"vidjacobi {name}",
        description=description,
        epilog=examples,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a new flag must not change what an old command line means
    )
    made.register("action", None, _Store)
    return made


class _Parser(ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever; several whole numbers of one flag may have commas or spaces between them."""
        several = [
            name for action in self._actions if action.type is wholes for name in action.option_strings
        ]
        return super().parse_known_args(joined(sys.argv[1:] if args is None else args, several), namespace)

    def error(self, message: str) -> NoReturn:
        """Raise InvalidArgument: flags and ``key=value`` are refused in the same way."""
        raise InvalidArgument(f"{message} (`{self.prog} --help` lists what there is)")


class _Store(Action):
    """Keeps the value of a flag, which lies within its bounds, and says so where the flag is given another one."""

    was_given = False

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        from vidjacobi.config.settings import require_inside  # not for --help

        before = getattr(namespace, self.dest, None)
        if option_string and self.was_given and before != values:
            print(
                f"vidjacobi: {option_string} is given twice, the last one counts: {values}", file=sys.stderr
            )
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int | float):
                require_inside(self.dest, value)
        self.was_given = True
        setattr(namespace, self.dest, values)


def whole(text: str) -> int:
    """The whole number that a flag's text is, as in a YAML file."""
    from vidjacobi.config.yaml_files import to_whole

    found = to_whole(text)
    if found is None:
        raise ArgumentTypeError(f"must be a whole number, not {text!r}")
    return found


def number(text: str) -> float:
    """The number that a flag's text is, as in a YAML file."""
    from vidjacobi.config.yaml_files import to_number

    found = to_number(text)
    if found is None:
        raise ArgumentTypeError(f"must be a number, not {text!r}")
    return found


def place(text: str) -> Path:
    """The name of a file or folder to write; an empty one, as of an unset variable, would be the current folder."""
    if not text.strip():
        raise ArgumentTypeError("is empty: name a file or folder (is a variable unset?)")
    return Path(text)


def wholes(text: str) -> list[int]:
    """Whole numbers with commas between them; a flag of this type takes them with spaces too, see ``joined``."""
    return [whole(word) for word in listed(text)]


def joined(words: Sequence[str], several: Sequence[str]) -> list[str]:
    """The words of a command line, the numbers after one of the flags ``several`` as one: ``--windows 16 32``."""
    found: list[str] = []
    goes_on = False  # whether the last word is a value of such a flag
    for word in words:
        if goes_on and re.fullmatch(r"[\d_,]+", word):
            found[-1] += f",{word}"
            continue
        flag, equals, _ = word.partition("=")
        before = "" if word.startswith("--") else " ".join(found[-1:])
        goes_on = (flag if equals else before) in several
        found.append(word)
    return found


def listed(text: str) -> list[str]:
    """Words with commas between them."""
    return [word for word in text.split(",") if word]


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are ``key=value``, and the others: ``take=2.mp4`` is another one where it is a file."""
    settings = [word for word in words if _is_setting(word)]
    return settings, [word for word in words if word not in settings]


def _is_setting(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and key.replace(".", "_").isidentifier() and not os.path.exists(word)


def add_model(add: Add, default: str | None = None) -> None:
    """``--model`` and ``--tokenizer``: what ``vidjacobi.load`` takes."""
    what = "nano, micro, a checkpoint folder, a Hugging Face repository, or package.module:load (nano)"
    add("--model", default=default, metavar="NAME", help=what)
    add_tokenizer(add)


def add_tokenizer(add: Add) -> None:
    """``--tokenizer``, for commands that name several models."""
    what = "video tokenizer's folder or repository, if it is not beside the model"
    add("--tokenizer", metavar="NAME", help=what)


def add_torchscript(add: Add) -> None:
    """``--run-torchscript``."""
    what = "run the tokenizer's .jit files as they are: they are programs, only for files you trust"
    add("--run-torchscript", action="store_true", default=None, help=what)


def add_outlined_model(add: Add, default: str) -> None:
    """``--model`` of commands that predict: a model that need not be here."""
    what = f"4b, 5b, 12b, 13b, nano, micro, a checkpoint folder or package.module:load ({default})"
    add("--model", default=default, metavar="NAME", help=what)


def add_gpu(add: Add, help: str, required: bool = False, default: str | None = None) -> None:
    """``--gpu``: a GPU by its data sheet."""
    names = f"{help}h100, rtx6000ada, 4090, a100 or a YAML path{f' ({default})' if default else ''}"
    add("--gpu", required=required, default=default, metavar="NAME", help=names)


def add_decoder(add: Add, default: str | None = None) -> None:
    """``--decoder`` and ``--window``."""
    what = "see `vidjacobi decoders`, or a YAML path (pathwise)"
    add("--decoder", default=default, metavar="NAME", help=what)
    add("--window", type=whole, metavar="N", help="positions evaluated per pass (the decoder's own)")


def add_sampling(add: Add) -> None:
    """``--seed``, ``--temperature`` and ``--top-p``."""
    add("--seed", type=whole, metavar="S", help="the same seed gives the same frames (0)")
    add("--temperature", type=number, metavar="T", help=">= 0; 0 is greedy (1)")
    add("--top-p", type=number, metavar="P", help="nucleus mass in (0, 1] (0.8)")


def add_top_k(add: Add) -> None:
    """``--top-k``."""
    add("--top-k", type=whole, metavar="K", help="how many of the likeliest tokens are kept (all)")


def add_device(add: Add, default: str | None = None) -> None:
    """``--device``."""
    add("--device", default=default, metavar="NAME", help="cpu, cuda, cuda:N or auto (auto)")


def add_dtype(add: Add, default: str | None = None) -> None:
    """``--dtype``."""
    add("--dtype", default=default, metavar="NAME", help="bfloat16, float32, float64 or auto (auto)")


def add_offload(add: Add, default: bool | None = None) -> None:
    """``--offload``."""
    what = "less memory: model and tokenizer take turns on the GPU"
    add("--offload", action="store_true", default=default, help=what)


def add_compile(add: Add) -> None:
    """``--compile``."""
    what = "off, default, or reduce-overhead: CUDA graphs, untested (off)"
    add("--compile", metavar="MODE", help=what)


def add_memory_check(add: Add) -> None:
    """``--no-memory-check``."""
    what = "run even if it is predicted not to fit in memory"
    add("--no-memory-check", dest="memory_check", action="store_false", default=None, help=what)


def add_other_versions(add: Add) -> None:
    """``--other-versions``: of commands that resume."""
    what = "resume although packages that results depend on have changed"
    add("--other-versions", action="store_true", default=None, help=what)


def add_reader(add: Add, default: str | None = None) -> None:
    """``--reader``."""
    add(
        "--reader",
        default=default,
        metavar="NAME",
        help="of videos: pyav or decord, which give the same frames (pyav)",
    )


def add_context(add: Add, default: int | None = None, image: bool = False) -> None:
    """``--context``; ``image``: the command also takes images."""
    what = f"frames given: 1 + 8k (9{'; 1 for an image' if image else ''})"
    add("--context", type=whole, default=default, metavar="N", help=what)


def add_frames(add: Add, default: int | None = None, chunks: bool = False) -> None:
    """``--frames``; ``chunks``: more than the tokenizer takes at once are made in chunks."""
    what = f"frames to predict{', any number' if chunks else ''} (24)"
    add("--frames", type=whole, default=default, metavar="N", help=what)


def add_clip_choice(add: Add) -> None:
    """``--camera``, ``--split``, ``--clip-list`` and ``--stride``: which clips of a dataset."""
    add("--camera", metavar="NAME", help="camera of the dataset, where it has several")
    add("--split", metavar="NAME", help="only this split: train, test ... (all)")
    what = "only these ids, one a line: `id [start [stride]]`, or JSON"
    add("--clip-list", metavar="FILE", help=what)
    add("--stride", type=whole, metavar="N", help="take every N-th frame (1)")


def add_out(add: Add, default: str) -> None:
    """``--out``: a folder."""
    add("--out", type=place, default=default, metavar="DIR", help=f"folder for the results ({default})")
