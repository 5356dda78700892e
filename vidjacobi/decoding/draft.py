"""The first part of what the device does in a pass: new drafts, siblings, and what the model is fed.

Nothing here waits for the device, and in compiled code no shape depends on a value.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch

from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.strategies.draft_tree import Siblings
from vidjacobi.decoding.strategies.drafts import DraftContext, FrameProbsCache
from vidjacobi.decoding.strategies.verifiers import TreeVerifier
from vidjacobi.decoding.window import PassTables
from vidjacobi.sampling.probs import SparseProbs
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs
from vidjacobi.shapes import Positions, Slots, Tokens, Visible


@dataclass(frozen=True)
class ModelInputs:
    """What the model is fed, siblings after the window's slots."""

    tokens: Tokens
    positions: Positions
    slots: Slots
    visible: Visible


@dataclass(frozen=True)
class DeviceInputs:
    """A window with its drafts, and what the model is fed.

    Attributes:
        tables: of the pass.
        drafts: of the targets.
        draft_probs: q of them; None where nothing reads them.
        siblings: other candidates beside the first drafts.
        fed: the inputs of the forward call.
    """

    tables: PassTables
    drafts: Tokens
    draft_probs: DraftProbs | None
    siblings: Siblings | None
    fed: ModelInputs


@dataclass(frozen=True)
class CarriedProbs:
    """What stays on the device from pass to pass: ``DecodeState.probs`` and ``DecodeState.frame_probs``."""

    last: TruncatedProbs | None
    of_frame: FrameProbsCache | None


def draft(
    recipe: Recipe,
    tables: PassTables,
    carried: CarriedProbs,
    draw_siblings: Callable[..., Siblings],
    slots: int,
) -> DeviceInputs:
    """Everything before the forward call."""
    noise, positions, some = tables.noise, tables.targets, tables.some
    if some is not None:
        positions = positions[:, some]
        noise = noise.at(some.expand(len(positions), -1))
    new = recipe.strategies.draft(
        DraftContext(
            tokens=tables.table,
            known=tables.known,
            positions=positions,
            noise=noise,
            purpose=recipe.strategies.coupling.draft_noise,
            grid=recipe.grid,
            frame_probs=carried.of_frame,
            vocab_size=recipe.model.vocab_size,
        )
    )
    tokens, fresh = new.tokens, new.probs
    if some is not None and tables.column is not None:
        tokens = tokens[:, tables.column]
    drafts = torch.where(tables.fresh, tokens, tables.drafts)
    draft_probs = None
    if carried.last is not None:
        if some is not None and tables.column is not None:
            fresh = SparseProbs(fresh.ids[:, tables.column], fresh.probs[:, tables.column], fresh.floor)
        # q of a draft that was kept is the p of the last pass, which its redraft was drawn from
        draft_probs = DraftProbs(carried.last, tables.carried, fresh, recipe.model.vocab_size)
    siblings = grow_tree(recipe, tables, drafts, draft_probs, draw_siblings)
    fed = model_inputs(recipe, tables, drafts, siblings, slots)
    return DeviceInputs(tables, drafts, draft_probs, siblings, fed)


def grow_tree(
    recipe: Recipe,
    tables: PassTables,
    drafts: Tokens,
    draft_probs: DraftProbs | None,
    draw_siblings: Callable[..., Siblings],
) -> Siblings | None:
    """Siblings for the first targets, drawn from the probs of their drafts; None without a draft tree."""
    tree, verifier = recipe.strategies.draft_tree, recipe.strategies.verifier
    depth = tables.siblings.shape[1]
    if tree is None or not depth:
        return None
    assert draft_probs is not None
    level = torch.arange(depth, device=drafts.device).expand(len(drafts), -1)
    probs = draft_probs.first(depth).dense()
    exponential = tables.noise.at(level).exponential_where(
        cast(TreeVerifier, verifier).sibling_noise, probs > 0
    )
    found = draw_siblings(probs, drafts[:, :depth], tree.width - 1, exponential)
    # the last position has no token after it, so siblings there could decide nothing more
    return replace(found, exist=found.exist & tables.siblings[..., None])


def model_inputs(
    recipe: Recipe, tables: PassTables, drafts: Tokens, siblings: Siblings | None, slots: int
) -> ModelInputs:
    """Tokens, positions and cache slots of the inputs, and which of the first ``slots`` slots each one sees.

    Padding goes to the spare last slot, which no other input sees.
    """
    chain = ModelInputs(
        tokens=torch.where(tables.is_draft, drafts.gather(1, tables.draft), tables.tokens),
        positions=tables.inputs.clamp(max=recipe.room - 1),
        slots=tables.slots,
        visible=attention_mask(tables, slots),
    )
    return chain if siblings is None else with_siblings(recipe, chain, siblings, tables)


def attention_mask(tables: PassTables, slots: int) -> Visible:
    """Which of the first ``slots`` cache slots each input reads (``slots`` is at most the spare slot).

    An input reads the decided tokens to its left that have an entry, the drafts of its own lane to its left, and
    itself. Example: a prefix of two tokens (slots 0, 1), lane A with the inputs 1 2 3 and lane B with the
    inputs 5 6, of which 5 is decided; slot 4 was never fed, and the last row is padding (1: it reads the slot)::

        slot            0 1 2 3 4 5 6 ... spare
        decided         1 1 0 0 0 1 0
        input 1 (A)     1 1 0 0 0 0 0
        input 2 (A)     1 1 1 0 0 0 0          2 reads itself
        input 3 (A)     1 1 1 1 0 0 0
        input 5 (B)     1 1 0 0 0 1 0          no draft of lane A
        input 6 (B)     1 1 0 0 0 1 1
        padding         1 1 0 0 0 1 0          what is decided; its result is not used
    """
    slot = torch.arange(slots, device=tables.place.device)
    of_lane = tables.home[:, None, :slots] == tables.lane[..., None]
    to_the_left = slot < tables.end[..., None]
    return (tables.decided[:, None, :slots] | of_lane) & to_the_left | (slot == tables.place[..., None])


def with_siblings(recipe: Recipe, chain: ModelInputs, siblings: Siblings, tables: PassTables) -> ModelInputs:
    """Siblings of the d-th draft stand at its position, see what it sees but itself, and have slots of their own.

    Example: the window's inputs are 4 5 6, so the first draft stands at 5. Its two siblings are fed at position 5
    from the slots 7 and 8, after the window's last input; both read the slots up to 4, and themselves.
    """
    depth, width = siblings.tokens.shape[1:]
    own = tables.sibling_slot + torch.arange(depth * width, device=chain.slots.device)
    slots = torch.where(siblings.exist.flatten(1), own, recipe.spare_slot)
    positions = tables.targets[:, :depth].repeat_interleave(width, 1)
    slot = torch.arange(chain.visible.shape[-1], device=slots.device)
    # what the window's first input sees, the chain from there up to the draft's place, and itself
    chain_before = (slot >= tables.inputs[:, :1, None]) & (slot < positions[..., None])
    visible = chain.visible[:, :1] | chain_before | (slot == slots[..., None])
    return ModelInputs(
        torch.cat([chain.tokens, siblings.tokens.flatten(1)], 1),
        torch.cat([chain.positions, positions.clamp(max=recipe.room - 1)], 1),
        torch.cat([chain.slots, slots], 1),
        torch.cat([chain.visible, visible], 1),
    )
