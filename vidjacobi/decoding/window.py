"""The first part of a pass, on the host: which positions, with which drafts, in which cache slots.

All of this is a few hundred whole numbers, so it is done in numpy: a small operation of torch takes several times as
long, and on a device a launch each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState, Window
from vidjacobi.decoding.strategies.drafts import places_of
from vidjacobi.decoding.strategies.lanes import LanePlan, LaneView
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.probs import probs_dtype
from vidjacobi.shapes import Mask, Positions, Slots, Tokens


@dataclass(frozen=True)
class PassSize:
    """The shapes of a pass: inputs of each clip without siblings, and cache slots that attention reads."""

    width: int
    slots: int


@dataclass(frozen=True)
class PassPlan:
    """What the lanes want of the next pass, by position, and the inputs that this takes."""

    lanes: LanePlan
    inputs: Bool[Tensor, "b p"]

    @property
    def widest(self) -> int:
        """Inputs of the clip that has the most."""
        return int(self.inputs.numpy().sum(-1).max(initial=0))

    @property
    def furthest(self) -> int:
        """Largest input, plus one."""
        wanted = np.flatnonzero(self.inputs.numpy().any(0))
        return int(wanted[-1]) + 1 if len(wanted) else 0


@dataclass(frozen=True)
class PassTables:
    """What the device is told of a pass, in whole numbers.

    Attributes:
        inputs, targets, lane: positions of the window, as in ``Window``.
        used, valid: slots of the window that are no padding; that have a target.
        slots, place: the cache slot that each input is written to, and the same with padding beyond all slots.
        end: an input sees entries to the left of this position, and itself.
        decided, home: of each cache slot: whether a decided token's entry is in it; the lane of the draft that this
            pass writes to it, or -1.
        tokens: fed, as far as they are known. ``is_draft``: those that are new drafts, ``draft``: of which slot.
        drafts: of the targets, as far as they are known.
        fresh: targets that the last window did not hold, whose drafts are new.
        carried: the slot of the others in the last window, -1 for fresh ones.
        some: slots that are fresh in any clip, ``column``: of each slot its place among them; None: all slots.
        table, known: tokens of all positions, and which of them are decided or hold a draft; special
            tokens are none of these, since no rule may draft one.
        remembered: the place of each target in a frame, the number of places for what is not to be kept.
        siblings: targets that may have some. ``sibling_slot``: the first cache slot for them.
        noise: of the targets; ``noise_after``: of the positions after the first of them, with a draft tree.
    """

    inputs: Positions
    targets: Positions
    lane: Positions
    used: Mask
    valid: Mask
    slots: Slots
    place: Slots
    end: Positions
    decided: Bool[Tensor, "b s"]
    home: Int[Tensor, "b s"]
    tokens: Tokens
    is_draft: Mask
    draft: Int[Tensor, "b n"]
    drafts: Tokens
    fresh: Mask
    carried: Int[Tensor, "b n"]
    some: Int[Tensor, " c"] | None
    column: Int[Tensor, " n"] | None
    table: Int[Tensor, "b p"]
    known: Bool[Tensor, "b p"]
    remembered: Int[Tensor, "b n"]
    siblings: Bool[Tensor, "b d"]
    sibling_slot: Int[Tensor, "b 1"]
    noise: Noise
    noise_after: Noise


def lane_view(recipe: Recipe, state: DecodeState) -> LaneView:
    """What the lane rule may look at."""
    return LaneView(
        decided=state.decided,
        cached=state.cached,
        frontier=state.frontier,
        exact_prefix=state.exact_prefix,
        grid=recipe.grid,
        offset=len(recipe.model.prefix_tokens),
        window=recipe.chain,
        lane_state=state.lane_state,
    )


def plan_window(recipe: Recipe, state: DecodeState) -> PassPlan:
    """Ask the lanes. A target's input is the position before it."""
    lanes = recipe.strategies.lanes(lane_view(recipe, state))
    inputs = lanes.feed.numpy().copy()
    # The targets 5, 6, 7 and a position 2 that is fed for its cache entry alone want the inputs 2, 4, 5, 6.
    inputs[:, :-1] |= lanes.targets.numpy()[:, 1:]
    return PassPlan(lanes, torch.from_numpy(inputs))


