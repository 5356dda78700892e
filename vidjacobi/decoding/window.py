"""The inputs of a pass: which positions, with which drafts, in which slots, and what each may see."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.state import DecodeState, Problem, Strategies, Window
from vidjacobi.decoding.strategies.draft_tree import TreeDrafts, choose
from vidjacobi.decoding.strategies.drafts import Past
from vidjacobi.decoding.strategies.lanes import LanePlan, LaneView
from vidjacobi.decoding.strategies.verifiers import TreeVerifier
from vidjacobi.sampling.noise import Noise
from vidjacobi.sampling.reference import probs_dtype
from vidjacobi.sampling.truncated_probs import DraftProbs
from vidjacobi.shapes import Counts, Mask, Positions, Slots, Tokens, Visible

BUCKET = 64  # the prefix that attention reads is a multiple of this, so that shapes rarely change


@dataclass(frozen=True)
class Size:
    """The shapes of a pass: inputs of each clip without siblings, and slots that attention reads."""

    width: int
    slots: int


@dataclass(frozen=True)
class Plan:
    """What the lanes want of the next pass, by position, and how wide that makes it."""

    active: LanePlan
    inputs: Bool[Tensor, "b p"]
    width: Counts


@dataclass(frozen=True)
class Inputs:
    """What the model is fed, siblings behind the window's slots."""

    tokens: Tokens
    positions: Positions
    slots: Slots
    visible: Visible


def chain_size(problem: Problem, parts: Strategies) -> int:
    """Positions of a pass that are left for the drafts, the siblings taken off."""
    return problem.window - sibling_count(problem, parts)


def sibling_count(problem: Problem, parts: Strategies) -> int:
    """Positions of a pass that siblings may take."""
    return parts.draft_tree.count(problem.window) if parts.draft_tree else 0


def lane_view(problem: Problem, parts: Strategies, state: DecodeState) -> LaneView:
    """What the lane rule may look at."""
    grid, offset = problem.grid, len(problem.model.prefix_tokens)
    size = chain_size(problem, parts)
    return LaneView(
        state.decided, state.written, state.frontier, state.exact_prefix, grid, offset, size, state.pace
    )


def plan(problem: Problem, parts: Strategies, state: DecodeState) -> Plan:
    """Ask the lanes. A target's input is the position in front of it."""
    active = parts.lanes(lane_view(problem, parts, state))
    followed = torch.cat([active.targets[:, 1:], torch.zeros_like(active.targets[:, :1])], 1)
    inputs = followed | active.feed
    return Plan(active, inputs, inputs.sum(-1))


def choose_window(planned: Plan, size: int) -> Window:
    """The first ``size`` inputs of every clip, in rising order."""
    columns = planned.inputs.shape[1]
    position = torch.arange(columns, device=planned.inputs.device)
    candidates = torch.where(planned.inputs, position, columns)
    size = min(size, columns)
    inputs = candidates.topk(size, dim=1, largest=False, sorted=True).values
    used = inputs < columns
    inputs = inputs.clamp(max=columns - 2)
    targets = inputs + 1
    active = planned.active
    valid = used & active.targets.gather(1, targets)
    lanes = active.lane.expand(len(inputs), -1)
    home = lanes.gather(1, inputs)
    lane = torch.where(valid, lanes.gather(1, targets), home)
    corrects = active.corrects.expand(len(inputs), -1).gather(1, targets)
    return Window(inputs, used, valid, home, lane, corrects)


def draft_window(problem: Problem, parts: Strategies, state: DecodeState, window: Window) -> DecodeState:
    """Drafts (and their laws) for targets that the last window did not hold; the others keep theirs."""
    kept = carried_slots(state, window)
    fresh = window.valid & (kept < 0)
    known = state.decided.scatter(1, window.targets, state.decided.gather(1, window.targets) | (kept >= 0))
    past = Past(
        tokens=state.tokens,
        known=known,
        positions=window.targets,
        noise=noise_of(state, window.targets, probs_dtype(problem.model.dtype)),
        fresh=parts.coupling.fresh,
        grid=problem.grid,
        memory=state.memory,
        vocab_size=problem.model.vocab_size,
    )
    guess = parts.draft(past)
    tokens = write(state.tokens, window.targets, guess.tokens, fresh)
    drawn = None
    if parts.reads_draft_probs:
        drawn = DraftProbs(state.laws, torch.where(fresh, -1, kept), guess.laws, problem.model.vocab_size)
    return replace(state, tokens=tokens, drawn=drawn, window=window)


def carried_slots(state: DecodeState, window: Window) -> Positions:
    """For each target its slot in the last window, -1 if it was not there."""
    if state.window is None:
        return torch.full_like(window.inputs, -1)
    last, columns = state.window, state.tokens.shape[1]
    slot = torch.arange(last.inputs.shape[1], device=last.inputs.device).expand_as(last.inputs)
    table = torch.full((len(slot), columns + 1), -1, dtype=torch.long, device=slot.device)
    table = table.scatter(1, torch.where(last.valid, last.targets, columns), slot)
    return torch.where(window.valid, table.gather(1, window.targets), -1)


