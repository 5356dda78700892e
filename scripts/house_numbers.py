"""How legible the code is, in numbers: functions, comments, rooms, the README, and what one call enters.

    python scripts/house_numbers.py

Modules are those of this project whose functions run during one warm call (the tiny model of ``decode`` not counted).
Imported modules are counted in a process that runs the command once.
"""

import ast
import io
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import vidjacobi
from vidjacobi.testing import TinyVideoModel

ROOT = Path(__file__).parents[1]
PACKAGES = ("vidjacobi", "cosmos_adapter", "eval")
TINY = "vidjacobi.testing.tiny_model"
IMPORTED = """
import sys
from vidjacobi.cli.main import main
main(["rollout", "--frames", "1", "--out", sys.argv[1]])
print(sum(name.split(".")[0] in ("vidjacobi", "cosmos_adapter") for name in sys.modules), file=sys.stderr)
"""


def sources() -> list[Path]:
    """The package's files, the links in it left out."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [path for path in found if not any(part.is_symlink() for part in path.parents)]


def at_the_top() -> list[Path]:
    """The files at the package's top, its ``__init__.py`` and ``__main__.py`` among them."""
    return sorted((ROOT / "vidjacobi").glob("*.py"))


def lines_a_function(files: list[Path]) -> list[int]:
    """Sorted lengths of all functions and methods, decorators and docstrings included."""
    trees = (ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in files)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for tree in trees for node in tree if isinstance(node, kinds)]
    return sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def comment_share(files: list[Path]) -> float:
    """Lines that carry a comment, of all lines."""
    lines = comments = 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        lines += len(text.splitlines())
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        # tokens, not text: a # inside a string is no comment
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
    return comments / lines


def entered(call: Callable[[], Any]) -> set[str]:
    """Modules of this project whose functions run during a call."""
    found: set[str] = set()

    def seen(frame: FrameType, event: str, _: Any) -> None:
        name = str(frame.f_globals.get("__name__", ""))
        if event == "call" and name.startswith(("vidjacobi.", "cosmos_adapter")) and name != TINY:
            found.add(name)

    # The profiler is called for every Python function that is entered, those of this thread only.
    sys.setprofile(seen)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def one_decode() -> set[str]:
    """What the second decode of a clip enters."""
    model, decode = TinyVideoModel(12, vidjacobi.Grid(4, 4, 6), surprise=0.3), vidjacobi.decode
    # The first decode would count what is imported and cached once.
    context = torch.randint(0, 12, (2, 24), generator=torch.Generator().manual_seed(0))
    decode(model, context, 48, "pathwise", 16)
    return entered(lambda: decode(model, context, 48, "pathwise", 16))


def one_rollout() -> set[str]:
    """What the second rollout of the bundled model enters."""
    (model, tokenizer), rollout = vidjacobi.load("nano", device="cpu"), vidjacobi.rollout
    frames = torch.zeros(9, *tokenizer.frame_size, 3, dtype=torch.uint8)
    rollout(frames, model, tokenizer, 1)
    return entered(lambda: rollout(frames, model, tokenizer, 1))


def imported(folder: str) -> int:
    """Modules of this project that ``vidjacobi rollout`` imports."""
    command = [sys.executable, "-c", IMPORTED, folder]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(found.stderr.split()[-1])


def main() -> None:
    """Print the table."""
    import tempfile

    files, top = sources(), ROOT / "vidjacobi"
    functions = lines_a_function(files)
    rooms = [path for path in top.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    pages = list((ROOT / "docs").rglob("*.md"))
    with tempfile.TemporaryDirectory() as folder:
        modules = imported(f"{folder}/out")
    ninth = functions[int(0.9 * len(functions))]
    rows = {
        "lines a function, median / p90 / max": f"{statistics.median(functions):g} / {ninth} / {functions[-1]}",
        "lines with a comment": f"{comment_share(files):.1%}",
        ".py files + folders at the package's top": f"{len(at_the_top())} + {len(rooms)}",
        "modules, lines": f"{len(files)}, {sum(len(path.read_text().splitlines()) for path in files):,}",
        "README lines, bytes / pages in docs": (
            f"{len((ROOT / 'README.md').read_text().splitlines())}, "
            f"{len((ROOT / 'README.md').read_bytes()):,} / {len(pages)}"
        ),
        "modules entered by one decode()": str(len(one_decode())),
        "modules entered by one rollout()": str(len(one_rollout())),
        "modules imported by `vidjacobi rollout`": str(modules),
    }
    for name, value in rows.items():
        print(f"{name:44} {value}")


if __name__ == "__main__":
    main()