def choose_window(plan: PassPlan, size: int) -> Window:
    """The first ``size`` inputs of every clip, in rising order; padding stands at a position that exists.

    Example: inputs wanted at 4, 5, 6 and a size of 5. Three slots have the inputs 4, 5, 6 and two are padding.
    """
    rows, columns = plan.inputs.shape
    size = min(size, columns)
    row, position = plan.inputs.numpy().nonzero()
    count = plan.inputs.numpy().sum(-1)
    # The place of each wanted input within its row, for all rows at once. If row 0 wants 4 5 6 and row 1 wants 9:
    #     row 0 0 0 1    position 4 5 6 9    the rows begin at 0 and 3 of these lists    rank 0 1 2 0
    rank = np.arange(len(row)) - (count.cumsum() - count)[row]
    chosen = rank < size
    # Padding stands at the last position, so that its target is the column of no clip (``Recipe.columns``).
    inputs = np.full((rows, size), columns - 2)
    inputs[row[chosen], rank[chosen]] = position[chosen]
    used = np.arange(size) < count[:, None]
    every, targets = np.arange(rows)[:, None], inputs + 1
    lanes = plan.lanes
    valid = used & lanes.targets.numpy()[every, targets]
    lane, corrects = lanes.lane.numpy(), lanes.corrects.numpy()  # one row may stand for all
    # The last input of a lane may decide the first position of the next one: then that lane judges the draft.
    home = lane[every % len(lane), inputs]
    own = np.where(valid, lane[every % len(lane), targets], home)
    found = inputs, used, valid, home, own, corrects[every % len(corrects), targets]
    return Window(*map(torch.from_numpy, found))


def carried_slots(state: DecodeState, window: Window) -> Positions:
    """For each target its slot in the last window, -1 if it was not there.

    A table by position is filled with the last window's slots and read at the new targets. Example: the last
    targets were 5 6 7 in slots 0 1 2, and 5 was decided; the new targets 6 7 8 come from slots 1 2 -1.
    """
    table = np.full(state.tokens.shape, -1)
    row, slot = state.window.valid.numpy().nonzero()
    table[row, state.window.inputs.numpy()[row, slot] + 1] = slot
    found = table[np.arange(len(table))[:, None], window.inputs.numpy() + 1]
    return torch.from_numpy(np.where(window.valid.numpy(), found, -1))


def pass_tables(
    recipe: Recipe, state: DecodeState, window: Window, source: Callable[..., Noise] = Noise
) -> PassTables:
    """All that a pass needs to know of the state."""
    # what is on a device, or compiled, wants the same shapes in every pass
    fixed = recipe.fused or recipe.model.device.type != "cpu"
    carried = carried_slots(state, window).numpy()
    fresh = window.valid.numpy() & (carried < 0)
    own = positions_of(recipe, state, window)
    made: dict[str, np.ndarray | None] = {
        **own,
        **slots_of(recipe, state, window),
        **fed_tokens(recipe, state, window, fresh),
        **drafts_of(recipe, state, window, carried),
        "fresh": fresh,
        "carried": carried,
        "some": None,
        "column": None,
    }
    if not fixed:  # on a device a few more rows cost less than to choose some
        made["some"] = some = np.flatnonzero(fresh.any(0)) if fresh.any() else np.zeros(1, int)
        made["column"] = np.minimum(np.searchsorted(some, np.arange(window.width)), len(some) - 1)
    depth = own["siblings"].shape[1]
    noise, after = noise_of(recipe, state, window, depth, source)
    tables: dict[str, Any] = {
        name: None if array is None else torch.from_numpy(array) for name, array in made.items()
    }
    if fixed:
        noise, after = noise.stack(), after.stack()
    return PassTables(**tables, noise=noise, noise_after=after)


def positions_of(recipe: Recipe, state: DecodeState, window: Window) -> dict[str, np.ndarray]:
    """The window itself, and where siblings may stand."""
    inputs, used, valid = (part.numpy() for part in (window.inputs, window.used, window.valid))
    targets, ends = inputs + 1, state.ends.numpy()[:, None]
    tree = recipe.strategies.draft_tree
    depth = min(tree.levels(recipe.window), window.width) if tree else 0
    return {
        "inputs": inputs,
        "targets": targets,
        "lane": window.lane.numpy(),
        "used": used,
        "valid": valid,
        "end": np.minimum(inputs, ends),
        "remembered": places_of(targets, valid, recipe.grid.frame_tokens),
        "siblings": valid[:, :depth] & (targets[:, :depth] < ends - 1),
        "sibling_slot": inputs[:, :1] + used.sum(-1, keepdims=True),
    }


