"""What decoding really takes, phase by phase, beside what was predicted (memory.py)."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import torch

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.api import decode
from vidjacobi.errors import BadModelOutput
from vidjacobi.estimate import simulate
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import Cache, VideoModel
from vidjacobi.shapes import Logits, Tokens

_MARK = "vidjacobi phase "


@dataclass(frozen=True)
class Measured:
    """What a phase took, all its visits together.

    Attributes:
        peak: most bytes of tensors at once, beyond those alive before the first phase.
        seconds: of wall time.
    """

    peak: int = 0
    seconds: float = 0.0


class Meter:
    """Peaks and seconds of the phases that ``mark`` begins; ``phases`` has them after the ``with`` block.

    On a GPU they are its caching allocator's, elsewhere those of PyTorch's CPU allocator as its profiler saw them:
    with temporary buffers inside of operations, without the mapped files that weights lie in.
    """

    def __init__(self, device: torch.device) -> None:
        self.phases: dict[str, Measured] = {}
        self._device, self._now, self._since = device, "", 0.0
        self._base = 0
        self._profile = torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        )

    def __enter__(self) -> "Meter":
        if self._device.type == "cuda":
            self._base = torch.cuda.memory_allocated(self._device)
        else:
            self._profile.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mark("")  # ends the last phase
        if self._device.type != "cuda":
            self._profile.__exit__(kind, error, trace)
            self._read_profile()

    def mark(self, name: str) -> None:
        """The current phase ends, and this one begins (or resumes)."""
        if self._device.type == "cuda":
            # Kernels that were launched in this phase belong to it: wait for them.
            torch.cuda.synchronize(self._device)
            self._raise_to(self._now, torch.cuda.max_memory_allocated(self._device) - self._base)
            torch.cuda.reset_peak_memory_stats(self._device)
        now = time.perf_counter()
        if self._now:
            before = self.phases.get(self._now, Measured())
            self.phases[self._now] = replace(before, seconds=before.seconds + now - self._since)
        # On a CPU the profile is read afterwards: this event in it says where the phase begins.
        with torch.profiler.record_function(_MARK + name):
            self._now, self._since = name, now

    def _raise_to(self, name: str, peak: int) -> None:
        if name:
            before = self.phases.get(name, Measured())
            self.phases[name] = replace(before, peak=max(before.peak, peak))

    def _read_profile(self) -> None:
        results: Any = self._profile.profiler
        held, phase = 0, ""
        for event in sorted(results.kineto_results.events(), key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                held += event.nbytes()  # negative where memory is given back
            elif event.name().startswith(_MARK):
                phase = event.name().removeprefix(_MARK)
            else:
                continue
            self._raise_to(phase, held)


def measured(device: torch.device, work: Callable[[], object]) -> Measured:
    """Peak and seconds of ``work``, its result included."""
    with Meter(device) as meter:
        meter.mark("work")
        kept = work()
    del kept
    return meter.phases["work"]


def fill(model: VideoModel, cache: Cache, tokens: Tokens) -> None:
    """A prefill, for its last logits. Raises BadModelOutput unless they are finite."""
    (logits,) = model.prefill(tokens.to(model.device), cache, 1)
    _check(logits)


def one_pass(model: VideoModel, cache: Cache, width: int, slots: int) -> None:
    """A forward call of ``width`` positions that reads ``slots`` slots, of which it fills the last ones.

    Raises BadModelOutput unless all its logits are finite.
    """
    # As decoding does it, a token's slot is its position. Which tokens they are does not matter.
    places = torch.arange(slots - width, slots, device=model.device)[None]
    visible = torch.ones(1, width, slots, dtype=torch.bool, device=model.device)
    _check(model.forward(places % model.vocab_size, places, places, visible, cache))


def _check(logits: Logits) -> None:
    """Look at their sum, which is finite only if all of them are: nothing of their size is made."""
    if not logits.is_meta and not logits.sum().isfinite():
        raise BadModelOutput("the model returned NaN or infinite logits")


class _Enough(Exception):
    """All passes that were asked for have been run."""


class _MarkingModel:
    """A model that marks the beginning and the end of each forward call, and stops after the last one."""

    def __init__(self, model: VideoModel, meter: Meter, passes: int) -> None:
        self._model, self._meter, self._left = model, meter, passes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, *inputs: Any) -> Any:
        """One call of the model."""
        if not self._left:
            raise _Enough
        self._left -= 1
        self._meter.mark("forward")
        logits = self._model.forward(*inputs)
        self._meter.mark("outside")
        return logits


def measure_decoding(
    model: VideoModel, context: Tokens, new_tokens: int, decoder: DecoderConfig, passes: int = 3
) -> dict[str, Measured]:
    """Phases ``prefill``, ``forward`` and ``outside`` of decoding, which is broken off after ``passes`` passes.

    The cache is as large as the whole clip wants it. Raises what ``vidjacobi.decode`` raises.
    """
    with Meter(model.device) as meter:
        meter.mark("prefill")
        with suppress(_Enough):
            decode(_MarkingModel(model, meter, passes), context, new_tokens, decoder)
    return meter.phases


def expected(outline: Outline, shape: RolloutShape) -> dict[str, int]:
    """The peaks that are predicted for the phases of ``measure_decoding``."""
    work = simulate.decoding(outline, shape)
    return {
        "prefill": work.cache + work.prefill.peak,
        "forward": work.cache + work.state + work.forward.peak,
        "outside": work.cache + work.state + work.logits + work.outside.peak,
    }
