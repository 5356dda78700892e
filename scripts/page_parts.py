"""The parts of pages of docs/ that scripts write: each stands between its own two marks."""

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
END = "<!-- end -->"


def write_part(name: str, text: str, of: str = "metrics.md") -> None:
    """Put what ``python scripts/NAME`` printed between its marks in a page."""
    path = DOCS / of
    page, begin = path.read_text(encoding="utf-8"), f"<!-- made by scripts/{name} -->"
    before = page.index(begin) + len(begin)
    after = page.index(END, before)
    path.write_text(f"{page[:before]}\n\n{text}\n\n{page[after:]}", encoding="utf-8")
