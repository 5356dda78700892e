"""Clips of a session at their start, and where their context slides."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from vidjacobi.decoding.api import context_ids
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.models.codec import as_seen, fit, frames_of, frames_to_tokens, tokens_to_frames
from vidjacobi.models.protocol import VideoModel, flatten
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.session.actions import Condition, own_actions
from vidjacobi.session.record import ChunkRecord, ClipRecord, Latents
from vidjacobi.shapes import Frames


class ClipMaker:
    """Makes the records of clips. Each is encoded by itself, so that none depends on its neighbours.

    Args:
        condition: what makes a clip's condition, where latent frames follow actions.
    """

    def __init__(self, model: VideoModel, tokenizer: VideoTokenizer, condition: Condition | None) -> None:
        self._model, self._tokenizer, self._condition = model, tokenizer, condition

    def begun(self, frames: Frames, name: str | None, start: int, actions: Sequence[Any]) -> ClipRecord:
        """A clip at its start; its own name is the sha256 of its tokens. Raises InvalidArgument."""
        pixels = fit(frames, self._tokenizer.frame_size)
        grid = self._tokenizer.encode(pixels[None])
        own = context_ids(flatten(self._model, grid))[0] if name is None else name
        wanted = grid.shape[1] - 1 if self._condition is not None else 0
        actions = own_actions(actions, "context_actions of a clip")
        if len(actions) != wanted:
            raise InvalidArgument(
                f"{number_of(len(actions), 'action')} for a context of {number_of(grid.shape[1], 'latent frame')}: "
                f"context_actions must have {wanted} of this clip"
            )
        if self._condition is not None and actions:
            self._condition(actions)  # refuses what does not fit now, and not at some later step
        return ClipRecord(own, start, 0, (self._chunk(0, as_seen(pixels), grid[0], actions),))

    def slid(self, clip: ClipRecord) -> ClipRecord:
        """With another chunk begun, whose context are the last frames."""
        tokenizer, chunk = self._tokenizer, clip.chunk
        first = frames_of(len(chunk.context), tokenizer)
        predicted = tokens_to_frames(chunk.grid, tokenizer, first, tokenizer.max_frames - first)
        # Two latent frames: one that stands for a single frame, and one for ``stride_t`` of them.
        tail = torch.cat([chunk.before, predicted])[-(1 + tokenizer.stride_t) :]
        grid = frames_to_tokens([tail], tokenizer)[0]
        # What led from the first of them to the second was told before.
        between = chunk.actions[-(len(grid) - 1) :] if self._condition is not None else ()
        return replace(clip, chunks=(*clip.chunks, self._chunk(chunk.number + 1, tail, grid, between)))

    def _chunk(self, number: int, frames: Frames, grid: Latents, actions: tuple[Any, ...]) -> ChunkRecord:
        grid, before = grid.cpu(), frames[-(1 + self._tokenizer.stride_t) :].cpu()
        return ChunkRecord(number, before, grid, grid[:0], actions)


def names_of(names: object, clips: int) -> list[str]:
    """A name for each context. Raises InvalidArgument for another number, and for what are no strings."""
    if (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not all(isinstance(n, str) for n in names)
    ):
        raise InvalidArgument("names must be strings, one for each context")
    if len(names) != clips:
        raise InvalidArgument(f"{number_of(len(names), 'name')} for {number_of(clips, 'context')}")
    return list(names)
