"""Predicted device memory of a rollout by part and phase, from the shapes of the code that runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from vidjacobi.outline import Outline
from vidjacobi.planning import simulate
from vidjacobi.planning.simulate import Request, at

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
    """

    outline: Outline
    request: Request
    offload: bool = False
    weight_bits: int | None = None

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
        lengths = simulate.lengths_of(self.outline, self.request)
        return self.resident["weights"] + self.request.rows * lengths.end * self.outline.arithmetic.kv_bytes


def memory_of(setting: Setting) -> Memory:
    """Simulate every phase. The samples of a clip are turned into frames one by one and joined."""
    outline, request = setting.outline, setting.request
    lengths = simulate.lengths_of(outline, request)
    work = simulate.decoding(outline, request)
    frames = 1 + (lengths.latents - 1) * outline.stride_t
    encode = simulate.encoding(outline, request.context_frames).peak
    pixels = simulate.frame_bytes(outline, frames)
    to_frames = simulate.rendering(outline, lengths.latents).peak
    joined = simulate.joining(outline, request.rows, frames).peak
    transformer, tokenizer = sum(setting.resident.values()), outline.tokenizer_bytes
    decoding, coding = (transformer, tokenizer) if setting.offload else (transformer + tokenizer,) * 2
    a_pass = max(work.forward.peak, work.logits + work.laws.peak)
    return Memory(
        parts={
            **{
                name if name != "weights" else "transformer weights": n
                for name, n in setting.resident.items()
            },
            "tokenizer weights": tokenizer,
            "KV cache": work.cache,
            "decoder state": work.state,
            "prefill activations": work.prefill.peak,
            "pass: activations and logits": work.forward.peak,
            "pass: logits and law stage": work.logits + work.laws.peak,
            "tokenizer encode": encode,
            "tokenizer to_frames": to_frames,
            "frames": request.rows * pixels,
        },
        phases={
            "encode": coding + encode,
            "prefill": decoding + work.cache + work.prefill.peak,
            "pass": decoding + work.cache + work.state + a_pass,
            "to_frames": coding + max((request.rows - 1) * pixels + to_frames, joined),
        },
    )


def fits(setting: Setting, room: int) -> bool:
    """Whether the peak is at most ``room`` bytes."""
    return setting.least <= room and memory_of(setting).peak <= room


Turn = tuple[str, Setting]  # a flag and the setting that it makes
Knob = Callable[[Setting], Iterator[Turn]]  # milder turns first


def make_fit(setting: Setting, room: int, knobs: Sequence[Knob]) -> list[str] | None:
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


def other_dtype(name: str, made: Callable[[], Outline]) -> Knob:
    """Compute in another dtype; ``made`` gives its outline."""

    def turn(setting: Setting) -> Iterator[Turn]:
        yield f"--dtype {name}", replace(setting, outline=made())

    return turn
