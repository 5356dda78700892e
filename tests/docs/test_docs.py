"""What README and docs promise: their code runs, their commands parse, their links and paths exist.

A page is executed from top to bottom in one temporary folder that holds ``clip.mp4``, the folder ``clips``, the
LeRobot dataset ``my_robot_set`` and ``nano-pusht``, a tiny one of random weights. Python blocks share a namespace;
``vidjacobi`` lines of sh blocks run in this process; a block after ``<!-- file: NAME -->`` becomes that file. A block
after ``<!-- not run: the reason -->`` is not run, but its ``vidjacobi`` lines are parsed.
"""

import importlib
import re
import shlex
import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import (
    PAGES,
    ROOT,
    Block,
    anchors_of,
    blocks_of,
    commands_of,
    links_of,
    name_of,
    paths_of,
    prose_of,
    text_of,
)
from robot_sets import write_robot_set
from tiny_pusht import write_tiny_pusht

SLOW_PAGES = (
    "batch",
    "decoders",
    "families",
    "pictures",
    "planning",
    "quickstart",
    "your_model",
)  # with whole commands that other fast tests run as well
README, LOG = ROOT / "README.md", ROOT / "docs" / "log"
# How many blocks of each page cannot run. A new one is to be counted here, with a reason beside it on the page.
NOT_RUN = {
    "README.md": 3,
    "docs/acting.md": 5,
    "docs/batch.md": 7,
    "docs/contributing.md": 4,
    "docs/decoders.md": 2,
    "docs/evaluation.md": 3,
    "docs/families.md": 3,
    "docs/memory_and_speed.md": 6,
    "docs/nano_pusht.md": 2,
    "docs/metrics.md": 4,
    "docs/pictures.md": 5,
    "docs/planning.md": 1,
    "docs/quickstart.md": 5,
    "docs/readers.md": 1,
    "docs/results.md": 2,
}
MACHINE_PATHS = re.compile(r"(?<![\w.])(/(work|tmp|root|home|mnt|Users)\b|[A-Z]:\\)")


class Parsed(Exception):
    """Raised in place of running a command whose words were understood."""


def ids(page: Path) -> str:
    return name_of(page).removesuffix(".md")


def vidjacobi_words(line: str) -> list[str] | None:
    """The words after ``vidjacobi``, None if the line is another command."""
    words = shlex.split(line, comments=True)
    return words[1:] if words and Path(words[0]).name == "vidjacobi" else None


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    """The command, as pyproject.toml names it."""
    script = re.search(r'^vidjacobi = "([\w.]+):(\w+)"$', text_of(ROOT / "pyproject.toml"), re.MULTILINE)
    assert script, "pyproject.toml has no script vidjacobi"
    return getattr(importlib.import_module(script[1]), script[2])


