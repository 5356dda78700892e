"""The share of a pass that is not the model's forward call, predicted and measured: `vidjacobi bench overhead`."""

from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass

import torch

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.api import decode
from vidjacobi.estimate.fusing import Fusing
from vidjacobi.estimate.gpus import load_gpu
from vidjacobi.estimate.laws import LawWork, law_work
from vidjacobi.estimate.outlines import outline
from vidjacobi.estimate.pass_model import Machine, PassShape, Speed, pass_seconds, peak, total
from vidjacobi.estimate.request import Request, lengths_of
from vidjacobi.estimate.simulate import read_slots
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import VideoModel
from vidjacobi.sampling.dense import AS_IF_COMPILED

PERFECT = Speed(1.0, 0.0, 0.0)  # bytes and operations only: nobody waits for a launch
CONTEXT = 64  # tokens before measured passes: short, so that forward is at its cheapest


@dataclass(frozen=True)
class Share:
    """Of one decoder at one window.

    Attributes:
        decoder, window: how.
        forward: bytes moved or seconds, of one pass.
        outside: the same of everything else.
        share: outside of the pass: of its bytes, or of its seconds.
    """

    decoder: str
    window: int
    forward: float
    outside: float
    share: float


def predicted(name: str, gpu_name: str, decoders: Sequence[str], window: int, compiled: bool) -> list[Share]:
    """Bytes of a pass of model ``name`` in the middle of a rollout, for each decoder.

    The share is one of time: bytes over bandwidth against the whole pass, which may be bound by arithmetic.
    ``compiled``: as ``--compile`` fuses what is outside of the forward call. Raises InvalidArgument, BadCheckpoint.
    """
    model, gpu = outline(name, torch.bfloat16), load_gpu(gpu_name)
    peak(gpu, "bfloat16")
    machine, shares = Machine(gpu, PERFECT, "bfloat16"), []
    for decoder in decoders:
        request = Request(with_window(load_decoder(decoder), window))
        work, lengths = counted(model, request, compiled), lengths_of(model, request)
        # the pass in the middle of the rollout, when half of the new tokens are decided
        slots = read_slots((lengths.context + lengths.end) // 2, work.inputs, lengths.end)
        shape = PassShape(1, work.inputs, slots, work.each_pass.moved, 0)
        parts = pass_seconds(machine, model.arithmetic, shape)
        fed = model.arithmetic.matrix_bytes + slots * model.arithmetic.kv_bytes + model.arithmetic.text_bytes
        share = parts["laws"] / total(parts)
        shares.append(Share(decoder, window, float(fed), float(work.each_pass.moved), share))
    return shares


def counted(model: Outline, request: Request, compiled: bool) -> LawWork:
    """The decoder's own work in a pass."""
    if not compiled:
        return law_work(model, request)

    def count() -> LawWork:
        AS_IF_COMPILED.set(True)
        return law_work(model, request, Fusing())

    return copy_context().run(count)


def measured(model: VideoModel, tokens: int, window: int) -> list[Share]:
    """Seconds of a pass on this machine, without the prefill and the first pass after it."""
    # any context will do; steps of a large prime spread its tokens over the vocabulary
    context = (torch.arange(CONTEXT, device=model.device) * 7919 % model.vocab_size)[None]
    shares = []
    for name, width in (("ar", None), ("pathwise", 16), ("pathwise", window)):
        decoded = decode(model, context, tokens, name, width, measure=True)
        every, inside = decoded.trace.seconds[2:], decoded.trace.forward_seconds[2:]
        passes, forward = max(1, len(every)), float(inside.sum())
        outside = float(every.sum()) - forward
        share = outside / max(outside + forward, 1e-12)
        shares.append(Share(name, width or 1, forward / passes, outside / passes, share))
    return shares
