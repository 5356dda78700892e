"""Rows of a state: some of them, or two states one below the other."""

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from vidjacobi.decoding.records import mapped
from vidjacobi.decoding.state import DecodeState, Window
from vidjacobi.decoding.strategies.frame_probs import FrameProbsCache
from vidjacobi.sampling.truncated_probs import TruncatedProbs, of_parts
from vidjacobi.shapes import RowIndex

T = TypeVar("T", DecodeState, Window, TruncatedProbs)


def rows_of(record: T, rows: RowIndex) -> T:
    """Some rows of every tensor, in this order."""
    return replace(record, **{part.name: _take(getattr(record, part.name), rows) for part in fields(record)})


def _take(part: Any, rows: RowIndex) -> Any:
    if part is None or isinstance(part, tuple):  # what was written down of the tokens of all rows
        return None
    if isinstance(part, Tensor):
        return part[rows]
    return part.rows(rows) if isinstance(part, FrameProbsCache) else rows_of(part, rows)


def beside(first: DecodeState, second: DecodeState) -> DecodeState:
    """The rows of both states. Where only one has had a window, the other gets one that holds nothing."""
    window = first.window or second.window
    laws = second.laws if first.laws is None else first.laws
    return _join(_with_window(first, window, laws), _with_window(second, window, laws))


def _join(first: T, second: T) -> T:
    pairs = {part.name: (getattr(first, part.name), getattr(second, part.name)) for part in fields(first)}
    return replace(first, **{name: _cat(*pair) for name, pair in pairs.items()})


def _cat(first: Any, second: Any) -> Any:
    if first is None or isinstance(first, tuple):
        return None
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    return first.beside(second) if isinstance(first, FrameProbsCache) else _join(first, second)


def _with_window(state: DecodeState, window: Window | None, laws: TruncatedProbs | None) -> DecodeState:
    """The state, with an empty window of this width (and its laws) if it has had none."""
    if state.window is not None or window is None:
        return state
    rows = len(state.noise_keys)
    empty = {
        part.name: getattr(window, part.name).new_zeros(rows, window.inputs.shape[1])
        for part in fields(window)
    }
    none = laws and of_parts(part.new_zeros(rows, *part.shape[1:]) for part in laws.parts)
    return replace(state, window=Window(**empty), laws=none)


def widened(state: DecodeState, width: int) -> DecodeState:
    """The state as if its last window had been ``width`` positions wide: the slots behind it hold nothing."""
    assert state.window is not None
    missing = width - state.window.inputs.shape[1]

    def longer(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], 1)

    if not missing:
        return state
    return replace(state, window=mapped(state.window, longer), laws=mapped(state.laws, longer))
