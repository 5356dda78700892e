"""docs/architecture.md names every module, and says what their docstrings say."""

from pathlib import Path

import pytest

from scripts import architecture

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_tree() -> None:
    assert architecture.PAGE.read_text(encoding="utf-8") == architecture.page(), (
        "modules or their docstrings have changed: python scripts/architecture.py --write"
    )


@pytest.mark.parametrize("folder", architecture.folders(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_module_says_what_it_is(folder: Path) -> None:
    for path in folder.glob("*.py"):
        assert architecture.summary(path), f"{path.name} has no docstring"
