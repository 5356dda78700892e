"""What of a pass is not the model's forward call: draft, verify, commit. Counted, predicted and measured.

``vidjacobi bench overhead`` prints it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.api import decode
from vidjacobi.estimate.counting import Work
from vidjacobi.estimate.pass_seconds import (
    PERFECT,
    Machine,
    PassShape,
    load_gpu,
    peak_flops,
    seconds_by_part,
    total,
)
from vidjacobi.estimate.scenario import RolloutShape, lengths_of
from vidjacobi.estimate.simulate import decoding, recipe_of, slots_read
from vidjacobi.kinds import Grid
from vidjacobi.loading import outline
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import VideoModel
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

CHUNK = 256  # logits of the context at a time
CONTEXT = 64  # tokens before measured passes: short, so that forward is at its cheapest


class CostFreeModel:
    """A model whose logits have shapes only and cost nothing, in place of ``model``."""

    def __init__(self, model: Any) -> None:
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.prefix_tokens, self.device, self.dtype = model.prefix_tokens, model.device, model.dtype
        self._model = model

    rows_alike = True

    def grid_for(self, frames: int) -> Grid:
        """The model's own."""
        return self._model.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> None:
        """No cache."""

    def prefill(self, tokens: Tokens, cache: Any, keep: int) -> Iterator[Logits]:
        """Logits of the last ``keep`` inputs."""
        for first in range(0, keep, CHUNK):
            yield self._logits(len(tokens), min(CHUNK, keep - first))

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Any
    ) -> Logits:
        """Logits of every input."""
        return self._logits(*tokens.shape)

    def move(self, cache: Any, source: Slots, target: Slots) -> None:
        """Nothing to move."""

    def copy_rows(self, cache: Any, rows: RowIndex, source: Any, source_rows: RowIndex) -> None:
        """Nothing to copy."""

    def _logits(self, rows: int, inputs: int) -> Logits:
        return torch.empty(rows, inputs, self.vocab_size, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class OutsideWork:
    """What a decoder does outside the forward call, for one clip.

    Attributes:
        prefill: the probs of the context that the draft rule wants, and the first token.
        each_pass: draft, verify, commit, and the plan of the next pass.
    """

    prefill: Work
    each_pass: Work


def outside_work(outline: Outline, shape: RolloutShape, compiled: bool = False) -> OutsideWork:
    """Count a decoder's own work, one row.

    ``compiled``: of a pass that a compiler has fused; the prefill is never compiled, and not to be asked about then.
    """
    one = replace(shape, rows=1, contexts=1)
    found = decoding(replace(outline, model=CostFreeModel(outline.model)), one, compiled)
    return OutsideWork(found.prefill, found.outside)


@dataclass(frozen=True)
class OverheadShare:
    """How much of the passes of one decoder at one window lies outside the forward call.

    Attributes:
        decoder, window: of the passes.
        forward: bytes moved or seconds, of one pass.
        outside: the same of everything else.
        share: outside of the pass: of its bytes, or of its seconds.
    """

    decoder: str
    window: int
    forward: float
    outside: float
    share: float


def predict_overhead(
    name: str, gpu_name: str, decoders: Sequence[str], window: int, compiled: bool
) -> list[OverheadShare]:
    """Bytes of a pass of model ``name`` in the middle of a rollout, for each decoder.

    The share is one of time: bytes over bandwidth against the whole pass, which may be bound by arithmetic.
    ``compiled``: as ``--compile`` fuses what is outside of the forward call. Raises InvalidArgument, BadCheckpoint.
    """
    model, gpu = outline(name, torch.bfloat16), load_gpu(gpu_name)
    peak_flops(gpu, "bfloat16")  # refuses a GPU without such a number before anything is counted
    machine, shares = Machine(gpu, PERFECT, "bfloat16"), []
    for decoder in decoders:
        config = load_decoder(decoder)
        shape = RolloutShape(config if config.is_ar else with_window(config, window))
        lengths, moved = lengths_of(model, shape), outside_work(model, shape, compiled).each_pass.moved
        # The pass in the middle of the rollout, when half of the new tokens are decided.
        slots = slots_read(recipe_of(model, shape), (lengths.context + lengths.end) // 2)
        parts = seconds_by_part(machine, model.arithmetic, PassShape(1, shape.window, slots, moved, 0))
        fed = model.arithmetic.matrix_bytes + slots * model.arithmetic.kv_bytes + model.arithmetic.text_bytes
        share = parts["outside"] / total(parts)
        shares.append(OverheadShare(decoder, shape.window, float(fed), float(moved), share))
    return shares


def measure_overhead(model: VideoModel, tokens: int, window: int) -> list[OverheadShare]:
    """Seconds of a pass on this machine, without the prefill and the first pass after it."""
    # Any context will do: steps of a large prime spread its tokens over the vocabulary.
    context = (torch.arange(CONTEXT, device=model.device) * 7919 % model.vocab_size)[None]
    shares = []
    for name, width in (("ar", None), ("pathwise", 16), ("pathwise", window)):
        decoded = decode(model, context, tokens, name, width, measure=True)
        # The first two entries are the prefill and a pass that warms up.
        every, inside = decoded.trace.seconds[2:], decoded.trace.forward_seconds[2:]
        passes, forward = max(1, len(every)), float(inside.sum())
        outside = float(every.sum()) - forward
        share = outside / max(outside + forward, 1e-12)
        shares.append(OverheadShare(name, width or 1, forward / passes, outside / passes, share))
    return shares
