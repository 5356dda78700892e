"""Actions of a step, and what of a session's past they leave as it was."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of


def actions_of(actions: Sequence[Any] | None, latents: int, clips: int, wanted: bool) -> list[Sequence[Any]]:
    """The actions of each clip, one for each latent frame; none where none are ``wanted``. Raises InvalidArgument."""
    if (actions is not None) != wanted:
        raise InvalidArgument(
            "this session follows actions: give step one for each clip"
            if wanted
            else "actions are given, and this session was made without a condition to put them in"
        )
    if actions is None:
        return [()] * clips
    if isinstance(actions, str) or not hasattr(actions, "__len__") or len(actions) != clips:
        raise InvalidArgument(f"actions must be a list with one for each of {number_of(clips, 'clip')}")
    found = [[one] for one in actions] if latents == 1 else list(actions)
    if wrong := [len(one) for one in found if len(one) != latents]:
        raise InvalidArgument(f"{number_of(wrong[0], 'action')} for {number_of(latents, 'latent frame')}")
    return found


def agreeing(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many actions at the start of both are equal."""
    return sum(1 for _ in takewhile(bool, map(same, first, second)))


def same(first: Any, second: Any) -> bool:
    """Whether two actions are equal, numbers, arrays or whatever else they are."""
    if isinstance(first, Tensor | np.ndarray) or isinstance(second, Tensor | np.ndarray):
        return np.array_equal(np.asarray(first), np.asarray(second))
    return bool(first == second)
