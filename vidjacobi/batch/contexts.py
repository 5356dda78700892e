"""The first stage of the pipeline: from the dataset's entries to contexts that are read and encoded."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.batch.fed_actions import FedActions
from vidjacobi.batch.future_files import FutureFiles
from vidjacobi.batch.manifest import FAILED, SKIPPED, FinishedItems, Item, ManifestRow
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.datasets.clip_starts import fit_length, parse_starts
from vidjacobi.datasets.contract import Entry, Episode, Skipped
from vidjacobi.errors import BadInput, number_of
from vidjacobi.models.codec import as_seen, fit
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames
from vidjacobi.video.records import ReadClip
from vidjacobi.video.timed_reader import TimedReader


@dataclass(frozen=True)
class ContextTask:
    """One context to make: an episode from one start, and the futures of it that are missing.

    Attributes:
        starts: how many contexts the episode has.
        length: frames that it has.
    """

    episode: Episode
    start: int
    samples: tuple[int, ...]
    starts: int
    length: int

    @property
    def items(self) -> list[Item]:
        """Its rows of the manifest."""
        return [Item(self.episode.id, self.start, sample) for sample in self.samples]


@dataclass(frozen=True, eq=False)
class EncodedContext:
    """A task whose frames are read and encoded.

    Attributes:
        grid: the context's tokens.
        seen: its frames as the model saw them, resized and cropped.
        clip: what was read, without its frames.
        notes: what is odd about showing it to the model.
        actions: what leads from each frame of its futures to the next; None where the model is told nothing.
    """

    task: ContextTask
    grid: Int[Tensor, "t h w"]
    seen: Frames
    clip: ReadClip
    notes: tuple[str, ...] = ()
    actions: FedActions | None = None

    def row(self, sample: int) -> ManifestRow:
        """A future's row, as far as it is known before decoding."""
        episode, clip = self.task.episode, self.clip
        return ManifestRow(
            episode.id,
            self.task.start,
            sample,
            starts=self.task.starts,
            source=episode.source,
            fps=self.fps,
            notes="; ".join((*clip.notes, *self.notes)) or None,
            actions_sha256=self.actions.digest if self.actions else None,
            actions_of=self.actions.source if self.actions else None,
        )

    @property
    def fps(self) -> float:
        """Frames per second: the dataset's where it knows them, because a container's may be made up."""
        return self.task.episode.fps or self.clip.fps


@dataclass(frozen=True)
class Planner:
    """Finds what is to be done with each episode.

    Attributes:
        record: takes the rows of what cannot be done, and of finished files that no log knows yet.
        tell: prints a line for the user.
    """

    config: BatchConfig
    finished: FinishedItems
    files: FutureFiles
    reader: TimedReader
    record: Callable[[ManifestRow], None]
    tell: Callable[[str], None]

    def tasks(self, entries: Iterable[Entry]) -> Iterator[ContextTask]:
        """Contexts of which a future is missing, episode by episode."""
        for entry in unfinished(entries, self.finished, self.files, self.config.samples, self.tell):
            yield from self._of(entry)

    def _of(self, entry: Entry) -> Iterator[ContextTask]:
        config = self.config
        try:
            if isinstance(entry, Skipped):
                raise BadInput(entry.reason)
            there = self.reader.count(entry.frames, entry.source)  # opens the video, but in another process
            fitting = fit_length(entry, there, config.frames_needed, config.short)
        except BadInput as error:
            self.record(
                ManifestRow(entry.id, status=FAILED, error=str(error), source=getattr(entry, "source", None))
            )
            return
        if isinstance(fitting, Skipped):
            reason = f"{fitting.reason}: {remedy_for_short(config)}" if there else fitting.reason
            self.record(ManifestRow(entry.id, status=SKIPPED, error=reason, source=entry.source))
            return
        # an episode that is padded counts as long as a clip
        length = max(there, config.frames_needed)
        starts = parse_starts(config.starts).of(length, config.frames_needed, config.seed, entry.id)
        for start in starts:
            missing = tuple(self._missing(fitting, start))
            if missing:
                yield ContextTask(fitting, start, missing, len(starts), there)

    def _missing(self, episode: Episode, start: int) -> Iterator[int]:
        for sample in range(self.config.samples):
            if self.finished.done(episode.id, start, sample):
                continue
            # whole files without a line in any log: a run was killed between the two
            found = self.files.find(Item(episode.id, start, sample), self.tell)
            if found:
                self.record(found)
            else:
                yield sample


def unfinished(
    entries: Iterable[Entry],
    finished: FinishedItems,
    files: FutureFiles,
    samples: int,
    tell: Callable[[str], None],
) -> Iterator[Entry]:
    """The entries of which something is to be done, futures whose files are gone or damaged included."""
    for entry in entries:
        if lost := files.lost(finished.items(entry.id)):
            names = ", ".join(path.name for path in [*lost.values()][:3]) + ", ..." * (len(lost) > 3)
            tell(
                f"{entry.id}: files of {number_of(len(lost), 'finished future')} are gone or damaged ({names}) and "
                "are made again"
            )
            finished.forget([*lost])
        if not finished.complete(entry.id, samples):
            yield entry


def remedy_for_short(config: BatchConfig) -> str:
    """The settings that let a short episode be taken."""
    if config.need_truth:
        return f"without --need-truth the {number_of(config.context, 'frame')} of the context are enough"
    if config.actions:
        return (
            "actions are fed up to the last predicted frame, so a smaller --frames or --context needs fewer"
        )
    return "a smaller --context needs fewer, and --short pad repeats the last one"


def read_context(task: ContextTask, config: BatchConfig, reader: TimedReader) -> ReadClip:
    """The frames of a task's context, read in another process. Raises BadInput."""
    return reader.read(task.episode.frames, task.start, config.context, name=task.episode.source)


@torch.inference_mode()
def encode_context(task: ContextTask, clip: ReadClip, tokenizer: VideoTokenizer) -> EncodedContext:
    """Frames to tokens, one clip at a time: beside other clips its numbers could differ in the last bit."""
    # pixels once, for both: the tokens need them unrounded, the video shows them rounded
    pixels = fit(clip.frames, tokenizer.frame_size)
    grid = tokenizer.encode(pixels[None])[0]
    return EncodedContext(task, grid, as_seen(pixels), replace(clip, pictures=clip.pictures[:0]))
