"""The first part of a pass: which positions, with which drafts, in which cache slots, and what each may see."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState, Window, write
from vidjacobi.decoding.strategies.draft_tree import Siblings
from vidjacobi.decoding.strategies.drafts import DraftContext
from vidjacobi.decoding.strategies.lanes import LanePlan, LaneView
from vidjacobi.decoding.strategies.verifiers import TreeVerifier
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.probs import probs_dtype
from vidjacobi.sampling.truncated_probs import DraftProbs
from vidjacobi.shapes import Counts, Positions, Slots, Tokens, Visible


@dataclass(frozen=True)
class PassSize:
    """The shapes of a pass: inputs of each clip without siblings, and cache slots that attention reads."""

    width: int
    slots: int


@dataclass(frozen=True)
class PassPlan:
    """What the lanes want of the next pass, by position, and how many inputs that makes."""

    lanes: LanePlan
    inputs: Bool[Tensor, "b p"]
    width: Counts


@dataclass(frozen=True)
class ModelInputs:
    """What the model is fed, siblings after the window's slots."""

    tokens: Tokens
    positions: Positions
    slots: Slots
    visible: Visible


@dataclass(frozen=True)
class StepInputs:
    """A window with its drafts, and what the model is fed.

    Attributes:
        state: before the pass, with the new drafts among its tokens.
        window: the positions of this pass.
        draft_probs: q of the window's drafts; None where nothing reads them.
        siblings: other candidates beside the first drafts.
        fed: the inputs of the forward call.
    """

    state: DecodeState
    window: Window
    draft_probs: DraftProbs | None
    siblings: Siblings | None
    fed: ModelInputs


def draft_window(
    recipe: Recipe, state: DecodeState, window: Window, noise_source: type[Noise]
) -> tuple[DecodeState, DraftProbs | None]:
    """Drafts (and their q) for targets that the last window did not hold; the others keep theirs."""
    kept = carried_slots(state, window)
    fresh = window.valid & (kept < 0)
    here = state.decided.gather(1, window.targets) | (kept >= 0)
    draft = recipe.strategies.draft(
        DraftContext(
            tokens=state.tokens,
            known=state.decided.scatter(1, window.targets, here),
            positions=window.targets,
            noise=state.noise(window.targets, probs_dtype(recipe.model.dtype), noise_source),
            purpose=recipe.strategies.coupling.draft_noise,
            grid=recipe.grid,
            frame_probs=state.frame_probs,
            vocab_size=recipe.model.vocab_size,
        )
    )
    drafted = replace(state, tokens=write(state.tokens, window.targets, draft.tokens, fresh))
    if state.probs is None:
        return drafted, None
    # q of a draft that was kept is the p of the last pass, which its redraft was drawn from
    source = torch.where(fresh, -1, kept)
    return drafted, DraftProbs(state.probs, source, draft.probs, recipe.model.vocab_size)


def grow_tree(
    recipe: Recipe,
    state: DecodeState,
    window: Window,
    draft_probs: DraftProbs | None,
    noise_source: type[Noise],
    draw: Callable[..., Siblings],
) -> Siblings | None:
    """Siblings for the first targets, drawn from the probs of their drafts; None without a draft tree."""
    tree, verifier = recipe.strategies.draft_tree, recipe.strategies.verifier
    if tree is None or not tree.levels(recipe.window):
        return None
    assert draft_probs is not None
    assert isinstance(verifier, TreeVerifier)
    depth = min(tree.levels(recipe.window), window.width)
    targets = window.targets[:, :depth]
    probs = draft_probs.slots(torch.arange(depth, device=targets.device).expand_as(targets)).dense()
    noise = state.noise(targets, probs.dtype, noise_source)
    exponential = noise.exponential_where(verifier.sibling_noise, probs > 0)
    found = draw(probs, state.tokens.gather(1, targets), tree.width - 1, exponential)
    # the last position has no token after it, so siblings there could decide nothing more
    inside = window.valid[:, :depth, None] & (targets < state.ends[:, None] - 1)[..., None]
    return replace(found, exist=found.exist & inside)


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
    followed = torch.cat([lanes.targets[:, 1:], torch.zeros_like(lanes.targets[:, :1])], 1)
    inputs = followed | lanes.feed
    return PassPlan(lanes, inputs, inputs.sum(-1))


def choose_window(plan: PassPlan, size: int) -> Window:
    """The first ``size`` inputs of every clip, in rising order.

    Example: inputs wanted at 4, 5, 6 and a size of 5. Positions that are not wanted count as ``columns``, so the
    five smallest are 4, 5, 6 and two of padding, which are clamped to a position that exists.
    """
    columns = plan.inputs.shape[1]
    position = torch.arange(columns, device=plan.inputs.device)
    candidates = torch.where(plan.inputs, position, columns)
    size = min(size, columns)
    inputs = candidates.topk(size, dim=1, largest=False, sorted=True).values
    used = inputs < columns
    inputs = inputs.clamp(max=columns - 2)
    targets = inputs + 1
    valid = used & plan.lanes.targets.gather(1, targets)
    lanes = plan.lanes.lane.expand(len(inputs), -1)
    home = lanes.gather(1, inputs)
    lane = torch.where(valid, lanes.gather(1, targets), home)
    corrects = plan.lanes.corrects.expand(len(inputs), -1).gather(1, targets)
    return Window(inputs, used, valid, home, lane, corrects)


