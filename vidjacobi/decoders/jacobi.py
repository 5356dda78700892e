"""Decoding a window per pass: evaluate guesses, keep what verification lets through, redraft the rest.

Every decoder of this family is this loop with other parts (draft rule, coupling, verifier).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.distributions import is_finite, law_dtype, laws_of, race
from vidjacobi.drafts import Past
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.law_memory import LawMemory
from vidjacobi.model import Cache
from vidjacobi.noise import Noise, Purpose
from vidjacobi.runtime import Clock
from vidjacobi.shapes import Counts, Laws, Logits, Mask, Positions, Tokens
from vidjacobi.state import (
    Decoded,
    DecodeState,
    Parts,
    PassRecord,
    Problem,
    Progress,
    Trace,
    empty_counts,
    summarise,
)
from vidjacobi.trial import Trial
from vidjacobi.verify import count_accepted, count_decided

BUCKET = 64  # the prefix that attention reads is a multiple of this, so that shapes rarely change


@torch.inference_mode()
def run(problem: Problem) -> Decoded:
    """Decide ``problem.new_tokens`` tokens of every clip."""
    clock = Clock(problem.context.device, problem.measure)
    cache = problem.model.make_cache(problem.context.shape[0], problem.end + 1)
    started = clock.now()
    state, record = start(problem, cache)
    log = [(record, clock.now() - started, clock.now() - started)]
    while (status := read(problem, state, len(log))).open:
        started = clock.now()
        inputs = pass_inputs(problem, state, status.furthest)
        logits = problem.model.forward(*inputs, cache)
        forwarded = clock.now()
        state, record = settle(problem, state, logits)
        log.append((record, clock.now() - started, forwarded - started))
    return finish(problem, state, log)


@dataclass(frozen=True)
class Status:
    """The one host read of a pass."""

    furthest: int  # largest frontier of the batch
    open: bool


def read(problem: Problem, state: DecodeState, passes: int) -> Status:
    """Bring three counts to the host; raise if the model returned something that is no law."""
    frontier = state.frontier
    numbers = torch.stack([frontier.max(), frontier.min(), frontier.sum(), state.finite.long()])
    furthest, nearest, total, finite = numbers.tolist()
    if not finite:
        raise BadModelOutput(
            f"the model's logits of pass {passes} are not finite: check its weights and dtype"
        )
    if problem.observe:
        batch, length = problem.context.shape
        problem.observe(Progress(passes, total - batch * length, batch * problem.new_tokens))
    return Status(furthest, nearest < problem.end)


def parts_of(problem: Problem) -> Parts:
    """The parts, which this method cannot do without."""
    if problem.parts is None:
        raise InvalidArgument("the jacobi method needs a draft rule, a coupling and a verifier")
    return problem.parts


def start(problem: Problem, cache: Cache) -> tuple[DecodeState, PassRecord]:
    """Prefill: decide the first token, draft the rest; remember the last frame's laws if the rule wants them."""
    parts, context = parts_of(problem), problem.context
    length = context.shape[1]
    frame = problem.model.grid_for(1).frame_tokens
    memory = None
    if parts.draft.keeps_laws:
        keep = min(parts.draft.keeps_laws, problem.model.vocab_size)
        memory = LawMemory(context, frame, keep, law_dtype(problem.model.dtype))
    keep = min(frame, length) if memory else 1
    position, finite = length - keep + 1, torch.ones((), dtype=torch.bool, device=context.device)
    for logits in problem.model.prefill(context, cache, keep):
        finite = finite & is_finite(logits)
        laws = laws_of(logits, problem.warp)
        positions = window_of(torch.full_like(problem.streams, position), laws.shape[1])
        if memory:
            memory.remember(positions, laws, torch.ones_like(positions, dtype=torch.bool))
        position += laws.shape[1]
    tokens = empty_counts(problem)
    tokens[:, :length] = context
    frontier = torch.full_like(problem.streams, length)
    noise = noise_of(problem, frontier[:, None], torch.zeros_like(frontier), laws.dtype)
    tokens[:, length : length + 1] = race(laws[:, -1:], noise.exponential(Purpose.GUMBEL, laws.shape[-1]))
    decided_in = empty_counts(problem)
    decided_in[:, length] = 1
    one = torch.ones_like(frontier)
    state = DecodeState(tokens, None, frontier + 1, one, memory, decided_in, empty_counts(problem), finite)
    empty = laws.new_zeros(laws.shape[0], problem.window, laws.shape[-1]) if parts.reads_laws else None
    return refill(problem, state, empty, known=frontier + 1), PassRecord(one, 0 * one, 0 * one, 0 * one)