@pytest.mark.unchecked
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW_PAGES else [])
        for page in PAGES
        if blocks_of(page)
    ],
    ids=ids,
)
def test_a_page_runs(
    page: Path, main: Callable[[list[str]], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = ROOT / "vidjacobi" / "assets" / "sample.mp4"
    shutil.copy(sample, tmp_path / "clip.mp4")
    (tmp_path / "clips").mkdir()
    shutil.copy(sample, tmp_path / "clips" / "room.mp4")
    write_robot_set(tmp_path / "my_robot_set")
    write_tiny_pusht(tmp_path / "nano-pusht")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.not_run is not None:
            continue
        if block.file:
            (tmp_path / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            exec(compile("\n" * block.line + block.code, name_of(page), "exec"), namespace)
        elif block.language == "sh":
            for line in commands_of(block):
                words = vidjacobi_words(line)
                assert words is not None, f"{block.place}: {line!r} cannot run here: say why before the block"
                assert main(words) == 0, f"{block.place}: {line}"
        else:
            assert block.language == "text", f"{block.place}: what is a block of {block.language!r}?"


SHELL = [block for page in PAGES for block in blocks_of(page) if block.language == "sh"]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_commands_are_understood(
    block: Block, main: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real parsers; what follows the parsing is left out."""
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(ArgumentParser, name)

        def parse_only(parser: ArgumentParser, *args: Any, parse: Any = parse, **kwargs: Any) -> None:
            parse(parser, *args, **kwargs)
            raise Parsed

        monkeypatch.setattr(ArgumentParser, name, parse_only)
    for line in commands_of(block):
        words = vidjacobi_words(line)
        if words is None:
            check_other(block, shlex.split(line, comments=True))
            continue
        try:
            with pytest.raises(Parsed):
                main(words)
        except SystemExit as error:
            pytest.fail(f"{block.place}: {line!r} is not understood ({error})")


def check_other(block: Block, words: list[str]) -> None:
    """Targets of make, scripts, extras and tests exist; any other command is one that blocks here may name."""
    command, rest = words[0], words[1:]
    if command == "make":
        assert re.search(rf"^{rest[0]}:", text_of(ROOT / "Makefile"), re.MULTILINE), (
            f"{block.place}: {rest[0]}"
        )
    elif command == "python" and rest[0] != "-c":
        script = ROOT / rest[0]
        assert (script / "__main__.py" if script.is_dir() else script).is_file(), f"{block.place}: {rest[0]}"
    elif command == "pytest":
        assert all((ROOT / word).exists() for word in rest if word.startswith("tests")), block.place
    elif command == "pip":
        extras = re.findall(r"\[([\w,]+)\]", " ".join(rest))
        for extra in ",".join(extras).split(","):
            assert re.search(rf"^{extra} = \[", text_of(ROOT / "pyproject.toml"), re.MULTILINE), block.place
    elif command.startswith("."):
        assert (ROOT / command).is_file() or rest, f"{block.place}: {command}"
    else:
        assert command in ("source", "ray", "python", "export", "lerobot-train", "lerobot-edit-dataset"), (
            f"{block.place}: {command}"
        )


def test_blocks_that_cannot_run_are_counted() -> None:
    found: dict[str, int] = {}
    for page in PAGES:
        for block in blocks_of(page):
            if block.not_run is not None:
                assert block.not_run, f"{block.place}: no reason is given"
                found[name_of(page)] = found.get(name_of(page), 0) + 1
    assert found == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for path, anchor in links_of(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            missing.append(f"{path}#{anchor}" if anchor else path)
    assert not missing, f"{name_of(page)} links {missing}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            linked = ((page.parent / path).resolve() for path, _ in links_of(page) if path.endswith(".md"))
            waiting += [target for target in linked if target in PAGES]
    assert reached == set(PAGES)


@pytest.mark.parametrize("page", [page for page in PAGES if LOG not in page.parents], ids=ids)
def test_paths_exist(page: Path) -> None:
    """The log is left out: it names what was there at its time."""
    missing = [
        path
        for path in paths_of(page)
        if not (ROOT / path).exists() and not {"mine", "NAME"} & set(re.split(r"[/.]", path))
    ]
    assert not missing, f"{name_of(page)} names {missing}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_no_page_names_a_machine(page: Path) -> None:
    found = MACHINE_PATHS.search(text_of(page))
    assert not found, f"{name_of(page)}: {found}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != README], ids=ids)
def test_a_page_says_first_what_it_is_for(page: Path) -> None:
    title, _, rest = text_of(page).partition("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert "you can" in re.sub(r"\s+", " ", rest.partition("\n\n")[0]), name_of(page)


def test_the_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= 150
    assert README.stat().st_size <= 9_000


def test_the_table_of_decoders_is_that_of_the_configurations() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| \**(\w+)\**[^|]*\|", prose_of(ROOT / "docs" / "decoders.md"), re.MULTILINE
    )
    files = (ROOT / "configs" / "decoder").glob("*.yaml")
    shipped = {file.stem: yaml.safe_load(text_of(file))["guarantee"] for file in files}
    assert dict(rows) == shipped
