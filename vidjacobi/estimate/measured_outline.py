"""The outline of a model that brings none: its own code is run on tensors that have a device and no numbers.

So bytes, operations and multiplications are those of the model itself. What decoders do around it is simulated as for
any other outline; the model stands in it with the shapes of its results and with what it was seen to take.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.counting import FusedAttention, Work, WorkCounter, account_for
from vidjacobi.invariance import BLOCK
from vidjacobi.kinds import Grid
from vidjacobi.models.contents import tensors_in
from vidjacobi.models.outline import Arithmetic, Outline
from vidjacobi.models.protocol import RowModel, TreeModel, VideoModel
from vidjacobi.models.tokenizer import StreamingTokenizer, VideoTokenizer
from vidjacobi.shapes import GridTokens, Logits, Pixels, Positions, Slots, Tokens, Visible


def _attention_flops(queries: Any, keys: Any, values: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(queries, keys, values))


# attention that a model calls as a kernel, which the counter does not know by itself
KERNELS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
BUCKET = 64  # slots that a pass reads are a multiple of this


def outline_of(name: str, model: VideoModel, tokenizer: VideoTokenizer) -> Outline:
    """The outline of a loaded pair, whose weights it keeps.

    Raises InvalidArgument for code that needs the numbers of its tensors and so cannot run without them.
    """
    seen = SeenModel(name, model)
    codec = _Codec(name, tokenizer)
    return Outline(
        name=name,
        model=seen,
        to_tokens=codec.to_tokens,
        to_pixels=codec.to_pixels,
        stream_bytes=codec.stream_bytes,
        resident={"weights": sum(tensor.nbytes for tensor in tensors_in(model))},
        tokenizer_bytes=sum(tensor.nbytes for tensor in tensors_in(tokenizer)),
        arithmetic=seen.arithmetic,
        frame_size=tokenizer.frame_size,
        stride_t=tokenizer.stride_t,
        max_frames=tokenizer.max_frames,
    )


class _Sound(TorchDispatchMode):
    """Answers what code asks about the numbers of tensors as if nothing were wrong with them.

    "Are all finite?" is answered with yes, "is any outside the vocabulary?" with no; other numbers are 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self._all: list[Tensor] = []  # what ``all`` returned

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            dtype = args[0].dtype
            kind = bool if dtype == torch.bool else float if dtype.is_floating_point else int
            return kind(any(args[0] is one for one in self._all))
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket is torch.ops.aten.all:
            self._all.append(result)
        return result


class _Fake:
    """Runs code of the user's on tensors without numbers."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what
        # the weights are real; they stand for tensors without numbers wherever they are used
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def __call__(self, work: Callable[[Any], Any], counter: Callable[[], Any]) -> Any:
        """What ``work`` returns for a new counter, inside of which it is run.

        Raises InvalidArgument for code that does not run like that.
        """
        try:
            with torch.no_grad(), self._mode, _Sound(), counter() as counting:
                return work(counting)
        except Exception as error:
            line = next(iter(str(error).splitlines()), "")
            raise InvalidArgument(
                f"the memory and speed of {self._name} cannot be predicted: its {self._what} does not run on tensors "
                f"without numbers ({type(error).__name__}: {line}). Give the function that loads it an attribute "
                "outline, which returns a vidjacobi.models.outline.Outline, or run with --no-memory-check"
            ) from error

    def counted(
        self, work: Callable[..., Any], prepare: Callable[[], tuple[Any, ...]] = tuple
    ) -> tuple[Any, Work, int]:
        """The result of ``work``, what it took, and the bytes that live on.

        Its arguments are what ``prepare`` returns, which was there before: what that takes does not count.
        """

        def run(counter: WorkCounter) -> tuple[Any, Work, int]:
            given = prepare()
            with FusedAttention():
                result, took = counter.of(lambda: work(*given))
            del given
            return result, took, counter.now

        return self(run, WorkCounter)


@dataclass(frozen=True)
class _Chunk:
    """Logits that a prefill yields: their shape, what it took to make them, and what lives beside them."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    took: Work
    beside: int


@dataclass(frozen=True)
class _SeenCache:
    """As many bytes as a cache of the model has, so that they are counted where the cache is."""

    rows: int
    slots: int
    bytes: Tensor


