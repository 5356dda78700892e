"""The parts of docs/metrics.md that scripts write: each stands between its own two marks."""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
END = "<!-- end -->"


def write_part(name: str, text: str) -> None:
    """Put what ``python scripts/NAME`` printed between its marks."""
    page, begin = PAGE.read_text(encoding="utf-8"), f"<!-- made by scripts/{name} -->"
    before = page.index(begin) + len(begin)
    after = page.index(END, before)
    PAGE.write_text(f"{page[:before]}\n\n{text}\n\n{page[after:]}", encoding="utf-8")
