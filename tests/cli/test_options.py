"""How several numbers of one flag are read."""

import pytest

from vidjacobi.cli.main import module_of
from vidjacobi.cli.options import joined


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--windows", "16", "32,64", "x.mp4"], ["--windows", "16,32,64", "x.mp4"]),
        (["--windows=16", "32", "top_p=1"], ["--windows=16,32", "top_p=1"]),
        (["--frames", "8", "16", "--windows", "4"], ["--frames", "8", "16", "--windows", "4"]),
        (["--windows", "--seeds", "0", "1"], ["--windows", "--seeds", "0,1"]),
        ([], []),
    ],
)
def test_commas_and_spaces_mean_the_same(words: list[str], wanted: list[str]) -> None:
    assert joined(words, ["--windows", "--seeds"]) == wanted


@pytest.mark.parametrize("command", ["bench", "eval", "curve"])
@pytest.mark.parametrize("words", [["16", "32"], ["16,32"]])
def test_every_command_takes_both(command: str, words: list[str]) -> None:
    assert module_of(command).parser().parse_args(["--windows", *words]).windows == [16, 32]