class SeenModel:
    """A model in a simulation: shapes of logits, and what the real model was seen to take for such inputs."""

    def __init__(self, name: str, model: VideoModel) -> None:
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.prefix_tokens, self.dtype = model.prefix_tokens, model.dtype
        self.device = torch.device("meta")
        self._model, self._run = model, _Fake(name, "model")
        self._forwards: dict[tuple[int, int, int], tuple[Work, torch.dtype]] = {}
        self._prefills: dict[tuple[int, int, int], list[_Chunk]] = {}
        self._caches: dict[tuple[int, int], int] = {}
        if isinstance(model, TreeModel):
            self.move = self._nothing
        if isinstance(model, RowModel):
            self.copy_rows, self.rows_alike = self._nothing, model.rows_alike

    def grid_for(self, frames: int) -> Grid:
        """The model's own."""
        return self._model.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> _SeenCache:
        """As many bytes as the model's."""
        key = batch, slots
        if key not in self._caches:
            self._caches[key] = self._run.counted(lambda: self._model.make_cache(*key))[2]
        return _SeenCache(batch, slots, torch.empty(self._caches[key], dtype=torch.uint8, device="meta"))

    def prefill(self, tokens: Tokens, cache: _SeenCache, keep: int) -> Iterator[Logits]:
        """Chunks of the sizes that the model yields."""
        key = (*tokens.shape, keep)
        if key not in self._prefills:
            self._prefills[key] = self._seen_prefill(key)
        for chunk in self._prefills[key]:
            account_for(chunk.took)
            beside = torch.empty(chunk.beside, dtype=torch.uint8, device="meta")
            yield torch.empty(chunk.shape, dtype=chunk.dtype, device="meta")
            del beside

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: _SeenCache
    ) -> Logits:
        """Logits of every input."""
        key = (*tokens.shape, visible.shape[-1])
        if key not in self._forwards:
            logits, took, _ = self._run.counted(self._model.forward, lambda: self._pass(*key))
            self._forwards[key] = took, logits.dtype
        took, dtype = self._forwards[key]
        account_for(took)
        return torch.empty(*tokens.shape, self.vocab_size, dtype=dtype, device="meta")

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """Multiplications by the inputs and slots of a pass, and the bytes of a slot."""

        def flops(inputs: int, slots: int) -> int:
            def run(counter: FlopCounterMode) -> int:
                with sdpa_kernel(SDPBackend.MATH):  # in whose matrix products the operations are seen
                    self._model.forward(*self._pass(1, inputs, slots))
                return counter.get_total_flops()

            return self._run(run, partial(FlopCounterMode, display=False, custom_mapping=KERNELS))

        # differences of passes that nobody pads: 8 inputs and 8 more, a block of slots and another one
        few, wider, longer = flops(8, BLOCK), flops(16, BLOCK), flops(8, 2 * BLOCK)
        each_slot = max(0, (longer - few) // (8 * BLOCK))
        # an input multiplies every weight once and adds: two operations
        matrices = max(0, ((wider - few) // 8 - BLOCK * each_slot) // 2)
        entries = self._run.counted(lambda: self._model.make_cache(1, 2 * BLOCK))[2]
        kv = (entries - self._run.counted(lambda: self._model.make_cache(1, BLOCK))[2]) // BLOCK
        return Arithmetic(matrices, matrices * self.dtype.itemsize, kv, each_slot)

    def _pass(self, rows: int, inputs: int, slots: int) -> tuple[Any, ...]:
        """Arguments of the model's forward call. Its tensors have no numbers, so any place will do."""
        device = self._model.device
        places = torch.zeros(rows, inputs, dtype=torch.long, device=device)
        visible = torch.ones(rows, inputs, slots, dtype=torch.bool, device=device)
        return places, places, places, visible, self._model.make_cache(rows, max(slots, inputs) + 1)

    def _seen_prefill(self, key: tuple[int, int, int]) -> list[_Chunk]:
        rows, length, keep = key

        def run(counter: WorkCounter) -> list[_Chunk]:
            found: list[_Chunk] = []
            tokens = torch.zeros(rows, length, dtype=torch.long, device=self._model.device)
            cache = self._model.make_cache(rows, length)
            before = counter.now
            counter.lap()
            with FusedAttention():
                for logits in self._model.prefill(tokens, cache, keep):
                    beside = max(0, counter.now - before - logits.nbytes)
                    found.append(_Chunk(tuple(logits.shape), logits.dtype, counter.lap(), beside))
            return found

        return self._run(run, WorkCounter)

    def _nothing(self, cache: _SeenCache, *arguments: Any) -> None:
        """Entries are copied within what is there."""


class _Codec:
    """The video tokenizer in a simulation."""

    def __init__(self, name: str, tokenizer: VideoTokenizer) -> None:
        self._tokenizer, self._run = tokenizer, _Fake(name, "video tokenizer")

    def to_tokens(self, pixels: Pixels) -> GridTokens:
        """The shape of what ``encode`` returns, and what it takes."""
        shape = pixels.shape
        tokens, took, _ = self._run.counted(self._tokenizer.encode, lambda: (torch.zeros(shape),))
        account_for(took)
        return torch.empty(tokens.shape, dtype=tokens.dtype, device="meta")

    def to_pixels(self, tokens: GridTokens) -> Pixels:
        """The shape of what ``to_frames`` returns, and what it takes."""
        shape = tokens.shape
        pixels, took, _ = self._run.counted(
            self._tokenizer.to_frames, lambda: (torch.zeros(shape, dtype=torch.long),)
        )
        account_for(took)
        return torch.empty(pixels.shape, dtype=pixels.dtype, device="meta")

    def stream_bytes(self) -> int:
        """Bytes that a stream keeps of a clip after two latent frames. Raises InvalidArgument for one without."""
        tokenizer = self._tokenizer
        if not isinstance(tokenizer, StreamingTokenizer):
            raise InvalidArgument("this video tokenizer cannot make frames group by group")

        def stream() -> Any:
            made = tokenizer.frame_stream()
            height, width = self._grid
            for _ in range(2):
                made.add(torch.zeros(1, 1, height, width, dtype=torch.long))
            return made

        return self._run.counted(stream)[2]

    @cached_property
    def _grid(self) -> tuple[int, int]:
        shape = (1, 3, 1, *self._tokenizer.frame_size)
        tokens = self._run.counted(lambda: self._tokenizer.encode(torch.zeros(shape)))[0]
        return tokens.shape[2], tokens.shape[3]
