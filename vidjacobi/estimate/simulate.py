"""The phases of a rollout, run as they are on tensors without numbers: what each allocates and moves."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.prefill import feed_contexts, start
from vidjacobi.decoding.recipe import BUCKET, Clips, Recipe
from vidjacobi.decoding.state import DecodeState
from vidjacobi.decoding.step import STEP, plan_next, step
from vidjacobi.decoding.window import PassSize, StepInputs
from vidjacobi.estimate.counting import Counter, FusedAttention, Work, counted
from vidjacobi.estimate.request import Lengths, Request, lengths_of
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import Cache
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import gumbel_max, logits_to_probs, probs_dtype


@dataclass(frozen=True)
class Decoding:
    """What the phases of decoding take.

    Attributes:
        cache: the cache that lives from the first pass to the last, bytes.
        state: everything else that a pass hands to the next (tables, draft laws, laws of the last frame), bytes.
        prefill: with the laws of the context that it computes.
        forward: of a pass at the end of the clip, from tokens to logits.
        laws: from logits to the next state.
        logits: of a pass, bytes.
    """

    cache: int
    state: int
    prefill: Work
    forward: Work
    laws: Work
    logits: int


def decoding(outline: Outline, request: Request, counting: Counter | None = None) -> Decoding:
    """Prefill and one pass behind it, at the clip's end where most of the cache is read.

    ``counting``: another way to count than a Counter's.
    """
    lengths = lengths_of(outline, request)
    recipe, clips = _recipe(outline, request, lengths), _clips(request, lengths)
    model = outline.model
    slots = (recipe.room if recipe.parts is None else recipe.spare_slot) + 1
    with torch.no_grad(), FusedAttention(), counting or Counter() as counter:
        cache, _ = counter.of(lambda: model.make_cache(request.rows, slots))
        held = counter.now
        if recipe.parts is None:
            return _one_by_one(recipe, clips, cache, counter)
        state, prefill = counter.of(lambda: start(recipe, clips, cache))
        kept = counter.now - held
        state, forward, outside, logits = _pass(recipe, state, cache, counter)
    return Decoding(held, kept, prefill, forward, outside, logits)


def _recipe(outline: Outline, request: Request, lengths: Lengths) -> Recipe:
    return Recipe(
        outline.model, request.sampling, request.window, lengths.end, strategies_of(request.decoder)
    )


def _clips(request: Request, lengths: Lengths) -> Clips:
    futures = -(-request.rows // request.contexts)
    firsts = tuple(row // futures * futures for row in range(request.rows))
    each = _empty(request.rows)
    return Clips(
        context=_empty(request.rows, lengths.context),
        starts=each,
        ends=each,
        seeds=each,
        noise_keys=each,
        new_tokens=lengths.end - lengths.context,
        shortest=lengths.context,
        sources=firsts if len(set(firsts)) < request.rows else None,
    )


def _pass(
    recipe: Recipe, state: DecodeState, cache: Cache, counter: Counter
) -> tuple[DecodeState, Work, Work, int]:
    """A pass, the very one that decoders run, at the end of the clip: (state, forward, everything else, logits)."""
    size = PassSize(recipe.chain, recipe.slots_to_read(recipe.room))
    laps: list[Work] = []

    def counted_forward(recipe: Recipe, inputs: StepInputs, cache: Cache) -> Tensor:
        laps.append(counter.lap())
        logits = STEP.forward(recipe, inputs, cache)
        laps.append(counter.lap())
        return logits

    plan, using = plan_next(recipe, state).plan, replace(STEP, forward=counted_forward)
    counter.lap()
    output = step(recipe, state, plan, size, cache, using)
    drafting, forward, deciding = (*laps, counter.lap())
    outside = Work(
        max(drafting.peak, deciding.peak),
        drafting.moved + deciding.moved,
        drafting.kernels + deciding.kernels,
    )
    return output.state, forward, outside, output.logits.nbytes


def _one_by_one(recipe: Recipe, clips: Clips, cache: Cache, counter: Counter) -> Decoding:
    """AR: it reads the whole clip's slots in every pass."""
    model, rows = recipe.model, len(clips)
    held = counter.now

    def first() -> Tensor:
        return torch.cat(list(feed_contexts(recipe, clips, cache, 1)), 1)

    _, prefill = counter.of(first)
    one = _empty(rows, 1)
    visible = torch.empty(rows, 1, recipe.room, dtype=torch.bool, device="meta")
    logits, forward = counter.of(lambda: model.forward(one, one, one, visible, cache))

    def draw() -> Tensor:
        probs = logits_to_probs(logits, recipe.sampling)
        noise = Noise(clips.seeds, clips.noise_keys, one, clips.noise_keys, probs_dtype(model.dtype))
        return gumbel_max(probs, noise.exponential(Purpose.GUMBEL, model.vocab_size))

    _, outside = counter.of(draw)
    return Decoding(held, clips.context.nbytes, prefill, forward, outside, logits.nbytes)


@lru_cache(maxsize=64)
def encoding(outline: Outline, frames: int) -> Work:
    """The context's frames to tokens, one clip, its pixels included."""
    shape = (1, 3, frames, *outline.frame_size)
    return counted(lambda: outline.to_tokens(torch.empty(shape, dtype=outline.model.dtype, device="meta")))


@lru_cache(maxsize=64)
def rendering(outline: Outline, latents: int) -> Work:
    """Tokens to float32 pixels, one clip."""
    grid = outline.model.grid_for(1)
    tokens = _empty(1, latents, grid.h, grid.w)
    return counted(lambda: outline.to_pixels(tokens).float())


def checking(outline: Outline, frames: int) -> Work:
    """The float32 pixels of a clip, copied into their batch and looked at for NaN."""
    shape = (1, 3, frames, *outline.frame_size)
    return counted(lambda: torch.cat([torch.empty(shape, device="meta")]).isfinite().all())


def frame_bytes(outline: Outline, frames: int) -> int:
    """Float32 pixels of one clip."""
    return 4 * 3 * frames * outline.frame_size[0] * outline.frame_size[1]


def read_slots(prefix: int, window: int, end: int) -> int:
    """Slots that a pass reads whose first undecided position is ``prefix``: whole buckets."""
    return min(end, -(-(prefix + window) // BUCKET) * BUCKET)


def _empty(*shape: int) -> Tensor:
    return torch.empty(*shape, dtype=torch.long, device="meta")
