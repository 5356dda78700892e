"""The first pass: feed the contexts, decide the first token, remember the probs that drafts will come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vidjacobi.decoding.recipe import Clips, Recipe
from vidjacobi.decoding.state import DecodeState, Window, select_rows, to_host
from vidjacobi.decoding.strategies.drafts import FrameProbsCache, places_of
from vidjacobi.decoding.strategies.lanes import StatefulLanes
from vidjacobi.kinds import checked_chunks
from vidjacobi.models.protocol import Cache, ConditionedModel, RowModel, VideoModel
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import is_finite, probs_dtype
from vidjacobi.sampling.sampler import draw, to_truncated_probs
from vidjacobi.sampling.truncated_probs import TruncatedProbs, from_tensors
from vidjacobi.shapes import Logits


@dataclass(frozen=True)
class Prefilled:
    """What the prefill leaves, a row for each different context.

    Attributes:
        first_logits: those of the first new position, ``[b 1 v]``.
        frame_probs: probs of the context's last frame, where the draft rule keeps them.
        finite: whether all its logits were.
    """

    first_logits: Logits
    frame_probs: FrameProbsCache | None
    finite: Bool[Tensor, " b"]

    def rows(self, rows: Sequence[int]) -> "Prefilled":
        """Some rows, in this order."""
        return select_rows(self, torch.tensor(rows, device="cpu"))


def has_free_rows(model: VideoModel) -> TypeGuard[RowModel]:
    """Whether a clip's row may be any row of any cache of this model."""
    return isinstance(model, RowModel) and model.rows_alike


def different(sources: Sequence[int]) -> tuple[list[int], list[int]]:
    """(the rows whose contexts are fed, for each row its place among them)."""
    first = sorted(set(sources))
    return first, [first.index(source) for source in sources]


def feed_contexts(recipe: Recipe, clips: Clips, cache: Cache, keep: int) -> Iterator[Logits]:
    """``model.prefill`` of each different context once; the logits are those of the different contexts.

    Their cache entries are in all rows when the last logits are out. Raises BadModelOutput.
    """
    model, context = recipe.model, clips.context
    if clips.sources is None:
        _set_conditions(recipe, clips, cache)
        yield from checked_chunks(model.prefill(context, cache, keep), model.vocab_size, len(context), keep)
        return
    if not has_free_rows(model):
        raise RuntimeError("only a model that can copy rows shares a prefill")
    first, places = different(clips.sources)
    own = model.make_cache(len(first), context.shape[1])
    _set_conditions(recipe, clips.select(first), own)
    yield from checked_chunks(model.prefill(context[first], own, keep), model.vocab_size, len(first), keep)
    rows = torch.arange(len(clips), device=context.device)
    model.copy_rows(cache, rows, own, torch.tensor(places, device=context.device))


def _set_conditions(recipe: Recipe, clips: Clips, cache: Cache) -> None:
    if clips.conditions is not None:
        assert isinstance(recipe.model, ConditionedModel)
        recipe.model.set_conditions(cache, clips.conditions)


