"""A transformer and a video tokenizer that take turns on a device which cannot hold both.

Both have their weights in the host's memory. ``SharedDevice`` copies one module's weights to the device when its turn
begins; ``OffloadedModel`` and ``OffloadedTokenizer`` look like the originals and take a turn in each of their calls.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Condition
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import Cache, ConditionedModel, ExactModel, RowModel, TreeModel, VideoModel
from vidjacobi.models.tokenizer import FrameStream, StreamingTokenizer, VideoTokenizer
from vidjacobi.runtime import give_back
from vidjacobi.shapes import GridTokens, Logits, Pixels, Positions, RowIndex, Slots, Tokens, Visible

MODEL, TOKENIZER = "transformer", "tokenizer"


def check_device(device: torch.device) -> None:
    """Raise InvalidArgument for a device whose memory is the host's own."""
    if device.type == "cpu":
        raise InvalidArgument("offload moves weights between a GPU and the host: on a CPU leave it out")


def refuse_family(name: str) -> None:
    """Raise InvalidArgument for a model of a family, with the reason."""
    # Most of them take a head and the embeddings of cells out of larger tables once, when they are loaded, and make
    # embeddings of prompts and actions between passes: both would be on the host while the layers are on the device.
    raise InvalidArgument(
        f"{name}: models of families are not offloaded: most keep parts of their weights outside of their layers, "
        "and what makes their pixels is small beside them, so that little would be gained. Leave --offload out, and "
        f"take fewer samples or rows, or --dtype bfloat16 (vidjacobi doctor --model {name})"
    )


class SharedDevice:
    """Modules that share a device: at any time the weights of one of them are there.

    The host keeps all weights all the time (those of a memory-mapped file cost nothing), so a turn copies weights to
    the device and none back. Threads get their turns in the order in which they asked.

    Args:
        modules: modules by name, all on the host.
        device: the device on which they compute.
    """

    def __init__(self, modules: Mapping[str, nn.Module], device: torch.device) -> None:
        self.device = device
        self._host = {
            name: [(part, part.data) for part in (*module.parameters(), *module.buffers())]
            for name, module in modules.items()
        }
        self._there: str | None = None
        self._strides: dict[
            Tensor, tuple[int, ...]
        ] = {}  # of weights that are stored otherwise on the device
        # A ticket lock: a plain lock would let the thread that releases it win again and again.
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @property
    def there(self) -> str | None:
        """The name of the module whose weights are on the device, None if none are."""
        return self._there

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """A module's turn, as a context. Its weights stay on the device until another module's turn begins."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)
        try:
            self._bring(name)
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _bring(self, name: str) -> None:
        if self._there == name:
            return
        if self._there is not None:
            self._remove(self._there)
        # A caller may be in inference mode; tensors made in it could not be used outside it later.
        with torch.inference_mode(False):
            try:
                for part, weight in self._host[name]:
                    there = weight.to(self.device, copy=True)
                    part.data = stored_as(there, self._strides[part]) if part in self._strides else there
            except BaseException:  # such as out of memory: no half of a module stays on the device
                self._remove(name)
                raise
        self._there = name

    def _remove(self, name: str) -> None:
        self._there = None
        with torch.inference_mode(False):
            for part, weight in self._host[name]:
                # The order of numbers decides the last bits of products (``invariance.by_inputs``), so that which the
                # model chose on the device is kept.
                if part.data.device.type == self.device.type and part.data.stride() != weight.stride():
                    self._strides[part] = part.data.stride()
                part.data = weight
        # PyTorch keeps freed blocks for tensors of the same sizes, and the next module's have other sizes.
        give_back(self.device)


@runtime_checkable
class Movable(TreeModel, RowModel, Protocol):
    """A model whose caches can be moved and copied while its weights are elsewhere."""


class OffloadedModel:
    """A model whose weights come to the device for each pass. Its caches are made on the device and stay there."""

    def __init__(self, inner: Movable, shared: SharedDevice) -> None:
        self._inner, self._shared = inner, shared
        self.vocab_size, self.max_positions = inner.vocab_size, inner.max_positions
        self.prefix_tokens = inner.prefix_tokens

    @property
    def device(self) -> torch.device:
        """The device that computes the passes, wherever the weights are now."""
        return self._shared.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self._inner.dtype

    @property
    def bitwise(self) -> bool:
        """Whether passes on the device are width-invariant; see ``ExactModel``."""
        with self._shared.turn(MODEL):
            return isinstance(self._inner, ExactModel) and self._inner.bitwise

    @property
    def padding(self) -> str:
        """What passes on the device are padded to, in words."""
        with self._shared.turn(MODEL):
            return self._inner.padding if isinstance(self._inner, ExactModel) else "nothing"

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of a clip of ``frames`` frames."""
        return self._inner.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> Cache:
        """An empty cache on the device."""
        with self._shared.turn(MODEL):
            return self._inner.make_cache(batch, slots)

    def prefill(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """As ``VideoModel.prefill``. Each chunk is a turn of its own, so that others may have theirs in between."""
        # A model may do the work of the prefill in this call, or when the first chunk is asked for.
        with self._shared.turn(MODEL):
            chunks = self._inner.prefill(tokens, cache, keep)
        return self._chunks(chunks)

    def _chunks(self, chunks: Iterator[Logits]) -> Iterator[Logits]:
        while True:
            with self._shared.turn(MODEL):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk  # outside the turn: the caller may need the tokenizer before it asks for more

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
    ) -> Logits:
        """One pass; see ``VideoModel.forward``."""
        with self._shared.turn(MODEL):
            return self._inner.forward(tokens, positions, slots, visible, cache)

    def move(self, cache: Cache, source: Slots, target: Slots) -> None:
        """Copy cache entries from slots to slots, without the weights."""
        self._inner.move(cache, source, target)

    @property
    def rows_alike(self) -> bool:
        """Whether the same tokens get the same logits in any row."""
        return self._inner.rows_alike

    def copy_rows(self, cache: Cache, rows: RowIndex, source: Cache, source_rows: RowIndex) -> None:
        """Copy rows of cache entries, without the weights."""
        self._inner.copy_rows(cache, rows, source, source_rows)

    @property
    def conditions(self) -> tuple[Any, ...] | None:
        """The model's own, None where it takes none; see ``ConditionedModel``."""
        return self._inner.conditions if isinstance(self._inner, ConditionedModel) else None

    def condition_id(self, condition: Any, positions: int) -> str:
        """The name of a condition, without the weights. Raises InvalidArgument."""
        assert isinstance(self._inner, ConditionedModel)
        return self._inner.condition_id(condition, positions)

    def set_conditions(self, cache: Cache, conditions: Sequence[Any]) -> None:
        """Give rows of a cache their conditions, on the device."""
        assert isinstance(self._inner, ConditionedModel)
        with self._shared.turn(MODEL):
            self._inner.set_conditions(cache, conditions)


