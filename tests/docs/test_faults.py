"""The page of faults names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_of_faults_names_is_there() -> None:
    page = (ROOT / "docs" / "log" / "faults.md").read_text()
    file, named = Path(), 0
    # `folder/test_x.py::test_a`, `::test_b`: the second one is of the same file
    for path, test in re.findall(r"`([\w/]+\.py)?(?:::(test_\w+))?`", page):
        if path:
            file = ROOT / "tests" / path
            assert file.is_file(), path
        if test:
            assert re.search(rf"^def {test}\(", file.read_text(), re.MULTILINE), f"{file.name}::{test}"
            named += 1
    assert named > 100
