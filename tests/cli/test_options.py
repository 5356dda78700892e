"""How several numbers of one flag are read, and what names a place."""

import pytest

from vidjacobi.cli.main import module_of, run
from vidjacobi.cli.options import joined
from vidjacobi.errors import InvalidArgument


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


@pytest.mark.parametrize(
    "words",
    [["rollout", "--out"], ["bench", "--out"], ["convert", "here"], ["eval", "fvd", "a", "b", "--cache"]],
)
def test_an_unset_variable_is_not_the_current_folder(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidArgument, match="is empty: name a file or folder"):
        run([*words, ""])
