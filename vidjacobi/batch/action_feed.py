"""Which actions a clip of a batch is given: its own recording's, another's, or none; as ``--actions`` says.

What leads from one frame of the context to the next is the clip's own under every choice, since that is what was done
there. Controls differ in what leads to predicted frames, and take the same clips: all three choices need a recording
up to the last predicted frame.
"""

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from vidjacobi.batch.contexts import ContextTask, EncodedContext
from vidjacobi.batch.fed_actions import NO_OP, FedActions
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.datasets.contract import Entry, Episode
from vidjacobi.datasets.recorded_actions import WITHOUT, ActionSource, RecordedActions
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.models.action_spec import ActedPair, ActionSpec, FrameActions
from vidjacobi.rollouts.aligned_actions import aligned
from vidjacobi.rollouts.chunks import plan_chunks

Before = Float[torch.Tensor, "c k"]  # between the frames of the context
_KEPT = 16  # recordings in memory: clips of one episode follow one another


class Other(NamedTuple):
    """An episode that may lend its actions."""

    id: str
    actions: ActionSource


class ActionFeed:
    """Makes the actions and the conditions of a batch's clips.

    Args:
        config: of a batch with actions.
        pair: a model that follows some, and what it asks.
        everything: lists all episodes of the dataset, whatever part of it is to be predicted.

    Raises InvalidArgument for a model that follows none, and one whose latent frame stands for several frames.
    """

    def __init__(
        self, config: BatchConfig, pair: ActedPair, everything: Callable[[], Iterator[Entry]]
    ) -> None:
        self._config, self._spec = config, asked_of(pair, config)
        self._chunks = plan_chunks(config.context, config.frames, pair.tokenizer)
        self._everything = everything
        self._read: Callable[[ActionSource], RecordedActions] = lru_cache(_KEPT)(_read)  # type: ignore[assignment]
        self._known = config.context - 1  # actions between frames of the context

    def of(self, task: ContextTask) -> FedActions:
        """Those of a clip, for all its futures alike. Raises BadInput, InvalidArgument."""
        own = self._own(task)
        before = aligned(own, self._spec, task.start, self._known, task.episode.source)
        source, after = CHOICES[self._config.actions or ""](self, task, own, before)
        return FedActions(torch.cat([before, after]).numpy(), self._spec.frame_names, source)

    def condition(self, context: EncodedContext, chunk: int) -> Any:
        """What the model is given of a clip's actions for a chunk."""
        assert context.actions is not None
        part = self._chunks[chunk]
        first = self._config.context + part.first - part.context
        count = part.context + part.latents - 1
        return self._spec.condition(torch.from_numpy(context.actions.values[first : first + count].copy()))

    def check_shape(self) -> None:
        """Read the first recording and refuse actions that are none of this model's, before thousands of clips are.

        Raises InvalidArgument for another shape and another rate; numbers out of range are their clips' fault.
        """
        first = next((other for other in self._others), None)
        if first is None:
            raise InvalidArgument(f"{self._config.data}: {WITHOUT}")
        try:
            aligned(self._read(first.actions), self._spec, 0, 1, first.id)
        except BadInput as error:
            raise InvalidArgument(f"--actions {self._config.actions}: {error}") from error

    def recorded(self, task: ContextTask, own: RecordedActions, before: Before) -> tuple[str, FrameActions]:
        """What was done in the recording."""
        first, where = task.start + self._known, task.episode.source
        return task.episode.id, aligned(own, self._spec, first, self._config.frames, where)

    def shuffled(self, task: ContextTask, own: RecordedActions, before: Before) -> tuple[str, FrameActions]:
        """What was done in another recording: in the first of a random order that is long enough.

        At the same time there, or as late as it has actions for. The order is keyed with the seed, the clip and the
        others' ids, and depends on nothing else.
        """
        clip, recording = (self._config.seed, task.episode.id, task.start), _recording_of(task)

        def rank(other: Other) -> bytes:
            return sha256("\x1f".join(map(str, (*clip, other.id))).encode("utf-8", "replace")).digest()

        for other in sorted((one for one in self._others if one.actions.recording != recording), key=rank):
            found = self._read(other.actions)
            latest = (len(found.rows) - found.first) // found.step - self._config.frames
            if latest >= 0:
                first = min(task.start + self._known, latest)
                return other.id, aligned(found, self._spec, first, self._config.frames, other.id)
        raise BadInput(
            f"{task.episode.source}: no other recording has actions of {number_of(self._config.frames, 'frame')}: "
            "--actions shuffled needs a smaller --frames"
        )

    def nothing(self, task: ContextTask, own: RecordedActions, before: Before) -> tuple[str, FrameActions]:
        """Nothing is done. Raises InvalidArgument where the model has no such action."""
        if self._spec.no_op is None:
            raise InvalidArgument(f"{self._config.model} has no action that does nothing")
        row = torch.tensor(list(self._spec.no_op(before)), dtype=torch.float32)
        return NO_OP, row.expand(self._config.frames, -1)

    def _own(self, task: ContextTask) -> RecordedActions:
        source = task.episode.actions
        if source is None:
            raise BadInput(f"{task.episode.source}: {WITHOUT}")
        found = self._read(source)
        found.check_frames(task.length, task.episode.source)
        return found

    @cached_property
    def _others(self) -> list[Other]:
        return list(recordings(self._everything()))


