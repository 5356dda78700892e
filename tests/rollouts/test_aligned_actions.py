"""Recorded actions on a model's frames; every number is the row's own, so that it says its time."""

from collections.abc import Callable, Sequence

import pytest

from vidjacobi.datasets.recorded_actions import RecordedActions
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.models.action_spec import ActionSpec
from vidjacobi.rollouts.aligned_actions import aligned, check_rate

ROWS = [[float(row)] for row in range(20)]


def spec(per_frame: int = 1, fps: float | None = None, **more: float) -> ActionSpec:
    return ActionSpec(("t",), lambda actions: actions, per_frame, fps, **more)


def rows(found: RecordedActions, asked: ActionSpec, start: int = 0, count: int = 3) -> list[list[float]]:
    return aligned(found, asked, start, count, "set, episode 1").tolist()


@pytest.mark.parametrize(
    ("start", "stride", "per_frame", "wanted"),
    [
        (0, 1, 1, [[0], [1], [2]]),
        (4, 1, 1, [[4], [5], [6]]),
        (0, 2, 2, [[0, 1], [2, 3], [4, 5]]),  # nano-pusht: all that was done
        (3, 2, 2, [[3, 4], [5, 6], [7, 8]]),
        (0, 4, 1, [[0], [4], [8]]),  # in force at the frame
        (0, 4, 2, [[0, 2], [4, 6], [8, 10]]),
        (0, 3, 2, [[0, 1], [3, 4], [6, 7]]),  # half of 3 rows later row 1 is still in force
        (0, 1, 2, [[0, 0], [1, 1], [2, 2]]),  # held
        (0, 2, 3, [[0, 0, 1], [2, 2, 3], [4, 4, 5]]),
    ],
)
def test_each_frame_has_the_actions_in_force(
    start: int, stride: int, per_frame: int, wanted: list[list[float]]
) -> None:
    found = RecordedActions(ROWS, 10.0).cut(start, stride)
    assert rows(found, spec(per_frame)) == wanted
    # a later clip of the same episode, and a cut of a cut
    assert rows(found, spec(per_frame), 1, 2) == wanted[1:]
    assert rows(RecordedActions(ROWS, 10.0).cut(start, 1).cut(0, stride), spec(per_frame)) == wanted


def test_the_rate_must_be_the_model_s() -> None:
    found = RecordedActions(ROWS, 10.0)
    check_rate(found.cut(0, 2), spec(2, fps=5.0), "set")
    check_rate(RecordedActions(ROWS, 29.97).cut(0, 6), spec(2, fps=5.0), "set")  # rounding
    with pytest.raises(
        BadInput, match=r"are 0\.1 s apart, and .* 0\.2 s apart .*: a --stride 2 times as large"
    ):
        rows(found, spec(2, fps=5.0))
    with pytest.raises(BadInput, match=r"are 0\.4 s apart, .*convert the dataset"):
        rows(found.cut(0, 4), spec(2, fps=5.0))
    with pytest.raises(BadInput, match="nothing says how many frames a second there are"):
        rows(RecordedActions(ROWS, None), spec(2, fps=5.0))
    assert rows(RecordedActions(ROWS, None), spec(2)) == [[0, 0], [1, 1], [2, 2]]


def test_nothing_is_made_up_behind_the_end() -> None:
    found = RecordedActions(ROWS, 10.0)
    assert rows(found, spec(), 17, 3) == [[17], [18], [19]]
    with pytest.raises(
        BadInput, match="set, episode 1: its 20 actions end before the clip does, which needs action 20"
    ):
        rows(found, spec(), 17, 4)
    with pytest.raises(BadInput, match="needs action 20"):
        rows(found.cut(1, 2), spec(2), 7, 3)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ([1.0, 2.0], "action 1 must be 1 number, not 2 numbers"),
        ([float("nan")], "action 1 holds a number that is not finite"),
        (["a"], "action 1, number 0, must be a number"),
        ({"forward": 1}, "action 1 must be 1 number"),
        ([9.5], "action 1 holds 9.5, and this model's actions go from 0 to 9: other units"),
        ([-0.5], "action 1 holds -0.5"),
    ],
)
def test_other_shapes_and_ranges_are_refused(wrong: object, match: str) -> None:
    found = RecordedActions([[0.0], wrong, [2.0]], 10.0)
    assert rows(found, spec(low=0.0, high=9.0), 2, 1) == [[2]]
    with pytest.raises(BadInput, match=match):
        rows(found, spec(low=0.0, high=9.0))


def test_rows_of_a_whole_frame_are_taken_as_they_are() -> None:
    """As exported futures have them."""
    whole = RecordedActions([[row, row + 0.5] for row in range(9)], 5.0)
    assert rows(whole, spec(2, fps=5.0)) == [[0, 0.5], [1, 1.5], [2, 2.5]]
    with pytest.raises(BadInput, match=r"holds 8\.5"):
        rows(whole, spec(2, high=8.0), 8, 1)


def test_a_reader_of_the_model_s_own() -> None:
    read: Callable[[object, str], Sequence[float]] = lambda row, where: [len(str(row))]  # noqa: E731
    found = RecordedActions([{"forward": 1}, "ab"], None)
    assert rows(found, ActionSpec(("n",), lambda actions: 0, read=read), 0, 2) == [[14], [2]]
    assert ActionSpec(("x", "y"), lambda actions: 0, 2).frame_names == ("x.0", "y.0", "x.1", "y.1")
    with pytest.raises(InvalidArgument, match="a number at least"):
        ActionSpec((), lambda actions: 0)


def test_rows_that_only_their_number_places() -> None:
    found = RecordedActions(ROWS, None, by_number=True)
    for frames in (20, 21):
        found.check_frames(frames, "clip")
    for frames in (19, 22):
        with pytest.raises(BadInput, match=f"clip: 20 actions for {frames} frames"):
            found.check_frames(frames, "clip")
    # frames 2, 4 ... 18 of 20, or 2 ... 20 of 21
    for frames, fits in ((8, False), (9, True), (10, True), (11, False)):
        cut = found.cut(2, 2)
        if fits:
            cut.check_frames(frames, "clip")
        else:
            with pytest.raises(BadInput):
                cut.check_frames(frames, "clip")
    RecordedActions(ROWS, 10.0).check_frames(99, "time stamps place them")
