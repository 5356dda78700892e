"""Whether a rollout or a batch fits in memory, asked before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.memory_model import (
    Adjustment,
    Memory,
    Setting,
    fewer_rows,
    fewer_samples,
    make_fit,
    memory_of,
    offloading,
    other_dtype,
    smaller_window,
)
from vidjacobi.estimate.request import Request
from vidjacobi.models.outline import Outline
from vidjacobi.runtime import Runtime, describe_device, free_memory, gib

# A setting whose weights and cache are at most this share of the memory is not simulated, which takes seconds:
# everything together is 1.1 times as much for the 4B model and 4 times for nano.
SURELY = 1 / 8


@dataclass(frozen=True)
class Place:
    """Where it would run: a device that is here, or a GPU by its data sheet.

    Attributes:
        name: for people.
        dtype, reason: of the weights, and why.
        room: bytes for tensors.
        free: what ``room`` is, in words.
        may_offload: whether weights can leave it for the host.
    """

    name: str
    dtype: torch.dtype
    reason: str
    room: int
    free: str
    may_offload: bool


@dataclass(frozen=True)
class Ask:
    """What is asked for.

    Attributes:
        outline: made for a dtype.
        request: frames, decoder and rows.
        offload, beside, stream: as in ``Setting``.
        rows_flag: the flag that ``request.rows`` comes from, of a batch.
    """

    outline: Callable[[torch.dtype], Outline]
    request: Request
    offload: bool = False
    beside: bool = False
    stream: bool = False
    rows_flag: str = "--rows"

    def setting(self, dtype: torch.dtype) -> Setting:
        """In a dtype."""
        return Setting(
            self.outline(dtype), self.request, self.offload, beside=self.beside, stream=self.stream
        )

    def knobs(self, place: Place) -> list[Adjustment]:
        """What costs least first: the same tokens, then fewer at a time."""
        knobs: list[Adjustment] = [offloading] if place.may_offload else []
        if place.dtype != torch.bfloat16:
            knobs.append(other_dtype("bfloat16", lambda: self.outline(torch.bfloat16)))
        fewer = [fewer_rows(self.rows_flag)] if self.beside else [fewer_samples]
        return [*knobs, *fewer, smaller_window]


def here(runtime: Runtime, share: int = 1) -> Place:
    """A device that is here, used by ``share`` workers."""
    name, room = describe_device(runtime.device), free_memory(runtime.device) // share
    free = "free now" if share == 1 else f"free now for each of {share} workers"
    return Place(name, runtime.dtype, runtime.reason, room, free, runtime.device.type != "cpu")


def admit(ask: Ask, place: Place, memory: Memory) -> None:
    """Refuse what does not fit. Raises InvalidArgument with the flags that would make it fit, if there are any."""
    if memory.peak > place.room:
        raise InvalidArgument(_refusal(ask, ask.setting(place.dtype), memory, place))


def _refusal(ask: Ask, setting: Setting, memory: Memory, place: Place) -> str:
    """Why not, and what to do."""
    why = (
        f"this {'batch' if ask.beside else 'rollout'} would not fit: {gib(memory.peak)} in its phase "
        f"{memory.worst!r} (predicted), {gib(place.room)} {place.free} on {place.name}"
    )
    flags = make_fit(setting, place.room, ask.knobs(place))
    if flags is None:
        return f"{why}. No smaller window or batch makes it fit: use a larger device or a smaller model"
    return f"{why}. It would with {' '.join(flags)}"


def check(ask: Ask, place: Place) -> None:
    """As ``admit``, and quick for a model that is far too small to matter. Raises InvalidArgument."""
    setting = ask.setting(place.dtype)
    if setting.least > SURELY * place.room:
        admit(ask, place, memory_of(setting))