def prefill(recipe: Recipe, clips: Clips, cache: Cache) -> Prefilled:
    """Feed every different context (padding on the right is never visible to anything).

    Only the last rows of logits are asked for: one per context, or a frame's where probs are kept. Example, contexts
    of 7 and 5 tokens and frames of 3 (x: context, -: padding; the rows asked for are the last 5 inputs)::

        position        0 1 2 3 4 5 6
        context 0       x x x x x x x      first logits after position 6, frame probs of 5 6 7
        context 1       x x x x x - -      first logits after position 4, frame probs of 3 4 5
        asked for           * * * * *      which give the probs of the positions 3 ... 7
    """
    own = clips if clips.sources is None else clips.select(different(clips.sources)[0])
    context, starts = own.context, own.starts
    width, frame = context.shape[1], recipe.grid.frame_tokens
    keep, frame_probs = recipe.strategies.draft.keeps_probs, None
    if keep:
        keep = min(keep, recipe.model.vocab_size)
        dtype = probs_dtype(recipe.model.dtype)
        special = len(recipe.model.prefix_tokens)
        frame_probs = FrameProbsCache.of_context(context, frame, keep, dtype, starts, special)
    rows = width - clips.shortest + (min(frame, clips.shortest) if keep else 1)
    position = width - rows + 1  # whose probs the first row gives
    finite, first_logits = context.new_ones(len(context), dtype=torch.bool), None
    for logits in feed_contexts(recipe, clips, cache, rows):
        positions = (position + np.arange(logits.shape[1]))[None].repeat(len(context), 0)
        after = starts.numpy()[:, None]
        inside = torch.from_numpy(positions <= after).to(context.device)
        finite = finite & is_finite(logits, inside)
        if frame_probs:
            clean = torch.where(inside[..., None], logits, 0) if clips.ragged else logits
            recent = (positions <= after) & (positions > after - frame)
            places = torch.from_numpy(places_of(positions, recent, frame)).to(context.device)
            frame_probs = frame_probs.remember(places, to_truncated_probs(clean, recipe.sampling))
        # the logits after a context's last token, if they are in this chunk
        slot = (after[..., None] - position).clip(0, logits.shape[1] - 1)
        here = torch.from_numpy((positions == after).any(-1)[:, None, None]).to(context.device)
        found = logits.gather(1, torch.from_numpy(slot).to(context.device).expand(-1, -1, logits.shape[-1]))
        first_logits = found if first_logits is None else torch.where(here, found, first_logits)
        position += logits.shape[1]
    assert first_logits is not None
    return Prefilled(first_logits, frame_probs, finite)


def start(recipe: Recipe, clips: Clips, cache: Cache, noise: type[Noise] = Noise) -> DecodeState:
    """The state before the first window: the contexts are in the cache and one token is decided."""
    prefilled = prefill(recipe, clips, cache)
    if clips.sources is not None:
        prefilled = prefilled.rows(different(clips.sources)[1])
    return first_state(recipe, clips, prefilled, noise)


def first_state(
    recipe: Recipe, clips: Clips, prefilled: Prefilled, noise: type[Noise] = Noise
) -> DecodeState:
    """The state before the first window, from what the prefill left of each clip."""
    parts, starts, ends = recipe.strategies, clips.starts, clips.ends
    none = starts.new_zeros(len(clips), recipe.columns)
    one = torch.ones_like(starts)
    probs = to_truncated_probs(prefilled.first_logits, recipe.sampling)
    own = noise(clips.roots, starts[:, None], 0 * one, probs.dtype).on(recipe.model.device)
    # the one read of the contexts and of the first token
    first, context, finite = to_host([draw(probs, own, Purpose.GUMBEL), clips.context, prefilled.finite])
    tokens = none.clone()
    tokens[:, : context.shape[1]] = context
    tokens = tokens.scatter(1, starts[:, None], first)
    position = torch.arange(recipe.columns, device=starts.device)
    width = min(recipe.chain, recipe.columns)
    lanes = parts.lanes
    return DecodeState(
        roots=clips.roots,
        starts=starts,
        ends=ends,
        tokens=tokens,
        decided=(position <= starts[:, None]) | (position >= ends[:, None]),
        cached=(position < starts[:, None]) | (position >= ends[:, None] - 1),
        exact_prefix=starts,
        frontier=starts + 1,
        window=Window.empty(len(clips), width),
        probs=unread(probs, width, recipe.siblings) if parts.reads_draft_probs else None,
        passes=one,
        frame_probs=prefilled.frame_probs,
        decided_in=none.scatter(1, starts[:, None], one[:, None]),
        redrafted=none,
        finite=finite,
        lane_state=lanes.init(len(clips), starts.device) if isinstance(lanes, StatefulLanes) else None,
    )


def unread(like: TruncatedProbs, width: int, siblings: int) -> TruncatedProbs:
    """Probs of an empty window: of the right shape, and finite, but no slot of them is ever read.

    They are laid out like those of a pass, so that a pass is compiled once: the logits are the first ``width`` rows
    of a pass's, and a tensor that ``like`` holds twice (greedy probs: peak and floor) is held twice here too.
    """
    rows, _, vocab_size = like.logits.shape
    made = {id(like.logits): like.logits.new_ones(rows, width + siblings, vocab_size)[:, :width]}
    for part in like.tensors[1:]:
        made.setdefault(id(part), part.new_ones(rows, width, *part.shape[2:]))
    found = from_tensors(made[id(part)] for part in like.tensors)
    if like.table is None:
        return found
    return replace(found, table=like.table.new_ones(rows, width, vocab_size))