def pass_inputs(
    problem: Problem, state: DecodeState, furthest: int
) -> tuple[Tokens, Positions, Positions, Bool[Tensor, "b n l"]]:
    """(tokens, positions, slots, visible): the last decided token and the drafts but the last.

    n inputs give the n laws of the window. Inputs that would lie behind the clip go to the spare last slot.
    """
    window = window_of(state.frontier, problem.window)
    positions = (window - 1).clamp(max=problem.end - 1)
    slots = torch.where(window < problem.end, positions, problem.end)
    used = min(problem.end, -(-(furthest - 1 + problem.window) // BUCKET) * BUCKET)
    visible = torch.arange(used, device=window.device) <= positions[..., None]
    return state.tokens.gather(1, window - 1), positions, slots, visible


def settle(problem: Problem, state: DecodeState, logits: Logits) -> tuple[DecodeState, PassRecord]:
    """From logits to the next state: laws, verify, redraft, move the frontier, draft the fresh positions."""
    parts = parts_of(problem)
    target = laws_of(logits, problem.warp)
    window = window_of(state.frontier, problem.window)
    valid = window < problem.end
    drafts = state.tokens.gather(1, window)
    noise = noise_of(problem, window, state.passes, target.dtype)
    trial = Trial(drafts, state.laws, target, noise)
    verdict, redraft = trial.draw(parts.verifier), trial.draw(parts.coupling)

    decided = count_decided(verdict.kept, valid)
    final = torch.arange(problem.window, device=window.device) < decided[:, None]
    tokens = torch.where(final, verdict.tokens, redraft.tokens)
    pending = valid & ~final
    changed = pending & (tokens != drafts)
    if state.memory:
        state.memory.remember(window, target, valid)
    passes = state.passes + valid.any(-1)
    moved = replace(
        state,
        tokens=state.tokens.scatter(1, window, tokens),
        frontier=state.frontier + decided,
        passes=passes,
        decided_in=mark(state.decided_in, window, final, passes),
        redrafted=state.redrafted.scatter_add(1, window, changed.long()),
        finite=state.finite & is_finite(logits),
    )
    accepted = count_accepted(verdict.kept, valid)
    record = PassRecord(decided, accepted, changed.sum(-1), pending.sum(-1))
    laws = shift(target, decided) if parts.reads_laws else None
    return refill(problem, moved, laws, known=state.frontier + problem.window), record


def refill(problem: Problem, state: DecodeState, laws: Laws | None, known: Counts) -> DecodeState:
    """Draft the positions of the window from ``known`` on; ``laws`` holds q of those in front of it."""
    parts = parts_of(problem)
    window = window_of(state.frontier, problem.window)
    past = Past(
        tokens=state.tokens,
        known=known,
        positions=window,
        noise=noise_of(problem, window, state.passes, law_dtype(problem.model.dtype)),
        fresh=parts.coupling.fresh,
        grid=problem.model.grid_for(1),
        memory=state.memory,
        vocab_size=problem.model.vocab_size,
    )
    fresh = parts.draft(past)
    is_fresh = window >= known[:, None]
    tokens = torch.where(is_fresh, fresh.tokens, state.tokens.gather(1, window))
    if laws is not None:
        laws = torch.where(is_fresh[..., None], fresh.laws.dense(laws.shape[-1]), laws)
    return replace(state, tokens=state.tokens.scatter(1, window, tokens), laws=laws)


def finish(problem: Problem, state: DecodeState, log: list[tuple[PassRecord, float, float]]) -> Decoded:
    """Cut out the new tokens and stack the trace."""
    records = [record for record, _, _ in log]
    new = slice(problem.context.shape[1], problem.end)
    trace = Trace(
        decided=torch.stack([r.decided for r in records]).cpu(),
        accepted=torch.stack([r.accepted for r in records]).cpu(),
        changed=torch.stack([r.changed for r in records]).cpu(),
        pending=torch.stack([r.pending for r in records]).cpu(),
        seconds=torch.tensor([seconds for _, seconds, _ in log]),
        forward_seconds=torch.tensor([seconds for _, _, seconds in log]),
        decided_in=state.decided_in[:, new].cpu(),
        redrafted=state.redrafted[:, new].cpu(),
    )
    law = parts_of(problem).verifier.law
    return Decoded(state.tokens[:, new], summarise(problem, law, trace, state.passes), trace)


def window_of(frontier: Counts, size: int) -> Positions:
    """``size`` neighbouring positions from each frontier on."""
    return frontier[:, None] + torch.arange(size, device=frontier.device)


def noise_of(problem: Problem, positions: Positions, passes: Counts, dtype: torch.dtype) -> Noise:
    """The noise of some positions in some pass."""
    return Noise(problem.seed, problem.streams, positions, passes, dtype)


def shift(laws: Laws, count: Counts) -> Laws:
    """Rows moved left by ``count``; what falls in from the right is overwritten by fresh drafts."""
    size = laws.shape[1]
    source = (torch.arange(size, device=laws.device) + count[:, None]).clamp(max=size - 1)
    return laws.gather(1, source[..., None].expand_as(laws))


def mark(marks: Int[Tensor, "b p"], window: Positions, where: Mask, value: Counts) -> Int[Tensor, "b p"]:
    """Write each clip's ``value`` at the positions of the window where ``where`` holds."""
    return marks.scatter(1, window, torch.where(where, value[:, None], marks.gather(1, window)))