def pick_siblings(problem: Problem, parts: Strategies, state: DecodeState) -> TreeDrafts | None:
    """Other candidates for the first targets, drawn from the laws of their drafts."""
    if parts.draft_tree is None or not parts.draft_tree.levels(problem.window):
        return None
    assert state.window is not None
    assert state.drawn is not None
    depth = min(parts.draft_tree.levels(problem.window), state.window.inputs.shape[1])
    targets = state.window.targets[:, :depth]
    laws = state.drawn.slots(torch.arange(depth, device=targets.device).expand_as(targets)).dense()
    noise = noise_of(state, targets, laws.dtype)
    assert isinstance(parts.verifier, TreeVerifier)
    purpose = parts.verifier.sibling_noise
    exponential = noise.exponential_where(purpose, laws > 0)
    found = choose(laws, state.tokens.gather(1, targets), parts.draft_tree.width - 1, exponential)
    inside = state.window.valid[:, :depth, None] & (targets < state.ends[:, None] - 1)[..., None]
    return replace(found, exist=found.exist & inside)


def pass_inputs(
    problem: Problem, parts: Strategies, state: DecodeState, siblings: TreeDrafts | None, size: int
) -> Inputs:
    """Tokens, positions, slots, and which of the first ``size`` slots each input sees.

    A query sees the decided tokens that have an entry to its left, its own lane's drafts to its left, and
    itself. Padding goes to the spare last slot.
    """
    window = state.window
    assert window is not None
    spare = spare_slot(problem, parts)
    tokens = feed_tokens(problem, parts, state, window)
    slots = torch.where(window.used, window.inputs, spare)
    visible = visibility(state, window, spare, size)
    chain = Inputs(tokens, window.inputs.clamp(max=problem.end - 1), slots, visible)
    return chain if siblings is None else with_siblings(problem, chain, siblings, window, spare)


def slots_to_read(problem: Problem, parts: Strategies, furthest: int, step: int = BUCKET) -> int:
    """Slots that a pass reads whose largest input is at ``furthest`` - 1: whole ``steps`` of whole buckets."""
    reach = furthest + sibling_count(problem, parts)
    return min(spare_slot(problem, parts), -(-reach // step) * step)


def spare_slot(problem: Problem, parts: Strategies) -> int:
    """The slot of all padding: behind the clip and room for siblings of its last window, in whole buckets."""
    return -(-(problem.end + (problem.window if parts.draft_tree else 0)) // BUCKET) * BUCKET


def feed_tokens(problem: Problem, parts: Strategies, state: DecodeState, window: Window) -> Tokens:
    """Decided tokens and drafts; a stand-in where a lane opened in front of its left neighbour."""
    drafted = torch.zeros_like(state.decided).scatter(1, window.targets, window.valid)
    source = torch.arange(state.tokens.shape[1], device=window.inputs.device).expand_as(state.tokens)
    known = state.decided | drafted
    source = torch.where(known, source, parts.lanes.placeholder(lane_view(problem, parts, state)))
    return state.tokens.gather(1, source.gather(1, window.inputs).clamp(min=0))


def visibility(state: DecodeState, window: Window, spare: int, size: int) -> Visible:
    """Which of the first ``size`` slots each input reads; ``size`` is at most ``spare``."""
    batch, columns = state.tokens.shape
    room = max(columns, spare) + 1  # tables by position as long as those by slot, and a place for padding
    spill = torch.where(window.used, window.inputs, room - 1)
    fed = torch.zeros(batch, room, dtype=torch.bool, device=spill.device).scatter(1, spill, True)
    written, decided = (
        torch.nn.functional.pad(x, (0, room - columns)) for x in (state.written, state.decided)
    )
    there = fed | written
    lane = torch.full((batch, room), -1, dtype=torch.long, device=spill.device)
    lane = lane.scatter(1, spill, window.home)  # of the drafts in this pass
    decided, there, lane = (x[:, None, :size] for x in (decided & there, there, lane))
    slot = torch.arange(size, device=spill.device)
    own = there & (lane == window.lane[..., None])
    place = torch.minimum(window.inputs, state.ends[:, None])  # of padding: the clip's end
    left = (slot < place[..., None]) & (decided | own)
    return left | (slot == spill[..., None])


def with_siblings(
    problem: Problem, chain: Inputs, siblings: TreeDrafts, window: Window, spare: int
) -> Inputs:
    """Siblings of the d-th draft stand where it stands, see what it sees but itself, and have slots of their own."""
    depth, width = siblings.tokens.shape[1:]
    exist = siblings.exist.flatten(1)
    first = window.inputs[:, :1] + window.used.sum(-1, keepdim=True)  # behind the window's last input
    slots = torch.where(exist, first + torch.arange(depth * width, device=first.device), spare)
    positions = window.targets[:, :depth].repeat_interleave(width, 1)
    size = chain.visible.shape[-1]
    slot = torch.arange(size, device=first.device)
    prefix = chain.visible[:, :1] | (slot >= window.inputs[:, :1, None]) & (slot < positions[..., None])
    visible = prefix | (slot == slots[..., None])
    return Inputs(
        torch.cat([chain.tokens, siblings.tokens.flatten(1)], 1),
        torch.cat([chain.positions, positions.clamp(max=problem.end - 1)], 1),
        torch.cat([chain.slots, slots], 1),
        torch.cat([chain.visible, visible], 1),
    )


def write(table: Int[Tensor, "b p"], positions: Positions, values: Tokens, where: Mask) -> Int[Tensor, "b p"]:
    """The table by position with some values replaced."""
    return table.scatter(1, positions, torch.where(where, values, table.gather(1, positions)))


def noise_of(state: DecodeState, positions: Positions, dtype: torch.dtype) -> Noise:
    """The noise of some positions in the pass behind ``state``."""
    return Noise(state.seeds, state.noise_keys, positions, state.passes, dtype)
