"""Where a played world begins without a clip, and the true world that runs beside it where there is one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.models.codec import tokens_to_frames
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames

Picture = UInt8[np.ndarray, "H W 3"]
CONTEXTS, ACTIONS = "held_out_contexts.npy", "held_out_actions.npy"  # beside bundled weights


@dataclass(frozen=True, eq=False)
class Beginning:
    """The frames given, uint8 RGB ``[T H W 3]``, and the actions between their latent frames."""

    frames: Frames
    actions: tuple[Any, ...] = ()


Begin = Callable[[int], Beginning]  # of a game's number: 0, 1, ...


@runtime_checkable
class TrueWorld(Protocol):
    """The simulator of what a model was trained on. It begins where the model does and is told the same actions."""

    def begin(self, number: int) -> Beginning:
        """Begin anew; what the model is given."""
        ...

    def step(self, action: Any) -> None:
        """Over a latent frame."""
        ...

    def back(self) -> None:
        """Take the last step back."""
        ...

    def picture(self) -> Picture:
        """Of now."""
        ...


class TruePushT:
    """Push-T of ``gym-pusht``, from starts that nano-pusht was not trained on.

    Args:
        frames: that the model is given: as many times the start, in which nothing has moved.
        points: targets of the agent that an action has.
        size: pixels of a picture's side.

    Raises BadInput where ``gym-pusht`` is not installed.
    """

    def __init__(self, frames: int, points: int, size: int) -> None:
        self._frames, self._points, self._size = frames, points, size
        self._number, self._actions = 0, list[Any]()
        self._restart()

    def begin(self, number: int) -> Beginning:
        """See TrueWorld."""
        self._number, self._actions = number, []
        self._restart()
        frames = torch.from_numpy(self.picture()).expand(self._frames, -1, -1, -1)
        stay = torch.from_numpy(np.tile(self._simulator.agent, self._points)).float()
        return Beginning(frames.contiguous(), (stay,) * (self._frames - 1))

    def step(self, action: Any) -> None:
        """See TrueWorld."""
        self._actions.append(action)
        for target in np.asarray(action, np.float64).reshape(self._points, 2):
            self._simulator.step(target)

    def back(self) -> None:
        """See TrueWorld. It is run again from the start, which takes less than a millisecond a step."""
        told = self._actions[:-1]
        self._actions = []
        self._restart()
        for action in told:
            self.step(action)

    def picture(self) -> Picture:
        """See TrueWorld."""
        return self._simulator.picture(self._size)

    def _restart(self) -> None:
        from vidjacobi.eval.policies.worlds import FIRST, start_of

        self._simulator = start_of(FIRST + self._number)


def held_out(weights: Path, tokenizer: VideoTokenizer) -> Begin:
    """Contexts that lie beside the weights, one after the other.

    Raises BadInput where they are missing or damaged.
    """
    try:
        tokens = np.load(weights / CONTEXTS, allow_pickle=False)
        actions = np.load(weights / ACTIONS, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{weights} has no {CONTEXTS} and {ACTIONS} to begin with ({error}): name a CLIP"
        ) from None

    def begin(number: int) -> Beginning:
        own = number % len(tokens)
        frames = tokens_to_frames(torch.from_numpy(tokens[own].astype(np.int64)), tokenizer)
        return Beginning(frames, tuple(torch.from_numpy(actions[own, : len(frames) - 1])))

    return begin


def refused(model: str) -> Begin:
    """Of a model that nothing bundled fits. The function raises InvalidArgument."""

    def begin(number: int) -> Beginning:
        raise InvalidArgument(f"{model} has no start of its own: name a picture or video as CLIP")

    return begin
