"""Decoding one token per pass: slow, plain, and the oracle of every test.

It shares the feeding of contexts with the window loop, and nothing else.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.prefill import different, feed_contexts
from vidjacobi.decoding.recipe import NO_HOOKS, Clips, Hooks, Progress, Recipe, in_buckets
from vidjacobi.decoding.step import PassCompiler
from vidjacobi.decoding.trace import Clock, Decoded, PartialDecode, Steps, Trace, decoded_of
from vidjacobi.errors import BadModelOutput
from vidjacobi.kinds import checked_logits
from vidjacobi.models.protocol import Cache
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import gumbel_max, is_finite, logits_to_probs, probs_dtype
from vidjacobi.shapes import Logits, Positions, Slots, Tokens, Visible


@torch.inference_mode()
def steps(recipe: Recipe, clips: Clips, hooks: Hooks = NO_HOOKS) -> Steps:
    """Sample each token from the model's probs with the position's own Gumbel noise.

    ``recipe.window`` is the number of inputs fed per pass: 1, or more to run the forward at the shape of a
    window decoder (the extra inputs repeat the last token and decide nothing), which tells rounding that
    depends on the shape from everything else.
    """
    model, context = recipe.model, clips.context
    cache = model.make_cache(len(clips), in_buckets(recipe.room) + 1)
    clock = Clock(context.device, hooks.measure)
    new, counts = context[:, :0], (clips.ends - clips.starts).tolist()
    whole = isinstance(model, PassCompiler)
    noise, column = None, torch.zeros(len(clips), 1, dtype=torch.long, device="cpu")
    seconds, forward_seconds = [], []
    for count in range(clips.new_tokens):
        began = clock.now()
        if count == 0:
            logits = first_logits(recipe, clips, cache)
        else:
            inputs = next_inputs(recipe, clips, new, whole)
            logits = checked_logits(
                model.forward(*inputs, cache), (*inputs[0].shape, model.vocab_size), "forward"
            )[:, :1]
        forward_seconds.append(clock.now() - began)
        noise = noise or noise_of_clips(clips, logits.dtype)
        drawn, finite = draw_next(recipe, logits, noise.at(column + count))
        if not finite:
            position = int(clips.starts[0]) + count
            raise BadModelOutput(
                f"the model's logits at position {position} are not finite: check its weights"
            )
        new = torch.cat([new, drawn], 1)
        seconds.append(clock.now() - began)
        if hooks.observe:
            rows = len(clips)
            hooks.observe(Progress(count + 1, (count + 1) * rows, clips.new_tokens * rows))
        yield PartialDecode([min(count + 1, most) for most in counts], new.__getitem__)
    return _decoded(recipe, clips, new, torch.tensor(seconds), torch.tensor(forward_seconds))


def first_logits(recipe: Recipe, clips: Clips, cache: Cache) -> Logits:
    """Logits after the last token of each context; shorter contexts are padded on the right."""
    width = clips.context.shape[1]
    rows = width - clips.shortest + 1
    logits = torch.cat(list(feed_contexts(recipe, clips, cache, rows)), 1)
    if clips.sources is not None:  # the logits of each different context
        logits = logits[different(clips.sources)[1]]
    last = (clips.starts - 1 - (width - rows)).to(logits.device)
    return logits.gather(1, last[:, None, None].expand(-1, -1, logits.shape[-1]))


def next_inputs(
    recipe: Recipe, clips: Clips, new: Int[Tensor, "b k"], whole: bool = False
) -> tuple[Tokens, Positions, Slots, Visible]:
    """Inputs of the pass after ``k`` new tokens: tokens, positions, cache slots and the slots they see.

    All clips run for as long as the longest: what a shorter one gets after its end is cut off at the end of all
    passes. A position beyond the room is padding: it is written to the spare slot, which nobody sees. As many
    buckets of slots are read as the furthest input needs: nothing depends on how many tokens were asked for. Only a
    compiled forward call reads the ``whole`` room, so that it is compiled once.
    """
    width, end, count = recipe.window, recipe.room, new.shape[1]
    position = np.arange(width) + clips.starts.numpy()[:, None] + count - 1
    inside = np.minimum(position, end - 1)
    slots = np.where(position < end, position, in_buckets(end))
    furthest = end if whole else min(clips.context.shape[1] + count - 1 + width, end)
    visible = np.arange(in_buckets(furthest)) <= inside[..., None]
    where, there, seen = (torch.from_numpy(part).to(new.device) for part in (inside, slots, visible))
    return new[:, -1:].expand(-1, width), where, there, seen


def noise_of_clips(clips: Clips, logits_dtype: torch.dtype) -> Noise:
    """Of every new token, hashed at once."""
    positions = clips.starts[:, None] + torch.arange(clips.new_tokens, device="cpu")
    return Noise(clips.roots, positions, 0 * clips.roots, probs_dtype(logits_dtype))


def draw_next(recipe: Recipe, logits: Logits, noise: Noise) -> tuple[Tokens, Bool[Tensor, ""]]:
    """The token after the logits ``[b 1 v]`` of each clip, and whether these were finite."""
    probs = logits_to_probs(logits, recipe.sampling)
    exponential = noise.on(logits.device).exponential(Purpose.GUMBEL, probs.shape[-1])
    return gumbel_max(probs, exponential), is_finite(logits).all()


def _decoded(
    recipe: Recipe, clips: Clips, tokens: Tokens, seconds: Tensor, forward_seconds: Tensor
) -> Decoded:
    """Without what a shorter clip got after its end."""
    count, nfe = tokens.shape[1], (clips.ends - clips.starts).to(tokens.device)
    order = torch.arange(1, count + 1, device=tokens.device).expand_as(tokens)
    inside = order <= nfe[:, None]
    one = inside.T.long().cpu()
    evaluated = torch.cat([clips.starts[None].cpu(), one[1:]])
    marks = torch.where(inside, order, 0).cpu()
    trace = Trace(one, 0 * one, 0 * one, 0 * one, evaluated, seconds, forward_seconds, marks, 0 * marks)
    return decoded_of(recipe.guarantee, torch.where(inside, tokens, -1), trace, nfe.tolist(), clips.shared_by)
