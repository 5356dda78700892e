"""One frame is "1 frame" in every message."""

import re
from pathlib import Path

import pytest

from vidjacobi.errors import number_of

ROOT = Path(__file__).parents[2]
NOUNS = "frames clips futures passes episodes rows samples threads"
# a number in a message is followed by one of these; lists and numbers that are never 1 are no such numbers
PLURAL = re.compile(r"\{(?!number_of|list)[^{}]*\} (?:" + NOUNS.replace(" ", "|") + r")\b")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "frame", "1 frame"),
        (0, "frame", "0 frames"),
        (24, "frame", "24 frames"),
        (1, "pass", "1 pass"),
        (1200, "pass", "1,200 passes"),
    ],
)
def test_a_number_of_things(number: int, noun: str, text: str) -> None:
    assert number_of(number, noun) == text


@pytest.mark.parametrize("folder", ["rollouts", "cli"])
def test_what_the_commands_print_counts_so(folder: str) -> None:
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "vidjacobi" / folder).glob("*.py"))
        for line in path.read_text().splitlines()
        if PLURAL.search(line)
    ]
    assert found == []
