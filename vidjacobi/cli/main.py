"""The ``vidjacobi`` command: finds the command's module, and turns errors into messages and exit statuses."""

import atexit
import gc
import io
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast, runtime_checkable

from vidjacobi.errors import InvalidArgument, VidjacobiError
from vidjacobi.registry import suggest

# The name of a command (one word or two), its module, and what it does in one line. A new command is a module
# with ``parser()`` and ``run(args)`` and a line here. Only the module of the command that runs is imported.
COMMANDS = {
    "rollout": (
        "vidjacobi.cli.rollout",
        "predict what happens next in a clip: an mp4, a contact sheet and the numbers",
    ),
    "image": (
        "vidjacobi.cli.image",
        "pictures of prompts or classes, by models of other authors: PNGs, a contact sheet, the numbers",
    ),
    "play": (
        "vidjacobi.cli.play",
        "a local page on which a world model runs: step, act, fork, rewind",
    ),
    "bench": (
        "vidjacobi.cli.bench",
        "passes, seconds and ratios of several decoders and windows, in one run",
    ),
    "bench overhead": (
        "vidjacobi.cli.bench_overhead",
        "the share of a pass outside the model's forward call, predicted and measured",
    ),
    "bench pictures": (
        "vidjacobi.cli.bench_pictures",
        "passes and tokens per pass of several decoders and windows on pictures of prompts or classes",
    ),
    "curve": (
        "vidjacobi.cli.curve",
        "pass times and tokens per pass by window, stored for the adaptive decoder",
    ),
    "plan": (
        "vidjacobi.cli.plan",
        "predicted seconds of a pass and of a rollout on a GPU, its best window and batch",
    ),
    "doctor": (
        "vidjacobi.cli.doctor",
        "what is installed here, and whether a rollout fits in memory",
    ),
    "batch": (
        "vidjacobi.cli.batch",
        "many futures of all episodes of a dataset, over several GPUs and machines, resumable",
    ),
    "report": (
        "vidjacobi.cli.report",
        "manifest.parquet and report.html of a batch",
    ),
    "export": (
        "vidjacobi.cli.export",
        "a batch's futures as a LeRobot dataset",
    ),
    "eval": (
        "vidjacobi.cli.eval",
        "is it as good as AR, and how much faster: FVD and more on clips of a dataset",
    ),
    "eval fvd": (
        "vidjacobi.cli.eval_fvd",
        "FVD, PSNR and SSIM of two folders of videos or of frame folders",
    ),
    "eval actions": (
        "vidjacobi.cli.eval_actions",
        "do predicted frames follow their actions? error and R2 of actions read off them",
    ),
    "eval pictures": (
        "vidjacobi.cli.eval_pictures",
        "are pictures of fast decoders as good as AR's? FID beside passes and seconds",
    ),
    "eval policies": (
        "vidjacobi.cli.eval_policies",
        "do policies rank in a world model of Push-T as they do in the simulator?",
    ),
    "eval setup": (
        "vidjacobi.cli.eval_setup",
        "where the weights of FVD's network are, or how to get them",
    ),
    "models": (
        "vidjacobi.cli.models",
        "list the bundled models and the families of others: sizes, licences, what is needed",
    ),
    "decoders": (
        "vidjacobi.cli.decoders",
        "list the decoders, what each one guarantees and where it is from",
    ),
    "convert": (
        "vidjacobi.cli.convert",
        "an official checkpoint to safetensors that transformers' from_pretrained reads",
    ),
}

OVERVIEW = f"""usage: vidjacobi COMMAND ...

Fast rollouts of autoregressive video world models: fewer passes, the same distribution.

{"".join(f"  {name:14}  {summary}{chr(10)}" for name, (_, summary) in COMMANDS.items())}
`vidjacobi COMMAND --help` says more. The last line on standard output is one JSON object.
"""


@runtime_checkable
class Command(Protocol):
    """A module of this package that is a command."""

    def parser(self) -> ArgumentParser:
        """The command's arguments. Imports neither torch nor numpy, so that ``--help`` is quick."""
        ...

    def run(self, args: Namespace) -> dict[str, Any] | tuple[dict[str, Any], int]:
        """Do it, and return the object of the last line on standard output.

        An exit status other than 0 stands beside it. Raises VidjacobiError.
        """
        ...


def program() -> NoReturn:
    """What the shell runs: ``main`` with the words of this process, and then its end.

    The interpreter and the libraries of torch are not taken apart, which would take 0.3 s of CPU and 160 MB. A
    command whose output nobody reads any more (``| head -1``, ``>&-``) does its work all the same, and ends with its
    status.
    """
    from vidjacobi.processes import interrupt_in_words, keep_standard_streams, lost_output

    interrupt_in_words()
    keep_standard_streams()  # before any other file is opened
    ended: list[int] = []

    def leave() -> None:
        sys.stdout.flush()
        if ended and (lost := lost_output()):
            told = f"standard output: {lost}; what the command writes to files is not concerned"
            print(f"vidjacobi: error: {told}", file=sys.stderr)
            ended[0] = ended[0] or 2
        sys.stderr.flush()
        if ended:
            os._exit(ended[0])

    # Read when torch is imported. By default threads that wait keep their cores busy, which in a pass of many small
    # operations makes a rollout 15 to 60 times slower where another program wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    gc.set_threshold(20_000)  # not 700: to look through what torch's import makes takes 0.15 s, and it stays
    # handlers run in reverse order: this one after those of everything that is imported later
    atexit.register(leave)
    ended.append(main(sys.argv[1:]))
    sys.exit(ended[0])


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a bad request or input, 130 when interrupted.

    ``batch`` has more: 1 where a future failed, 143 when it was terminated. Without ``words`` it is ``program``.
    """
    if words is None:
        program()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may follow; docs/quickstart.md says how to let it
        from vidjacobi.cli.completion import complete

        complete(COMMANDS, lambda name: module_of(name).parser())
    words = list(words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a path of undecodable bytes is printed as its JSON escape; the default would end the command here
        sys.stdout.reconfigure(errors="backslashreplace")
    if not words or words[0] in {"-h", "--help"}:
        print(OVERVIEW, end="")
        return 0
    if words[0] == "--version":
        from importlib.metadata import version  # takes as long as everything else here

        print(version("vidjacobi"))
        return 0
    try:
        return run(words)
    except VidjacobiError as error:
        print(f"vidjacobi: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        from vidjacobi.processes import INTERRUPTED

        print(INTERRUPTED, file=sys.stderr)
        return 130


def run(words: Sequence[str]) -> int:
    """Run the command that ``words`` begin with and print its last line. Raises VidjacobiError."""
    name, rest = split(words)
    command = module_of(name)
    # intermixed: `rollout --frames 8 clip.mp4 --seed 7 other.mp4` names two clips
    result = command.run(command.parser().parse_intermixed_args(rest))
    line, status = result if isinstance(result, tuple) else (result, 0)
    print(json_line(line), flush=True)
    return status


def module_of(name: str) -> Command:
    """The module of a command."""
    return cast(Command, import_module(COMMANDS[name][0]))


def json_line(line: dict[str, Any]) -> str:
    """One line of JSON that standard output can take, whatever names of files are in it."""
    text = json.dumps(line, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8, or a terminal that is not
        return json.dumps(line)
    return text


def split(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The name of the command, of two words if there is such a one, and the words after it."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    raise InvalidArgument(
        f"unknown command {words[0]!r}{suggest(words[0], COMMANDS)}. There are: {', '.join(COMMANDS)}"
    )
