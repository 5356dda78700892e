"""Predicted device memory of a scenario, whether it fits, and the flags that would make it fit.

Asked before anything is loaded. Bytes follow from the shapes of the code that runs (simulate.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, NoReturn

import torch

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.estimate.scenario import (
    Adjustment,
    RolloutShape,
    Scenario,
    Turn,
    fewer_rows,
    fewer_samples,
    lengths_of,
    offloading,
    other_dtype,
    smaller_window,
)
from vidjacobi.models.outline import Outline
from vidjacobi.runtime import Runtime, describe_device, free_memory, gib

if TYPE_CHECKING:
    from vidjacobi.estimate.simulate import PhaseWork

# A scenario whose weights and cache are at most this share of the memory is not simulated, which takes seconds:
# everything together is 1.1 times as much for the 4B model and 4 times for nano.
SURELY = 1 / 8


@dataclass(frozen=True)
class Memory:
    """Bytes of a scenario.

    Attributes:
        parts: what stands in memory, each by itself; not all at once.
        phases: what stands in memory at the worst moment of each phase.
    """

    parts: dict[str, int]
    phases: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes of the worst phase."""
        return max(self.phases.values())

    @property
    def worst(self) -> str:
        """Name of the worst phase."""
        return max(self.phases, key=lambda name: self.phases[name])


@dataclass(frozen=True)
class _TokenizerWork:
    """Bytes that the video tokenizer takes.

    Attributes:
        encode, to_frames: the most at a time, for one clip.
        pixels: the frames of one clip.
        streams: what the streams of all rows keep between two groups of frames.
    """

    encode: int
    to_frames: int
    pixels: int
    streams: int


def memory_of(scenario: Scenario) -> Memory:
    """Simulate every phase. Frames of the samples of a rollout are made one by one, while the cache is there."""
    from vidjacobi.estimate import simulate  # most rollouts are so small that nothing is simulated

    outline, shape = scenario.outline, scenario.shape
    lengths = lengths_of(outline, shape)
    work = simulate.decoding(outline, shape)
    frames = 1 + (lengths.latents - 1) * outline.stride_t
    made = simulate.rendering(outline, lengths.latents).peak, simulate.checking(outline, frames).peak
    codec = _TokenizerWork(
        encode=simulate.encoding(outline, shape.context_frames).peak,
        to_frames=max(made),
        pixels=simulate.frame_bytes(outline, frames),
        streams=shape.rows * outline.stream_bytes() if scenario.stream else 0,
    )
    parts = {
        **{name if name != "weights" else "transformer weights": n for name, n in scenario.resident.items()},
        "tokenizer weights": outline.tokenizer_bytes,
        "KV cache": work.cache,
        "decoder state": work.state,
        "prefill activations": work.prefill.peak,
        "pass: activations and logits": work.forward.peak,
        "pass: logits, draft and verify": work.logits + work.outside.peak,
        "tokenizer encode": codec.encode,
        "tokenizer to_frames": codec.to_frames,
        "frames of a clip": codec.pixels,
        **({"tokenizer streams": codec.streams} if scenario.stream else {}),
    }
    phases = _batch_phases if scenario.in_batch else _rollout_phases
    return Memory(parts, phases(scenario, work, codec))


def _rollout_phases(scenario: Scenario, work: "PhaseWork", codec: _TokenizerWork) -> dict[str, int]:
    """Bytes of the phases of a rollout, one after the other; the cache is there until all frames are made."""
    transformer, tokenizer = sum(scenario.resident.values()), scenario.outline.tokenizer_bytes
    # Where they take turns, each has the device for itself.
    decoding, coding = (transformer, tokenizer) if scenario.offload else (transformer + tokenizer,) * 2
    return {
        "encode": coding + codec.encode,
        "prefill": decoding + codec.streams + work.cache + work.prefill.peak,
        "pass": decoding + codec.streams + work.cache + work.state + _pass_bytes(work),
        "to_frames": coding + codec.streams + work.cache + work.state + codec.to_frames,
    }


def _batch_phases(scenario: Scenario, work: "PhaseWork", codec: _TokenizerWork) -> dict[str, int]:
    """Bytes of what a batch does at once: a prefilled context waits while clips are encoded and frames are made."""
    lengths = lengths_of(scenario.outline, scenario.shape)
    context = lengths.context * scenario.outline.arithmetic.kv_bytes
    held = work.cache + work.state + context
    # The cache of the one context that is fed is among the prefill's allocations.
    busy = max(work.prefill.peak - context, _pass_bytes(work))
    transformer, tokenizer = sum(scenario.resident.values()), scenario.outline.tokenizer_bytes
    if not scenario.offload:
        coding = codec.encode + codec.to_frames
        return {"decoding, encode and to_frames": transformer + tokenizer + held + busy + coding}
    outside = work.logits + work.outside.peak  # needs no weights, and continues in the tokenizer's turn
    return {
        "decoding (its turn)": transformer + held + busy,
        "encode (its turn)": tokenizer + held + outside + codec.encode,
        "to_frames (its turn)": tokenizer + held + outside + codec.to_frames,
    }


def _pass_bytes(work: "PhaseWork") -> int:
    return max(work.forward.peak, work.logits + work.outside.peak)


