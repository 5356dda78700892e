"""Recorded actions as a model asks for them: of each of its frames those that were done until the next one.

A target or a button counts from its row's time until the next row's (sample and hold). A model's frame that stands
for p actions is given those in force at p equal distances in time:

    the recording      0   1   2   3   4   5   6   7          rows, 10 a second
    frames, stride 4   0               1                      2.5 a second
    one action each    0               4
    two actions each   0       2       4       6
    stride 1, two      0 0 1 1 2 2 ...                        held: there are no more

No row is averaged with others, and none is made up behind the end.
"""

import torch

from vidjacobi.datasets.recorded_actions import RecordedActions
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.models.action_spec import ActionSpec, FrameActions

_NEAR = 0.01  # relative difference of rates that may come from rounding


def aligned(found: RecordedActions, spec: ActionSpec, start: int, count: int, where: str) -> FrameActions:
    """The actions that lead from frame start to start + 1, and so on: ``count`` rows, in float32.

    Args:
        start, count: in frames of the episode.
        where: names the recording, for messages.

    Raises BadInput where the recording is shorter, has another rate than the model asks for, or holds an action of
    another shape or out of range.
    """
    check_rate(found, spec, where)
    frames = [_of_frame(found, spec, frame, where) for frame in range(start, start + count)]
    return torch.tensor(frames, dtype=torch.float32).view(count, spec.width)


def check_rate(found: RecordedActions, spec: ActionSpec, where: str) -> None:
    """Raise BadInput where frames follow one another at another rate than the model's, or nobody knows at which."""
    if spec.fps is None:
        return
    fps = found.frames_per_second
    asked = f"this model's frames are {1 / spec.fps:.4g} s apart ({spec.fps:g} a second)"
    if fps is None:
        raise BadInput(f"{where}: nothing says how many frames a second there are, and {asked}")
    if abs(fps - spec.fps) <= _NEAR * spec.fps:
        return
    times = fps / spec.fps
    advice = "convert the dataset to this rate"
    if round(times) > 1 and abs(times - round(times)) <= _NEAR * times:
        advice = f"a --stride {round(times)} times as large takes that many"
    raise BadInput(f"{where}: frames are {1 / fps:.4g} s apart, and {asked}: {advice}")


def _of_frame(found: RecordedActions, spec: ActionSpec, frame: int, where: str) -> list[float]:
    first = found.first + frame * found.step
    if first < len(found.rows) and spec.is_whole(found.rows[first]):
        return _numbers(found, spec, first, where)
    rows = [first + place * found.step // spec.per_frame for place in range(spec.per_frame)]
    return [number for row in rows for number in _numbers(found, spec, row, where)]


def _numbers(found: RecordedActions, spec: ActionSpec, row: int, where: str) -> list[float]:
    if row >= len(found.rows):
        raise BadInput(
            f"{where}: its {number_of(len(found.rows), 'action')} end before the clip does, which needs action "
            f"{row}: predict fewer frames"
        )
    try:
        return spec.numbers(found.rows[row], f"{where}: action {row}")
    except InvalidArgument as error:  # of the data, here
        raise BadInput(str(error)) from error
