"""How many frames video readers get wrong: every start and stride of videos whose pictures say their own number.

    python scripts/reader_conformance.py              # the table on the console
    python scripts/reader_conformance.py --write      # into docs/readers.md

Every reader is asked by number, as its documentation shows. decord and OpenCV may hang and crash, so all but ours run
in processes of their own, which are ended when a file takes too long. A reader that is not installed is left out.
"""

import argparse
import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numbered_videos import Kind, number_in, plain_kinds
from odd_videos import odd_kinds
from tried_readers import READERS, Numbered

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "readers.md"
BEGIN, END = "<!-- made by scripts/reader_conformance.py -->", "<!-- end -->"
COUNT = 4  # frames of one read
STRIDES = (1, 3)
SECONDS = 60.0  # for one file


def plan(frames: int) -> list[list[int]]:
    """The numbers of all reads: every start at every stride."""
    return [
        list(range(start, start + COUNT * stride, stride))
        for stride in STRIDES
        for start in range(frames - (COUNT - 1) * stride)
    ]


@dataclass
class Score:
    """What a reader did with one file.

    Attributes:
        reads, frames: how many were asked for.
        wrong: frames handed out that are another picture than asked for, or that are missing without an error.
        refused: reads that ended in an error.
        reason: the first error.
    """

    reads: int = 0
    frames: int = 0
    wrong: int = 0
    refused: int = 0
    reason: str = ""

    @property
    def cell(self) -> str:
        """A cell of the table."""
        if self.refused == self.reads:
            return "refused"
        return f"{self.wrong}" if not self.refused else f"{self.wrong}, {self.refused} reads refused"


def score(read: Numbered, path: str, shown: list[int], every: int = 1) -> Score:
    """Try all reads of a file that shows these numbers."""
    made = Score()
    for numbers in plan(len(shown))[::every]:
        made.reads, made.frames = made.reads + 1, made.frames + COUNT
        try:
            got = [number_in(np.asarray(frame)) for frame in read(path, numbers)]
        except Exception as error:  # libraries raise anything
            made.refused += 1
            made.reason = made.reason or f"{type(error).__name__}: {error}"[:200]
            continue
        got += [None] * (COUNT - len(got))
        made.wrong += sum(one != shown[number] for one, number in zip(got, numbers, strict=False))
    return made


def work(name: str) -> None:
    """The loop of a process: a line with a path and its numbers in, a line with the score out."""
    for line in sys.stdin:
        path, shown = json.loads(line)
        print(
            "SCORE " + json.dumps(asdict(score(READERS[name].read, path, shown, READERS[name].every))),
            flush=True,
        )


class Process:
    """A reader in a process of its own, started again when it hangs or crashes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._child: subprocess.Popen[str] | None = None

    def score(self, path: Path, shown: tuple[int, ...]) -> Score:
        """The score of a file; all reads count as refused where the process gives no answer."""
        if self._child is None:
            command = [sys.executable, __file__, "--work", self._name]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._child = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([str(path), shown]) + "\n")
        self._child.stdin.flush()
        while select.select([self._child.stdout], [], [], SECONDS)[0]:
            line = self._child.stdout.readline()
            if line.startswith("SCORE "):
                return Score(**json.loads(line[6:]))
            if not line:
                break
        self.close()
        reads = len(plan(len(shown)))
        return Score(reads, reads * COUNT, 0, reads, "it hung or crashed")

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def measure(kinds: Iterable[Kind], folder: Path, names: list[str]) -> dict[str, dict[str, Score]]:
    """Kind -> reader -> score, for the readers that are installed."""
    here = {name: Process(name) for name in names if find_spec(READERS[name].package)}
    scores: dict[str, dict[str, Score]] = {}
    for kind in kinds:
        path = kind.file_in(folder)
        scores[kind.name] = {name: process.score(path, kind.shown) for name, process in here.items()}
        print(kind.name, *(score.cell for score in scores[kind.name].values()), sep=" | ", flush=True)
    for process in here.values():
        process.close()
    return scores


def table(scores: dict[str, dict[str, Score]]) -> str:
    """The scores as Markdown: a line a kind, and the sums."""
    names = list(next(iter(scores.values())))
    lines = ["| kind of file | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    total = {name: Score() for name in names}
    for kind, by_reader in scores.items():
        lines.append(f"| {kind} | {' | '.join(one.cell for one in by_reader.values())} |")
        for name, one in by_reader.items():
            for key in ("reads", "frames", "wrong", "refused"):
                setattr(total[name], key, getattr(total[name], key) + getattr(one, key))
    sums = [f"{s.wrong} of {s.frames - s.refused * COUNT}" for s in total.values()]
    lines.append(f"| **frames wrong** | {' | '.join(sums)} |")
    refused = [f"{s.refused} of {s.reads}" for s in total.values()]
    lines.append(f"| **reads refused** | {' | '.join(refused)} |")
    return "\n".join(lines)


def versions() -> str:
    """The versions of the readers that were tried."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("av", "decord", "torchcodec", "imageio", "opencv-python-headless", "opencv-python"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def write(text: str) -> None:
    """Put the table between its marks in docs/readers.md."""
    page = PAGE.read_text()
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    PAGE.write_text(f"{page[:before]}\n\n{text}\n\nMeasured with {versions()}.\n\n{page[after:]}")


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/readers.md")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only kinds of file whose name has this in it"
    )
    names = list(READERS)
    parser.add_argument(
        "--readers", nargs="+", default=names, choices=names, metavar="NAME", help=f"of {names}"
    )
    parser.add_argument("--work", metavar="READER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return
    kinds: Iterator[Kind] = (kind for kind in [*plain_kinds(), *odd_kinds()] if arguments.only in kind.name)
    with tempfile.TemporaryDirectory() as folder:
        made = table(measure(kinds, Path(folder), arguments.readers))
    print(made)
    if arguments.write:
        write(made)


if __name__ == "__main__":
    main()
