"""Actions of a step, and what of a session's past they leave as it was."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import takewhile
from typing import Any

import numpy as np
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import value_words
from vidjacobi.models.protocol import VideoModel, takes_conditions

Condition = Callable[[Sequence[Any]], Any]  # of a clip, out of its actions so far


def check_condition(model: VideoModel, condition: object) -> None:
    """Raise InvalidArgument for what makes no conditions, or where the model wants none or cannot be without."""
    if condition is None:
        if takes_conditions(model) and model.conditions == ():
            raise InvalidArgument(
                "each clip of this model needs a condition: give condition=..., which makes it out of the clip's "
                "actions (`condition` of what vidjacobi.load_family returns, or of the model)"
            )
    elif not callable(condition):
        raise InvalidArgument(
            f"condition must be a function of a clip's actions so far, not {value_words(condition)}"
        )
    elif not takes_conditions(model):
        raise InvalidArgument("this model follows no actions: leave condition out")


def own_actions(actions: object, whose: str) -> tuple[Any, ...]:
    """A clip's actions, copied: the caller may go on writing into its arrays. Raises InvalidArgument."""
    if isinstance(actions, str) or not hasattr(actions, "__len__") or not hasattr(actions, "__iter__"):
        raise InvalidArgument(f"{whose} must be a list of actions, not {value_words(actions)}")
    return tuple(map(_copied, actions))


def _copied(action: Any) -> Any:
    return action.detach().clone() if isinstance(action, Tensor) else deepcopy(action)


def actions_of(
    actions: Sequence[Any] | None, latents: int, clips: int, wanted: bool
) -> list[tuple[Any, ...]]:
    """Copies of the actions of each clip, one for each latent frame; none where none are ``wanted``.

    Raises InvalidArgument.
    """
    if (actions is not None) != wanted:
        raise InvalidArgument(
            "this session follows actions: give step one for each clip"
            if wanted
            else "actions are given, and this session was made without a condition to put them in"
        )
    if actions is None:
        return [()] * clips
    if isinstance(actions, str | dict) or not hasattr(actions, "__len__") or len(actions) != clips:
        raise InvalidArgument(f"actions must be a list with one for each of {number_of(clips, 'clip')}")
    found = [
        own_actions([one] if latents == 1 else one, f"the actions of clip {clip}")
        for clip, one in enumerate(actions)
    ]
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