def fits(scenario: Scenario, room: int, predict: Callable[[Scenario], Memory] = memory_of) -> bool:
    """Whether the predicted peak is at most ``room`` bytes."""
    return scenario.least <= room and predict(scenario).peak <= room


def make_fit(
    scenario: Scenario, fitting: Callable[[Scenario], bool], adjustments: Sequence[Adjustment]
) -> list[str] | None:
    """Flags that make ``scenario`` fit, None if nothing does.

    One adjustment if one is enough, else several of them: all but the last as far as they go.
    """
    # 1. One adjustment alone, turned as little as possible.
    for adjustment in adjustments:
        for flag, turned in adjustment(scenario):
            if fitting(turned):
                return [flag]
    # 2. Several: each keeps its furthest turn, and the next one starts from there.
    flags: list[str] = []
    for adjustment in adjustments:
        furthest: Turn | None = None
        for flag, turned in adjustment(scenario):
            furthest = flag, turned
            if fitting(turned):
                return [*flags, flag]
        if furthest:
            flags, scenario = [*flags, furthest[0]], furthest[1]
    return None


@dataclass(frozen=True)
class TargetDevice:
    """Where it would run: a device that is here, or a GPU by its data sheet.

    Attributes:
        name: of the device, as messages print it.
        dtype, reason: of the weights, and why.
        room: bytes for tensors.
        free: what ``room`` is, in words.
        may_offload: whether weights can leave it for the host.
    """

    name: str
    dtype: torch.dtype
    reason: str
    room: int
    free: str
    may_offload: bool


def this_device(runtime: Runtime, share: int = 1) -> TargetDevice:
    """A device that is here, used by ``share`` workers."""
    name, room = describe_device(runtime.device), free_memory(runtime.device) // share
    free = "free now" if share == 1 else f"free now for each of {number_of(share, 'worker')}"
    may_offload = runtime.device.type != "cpu"
    return TargetDevice(name, runtime.dtype, runtime.reason, room, free, may_offload)


@dataclass(frozen=True)
class MemoryQuestion:
    """What is to be run, before its dtype is known.

    Attributes:
        outline: makes the model's outline in a dtype; it is asked once for each.
        shape: frames, decoder and rows.
        offload, in_batch, stream: as in ``Scenario``.
        rows_flag: the flag that ``shape.rows`` of a batch comes from.
        predict: the memory that a scenario takes.
    """

    outline: Callable[[torch.dtype], Outline]
    shape: RolloutShape
    offload: bool = False
    in_batch: bool = False
    stream: bool = False
    rows_flag: str = "--rows"
    predict: Callable[[Scenario], Memory] = memory_of

    def __post_init__(self) -> None:
        object.__setattr__(self, "outline", cache(self.outline))  # a model may be loaded to be measured

    def scenario(self, dtype: torch.dtype) -> Scenario:
        """The scenario in a dtype."""
        outline = self.outline(dtype)
        return Scenario(outline, self.shape, self.offload, in_batch=self.in_batch, stream=self.stream)

    def adjustments(self, device: TargetDevice) -> list[Adjustment]:
        """Those that cost least first: some that give the same tokens, then fewer rows at a time."""
        found: list[Adjustment] = [offloading] if device.may_offload else []
        if device.dtype != torch.bfloat16:
            found.append(other_dtype("bfloat16", partial(self.outline, torch.bfloat16)))
        fewer = fewer_rows(self.rows_flag) if self.in_batch else fewer_samples
        return [*found, fewer, smaller_window]


def require_fit(question: MemoryQuestion, device: TargetDevice, memory: Memory) -> None:
    """Refuse what does not fit. Raises InvalidArgument with the flags that would make it fit, if there are any."""
    if memory.peak > device.room:
        _refuse(question, device, f"{gib(memory.peak)} in its phase {memory.worst!r} (predicted)")


def _refuse(question: MemoryQuestion, device: TargetDevice, needs: str) -> NoReturn:
    kind = "batch" if question.in_batch else "rollout"
    why = f"this {kind} would not fit: {needs}, {gib(device.room)} {device.free} on {device.name}"
    scenario = question.scenario(device.dtype)
    fitting = partial(fits, room=device.room, predict=question.predict)
    flags = make_fit(scenario, fitting, question.adjustments(device))
    if flags is None:
        why += ". No smaller window or batch makes it fit: use a larger device or a smaller model"
        raise InvalidArgument(why)
    raise InvalidArgument(f"{why}. It would with {' '.join(flags)}")


def check_memory(question: MemoryQuestion, device: TargetDevice) -> None:
    """As ``require_fit``, and quick for what is far too small to matter or too large. Raises InvalidArgument."""
    scenario = question.scenario(device.dtype)
    if scenario.least > SURELY * device.room:
        require_fit(question, device, predicted(question, device))


def predicted(question: MemoryQuestion, device: TargetDevice) -> Memory:
    """The memory of what is asked about. Weights and cache that are too large alone are not simulated.

    Raises InvalidArgument where they are.
    """
    scenario = question.scenario(device.dtype)
    if scenario.least > device.room:
        _refuse(question, device, f"{gib(scenario.least)} for its weights and cache alone")
    return question.predict(scenario)
