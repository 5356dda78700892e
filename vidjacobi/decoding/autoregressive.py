"""Decoding one token per pass: slow, plain, and the oracle of every test. Shares no code with the window loop."""

import torch

from vidjacobi.decoding.standing import PartialDecode, Steps, finish
from vidjacobi.decoding.state import Problem, Progress
from vidjacobi.decoding.trace import Decoded, Trace, decoded_of
from vidjacobi.errors import BadModelOutput
from vidjacobi.models.protocol import Cache, different, prefill_once
from vidjacobi.runtime import Clock
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.reference import gumbel_max, is_finite, logits_to_probs, probs_dtype
from vidjacobi.shapes import Counts, Logits, Tokens


def run(problem: Problem) -> Decoded:
    """Decide every clip's new tokens."""
    return finish(steps(problem))


@torch.inference_mode()
def steps(problem: Problem) -> Steps:
    """Sample each token from the model's law with the position's own Gumbel noise.

    ``problem.window`` is the number of inputs fed per pass: 1, or more to run the forward at the shape of a
    window decoder (the extra inputs repeat the last token and decide nothing), which tells rounding that
    depends on the shape from everything else.
    """
    model, context, width = problem.model, problem.context, problem.window
    cache = model.make_cache(len(context), problem.end + 1)
    clock = Clock(context.device, problem.measure)
    new, counts = context[:, :0], (problem.ends - problem.starts).tolist()
    seconds, forward_seconds = [], []
    for count in range(problem.new_tokens):
        started = clock.now()
        if count == 0:
            logits = _law_of_the_first(problem, cache)
        else:
            position = torch.arange(width, device=context.device) + problem.starts[:, None] + count - 1
            inside = position.clamp(max=problem.end - 1)
            slots = torch.where(position < problem.end, position, problem.end)
            visible = torch.arange(problem.end, device=context.device) <= inside[..., None]
            logits = model.forward(new[:, -1:].expand(-1, width), inside, slots, visible, cache)[:, :1]
        forward_seconds.append(clock.now() - started)
        new = torch.cat([new, _draw(problem, logits, problem.starts + count)], 1)
        seconds.append(clock.now() - started)
        if problem.observe:
            batch = len(context)
            problem.observe(Progress(count + 1, (count + 1) * batch, problem.new_tokens * batch))
        yield PartialDecode([min(count + 1, most) for most in counts], new.__getitem__)
    return _decoded(problem, new, torch.tensor(seconds), torch.tensor(forward_seconds))


def _law_of_the_first(problem: Problem, cache: Cache) -> Logits:
    """Logits behind the last token of each context; shorter contexts are padded on the right."""
    starts, width = problem.starts, problem.context.shape[1]
    rows = width - int(starts.min()) + 1
    chunks = prefill_once(problem.model, problem.context, problem.sources, cache, rows)
    logits = torch.cat(list(chunks), 1)
    if problem.sources is not None:  # the logits of each different context
        logits = logits[different(problem.sources)[1]]
    last = starts - 1 - (width - rows)
    return logits.gather(1, last[:, None, None].expand(-1, -1, logits.shape[-1]))


def _draw(problem: Problem, logits: Logits, positions: Counts) -> Tokens:
    if not is_finite(logits).all():
        raise BadModelOutput(
            f"the model's logits at position {int(positions[0])} are not finite: check its weights"
        )
    passes = torch.zeros_like(problem.noise_keys)
    noise = Noise(problem.seed, problem.noise_keys, positions[:, None], passes, probs_dtype(logits.dtype))
    laws = logits_to_probs(logits, problem.sampling)
    return gumbel_max(laws, noise.exponential(Purpose.GUMBEL, laws.shape[-1]))


def _decoded(
    problem: Problem, tokens: Tokens, seconds: torch.Tensor, forward_seconds: torch.Tensor
) -> Decoded:
    """All clips run for as long as the longest; what a shorter one got behind its end is cut off."""
    count, nfe = tokens.shape[1], problem.ends - problem.starts
    order = torch.arange(1, count + 1, device=tokens.device).expand_as(tokens)
    inside = order <= nfe[:, None]
    one = inside.T.long().cpu()
    evaluated = torch.cat([problem.starts[None].cpu(), one[1:]])
    marks = torch.where(inside, order, 0).cpu()
    trace = Trace(one, 0 * one, 0 * one, 0 * one, evaluated, seconds, forward_seconds, marks, 0 * marks)
    return decoded_of("identical", torch.where(inside, tokens, -1), trace, nfe.tolist(), problem.shared_by)
