"""Predicted device memory of a rollout by part and phase, from the shapes of the code that runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from vidjacobi.estimate.request import Request, at, lengths_of
from vidjacobi.models.outline import Outline

if TYPE_CHECKING:
    from vidjacobi.estimate.simulate import Decoding

LEAST_WINDOW = 16  # below it a window decoder is hardly worth having


@dataclass(frozen=True)
class Memory:
    """Bytes of one request.

    Attributes:
        parts: what stands in memory, each by itself; not all at once.
        phases: what stands in memory at the worst moment of each phase.
    """

    parts: dict[str, int]
    phases: dict[str, int]

    @property
    def peak(self) -> int:
        """Of the worst phase."""
        return max(self.phases.values())

    @property
    def worst(self) -> str:
        """Name of the worst phase."""
        return max(self.phases, key=lambda name: self.phases[name])


@dataclass(frozen=True)
class Setting:
    """A request and how it is run.

    Attributes:
        outline: made for its dtype.
        request: what is run.
        offload: the tokenizer and the transformer take turns on the device.
        weight_bits: of quantised matrices; None: as the dtype.
        beside: as in a batch, where contexts are fed one at a time while the other rows wait, and frames are
            encoded and made beside the decoding. The request then has one context.
        stream: frames of a rollout are made group by group, between the passes.
    """

    outline: Outline
    request: Request
    offload: bool = False
    weight_bits: int | None = None
    beside: bool = False
    stream: bool = False

    @cached_property
    def resident(self) -> dict[str, int]:
        """What stays as long as the transformer does."""
        parts = dict(self.outline.resident)
        if self.weight_bits is not None:
            matrices = self.outline.arithmetic
            parts["weights"] -= matrices.matrix_bytes - matrices.matrix_parameters * self.weight_bits // 8
        return parts

    @property
    def least(self) -> int:
        """A lower bound of the peak that needs no simulation: weights and cache entries."""
        lengths = lengths_of(self.outline, self.request)
        return self.resident["weights"] + self.request.rows * lengths.end * self.outline.arithmetic.kv_bytes


@dataclass(frozen=True)
class _Frames:
    """What the video tokenizer takes of a setting, bytes.

    Attributes:
        encode, to_frames: of one clip.
        pixels: of one clip.
        past: what the streams of all rows keep between two groups.
    """

    encode: int
    to_frames: int
    pixels: int
    past: int


def memory_of(setting: Setting) -> Memory:
    """Simulate every phase. The samples of a rollout are turned into frames one by one, while the cache is there."""
    from vidjacobi.estimate import simulate  # most rollouts are so small that nothing is simulated

    outline, request = setting.outline, setting.request
    lengths = lengths_of(outline, request)
    work = simulate.decoding(outline, request)
    count = 1 + (lengths.latents - 1) * outline.stride_t
    frames = _Frames(
        encode=simulate.encoding(outline, request.context_frames).peak,
        to_frames=max(
            simulate.rendering(outline, lengths.latents).peak, simulate.checking(outline, count).peak
        ),
        pixels=simulate.frame_bytes(outline, count),
        past=request.rows * outline.stream_bytes() if setting.stream else 0,
    )
    parts = {
        **{name if name != "weights" else "transformer weights": n for name, n in setting.resident.items()},
        "tokenizer weights": outline.tokenizer_bytes,
        "KV cache": work.cache,
        "decoder state": work.state,
        "prefill activations": work.prefill.peak,
        "pass: activations and logits": work.forward.peak,
        "pass: logits and law stage": work.logits + work.laws.peak,
        "tokenizer encode": frames.encode,
        "tokenizer to_frames": frames.to_frames,
        "frames of a clip": frames.pixels,
        **({"tokenizer streams": frames.past} if setting.stream else {}),
    }
    return Memory(parts, _batch(setting, work, frames) if setting.beside else _rollout(setting, work, frames))


def _rollout(setting: Setting, work: "Decoding", frames: _Frames) -> dict[str, int]:
    """Bytes of the phases of a rollout, one behind the other; the cache is there until all frames are made."""
    transformer, tokenizer = sum(setting.resident.values()), setting.outline.tokenizer_bytes
    decoding, coding = (transformer, tokenizer) if setting.offload else (transformer + tokenizer,) * 2
    return {
        "encode": coding + frames.encode,
        "prefill": decoding + frames.past + work.cache + work.prefill.peak,
        "pass": decoding + frames.past + work.cache + work.state + _pass(work),
        "to_frames": coding + frames.past + work.cache + work.state + frames.to_frames,
    }


def _batch(setting: Setting, work: "Decoding", frames: _Frames) -> dict[str, int]:
    """Bytes of what a batch does at once: a context waits, prefilled, and others are encoded and made frames of."""
    request = setting.request
    lengths = lengths_of(setting.outline, request)
    context = lengths.context * setting.outline.arithmetic.kv_bytes
    held = work.cache + work.state + context
    # its one context's cache is among the prefill's allocations
    busy = max(work.prefill.peak - context, _pass(work))
    transformer, tokenizer = sum(setting.resident.values()), setting.outline.tokenizer_bytes
    if not setting.offload:
        coding = frames.encode + frames.to_frames
        return {"decoding, encode and to_frames": transformer + tokenizer + held + busy + coding}
    laws = work.logits + work.laws.peak  # need no weights, and go on in the tokenizer's turn
    return {
        "decoding (its turn)": transformer + held + busy,
        "encode (its turn)": tokenizer + held + laws + frames.encode,
        "to_frames (its turn)": tokenizer + held + laws + frames.to_frames,
    }


def _pass(work: "Decoding") -> int:
    return max(work.forward.peak, work.logits + work.laws.peak)


def fits(setting: Setting, room: int) -> bool:
    """Whether the peak is at most ``room`` bytes."""
    return setting.least <= room and memory_of(setting).peak <= room


Turn = tuple[str, Setting]  # a flag and the setting that it makes
Adjustment = Callable[[Setting], Iterator[Turn]]  # milder turns first


def make_fit(setting: Setting, room: int, knobs: Sequence[Adjustment]) -> list[str] | None:
    """Flags that make ``setting`` fit: one knob if one does, else several, all but the last turned as far as they go.

    None if nothing does.
    """
    for knob in knobs:
        for flag, turned in knob(setting):
            if fits(turned, room):
                return [flag]
    flags: list[str] = []
    for knob in knobs:
        furthest: Turn | None = None
        for flag, turned in knob(setting):
            furthest = flag, turned
            if fits(turned, room):
                return [*flags, flag]
        if furthest:
            flags, setting = [*flags, furthest[0]], furthest[1]
    return None


def offloading(setting: Setting) -> Iterator[Turn]:
    """The tokenizer leaves the device while the transformer works, and the other way round."""
    if not setting.offload:
        yield "--offload", replace(setting, offload=True)


def smaller_window(setting: Setting) -> Iterator[Turn]:
    """Halve the window."""
    window = setting.request.window // 2
    while window >= LEAST_WINDOW:
        yield f"--window {window}", replace(setting, request=at(setting.request, window=window))
        window //= 2


def fewer_samples(setting: Setting) -> Iterator[Turn]:
    """Halve the futures of each clip."""
    request = setting.request
    samples = request.rows // request.contexts // 2
    while samples >= 1:
        smaller = at(request, rows=samples * request.contexts)
        yield f"--samples {samples}", replace(setting, request=smaller)
        samples //= 2


def fewer_clips(setting: Setting) -> Iterator[Turn]:
    """Halve the clips that are decoded together."""
    request = setting.request
    samples, clips = request.rows // request.contexts, request.contexts // 2
    while clips >= 1:
        smaller = at(request, rows=samples * clips, contexts=clips)
        yield f"--batch {clips}", replace(setting, request=smaller)
        clips //= 2


def fewer_rows(flag: str) -> Adjustment:
    """Halve the futures that a batch decodes at a time."""

    def turn(setting: Setting) -> Iterator[Turn]:
        rows = setting.request.rows // 2
        while rows >= 1:
            yield f"{flag} {rows}", replace(setting, request=at(setting.request, rows=rows))
            rows //= 2

    return turn


def other_dtype(name: str, made: Callable[[], Outline]) -> Adjustment:
    """Compute in another dtype; ``made`` gives its outline."""

    def turn(setting: Setting) -> Iterator[Turn]:
        yield f"--dtype {name}", replace(setting, outline=made())

    return turn
