"""Decoding one token per pass: slow, plain, and the oracle of every test. Shares no code with the window loop."""

import torch

from vidjacobi.distributions import is_finite, law_dtype, laws_of, race
from vidjacobi.errors import BadModelOutput
from vidjacobi.noise import Noise, Purpose
from vidjacobi.runtime import Clock
from vidjacobi.shapes import Logits, Tokens
from vidjacobi.state import Decoded, Problem, Progress, Trace, summarise


@torch.inference_mode()
def run(problem: Problem) -> Decoded:
    """Sample each token from the model's law with the position's own Gumbel noise.

    ``problem.window`` is the number of inputs fed per pass: 1, or more to run the forward at the shape of a
    window decoder (the extra inputs repeat the last token and decide nothing), which tells rounding that
    depends on the shape from everything else.
    """
    model, context, width = problem.model, problem.context, problem.window
    batch, length = context.shape
    cache = model.make_cache(batch, problem.end + 1)
    clock = Clock(context.device, problem.measure)
    tokens, times = context, [clock.now()]
    forward_seconds = []
    for count in range(problem.new_tokens):
        started = clock.now()
        if count == 0:
            logits = list(model.prefill(context, cache, 1))[-1]
        else:
            position = torch.arange(width, device=context.device).expand(batch, -1) + length + count - 1
            inside = position.clamp(max=problem.end - 1)
            slots = torch.where(position < problem.end, position, problem.end)
            visible = torch.arange(problem.end, device=context.device) <= inside[..., None]
            logits = model.forward(tokens[:, -1:].expand(-1, width), inside, slots, visible, cache)[:, :1]
        forward_seconds.append(clock.now() - started)
        tokens = torch.cat([tokens, _draw(problem, logits, length + count)], 1)
        times.append(clock.now())
        if problem.observe:
            problem.observe(Progress(count + 1, (count + 1) * batch, problem.new_tokens * batch))
    return _decoded(problem, tokens[:, length:], torch.tensor(times).diff(), torch.tensor(forward_seconds))


def _draw(problem: Problem, logits: Logits, position: int) -> Tokens:
    if not is_finite(logits):
        raise BadModelOutput(f"the model's logits at position {position} are not finite: check its weights")
    passes = torch.zeros_like(problem.streams)
    where = torch.full_like(problem.streams, position)[:, None]
    noise = Noise(problem.seed, problem.streams, where, passes, law_dtype(logits.dtype))
    laws = laws_of(logits, problem.warp)
    return race(laws, noise.exponential(Purpose.GUMBEL, laws.shape[-1]))


def _decoded(
    problem: Problem, tokens: Tokens, seconds: torch.Tensor, forward_seconds: torch.Tensor
) -> Decoded:
    batch, count = tokens.shape
    one = torch.ones(count, batch, dtype=torch.long)
    order = torch.arange(1, count + 1).expand(batch, -1)
    trace = Trace(one, 0 * one, 0 * one, 0 * one, seconds, forward_seconds, order, torch.zeros_like(order))
    nfe = torch.full((batch,), count)
    return Decoded(tokens, summarise(problem, "pathwise", trace, nfe), trace)
