"""One clip of a rollout command: its context, what really followed, and what is odd about it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.config.rollout import RolloutConfig
from vidjacobi.errors import BadInput
from vidjacobi.loading import is_shipped
from vidjacobi.models.codec import as_seen, covering_size, fit, frames_to_tokens, tokens_to_frames
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.rollouts.api import Rollout
from vidjacobi.rollouts.stream import RolloutStream
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Frames
from vidjacobi.video.records import READERS, ReadClip
from vidjacobi.video.timed_reader import open_clip, read_frames

_PIECE = 32  # frames that are read at once at their own size
_UNLIKE = 3.0  # dB below its own clips from which on a bundled model is told to be far from home


@dataclass(frozen=True)
class Domain:
    """What a bundled model was trained on.

    Attributes:
        what: the clips, in words.
        psnr: in dB, of its tokenizer alone on such clips that it was not trained on; see the model cards.
    """

    what: str
    psnr: float


DOMAINS = {
    "nano": Domain("rendered rooms and table-tops at 128x160", 32.0),
    "micro": Domain("rendered rooms and table-tops at 128x160", 28.8),
}


@dataclass(frozen=True)
class ClipJob:
    """One clip of a rollout command: what was asked for and what was read.

    Attributes:
        truth: the frames that really follow the context, as the model would see them: as many of those to predict as
            the clip has, maybe none.
        notes: what is odd about the clip or about showing it to this model.
    """

    config: RolloutConfig
    decoder: DecoderConfig
    clip: ReadClip
    runtime: Runtime
    truth: Frames
    notes: tuple[str, ...] = ()


@runtime_checkable
class Predictor(Protocol):
    """What predicts the frames of a clip: a model alone, or one that is given actions too (``rollouts.worlds``)."""

    @property
    def tokenizer(self) -> Any:
        """Says what frames it takes, and how many."""
        ...

    def check(self, config: RolloutConfig, start: int, context: int) -> None:
        """Raise InvalidArgument for context frames that it cannot go on from, and for too few actions."""
        ...

    def notes(self, config: RolloutConfig, start: int, context: int) -> list[str]:
        """What else it is given."""
        ...

    def roll(self, job: ClipJob, asked: dict[str, Any]) -> Rollout:
        """``vidjacobi.rollout`` of a clip, with these of its arguments."""
        ...

    def stream(self, job: ClipJob, asked: dict[str, Any]) -> RolloutStream:
        """The same, latent frame by latent frame. Its tokenizer can do that."""
        ...


def read_context(source: Path, length: int, config: RolloutConfig) -> ReadClip:
    """The context frames of one clip."""
    last = config.context_from == "last"
    return read_frames(source, config.start, length, from_end=last, reader=config.reader)


def prepare(
    source: Path,
    length: int,
    config: RolloutConfig,
    decoder: DecoderConfig,
    tokenizer: VideoTokenizer,
    runtime: Runtime,
) -> ClipJob:
    """The context of a clip, what really followed it, and what is odd about it."""
    clip = read_context(source, length, config)
    truth, cut = read_truth(source, clip, config.frames, tokenizer.frame_size)
    notes = (*clip.notes, *model_notes(config.model, clip.frames, tokenizer), *([cut] if cut else []))
    return ClipJob(config, decoder, clip, runtime, truth, notes)


def read_truth(source: Path, clip: ReadClip, wanted: int, size: tuple[int, int]) -> tuple[Frames, str | None]:
    """The frames after the context, at most ``wanted``, as a model with frames of ``size`` would see them.

    Beside them a note where they are there but cannot be read: the rollout does not need them.
    """
    first = clip.start + len(clip.frames)
    count = min(wanted, open_clip(source).frames - first)
    reader = clip.reader if clip.reader in READERS else None  # pictures are read in one way only
    parts = [torch.empty(0, *size, 3, dtype=torch.uint8)]
    try:
        # piece by piece, so that a long clip never stands in memory at its own size
        for start in range(first, first + count, _PIECE):
            piece = read_frames(source, start, min(_PIECE, first + count - start), reader=reader).frames
            parts.append(as_seen(fit(piece, size)))
    except BadInput as error:
        return torch.cat(parts), f"what really followed is shown in part only: {error}"
    return torch.cat(parts), None


def model_notes(model: str, context: Frames, tokenizer: VideoTokenizer) -> list[str]:
    """What is odd about showing a clip to this model."""
    cropped = crop_note(tuple(context.shape[1:3]), tokenizer.frame_size)
    return [note for note in (cropped, domain_note(model, context, tokenizer)) if note]


def crop_note(source: tuple[int, ...], size: tuple[int, int]) -> str | None:
    """Says how much of pictures (height, width) is cut off for a model that takes ``size``, or nothing."""
    covering = covering_size((source[0], source[1]), size)
    cut = [1 - kept / whole for kept, whole in zip(size, covering, strict=True)]
    if max(cut) < 0.01:  # rounding
        return None
    side = "height" if cut[0] > cut[1] else "width"
    return (
        f"cropped: the model sees {size[1]}x{size[0]} pixels, so {max(cut):.0%} of the {side} of the "
        f"{source[1]}x{source[0]} pictures is cut off, half at each end"
    )


def domain_note(model: str, context: Frames, tokenizer: VideoTokenizer) -> str | None:
    """Says that a clip is unlike those of a bundled model, judged by its tokenizer alone."""
    if not is_shipped(model):
        return None
    domain = DOMAINS[model]
    grid = frames_to_tokens([context], tokenizer)[0]
    again, seen = tokens_to_frames(grid, tokenizer), as_seen(fit(context, tokenizer.frame_size))
    error = (again.float() - seen.float()).square().mean().item()
    psnr = 10 * math.log10(255**2 / max(error, 1e-3))
    if psnr > domain.psnr - _UNLIKE:
        return None
    return (
        f"{model} was trained on {domain.what} only: its tokenizer alone gives this clip's context back at "
        f"{psnr:.1f} dB, its own clips at {domain.psnr:.1f} dB, so expect blur"
    )
