"""What is to be run, in numbers: the request that predictions are made for, and the lengths that follow from it."""

from dataclasses import dataclass, field, replace
from typing import Any

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.outline import Outline
from vidjacobi.sampling.probs import SamplingParams


@dataclass(frozen=True)
class Request:
    """What is to be run.

    Attributes:
        decoder: at its window.
        rows: clips and futures decoded together, each with a row of the cache.
        contexts: different contexts among them; the futures of one share its prefill.
        context_frames, new_frames: of each clip; at most one chunk of the tokenizer is looked at.
        sampling: logits to probabilities.
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


@dataclass(frozen=True)
class Lengths:
    """Latent frames and positions of one chunk."""

    context_latents: int
    latents: int
    context: int
    end: int


def lengths_of(outline: Outline, request: Request) -> Lengths:
    """Raises InvalidArgument for frames that the tokenizer cannot take."""
    step, most = outline.stride_t, outline.max_frames
    if request.context_frames < 1 or (request.context_frames - 1) % step or request.context_frames >= most:
        allowed = ", ".join(map(str, range(1, most, step)))
        raise InvalidArgument(
            f"a context of {request.context_frames} frames does not fit {outline.name}: use {allowed}"
        )
    if request.new_frames < 1:
        raise InvalidArgument(f"frames must be at least 1, not {request.new_frames}")
    # nano takes 33 frames at most, 8 for each latent frame after the first: 9 + 24 frames are 1 + ceil(32 / 8) = 5
    # latent frames, of which 1 + 8 / 8 = 2 are given
    frames = min(request.context_frames + request.new_frames, most)
    given, latents = (1 + -(-(count - 1) // step) for count in (request.context_frames, frames))
    frame = outline.model.grid_for(1).frame_tokens
    special = len(outline.model.prefix_tokens)
    return Lengths(given, latents, special + given * frame, special + latents * frame)


def at(request: Request, **changes: Any) -> Request:
    """The same request with other numbers; ``window`` changes the decoder's."""
    window = changes.pop("window", None)
    decoder = request.decoder if window is None else replace(request.decoder, window=window)
    return replace(request, decoder=decoder, **changes)
