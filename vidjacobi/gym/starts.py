"""Where the episodes of an environment begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.datasets.contract import Episode, Skipped
from vidjacobi.datasets.opening import open_dataset
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.models.action_spec import ActionSpec
from vidjacobi.models.codec import check_frames
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths, latent_frames
from vidjacobi.rollouts.aligned_actions import aligned
from vidjacobi.shapes import Frames


@dataclass(frozen=True, eq=False)
class Start:
    """One beginning.

    Attributes:
        frames: the frames given, uint8 RGB ``[T H W 3]``, T = 1 + stride_t * k.
        name: keys the noise, with a number of the episode.
        actions: those between its latent frames, where the model follows actions.
    """

    frames: Frames
    name: str
    actions: Sequence[Any] = ()

    def check(self, tokenizer: VideoTokenizer, acting: bool) -> None:
        """Raise InvalidArgument unless a world can begin with it."""
        check_frames(self.frames)
        check_lengths(len(self.frames), 1, 1, tokenizer)
        wanted = latent_frames(len(self.frames), tokenizer) - 1 if acting else 0
        if len(self.actions) != wanted:
            raise InvalidArgument(
                f"the start {self.name!r} has {number_of(len(self.actions), 'action')}: a context of "
                f"{number_of(len(self.frames), 'frame')} needs {wanted}, those between its latent frames"
            )


def starts_of(
    path: str | Path, frames: int, most: int | None = None, asked: ActionSpec | None = None, **options: Any
) -> list[Start]:
    """The first frames of every episode of a dataset: a LeRobot set, a folder of clips, or whatever ``batch`` reads.

    Args:
        path: of the dataset.
        frames: of each start.
        most: starts at most; None: all.
        asked: what the model asks of actions (``actions`` of ``vidjacobi.acting.load_acted``): each start gets the
            recorded ones between its frames. None: starts have no actions, as models without them and starts of a
            single frame need none.
        options: of ``vidjacobi.datasets.opening.open_dataset``, such as ``start`` and ``stride``.

    Raises BadInput where an episode cannot be read, or has not the actions that the model asks for: a list of starts
    has no gaps that nobody knows of.
    """
    start, stride = (options.pop(name, usual) for name, usual in (("start", 0), ("stride", 1)))
    found: list[Start] = []
    for entry in open_dataset(path, **options):
        if isinstance(entry, Skipped):
            raise BadInput(f"{entry.id} gives no start: {entry.reason}")
        given = entry.frames.read(start, frames, stride).frames
        found.append(Start(given, entry.id, _between(entry, frames, start, stride, asked)))
        if len(found) == most:
            break
    if not found:
        raise InvalidArgument(f"{path} has no episode to start from")
    return found


def _between(entry: Episode, frames: int, start: int, stride: int, asked: ActionSpec | None) -> Sequence[Any]:
    """The recorded actions between the frames of a start. Raises BadInput."""
    if asked is None or frames == 1:
        return ()
    if entry.actions is None:
        raise BadInput(
            f"{entry.id} has no recorded actions, and a start of {frames} frames needs those between them"
        )
    recorded = entry.actions.read().cut(start, stride)
    return list(aligned(recorded, asked, 0, frames - 1, entry.id))
