"""What is to be run: a model's outline, the shape of a rollout, and how it is run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.models.outline import Outline
from vidjacobi.sampling.probs import SamplingParams

LEAST_WINDOW = 16  # below it a window decoder is hardly worth having


@dataclass(frozen=True)
class RolloutShape:
    """The numbers that decide how large the tensors of a rollout are.

    Attributes:
        decoder: at its window.
        rows: clips and futures decoded together, each with a row of the cache.
        contexts: different contexts among them; the futures of one share its prefill.
        context_frames, new_frames: of each clip; at most one chunk of the tokenizer is looked at.
        sampling: logits to tokens.
    """

    decoder: DecoderConfig
    rows: int = 1
    contexts: int = 1
    context_frames: int = 9
    new_frames: int = 24
    sampling: SamplingParams = field(default_factory=SamplingParams)

    @property
    def window(self) -> int:
        """Positions of a pass."""
        return 1 if self.decoder.draft is None else self.decoder.window

    def changed(self, *, window: int | None = None, **numbers: Any) -> "RolloutShape":
        """The same shape with other numbers; ``window`` changes the decoder's."""
        decoder = self.decoder if window is None else replace(self.decoder, window=window)
        return replace(self, decoder=decoder, **numbers)


@dataclass(frozen=True)
class Lengths:
    """Lengths of one chunk.

    Attributes:
        context_latents, latents: latent frames of the context, and of the whole clip.
        context, end: positions of the context, and of the whole clip, special tokens included.
    """

    context_latents: int
    latents: int
    context: int
    end: int


def lengths_of(outline: Outline, shape: RolloutShape) -> Lengths:
    """The lengths that follow from numbers of frames.

    Example: 9 + 24 frames at 8 frames a latent frame are 2 + 3 latent frames; with 40 x 64 tokens each, the context
    ends at position 5,120 and the clip at 12,800.

    Raises InvalidArgument for frames that the tokenizer cannot take.
    """
    step, most = outline.stride_t, outline.max_frames
    if shape.context_frames < 1 or (shape.context_frames - 1) % step or shape.context_frames >= most:
        allowed = ", ".join(map(str, range(1, most, step)))
        raise InvalidArgument(
            f"a context of {number_of(shape.context_frames, 'frame')} does not fit {outline.name}: use {allowed}"
        )
    if shape.new_frames < 1:
        raise InvalidArgument(f"frames must be at least 1, not {shape.new_frames}")
    frames = min(shape.context_frames + shape.new_frames, most)
    # The first frame is a latent frame of its own; every further latent frame holds ``step`` frames.
    given, latents = (1 + -(-(count - 1) // step) for count in (shape.context_frames, frames))
    frame = outline.model.grid_for(1).frame_tokens
    special = len(outline.model.prefix_tokens)
    return Lengths(given, latents, special + given * frame, special + latents * frame)


@dataclass(frozen=True)
class Scenario:
    """A rollout or a batch on a model.

    Attributes:
        outline: of the model, made for its dtype.
        shape: of what is run.
        offload: the tokenizer and the transformer take turns on the device.
        weight_bits: of quantised matrices; None: as the dtype.
        in_batch: contexts are fed one at a time while the other rows wait, and frames are encoded and made while
            other clips are decoded. The shape then has one context.
        stream: frames of a rollout are made group by group, between the passes.
    """

    outline: Outline
    shape: RolloutShape
    offload: bool = False
    weight_bits: int | None = None
    in_batch: bool = False
    stream: bool = False

    @cached_property
    def resident(self) -> dict[str, int]:
        """Bytes that stay on the device as long as the transformer does."""
        parts = dict(self.outline.resident)
        if self.weight_bits is not None:
            matrices = self.outline.arithmetic
            parts["weights"] -= matrices.matrix_bytes - matrices.matrix_parameters * self.weight_bits // 8
        return parts

    @property
    def least(self) -> int:
        """A lower bound of the peak in bytes that needs no simulation: weights and cache entries."""
        lengths = lengths_of(self.outline, self.shape)
        return self.resident["weights"] + self.shape.rows * lengths.end * self.outline.arithmetic.kv_bytes


# A flag, and the scenario that it makes.
Turn = tuple[str, Scenario]
# Ways to make a scenario take less memory, the mildest first.
Adjustment = Callable[[Scenario], Iterator[Turn]]


def offloading(scenario: Scenario) -> Iterator[Turn]:
    """The tokenizer leaves the device while the transformer works, and the other way round."""
    if not scenario.offload:
        yield "--offload", replace(scenario, offload=True)


def smaller_window(scenario: Scenario) -> Iterator[Turn]:
    """Halve the window."""
    window = scenario.shape.window // 2
    while window >= LEAST_WINDOW:
        yield f"--window {window}", replace(scenario, shape=scenario.shape.changed(window=window))
        window //= 2


def fewer_samples(scenario: Scenario) -> Iterator[Turn]:
    """Halve the futures of each clip."""
    shape = scenario.shape
    samples = shape.rows // shape.contexts // 2
    while samples >= 1:
        yield f"--samples {samples}", replace(scenario, shape=shape.changed(rows=samples * shape.contexts))
        samples //= 2


def fewer_rows(flag: str) -> Adjustment:
    """Halve the futures that a batch decodes at a time."""

    def turn(scenario: Scenario) -> Iterator[Turn]:
        rows = scenario.shape.rows // 2
        while rows >= 1:
            yield f"{flag} {rows}", replace(scenario, shape=scenario.shape.changed(rows=rows))
            rows //= 2

    return turn


def other_dtype(name: str, outline: Callable[[], Outline]) -> Adjustment:
    """Compute in another dtype; ``outline`` gives the model's outline in it."""

    def turn(scenario: Scenario) -> Iterator[Turn]:
        yield f"--dtype {name}", replace(scenario, outline=outline())

    return turn
