"""Tokens in, tokens out: the public call around the decoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig, load_decoder
from vidjacobi.decoding import autoregressive, jacobi
from vidjacobi.decoding.prefill import has_free_rows
from vidjacobi.decoding.recipe import Clips, Hooks, Progress, Recipe, Strategies, Watch
from vidjacobi.decoding.trace import Decoded, Steps, finish
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import check_members, of_kind, tensor_words, value_words, whole
from vidjacobi.models.protocol import ConditionedModel, VideoModel, conditions_of
from vidjacobi.registry import lookup
from vidjacobi.sampling.noise import noise_key
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.shapes import Tokens

# How tokens are decided: one by one (the oracle), or a window at a time.
METHODS: dict[str, Callable[..., Steps]] = {
    "autoregressive": autoregressive.steps,
    "jacobi": jacobi.steps,
}
# of token ids; bool is no integer here
TOKEN_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
ClipId = str | tuple[str, int, int, int]  # name, or (name, start, sample, chunk)
Contexts = Tokens | Sequence[Int[Tensor, "_"]]


def decode(
    model: VideoModel,
    context: Contexts,
    new_tokens: int | Sequence[int],
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    sampling: SamplingParams = DEFAULT_SAMPLING,
    clip_ids: Sequence[ClipId] | None = None,
    *,
    conditions: Sequence[Any] | None = None,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
    watch: Watch | None = None,
) -> Decoded:
    """Decide ``new_tokens`` tokens after each context.

    Args:
        model: anything that satisfies ``vidjacobi.VideoModel``.
        context: ``[b, c]`` token ids, c >= 1, special tokens of the model included; never changed. Or one
            tensor ``[c]`` per clip, where they differ in length.
        new_tokens: >= 1, for all clips or one number per clip; with the context they must fit
            ``model.max_positions``.
        decoder: a shipped decoder's name (``vidjacobi decoders``), a YAML path or a DecoderConfig.
        window: positions per pass, >= 1; None takes the decoder's own. What exceeds the tokens there are is not used.
        sampling: temperature, top-p, top-k and seed.
        clip_ids: one name per clip that its noise is keyed with, or (name, start, sample, chunk); by default
            the sha256 of its context (and its condition), so equal ones get equal futures unless named apart. A
            name is the whole key: clips of one name get the same noise whatever their conditions are. Equal
            contexts of equal conditions share one prefill if the model can copy rows (``RowModel``).
        conditions: one per clip, where the model takes them: prompts, actions; see
            ``vidjacobi.models.protocol.ConditionedModel``. None: the model's own.
        measure: synchronise a GPU around every pass so that the trace's seconds mean something.
        observe: called once per pass with the progress.
        watch: called once per pass with the logits that decided tokens; see ``vidjacobi.decoding.recipe.Hooks``.

    Returns:
        ``Decoded(tokens [b, new_tokens], stats, trace)``; tokens are -1 after the end of a shorter clip.

    Raises:
        InvalidArgument: a number or name is out of range, or of the wrong type.
        BadModelOutput: the model returned NaN or infinite logits, or logits of another shape.
    """
    chosen = choose_decoder(decoder, window, sampling)
    hooks = Hooks(measure, observe, watch)
    return finish(decode_steps(model, context, new_tokens, chosen, clip_ids, hooks, conditions))


@dataclass(frozen=True)
class Decoder:
    """A decoder at a window, ready to be applied to a model.

    Attributes:
        config: as it was loaded.
        parts: what it is made of; None for AR.
        method: the entry of METHODS that runs it.
        window: positions per pass, >= 1.
        sampling: with a temperature.
    """

    config: DecoderConfig
    parts: Strategies | None
    method: Callable[..., Steps]
    window: int
    sampling: SamplingParams

    def recipe(self, model: VideoModel, room: int) -> Recipe:
        """Of clips with at most ``room`` positions. Seeds are the clips' own.

        Raises InvalidArgument for a temperature that the model's dtype cannot hold.
        """
        self.sampling.check_range(model.dtype)
        tree = self.parts.draft_tree if self.parts else None
        window = min(self.window, room if tree is None else tree.widest(room))
        return Recipe(model, replace(self.sampling, seed=0), window, room, self.parts)


def choose_decoder(decoder: str | DecoderConfig, window: int | None, sampling: SamplingParams) -> Decoder:
    """Raises InvalidArgument for an unknown name, parts that do not prove the guarantee, or a window below 1."""
    of_kind(
        "the decoder", decoder, (str, DecoderConfig), "a name, a path that ends in .yaml, or a DecoderConfig"
    )
    of_kind("sampling", sampling, SamplingParams, "a vidjacobi.SamplingParams")
    if isinstance(decoder, DecoderConfig):
        config, parts, method = built(decoder)
    elif decoder.endswith((".yaml", ".yml")):  # a file of the user's, which may change
        config, parts, method = built(load_decoder(decoder))
    else:
        config, parts, method = _shipped(decoder)
    width = config.window if window is None else whole("window", window, 1)
    return Decoder(config, parts, method, width, sampling.resolve(config.temperature))


Built = tuple[DecoderConfig, Strategies | None, Callable[..., Steps]]


def built(config: DecoderConfig) -> Built:
    """A configuration with what it names. Raises InvalidArgument."""
    return config, strategies_of(config), lookup("method", config.method, METHODS)


@lru_cache
def _shipped(name: str) -> Built:
    """A decoder of the package; its YAML is parsed once."""
    return built(load_decoder(name))


def strategies_of(config: DecoderConfig) -> Strategies | None:
    """Build the parts that a configuration names; its guarantee must be what they prove. Raises InvalidArgument."""
    if config.draft is None or config.coupling is None or config.verifier is None:
        return None
    parts = Strategies.named(config.draft, config.coupling, config.verifier, config.lanes, config.draft_tree)
    if parts.guarantee != config.guarantee:
        raise InvalidArgument(
            f"decoder {config.name!r} says guarantee: {config.guarantee}, but its parts are {parts.guarantee}"
        )
    return parts


def decode_steps(
    model: VideoModel,
    context: Contexts,
    new_tokens: int | Sequence[int],
    decoder: Decoder,
    clip_ids: Sequence[ClipId] | None,
    hooks: Hooks,
    conditions: Sequence[Any] | None = None,
) -> Steps:
    """A decode that is run pass by pass: ``decode`` takes all of them. Raises InvalidArgument at once."""
    check_members("the model", model, VideoModel)
    contexts = context_rows(context)
    counts = counts_of(new_tokens, len(contexts))
    if len(counts) != len(contexts):
        raise InvalidArgument(
            f"there are {number_of(len(contexts), 'clip')} but {len(counts)} numbers of new tokens"
        )
    check_clips(model, contexts, counts)
    lengths = [len(row) + count for row, count in zip(contexts, counts, strict=True)]
    found = None
    if conditions is not None or isinstance(model, ConditionedModel):
        found = conditions_of(model, conditions, lengths)
    # The names of conditions are hashed too: only clips that are equal in both share a prefill.
    hashes = context_ids(contexts, found and found[1])
    ids = hashes if clip_ids is None else named(clip_ids)
    if len(ids) != len(contexts):
        raise InvalidArgument(
            f"there are {number_of(len(contexts), 'clip')} but {number_of(len(ids), 'clip id')}"
        )
    clips = Clips.of(
        contexts,
        counts,
        decoder.sampling.seed,
        [noise_key_of(clip) for clip in ids],
        model.device,
        sources=equal_contexts(hashes) if has_free_rows(model) else None,
        conditions=found and found[0],
    )
    # Of two clips one may have the longest context and the other most new tokens: no clip is as long as both.
    room = min(clips.context.shape[1] + clips.new_tokens, model.max_positions)
    return decoder.method(decoder.recipe(model, room), clips, hooks)


def context_rows(context: Contexts) -> list[Int[Tensor, "_"]]:
    """The contexts one by one, on the CPU. Raises InvalidArgument for what is no list of token ids."""
    if not isinstance(context, Tensor | list | tuple) or (isinstance(context, Tensor) and context.ndim != 2):
        raise InvalidArgument(
            "the context must be integer token ids [clips, tokens] as a tensor, or a list with a tensor [tokens] for "
            f"each clip, not {tensor_words(context)}"
        )
    rows = list(context)
    for row in rows:
        if not isinstance(row, Tensor) or not _is_row(row):
            raise InvalidArgument(
                f"a context must be integer token ids [tokens] as a tensor, not {tensor_words(row)}"
            )
    return [row.to("cpu", torch.long) for row in rows]


def _is_row(row: Tensor) -> bool:
    held = row.layout == torch.strided and not row.is_meta  # a tensor on meta has no numbers
    return held and row.ndim == 1 and row.dtype in TOKEN_DTYPES


def counts_of(new_tokens: object, clips: int) -> list[int]:
    """The number of new tokens of each clip. Raises InvalidArgument for what is no whole number, or none a clip."""
    if isinstance(new_tokens, list | tuple):
        return [whole("the number of new tokens", count) for count in new_tokens]
    return [whole("the number of new tokens", new_tokens)] * clips


def named(clip_ids: object) -> list[ClipId]:
    """The clip ids one by one. Raises InvalidArgument for what is neither a name nor (name, start, sample, chunk)."""
    if isinstance(clip_ids, str) or not isinstance(clip_ids, Sequence):
        raise InvalidArgument(f"clip ids must be a list with one for each clip, not {value_words(clip_ids)}")
    for clip in clip_ids:
        parts = (clip, 0, 0, 0) if isinstance(clip, str) else clip
        if not isinstance(parts, tuple) or len(parts) != 4 or not isinstance(parts[0], str):
            raise InvalidArgument(
                f"a clip id must be a name or (name, start, sample, chunk), not {value_words(clip)}"
            )
        for number in parts[1:]:
            whole("start, sample and chunk of a clip id", number)
    return list(clip_ids)


def check_clips(model: VideoModel, contexts: Sequence[Int[Tensor, "_"]], counts: Sequence[int]) -> None:
    """Refuse what cannot be decoded. Raises InvalidArgument."""
    if not contexts or min(map(len, contexts)) < 1:
        raise InvalidArgument("the context is empty: a clip needs at least one token to go on from")
    for row, count in zip(contexts, counts, strict=True):
        if count < 1:
            raise InvalidArgument(f"there must be at least 1 new token, not {count}")
        if len(row) + count > model.max_positions:
            raise InvalidArgument(
                f"{len(row)} context + {number_of(count, 'new token')} exceed the model's "
                f"{number_of(model.max_positions, 'position')}"
            )
        if len(row) < len(model.prefix_tokens):
            raise InvalidArgument(
                f"a context of {number_of(len(row), 'token')} ends among the model's special tokens "
                f"{list(model.prefix_tokens)}: give them all"
            )
        low, high = int(row.min()), int(row.max())
        if low < 0 or high >= max(model.vocab_size, *(1 + special for special in (*model.prefix_tokens, -1))):
            raise InvalidArgument(
                f"context ids {low}..{high} lie outside the vocabulary of {model.vocab_size}"
            )


def noise_key_of(clip: ClipId) -> int:
    """The key of a clip's noise: its first start, sample and chunk unless they are given."""
    return noise_key(clip, 0, 0, 0) if isinstance(clip, str) else noise_key(*clip)


def context_ids(
    contexts: Sequence[Int[Tensor, "_"]] | Tokens, conditions: Sequence[str] | None = None
) -> list[str]:
    """sha256 of each clip's context tokens, and of the name of its condition where it has one."""
    names = [b""] * len(contexts) if conditions is None else [name.encode() for name in conditions]
    tokens = [row.to("cpu", torch.int32).numpy().tobytes() for row in contexts]
    return [sha256(row + name).hexdigest() for row, name in zip(tokens, names, strict=True)]


def equal_contexts(hashes: Sequence[str]) -> list[int] | None:
    """For each clip the first one of the same context; None where all differ."""
    # Hashes a b a c: the sources are 0 1 0 3.
    first: dict[str, int] = {}
    found = [first.setdefault(name, index) for index, name in enumerate(hashes)]
    return found if len(first) < len(found) else None
