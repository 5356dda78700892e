"""The front of the pipeline: from the dataset's entries to contexts that are read and encoded."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.batch.future_files import Outputs
from vidjacobi.batch.items import Item, Task
from vidjacobi.batch.manifest import FAILED, SKIPPED, Row, State
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.datasets.clip_starts import fit_length, parse_starts
from vidjacobi.datasets.contract import Entry, Episode, Skipped
from vidjacobi.datasets.timed_reader import TimedReader
from vidjacobi.errors import BadInput
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames
from vidjacobi.video.clips import ReadClip
from vidjacobi.video.pixels import as_seen, fit


@dataclass(frozen=True, eq=False)
class Context:
    """A task whose frames are read and encoded.

    Attributes:
        grid: tokens. seen: the frames as the model saw them.
        clip: what was read, without its frames.
    """

    task: Task
    grid: Int[Tensor, "t h w"]
    seen: Frames
    clip: ReadClip

    def row(self, sample: int) -> Row:
        """The beginning of a future's row."""
        episode, clip = self.task.episode, self.clip
        return Row(
            episode.id,
            self.task.start,
            sample,
            starts=self.task.starts,
            source=episode.source,
            fps=self.fps,
            notes="; ".join(clip.notes) or None,
        )

    @property
    def fps(self) -> float:
        """The listing's rate, where it knows it: a container's may be made up."""
        return self.task.episode.fps or self.clip.fps


@dataclass(frozen=True)
class Planner:
    """What is to be done with each episode.

    ``record`` takes the rows of what cannot be done, and of finished files that no log knows yet.
    """

    config: BatchConfig
    state: State
    outputs: Outputs
    reader: TimedReader
    record: Callable[[Row], None]

    def tasks(self, entries: Iterable[Entry]) -> Iterator[Task]:
        """Contexts of which a future is missing, episode by episode."""
        for entry in entries:
            if not self.state.complete(entry.id, self.config.samples):
                yield from self._of(entry)

    def _of(self, entry: Entry) -> Iterator[Task]:
        config = self.config
        try:
            if isinstance(entry, Skipped):
                raise BadInput(entry.reason)
            there = self.reader.count(entry.frames)
            fitting = fit_length(entry, there, config.clip_frames, config.short)
        except BadInput as error:
            self.record(Row(entry.id, status=FAILED, error=str(error), source=getattr(entry, "source", None)))
            return
        if isinstance(fitting, Skipped):
            self.record(Row(entry.id, status=SKIPPED, error=fitting.reason, source=entry.source))
            return
        length = max(there, config.clip_frames)
        starts = parse_starts(config.starts).of(length, config.clip_frames, config.seed, entry.id)
        for start in starts:
            missing = tuple(self._missing(fitting, start))
            if missing:
                yield Task(fitting, start, missing, len(starts))

    def _missing(self, episode: Episode, start: int) -> Iterator[int]:
        for sample in range(self.config.samples):
            if self.state.done(episode.id, start, sample):
                continue
            found = self.outputs.find(Item(episode.id, start, sample))
            if found:
                self.record(found)
            else:
                yield sample


def read_context(task: Task, config: BatchConfig, reader: TimedReader) -> ReadClip:
    """The frames of a task's context, read in another process. Raises BadInput."""
    return reader.read(task.episode.frames, task.start, config.context)


@torch.inference_mode()
def encode_context(task: Task, clip: ReadClip, tokenizer: VideoTokenizer) -> Context:
    """Frames to tokens, one clip at a time: beside others its numbers could differ in the last bit."""
    pixels = fit(clip.frames, tokenizer.frame_size)
    grid = tokenizer.encode(pixels[None])[0]
    return Context(task, grid, as_seen(pixels), replace(clip, frames=clip.frames[:0]))
