"""The phases of a rollout, run as they are on tensors without numbers: what each allocates and moves."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from vidjacobi.decoding import autoregressive
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.decoding.draft import DeviceInputs
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.recipe import Clips, Recipe, in_buckets
from vidjacobi.decoding.step import STEP, step
from vidjacobi.decoding.window import PassSize, plan_window
from vidjacobi.estimate.counting import FusedAttention, FusedWorkCounter, Work, WorkCounter, counted
from vidjacobi.estimate.scenario import Lengths, RolloutShape, lengths_of
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import Cache
from vidjacobi.shapes import Logits


@dataclass(frozen=True)
class PhaseWork:
    """What the phases of decoding take.

    Attributes:
        cache: bytes of the cache, which lives from the first pass to the last.
        state: bytes of everything else that a pass hands to the next (tables, draft probs, probs of a frame).
        prefill: with the probs of the context that the draft rule wants, and the first token.
        forward: of a pass at the end of the clip, from tokens to logits.
        outside: of everything else in that pass: draft, verify, commit, and the plan of the next pass.
        logits: bytes of a pass's logits.
    """

    cache: int
    state: int
    prefill: Work
    forward: Work
    outside: Work
    logits: int


def decoding(outline: Outline, shape: RolloutShape, compiled: bool = False) -> PhaseWork:
    """Prefill and one pass after it, at the clip's end where most of the cache is read.

    ``compiled``: count the pass as if a compiler had fused it (prefills are never compiled, so this one is left
    out of what is asked then). Raises InvalidArgument for frames that the tokenizer cannot take.
    """
    lengths = lengths_of(outline, shape)
    recipe, clips = recipe_of(outline, shape), _clips(shape, lengths)
    # The last slot takes the padding.
    slots = (recipe.room if recipe.parts is None else recipe.spare_slot) + 1
    run = _autoregressive if recipe.parts is None else _jacobi
    with torch.no_grad(), FusedAttention(), FusedWorkCounter() if compiled else WorkCounter() as counter:
        cache = outline.model.make_cache(shape.rows, slots)
        return run(replace(recipe, fused=compiled), clips, cache, counter)


def recipe_of(outline: Outline, shape: RolloutShape) -> Recipe:
    """The recipe that decoders would be run with."""
    decoder = choose_decoder(shape.decoder, shape.window, shape.sampling)
    return decoder.recipe(outline.model, lengths_of(outline, shape).end)


def slots_read(recipe: Recipe, prefix: int) -> int:
    """Cache slots that a pass reads whose first undecided position is ``prefix``."""
    if recipe.parts is None:
        return in_buckets(min(prefix - 1 + recipe.window, recipe.room))
    # The input of a position stands before it, and no position lies after the clip. Example: a window of 64 from
    # 5,120 on has the inputs 5,119 ... 5,182, and reads the slots before 5,183, rounded up.
    furthest = min(prefix + recipe.chain, recipe.room) - 1
    return recipe.slots_to_read(furthest)


def _clips(shape: RolloutShape, lengths: Lengths) -> Clips:
    # Example: 6 rows of 2 contexts. Rows 0-2 are futures of context 0, and rows 3-5 of context 3.
    futures = -(-shape.rows // shape.contexts)
    firsts = tuple(row // futures * futures for row in range(shape.rows))
    number = torch.zeros(shape.rows, dtype=torch.long)
    return Clips(
        context=torch.empty(shape.rows, lengths.context, dtype=torch.long, device="meta"),
        starts=number + lengths.context,
        ends=number + lengths.end,
        seeds=number,
        noise_keys=number,
        new_tokens=lengths.end - lengths.context,
        shortest=lengths.context,
        sources=firsts if futures > 1 else None,
    )


def _jacobi(recipe: Recipe, clips: Clips, cache: Cache, counter: WorkCounter) -> PhaseWork:
    """A prefill and a pass as the Jacobi method runs them; only the forward call is counted apart."""
    # The largest pass: the whole window, at the end of the clip.
    size = PassSize(recipe.chain, recipe.slots_to_read(recipe.room))
    laps: list[Work] = []

    def counted_forward(recipe: Recipe, inputs: DeviceInputs, cache: Cache) -> Logits:
        # The first lap is all that comes before the forward call, the second the call itself.
        laps.append(counter.lap())
        logits = STEP.forward(recipe, inputs, cache)
        laps.append(counter.lap())
        return logits

    held = counter.now
    state, prefill = counter.of(lambda: start(recipe, clips, cache))
    plan, using = plan_window(recipe, state), replace(STEP, forward=counted_forward)
    counter.lap()
    output = step(recipe, state, plan, size, cache, using)
    before, forward, after = (*laps, counter.lap())
    logits = output.logits.nbytes
    # What is left when all but the next state and plan is gone. Draft probs hold on to the logits of the pass.
    state = output.state
    del output
    kept = counter.now - held
    return PhaseWork(held, kept, prefill, forward, _together(before, after), logits)


def _autoregressive(recipe: Recipe, clips: Clips, cache: Cache, counter: WorkCounter) -> PhaseWork:
    """A prefill and a pass as AR runs them."""
    held = counter.now
    logits, prefill = counter.of(lambda: autoregressive.first_logits(recipe, clips, cache))
    noise, column = (
        autoregressive.noise_of_clips(clips, logits.dtype),
        torch.zeros_like(clips.starts)[:, None],
    )
    tokens, _ = autoregressive.draw_next(recipe, logits, noise.at(column))
    counter.lap()
    inputs = autoregressive.next_inputs(recipe, clips, tokens)
    before = counter.lap()
    logits = recipe.model.forward(*inputs, cache)
    forward = counter.lap()
    autoregressive.draw_next(recipe, logits, noise.at(column + 1))
    outside = _together(before, counter.lap())
    return PhaseWork(held, clips.context.nbytes, prefill, forward, outside, logits.nbytes)


def _together(first: Work, second: Work) -> Work:
    """Two pieces of work one after the other, another one between them."""
    peak = max(first.peak, second.peak)
    return Work(peak, first.moved + second.moved, first.kernels + second.kernels)


# What a tokenizer takes depends on nothing else of a scenario. An outline may hold weights, so none is kept here.
_CODING: WeakKeyDictionary[Outline, dict[tuple[str, int], Work]] = WeakKeyDictionary()


def encoding(outline: Outline, frames: int) -> Work:
    """The context's frames to tokens, one clip, its pixels included."""
    shape = (1, 3, frames, *outline.frame_size)
    empty = partial(torch.empty, shape, dtype=outline.model.dtype, device="meta")
    return _once(outline, ("encode", frames), lambda: outline.to_tokens(empty()))


def rendering(outline: Outline, latents: int) -> Work:
    """Tokens to float32 pixels, one clip."""
    grid = outline.model.grid_for(1)
    tokens = torch.empty(1, latents, grid.h, grid.w, dtype=torch.long, device="meta")
    return _once(outline, ("to_frames", latents), lambda: outline.to_pixels(tokens).float())


def _once(outline: Outline, what: tuple[str, int], work: Callable[[], Tensor]) -> Work:
    known = _CODING.setdefault(outline, {})
    if what not in known:
        known[what] = counted(work)
    return known[what]


def checking(outline: Outline, frames: int) -> Work:
    """The float32 pixels of a clip, copied into their batch and looked at for NaN."""
    shape = (1, 3, frames, *outline.frame_size)

    def check() -> Tensor:
        return torch.cat([torch.empty(shape, device="meta")]).isfinite().all()

    return counted(check)


def frame_bytes(outline: Outline, frames: int) -> int:
    """Bytes of the float32 pixels of one clip."""
    return 4 * 3 * frames * outline.frame_size[0] * outline.frame_size[1]
