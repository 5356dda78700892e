"""Tokens in, tokens out: the public call around the decoders."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from vidjacobi.config import DecoderConfig, load_decoder, with_window
from vidjacobi.decoders import METHODS
from vidjacobi.distributions import Warp
from vidjacobi.errors import InvalidArgument
from vidjacobi.model import VideoModel
from vidjacobi.noise import stream_id
from vidjacobi.registry import lookup
from vidjacobi.shapes import Tokens
from vidjacobi.state import Decoded, Parts, Problem, Progress

ClipId = str | tuple[str, int, int, int]  # name, or (name, start, sample, chunk)


def decode(
    model: VideoModel,
    context: Tokens,
    new_tokens: int,
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    seed: int = 0,
    temperature: float | None = None,
    top_p: float = 0.8,
    top_k: int | None = None,
    clip_ids: Sequence[ClipId] | None = None,
    *,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
) -> Decoded:
    """Decide ``new_tokens`` tokens behind each context.

    Args:
        model: anything that satisfies ``vidjacobi.VideoModel``.
        context: ``[b, c]`` token ids, c >= 1, special tokens of the model included; never changed.
        new_tokens: >= 1; context and new tokens must fit ``model.max_positions``.
        decoder: a shipped decoder's name (``vidjacobi decoders``), a YAML path or a DecoderConfig.
        window: positions per pass, >= 1; None takes the decoder's own.
        seed: the same seed, clip id and numbers give the same tokens, in any batch.
        temperature, top_p, top_k: see ``vidjacobi.distributions.Warp``. Temperature defaults to the
            decoder's own, else 1; 0 is greedy.
        clip_ids: one name per clip that its noise is keyed with, or (name, start, sample, chunk); by default
            the sha256 of its context, so equal contexts get equal futures unless named apart.
        measure: synchronise a GPU around every pass so that the trace's seconds mean something.
        observe: called once per pass with the progress.

    Returns:
        ``Decoded(tokens [b, new_tokens], stats, trace)``.

    Raises:
        InvalidArgument: a number or name is out of range.
        BadModelOutput: the model returned NaN or infinite logits.
    """
    config = load_decoder(decoder) if isinstance(decoder, str) else decoder
    config = with_window(config, window)
    if temperature is None:
        temperature = 1.0 if config.temperature is None else config.temperature
    check_request(model, context, new_tokens, config.window, seed)
    ids = context_ids(context) if clip_ids is None else list(clip_ids)
    if len(ids) != context.shape[0]:
        raise InvalidArgument(f"there are {context.shape[0]} clips but {len(ids)} clip ids")
    problem = Problem(
        model=model,
        context=context.to(model.device, torch.long),
        new_tokens=new_tokens,
        warp=Warp(temperature, top_p, top_k),
        window=config.window,
        seed=seed,
        streams=torch.tensor([stream_of(clip) for clip in ids], dtype=torch.long, device=model.device),
        parts=parts_of(config),
        measure=measure,
        observe=observe,
    )
    return lookup("method", config.method, METHODS)(problem)


def stream_of(clip: ClipId) -> int:
    """The noise stream of a clip: its first start, sample and chunk unless they are given."""
    return stream_id(clip, 0, 0, 0) if isinstance(clip, str) else stream_id(*clip)


def parts_of(config: DecoderConfig) -> Parts | None:
    """Build the parts that a configuration names; its law label must be what they prove."""
    if config.draft is None or config.coupling is None or config.verifier is None:
        return None
    parts = Parts.named(config.draft, config.coupling, config.verifier)
    if parts.verifier.law != config.law:
        raise InvalidArgument(
            f"decoder {config.name!r} says law: {config.law}, but its verifier is {parts.verifier.law}"
        )
    return parts


def check_request(model: VideoModel, context: Tensor, new_tokens: int, window: int, seed: int) -> None:
    """Refuse what cannot be decoded."""
    if context.ndim != 2 or context.is_floating_point():
        raise InvalidArgument(
            f"the context must be integer token ids [clips, tokens], not {context.dtype} {list(context.shape)}"
        )
    length = context.shape[1]
    if window < 1:
        raise InvalidArgument(f"window must be at least 1, not {window}")
    if new_tokens < 1:
        raise InvalidArgument(f"there must be at least 1 new token, not {new_tokens}")
    if not -(1 << 63) <= seed < 1 << 63:
        raise InvalidArgument(f"the seed must fit 64 bits (signed), not {seed}")
    if length < 1 or context.shape[0] < 1:
        raise InvalidArgument("the context is empty: a clip needs at least one token to go on from")
    if length + new_tokens > model.max_positions:
        raise InvalidArgument(
            f"{length} context + {new_tokens} new tokens exceed the model's {model.max_positions} positions"
        )
    low, high = int(context.min()), int(context.max())
    if low < 0 or high >= max(model.vocab_size, *(1 + special for special in (*model.prefix_tokens, -1))):
        raise InvalidArgument(f"context ids {low}..{high} lie outside the vocabulary of {model.vocab_size}")


def context_ids(context: Tokens) -> list[str]:
    """sha256 of each clip's context tokens."""
    rows: Any = context.to("cpu", torch.int32).numpy()
    return [sha256(row.tobytes()).hexdigest() for row in rows]
