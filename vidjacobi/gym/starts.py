"""Where the episodes of an environment begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.datasets.contract import Skipped
from vidjacobi.datasets.opening import open_dataset
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.models.codec import check_frames
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths, latent_frames
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


def starts_of(path: str | Path, frames: int, most: int | None = None, **options: Any) -> list[Start]:
    """The first frames of every episode of a dataset: a LeRobot set, a folder of clips, or whatever ``batch`` reads.

    Args:
        path: of the dataset.
        frames: of each start.
        most: starts at most; None: all.
        options: of ``vidjacobi.datasets.opening.open_dataset``, such as ``start`` and ``stride``.

    Raises BadInput where an episode cannot be read: a list of starts has no gaps that nobody knows of.
    """
    start, stride = (options.pop(name, usual) for name, usual in (("start", 0), ("stride", 1)))
    found: list[Start] = []
    for entry in open_dataset(path, **options):
        if isinstance(entry, Skipped):
            raise BadInput(f"{entry.id} gives no start: {entry.reason}")
        found.append(Start(entry.frames.read(start, frames, stride).frames, entry.id))
        if len(found) == most:
            break
    if not found:
        raise InvalidArgument(f"{path} has no episode to start from")
    return found
