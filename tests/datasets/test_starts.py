"""Where clips begin, and what is done with short episodes."""

import pytest
import torch

from vidjacobi.datasets import Episode, Skipped
from vidjacobi.datasets.clip_starts import Padded, Starts, fit_length, parse_starts
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video.records import ReadClip


class Counting:
    """A source of ``length`` frames of one pixel, whose value is the number of the frame."""

    def __init__(self, length: int) -> None:
        self.length = length

    def count(self) -> int:
        return self.length

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        numbers = torch.arange(start, start + count * stride, stride, dtype=torch.uint8)
        assert start >= 0
        assert numbers[-1] < self.length
        return ReadClip(
            numbers.view(-1, 1, 1, 1).expand(-1, 1, 1, 3).numpy(), 10.0 / stride, "numbers", start, "test"
        )


@pytest.mark.parametrize(
    ("rule", "length", "expected"),
    [
        ("first", 40, [0]),
        ("first", 33, [0]),
        ("first", 32, []),
        ("every:16", 70, [0, 16, 32]),
        ("every:16", 65, [0, 16, 32]),
        ("every:16", 64, [0, 16]),
        ("every:16", 32, []),
        ("random:4", 33, [0]),
        ("random:4", 35, [0, 1, 2]),
        ("random:4", 0, []),
    ],
)
def test_starts(rule: str, length: int, expected: list[int]) -> None:
    assert parse_starts(rule).of(length, 33, 7, "test/a") == expected


def test_random_starts_depend_on_seed_and_id_alone() -> None:
    rule = Starts("random", 3)
    made = rule.of(500, 33, 7, "a")
    assert made == rule.of(500, 33, 7, "a") == sorted(set(made))
    assert 0 <= made[0] <= made[-1] <= 467
    assert made != rule.of(500, 33, 8, "a")
    assert made != rule.of(500, 33, 7, "b")
    everywhere = [start for name in range(400) for start in rule.of(132, 33, 0, str(name))]
    assert torch.tensor(everywhere).bincount(minlength=100).min() > 0
    assert abs(sum(everywhere) / len(everywhere) - 49.5) < 3


@pytest.mark.parametrize("text", ["every", "every:0", "every:-1", "random:x", "first:1", "evry:4", ""])
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_starts(text)


def test_short_episodes() -> None:
    entry = Episode("a", Counting(5), None, "a.mp4", {"text": "go"})
    assert fit_length(entry, 5, 5, "error") is entry
    assert fit_length(entry, 5, 8, "skip") == Skipped("a", "a.mp4: too short: 5 frames, but 8 are needed")
    assert fit_length(entry, 0, 8, "pad") == Skipped("a", "a.mp4: it has no frames")
    with pytest.raises(BadInput, match="too short: 5 frames, but 8 are needed; allow it with skip or pad"):
        fit_length(entry, 5, 8, "error")
    with pytest.raises(InvalidArgument, match="did you mean 'skip'"):
        fit_length(entry, 5, 8, "skp")
    padded = fit_length(entry, 5, 8, "pad")
    assert isinstance(padded, Episode)
    assert padded.metadata == {"text": "go", "padded": 3}
    assert padded.frames.count() == 8


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, 8), [0, 1, 2, 3, 4, 4, 4, 4]),
        ((0, 5), [0, 1, 2, 3, 4]),
        ((1, 3, 3), [1, 4, 4]),
        ((0, 3, 3), [0, 3, 4]),
        ((6, 2), [4, 4]),
        ((4, 1), [4]),
    ],
)
def test_padding_repeats_the_last_frame(arguments, expected) -> None:
    clip = Padded(Counting(5), 8).read(*arguments)
    assert clip.frames[:, 0, 0, 0].tolist() == expected
    assert clip.start == arguments[0]
    assert clip.fps == 10 / (arguments[2] if len(arguments) > 2 else 1)
    repeated = sum(start >= 5 for start in range(arguments[0], 99, (*arguments, 1)[2])[: arguments[1]])
    assert len(clip.notes) == bool(repeated)
    assert not repeated or f"the last {repeated} of these frames" in clip.notes[0]


def test_padding_ends_where_it_was_asked_to() -> None:
    for arguments in ((0, 9), (8, 1), (-1, 2), (7, 2)):
        with pytest.raises((BadInput, AssertionError)):
            Padded(Counting(5), 8).read(*arguments)
