"""Markdown pages of the repository: their code blocks, links, headings and paths."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block. ``line`` is that of its fence; ``note`` is the HTML comment on the line before it."""

    page: Path
    line: int
    language: str
    note: str
    code: str

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{name_of(self.page)}:{self.line}"

    @property
    def not_run(self) -> str | None:
        """Why it cannot run, None if it can."""
        kind, _, reason = self.note.partition(":")
        return reason.strip() if kind == "not run" else None

    @property
    def file(self) -> str | None:
        """The file that it is the content of, if it is one."""
        kind, _, name = self.note.partition(":")
        return name.strip() if kind == "file" else None


def name_of(page: Path) -> str:
    """Path from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """The page's source."""
    return page.read_text(encoding="utf-8")


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks, in order."""
    blocks, before, lines = [], "", text_of(page).splitlines()
    number = 0
    while number < len(lines):
        fence = re.fullmatch(r"```(.*)", lines[number])
        if fence:
            end = lines.index("```", number + 1)
            comment = re.fullmatch(r"<!-- (.*) -->", before)
            code = "".join(f"{line}\n" for line in lines[number + 1 : end])
            blocks.append(Block(page, number + 1, fence[1], comment[1] if comment else "", code))
            number = end
        before = lines[number]
        number += 1
    return blocks


def prose_of(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def links_of(page: Path) -> list[tuple[str, str]]:
    """(path, anchor) of all links and pictures that do not lead out of the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose_of(page))
    parts = (target.partition("#") for target in targets if "://" not in target)
    return [(path, anchor) for path, _, anchor in parts]


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths_of(page: Path) -> set[str]:
    """Paths of the repository that the prose names in backticks."""
    folders = "vidjacobi|cosmos_adapter|eval|configs|scripts|tests|docs"
    return set(re.findall(rf"`((?:{folders})/[\w./-]*)`", prose_of(page)))


def commands_of(block: Block) -> list[str]:
    """The command lines of a shell block, continued lines joined."""
    joined = block.code.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