Choice = Callable[
    [ActionFeed, ContextTask, RecordedActions, Before], tuple[str, FrameActions]
]  # of predicted frames, and the id of the episode whose they are
# by --actions; ``vidjacobi.batch.settings.ACTIONS`` says what they are in words
CHOICES: dict[str, Choice] = {
    "dataset": ActionFeed.recorded,
    "shuffled": ActionFeed.shuffled,
    "zero": ActionFeed.nothing,
}


def asked_of(pair: ActedPair, config: BatchConfig) -> ActionSpec:
    """What the model asks. Raises InvalidArgument where it follows no actions, or the choice means nothing to it."""
    spec = pair.actions
    if spec is None:
        raise InvalidArgument(f"{config.model} follows no actions: leave --actions out")
    if pair.tokenizer.stride_t != 1:
        raise InvalidArgument(
            f"a latent frame of {config.model} stands for {number_of(pair.tokenizer.stride_t, 'frame')}, and actions "
            "are fed to models of one frame each"
        )
    if config.actions == "zero":
        if spec.no_op is None:
            raise InvalidArgument(
                f"--actions zero: {config.model} has no action that does nothing; shuffled is the other control"
            )
        spec.no_op(torch.zeros(config.context - 1, spec.width))  # refuses a context that it cannot go on from
    return spec


def recordings(entries: Iterator[Entry]) -> Iterator[Other]:
    """The episodes that have actions."""
    for entry in entries:
        if isinstance(entry, Episode) and entry.actions is not None:
            yield Other(entry.id, entry.actions)


def check_recordings(config: BatchConfig, everything: Iterator[Entry]) -> None:
    """Refuse, before anything is loaded, a dataset without actions, or with too few recordings to shuffle them.

    Raises InvalidArgument.
    """
    wanted = 2 if config.actions == "shuffled" else 1
    there: set[str] = set()
    for other in recordings(everything):
        there.add(other.actions.recording)
        if len(there) == wanted:
            return
    if not there:
        raise InvalidArgument(f"--actions {config.actions}: {config.data}: {WITHOUT}")
    raise InvalidArgument(
        f"--actions shuffled gives each clip another recording's actions, and {config.data} has one only"
    )


def _read(source: ActionSource) -> RecordedActions:
    return source.read()


def _recording_of(task: ContextTask) -> str:
    assert task.episode.actions is not None
    return task.episode.actions.recording