def slots_of(recipe: Recipe, state: DecodeState, window: Window) -> dict[str, np.ndarray]:
    """Where the inputs are written, and what is in each cache slot; padding is written beyond all of them."""
    inputs, used, decided = window.inputs.numpy(), window.used.numpy(), state.decided.numpy()
    every, columns = np.arange(len(inputs))[:, None], decided.shape[1]
    # These tables have a column behind all slots and positions, into which whatever padding says is written.
    room = max(columns, recipe.spare_slot) + 1
    place = np.where(used, inputs, room - 1)
    has_decided, home = np.zeros((len(inputs), room), bool), np.full((len(inputs), room), -1)
    has_decided[:, :columns] = decided & state.cached.numpy()
    # Entries are written before any is read, so a decided token that this pass feeds is there already.
    has_decided[every, place] = used & decided[every, inputs]
    home[every, place] = window.home.numpy()
    slots = np.where(used, inputs, recipe.spare_slot)
    return {"slots": slots, "place": place, "decided": has_decided, "home": home}


def fed_tokens(
    recipe: Recipe, state: DecodeState, window: Window, fresh: Bool[np.ndarray, "b n"]
) -> dict[str, np.ndarray]:
    """What is fed, as far as it is known: an input may be a draft that this pass makes in a slot."""
    tokens, every = state.tokens.numpy(), np.arange(len(fresh))[:, None]
    fed = fed_positions(recipe, state, window)
    # Drafts are made on the device, so the host can only say which slot's is fed. Example, the inputs 4 5 6 7:
    #     target      5  6  7  8
    #     fresh       .  .  x  x      slot_of[7] = 2, slot_of[8] = 3
    #     draft      -1 -1 -1  2      the input 7 is the draft that slot 2 makes
    slot_of = np.full(tokens.shape, -1)
    row, slot = fresh.nonzero()
    slot_of[row, window.inputs.numpy()[row, slot] + 1] = slot
    draft = slot_of[every, fed]
    return {"tokens": tokens[every, fed], "is_draft": draft >= 0, "draft": np.maximum(draft, 0)}


def drafts_of(
    recipe: Recipe, state: DecodeState, window: Window, carried: Int[np.ndarray, "b n"]
) -> dict[str, np.ndarray]:
    """The drafts at hand, and what new ones may look at."""
    tokens, known = state.tokens.numpy(), state.decided.numpy().copy()
    every, targets = np.arange(len(carried))[:, None], window.inputs.numpy() + 1
    known[every, targets] |= carried >= 0
    # Draft rules copy known tokens, and a special token may never be drafted.
    known[:, : len(recipe.model.prefix_tokens)] = False
    return {"drafts": tokens[every, targets], "table": tokens, "known": known}


def noise_of(
    recipe: Recipe, state: DecodeState, window: Window, depth: int, source: Callable[..., Noise]
) -> tuple[Noise, Noise]:
    """Of the targets, and of the positions after the first ``depth`` of them."""
    dtype, targets = probs_dtype(recipe.model.dtype), window.inputs.numpy() + 1
    after = targets[:, :depth] + 1
    own, later = (state.noise(torch.from_numpy(place), dtype, source) for place in (targets, after))
    return own, later


def fed_positions(recipe: Recipe, state: DecodeState, window: Window) -> np.ndarray:
    """Whose tokens are fed: an input's own, or a placeholder's where a lane opened before that is known."""
    inputs, every = window.inputs.numpy(), np.arange(len(window.inputs))[:, None]
    row, slot = window.valid.numpy().nonzero()
    known = state.decided.numpy().copy()
    known[row, inputs[row, slot] + 1] = True
    own = known[every, inputs]
    if own.all():
        return inputs
    placeholder = recipe.strategies.lanes.placeholder(lane_view(recipe, state)).numpy()
    return np.maximum(np.where(own, inputs, placeholder[every, inputs]), 0)