class OffloadedTokenizer:
    """A video tokenizer whose weights come to the device for each call."""

    def __init__(self, inner: VideoTokenizer, shared: SharedDevice) -> None:
        self._inner, self._shared = inner, shared
        self.frame_size, self.stride_t, self.max_frames = inner.frame_size, inner.stride_t, inner.max_frames

    def encode(self, pixels: Pixels) -> GridTokens:
        """Pixels to tokens; see ``VideoTokenizer.encode``."""
        with self._shared.turn(TOKENIZER):
            return self._inner.encode(pixels)

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Tokens to pixels; see ``VideoTokenizer.to_frames``."""
        with self._shared.turn(TOKENIZER):
            return self._inner.to_frames(tokens)

    def frame_stream(self) -> FrameStream:
        """A stream that takes a turn for each group of frames. Raises InvalidArgument if the tokenizer has none."""
        if not isinstance(self._inner, StreamingTokenizer):
            raise InvalidArgument("this video tokenizer cannot make frames group by group")
        return OffloadedFrameStream(self._inner.frame_stream(), self._shared)


class OffloadedFrameStream:
    """A stream of frames whose tokenizer's weights come to the device for each group of frames."""

    def __init__(self, inner: FrameStream, shared: SharedDevice) -> None:
        self._inner, self._shared = inner, shared

    def add(self, tokens: GridTokens) -> Pixels:
        """The next latent frames to pixels; see ``FrameStream.add``."""
        with self._shared.turn(TOKENIZER):
            return self._inner.add(tokens)

    def fork(self) -> "OffloadedFrameStream":
        """Another stream that continues from here."""
        return OffloadedFrameStream(self._inner.fork(), self._shared)


def stored_as(weight: Tensor, strides: tuple[int, ...]) -> Tensor:
    """The same numbers in another order in memory."""
    if weight.stride() == strides:
        return weight
    return torch.empty_strided(weight.shape, strides, dtype=weight.dtype, device=weight.device).copy_(weight)


def offload_pair(
    model: VideoModel, tokenizer: VideoTokenizer, modules: tuple[nn.Module, nn.Module], device: torch.device
) -> tuple[OffloadedModel, OffloadedTokenizer]:
    """A model and a tokenizer that were loaded on the host, as a pair that takes turns on ``device``.

    A turn that follows a turn of the other module copies weights. A rollout copies the tokenizer's to encode, the
    model's to decode and the tokenizer's again for the frames. A batch, which encodes one clip while it decodes
    others, makes two or three copies for each clip.

    Args:
        modules: the modules that hold all weights of the model and of the tokenizer.
        device: the device on which they compute.

    Raises InvalidArgument for a model that cannot handle its caches without its weights.
    """
    if not isinstance(model, Movable):
        raise InvalidArgument("this model cannot be offloaded: it offers no move and copy_rows")
    shared = SharedDevice(dict(zip((MODEL, TOKENIZER), modules, strict=True)), device)
    return OffloadedModel(model, shared), OffloadedTokenizer(tokenizer, shared)
