"""Tokens in, tokens out: the public call around the decoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig, load_decoder, with_window
from vidjacobi.decoding.methods import METHODS
from vidjacobi.decoding.state import Problem, Progress, Strategies, Watch
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.protocol import VideoModel, has_free_rows
from vidjacobi.registry import lookup
from vidjacobi.sampling.noise import noise_key
from vidjacobi.sampling.params import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.shapes import Counts, Tokens

ClipId = str | tuple[str, int, int, int]  # name, or (name, start, sample, chunk)


def decode(
    model: VideoModel,
    context: Tokens | Sequence[Int[Tensor, "_"]],
    new_tokens: int | Sequence[int],
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    sampling: SamplingParams = DEFAULT_SAMPLING,
    clip_ids: Sequence[ClipId] | None = None,
    *,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
    watch: Watch | None = None,
) -> Decoded:
    """Decide ``new_tokens`` tokens behind each context.

    Args:
        model: anything that satisfies ``vidjacobi.VideoModel``.
        context: ``[b, c]`` token ids, c >= 1, special tokens of the model included; never changed. Or one
            tensor ``[c]`` per clip, where they differ in length.
        new_tokens: >= 1, for all clips or one number per clip; with the context they must fit
            ``model.max_positions``.
        decoder: a shipped decoder's name (``vidjacobi decoders``), a YAML path or a DecoderConfig.
        window: positions per pass, >= 1; None takes the decoder's own.
        sampling: temperature, top-p, top-k and seed.
        clip_ids: one name per clip that its noise is keyed with, or (name, start, sample, chunk); by default
            the sha256 of its context, so equal contexts get equal futures unless named apart. Equal contexts
            share one prefill if the model can copy rows (``vidjacobi.models.protocol.RowModel``).
        measure: synchronise a GPU around every pass so that the trace's seconds mean something.
        observe: called once per pass with the progress.
        watch: called once per pass with the logits that decided tokens; see ``vidjacobi.decoding.state.Problem``.

    Returns:
        ``Decoded(tokens [b, new_tokens], stats, trace)``; tokens are -1 behind the end of a shorter clip.

    Raises:
        InvalidArgument: a number or name is out of range.
        BadModelOutput: the model returned NaN or infinite logits.
    """
    method, problem = problem_of(model, context, new_tokens, settings(decoder, window, sampling), clip_ids)
    return lookup("method", method, METHODS)(replace(problem, measure=measure, observe=observe, watch=watch))


def problem_of(
    model: VideoModel,
    context: Tokens | Sequence[Int[Tensor, "_"]],
    new_tokens: int | Sequence[int],
    how: tuple[DecoderConfig, SamplingParams],
    clip_ids: Sequence[ClipId] | None,
) -> tuple[str, Problem]:
    """What is asked of a decoder, checked, and its method. ``how``: see ``settings``."""
    config, sampling = how
    clips = Clips.of(context, new_tokens)
    check_clips(model, clips)
    ids = context_ids(clips) if clip_ids is None else list(clip_ids)
    if len(ids) != len(clips.tokens):
        raise InvalidArgument(f"there are {len(clips.tokens)} clips but {len(ids)} clip ids")
    parts = parts_of(config)
    device = model.device
    return config.method, Problem(
        model=model,
        context=clips.padded().to(device),
        new_tokens=max(clips.counts),
        sampling=sampling,
        window=config.window,
        seed=sampling.seed,
        noise_keys=torch.tensor([noise_key_of(clip) for clip in ids], dtype=torch.long, device=device),
        parts=parts,
        lengths=clips.lengths_on(device),
        counts=clips.counts_on(device),
        sources=clips.sources() if has_free_rows(model) else None,
    )


def settings(
    decoder: str | DecoderConfig,
    window: int | None,
    sampling: SamplingParams,
) -> tuple[DecoderConfig, SamplingParams]:
    """The decoder at a window, and how logits become laws. Raises InvalidArgument."""
    config = with_window(load_decoder(decoder) if isinstance(decoder, str) else decoder, window)
    if config.window < 1:
        raise InvalidArgument(f"window must be at least 1, not {config.window}")
    return config, sampling.resolve(config.temperature)


@dataclass(frozen=True)
class Clips:
    """The contexts of a batch, one ``[c]`` each, and how many tokens each clip is to get."""

    tokens: list[Int[Tensor, "_"]]
    counts: list[int]

    @classmethod
    def of(cls, context: Tokens | Sequence[Int[Tensor, "_"]], new_tokens: int | Sequence[int]) -> "Clips":
        """Check shapes and kinds. Raises InvalidArgument."""
        if isinstance(context, Tensor) and context.ndim != 2:
            raise InvalidArgument(
                f"the context must be integer token ids [clips, tokens], not {context.dtype} {list(context.shape)}"
            )
        rows = list(context)
        for row in rows:
            if row.ndim != 1 or row.is_floating_point():
                raise InvalidArgument(
                    f"a context must be integer token ids [tokens], not {row.dtype} {list(row.shape)}"
                )
        counts = [new_tokens] * len(rows) if isinstance(new_tokens, int) else list(new_tokens)
        if len(counts) != len(rows):
            raise InvalidArgument(f"there are {len(rows)} clips but {len(counts)} numbers of new tokens")
        return cls([row.to("cpu", torch.long) for row in rows], counts)

    def padded(self) -> Tokens:
        """All contexts, filled up with zeros on the right."""
        return torch.nn.utils.rnn.pad_sequence(self.tokens, batch_first=True)

    def sources(self) -> tuple[int, ...] | None:
        """For each clip the first one of the same context; None where all differ."""
        first: dict[str, int] = {}
        found = tuple(first.setdefault(name, index) for index, name in enumerate(context_ids(self)))
        return found if len(first) < len(found) else None

    def lengths_on(self, device: torch.device) -> Counts | None:
        """Context lengths, None where they are all the same."""
        return _unless_equal([len(row) for row in self.tokens], device)

    def counts_on(self, device: torch.device) -> Counts | None:
        """New tokens, None where they are all the same."""
        return _unless_equal(self.counts, device)


def _unless_equal(numbers: list[int], device: torch.device) -> Counts | None:
    return None if len(set(numbers)) == 1 else torch.tensor(numbers, dtype=torch.long, device=device)


def noise_key_of(clip: ClipId) -> int:
    """The noise stream of a clip: its first start, sample and chunk unless they are given."""
    return noise_key(clip, 0, 0, 0) if isinstance(clip, str) else noise_key(*clip)


def parts_of(config: DecoderConfig) -> Strategies | None:
    """Build the parts that a configuration names; its law label must be what they prove."""
    if config.draft is None or config.coupling is None or config.verifier is None:
        return None
    parts = Strategies.named(config.draft, config.coupling, config.verifier, config.lanes, config.draft_tree)
    if parts.guarantee != config.guarantee:
        raise InvalidArgument(
            f"decoder {config.name!r} says guarantee: {config.guarantee}, but its parts are {parts.guarantee}"
        )
    return parts


def check_clips(model: VideoModel, clips: Clips) -> None:
    """Refuse what cannot be decoded."""
    if not clips.tokens or min(map(len, clips.tokens)) < 1:
        raise InvalidArgument("the context is empty: a clip needs at least one token to go on from")
    for row, count in zip(clips.tokens, clips.counts, strict=True):
        if count < 1:
            raise InvalidArgument(f"there must be at least 1 new token, not {count}")
        if len(row) + count > model.max_positions:
            raise InvalidArgument(
                f"{len(row)} context + {count} new tokens exceed the model's {model.max_positions} positions"
            )
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= max(model.vocab_size, *(1 + special for special in (*model.prefix_tokens, -1))):
            raise InvalidArgument(
                f"context ids {low}..{high} lie outside the vocabulary of {model.vocab_size}"
            )


def context_ids(clips: "Clips | Tokens") -> list[str]:
    """sha256 of each clip's context tokens."""
    rows: Any = clips.tokens if isinstance(clips, Clips) else clips
    return [sha256(row.to("cpu", torch.int32).numpy().tobytes()).hexdigest() for row in rows]