def carried_slots(state: DecodeState, window: Window) -> Positions:
    """For each target its slot in the last window, -1 if it was not there.

    A table by position is filled with the last window's slots and read at the new targets. Example: the last
    targets were 5 6 7 in slots 0 1 2, and 5 was decided; the new targets 6 7 8 come from slots 1 2 -1.
    """
    last, columns = state.window, state.tokens.shape[1]
    slot = torch.arange(last.width, device=last.inputs.device).expand_as(last.inputs)
    table = torch.full((len(slot), columns + 1), -1, dtype=torch.long, device=slot.device)
    # Column ``columns`` belongs to no position: what is not valid is written there.
    table = table.scatter(1, torch.where(last.valid, last.targets, columns), slot)
    return torch.where(window.valid, table.gather(1, window.targets), -1)


def model_inputs(
    recipe: Recipe, state: DecodeState, window: Window, siblings: Siblings | None, slots: int
) -> ModelInputs:
    """Tokens, positions and cache slots of the inputs, and which of the first ``slots`` slots each one sees.

    Padding goes to the spare last slot, which no other input sees.
    """
    spare = recipe.spare_slot
    chain = ModelInputs(
        tokens=fed_tokens(recipe, state, window),
        positions=window.inputs.clamp(max=recipe.room - 1),
        slots=torch.where(window.used, window.inputs, spare),
        visible=attention_mask(state, window, spare, slots),
    )
    return chain if siblings is None else with_siblings(recipe, chain, siblings, window)


def fed_tokens(recipe: Recipe, state: DecodeState, window: Window) -> Tokens:
    """Decided tokens and drafts; a placeholder where a lane opened before its left neighbour is known."""
    drafted = torch.zeros_like(state.decided).scatter(1, window.targets, window.valid)
    source = torch.arange(state.tokens.shape[1], device=window.inputs.device).expand_as(state.tokens)
    known = state.decided | drafted
    source = torch.where(known, source, recipe.strategies.lanes.placeholder(lane_view(recipe, state)))
    return state.tokens.gather(1, source.gather(1, window.inputs).clamp(min=0))


def attention_mask(state: DecodeState, window: Window, spare: int, slots: int) -> Visible:
    """Which of the first ``slots`` cache slots each input reads (``slots`` is at most ``spare``).

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
    batch, columns = state.tokens.shape
    room = max(columns, spare) + 1  # tables by position as long as those by slot, and a place for padding
    place = torch.where(window.used, window.inputs, room - 1)

    def by_slot(values: Tensor, filler: int, dtype: torch.dtype) -> Shaped[Tensor, "b s"]:
        table = torch.full((batch, room), filler, dtype=dtype, device=place.device)
        return table.scatter(1, place, values.expand_as(place).to(dtype))

    def longer(table: Bool[Tensor, "b p"]) -> Bool[Tensor, "b s"]:
        return torch.nn.functional.pad(table, (0, room - columns))

    fed = by_slot(torch.ones_like(place), 0, torch.bool)
    home = by_slot(window.home, -1, torch.long)[:, None, :slots]  # lane of each draft of this pass
    has_entry = (fed | longer(state.cached))[:, None, :slots]
    decided = longer(state.decided)[:, None, :slots]

    slot = torch.arange(slots, device=place.device)
    end = torch.minimum(window.inputs, state.ends[:, None])[..., None]  # of padding: the clip's end
    decided_to_the_left = has_entry & decided & (slot < end)
    own_lane_to_the_left = has_entry & (home == window.lane[..., None]) & (slot < end)
    itself = slot == place[..., None]
    return decided_to_the_left | own_lane_to_the_left | itself


def with_siblings(recipe: Recipe, chain: ModelInputs, siblings: Siblings, window: Window) -> ModelInputs:
    """Siblings of the d-th draft stand at its position, see what it sees but itself, and have slots of their own.

    Example: the window's inputs are 4 5 6, so the first draft stands at 5. Its two siblings are fed at position 5
    from the slots 7 and 8, after the window's last input; both read the slots up to 4, and themselves.
    """
    depth, width = siblings.tokens.shape[1:]
    exist = siblings.exist.flatten(1)
    first = window.inputs[:, :1] + window.used.sum(-1, keepdim=True)
    own = first + torch.arange(depth * width, device=first.device)
    slots = torch.where(exist, own, recipe.spare_slot)
    positions = window.targets[:, :depth].repeat_interleave(width, 1)
    slot = torch.arange(chain.visible.shape[-1], device=first.device)
    # what the window's first input sees, the chain from there up to the draft's place, and itself
    chain_before = (slot >= window.inputs[:, :1, None]) & (slot < positions[..., None])
    visible = chain.visible[:, :1] | chain_before | (slot == slots[..., None])
    return ModelInputs(
        torch.cat([chain.tokens, siblings.tokens.flatten(1)], 1),
        torch.cat([chain.positions, positions.clamp(max=recipe.room - 1)], 1),
        torch.cat([chain.slots, slots], 1),
        torch.cat([chain.visible, visible], 1),
    )
