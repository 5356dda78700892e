"""A transformer and a video tokenizer that take turns on a device which cannot hold both."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Condition
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.grid import Grid
from vidjacobi.models.protocol import Cache, RowModel, TreeModel, VideoModel
from vidjacobi.models.tokenizer import FrameStream, StreamingTokenizer, VideoTokenizer
from vidjacobi.runtime import give_back
from vidjacobi.shapes import GridTokens, Logits, Pixels, Positions, RowIndex, Slots, Tokens, Visible

MODEL, TOKENIZER = "transformer", "tokenizer"


def check_device(device: torch.device) -> None:
    """Refuse a device whose memory is the host's. Raises InvalidArgument."""
    if device.type == "cpu":
        raise InvalidArgument("offload moves weights between a GPU and the host: on a CPU leave it out")


class OffloadedModel:
    """Modules that share a device: the weights of one at a time are there, the others' on the host only.

    The host's weights are never given up (a mapped file costs nothing), so a turn is one copy to the device and
    none back. Threads get their turns in the order in which they asked.

    Args:
        modules: by name, all on the host.
        device: where they work.
    """

    def __init__(self, modules: Mapping[str, nn.Module], device: torch.device) -> None:
        self.device = device
        self._host = {
            name: [(part, part.data) for part in (*module.parameters(), *module.buffers())]
            for name, module in modules.items()
        }
        self._there: str | None = None
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @property
    def there(self) -> str | None:
        """Whose weights are on the device."""
        return self._there

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """The turn of a module: its weights are on the device until somebody else's turn begins."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)
        try:
            self._seat(name)
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _seat(self, name: str) -> None:
        if self._there == name:
            return
        if self._there is not None:
            self._leave(self._there)
        with torch.inference_mode(False):  # whoever asks: the weights outlive the caller's mode
            try:
                for part, weight in self._host[name]:
                    part.data = weight.to(self.device, copy=True)
            except BaseException:  # out of memory: all of it can be asked for again
                self._leave(name)
                raise
        self._there = name

    def _leave(self, name: str) -> None:
        self._there = None
        with torch.inference_mode(False):
            for part, weight in self._host[name]:
                part.data = weight
        give_back(self.device)  # in one piece: what comes next has other sizes


@runtime_checkable
class Movable(TreeModel, RowModel, Protocol):
    """A model whose caches are apart from its weights, and can be handled without them."""


class TurningModel:
    """``inner``, whose weights come to the device for each pass that needs them; caches are made there and stay."""

    def __init__(self, inner: Movable, turns: OffloadedModel) -> None:
        self._inner, self._turns = inner, turns
        self.vocab_size, self.max_positions = inner.vocab_size, inner.max_positions
        self.prefix_tokens = inner.prefix_tokens

    @property
    def device(self) -> torch.device:
        """Where passes are computed, wherever the weights are now."""
        return self._turns.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self._inner.dtype

    def grid_for(self, frames: int) -> Grid:
        """As the model's."""
        return self._inner.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> Cache:
        """On the device."""
        with self._turns.of(MODEL):
            return self._inner.make_cache(batch, slots)

    def prefill(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """As the model's; chunk after chunk, so that others may have a turn between them."""
        with self._turns.of(MODEL):
            chunks = self._inner.prefill(tokens, cache, keep)
        return self._chunks(chunks)

    def _chunks(self, chunks: Iterator[Logits]) -> Iterator[Logits]:
        while True:
            with self._turns.of(MODEL):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
    ) -> Logits:
        """One pass."""
        with self._turns.of(MODEL):
            return self._inner.forward(tokens, positions, slots, visible, cache)

    def move(self, cache: Cache, source: Slots, target: Slots) -> None:
        """As the model's; needs no weights."""
        self._inner.move(cache, source, target)

    @property
    def rows_alike(self) -> bool:
        """As the model's."""
        return self._inner.rows_alike

    def copy_rows(self, cache: Cache, rows: RowIndex, source: Cache, source_rows: RowIndex) -> None:
        """As the model's; needs no weights."""
        self._inner.copy_rows(cache, rows, source, source_rows)


class TurningTokenizer:
    """``inner``, whose weights come to the device for each clip."""

    def __init__(self, inner: VideoTokenizer, turns: OffloadedModel) -> None:
        self._inner, self._turns = inner, turns
        self.frame_size, self.stride_t, self.max_frames = inner.frame_size, inner.stride_t, inner.max_frames

    def encode(self, pixels: Pixels) -> GridTokens:
        """As the tokenizer's."""
        with self._turns.of(TOKENIZER):
            return self._inner.encode(pixels)

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """As the tokenizer's."""
        with self._turns.of(TOKENIZER):
            return self._inner.to_frames(tokens)

    def frame_stream(self) -> FrameStream:
        """As the tokenizer's: a turn for each group of frames. Raises InvalidArgument if it has none."""
        if not isinstance(self._inner, StreamingTokenizer):
            raise InvalidArgument("this video tokenizer cannot make frames group by group")
        return TurningStream(self._inner.frame_stream(), self._turns)


class TurningStream:
    """``inner``, a stream of frames, whose tokenizer's weights come to the device for each group."""

    def __init__(self, inner: FrameStream, turns: OffloadedModel) -> None:
        self._inner, self._turns = inner, turns

    def add(self, tokens: GridTokens) -> Pixels:
        """As the stream's."""
        with self._turns.of(TOKENIZER):
            return self._inner.add(tokens)

    def fork(self) -> "TurningStream":
        """As the stream's."""
        return TurningStream(self._inner.fork(), self._turns)


def offload_pair(
    model: VideoModel, tokenizer: VideoTokenizer, modules: tuple[nn.Module, nn.Module], device: torch.device
) -> tuple[TurningModel, TurningTokenizer]:
    """A pair that was loaded on the host, to work on ``device`` with one of them there at a time.

    A turn behind the other's copies weights to the device: one copy of each for a rollout's encode, decode and
    to_frames; of a batch, which encodes one clip while it decodes others, two or three for each clip.

    Args:
        modules: with all weights of the model and of the tokenizer.
        device: where they work.

    Raises InvalidArgument for a model that cannot handle its caches without its weights.
    """
    if not isinstance(model, Movable):
        raise InvalidArgument("this model cannot be offloaded: it offers no move and copy_rows")
    turns = OffloadedModel(dict(zip((MODEL, TOKENIZER), modules, strict=True)), device)
    return TurningModel(model, turns), TurningTokenizer(tokenizer, turns)
