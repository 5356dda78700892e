"""The rows of an environment: clips of one session that begin and end at times of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypedDict

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.gym.starts import Start
from vidjacobi.kinds import of_kind, real, value_words, whole
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.session import Session
from vidjacobi.session.actions import Condition

Picture = UInt8[np.ndarray, "H W 3"]
Shown = UInt8[np.ndarray, "n H W 3"]  # the frames of one step


class Decoding(TypedDict, total=False):
    """Arguments by name of a Session that an environment hands on."""

    decoder: str | DecoderConfig
    window: int | None
    sampling: SamplingParams


@dataclass(frozen=True)
class Rules:
    """What makes a world a task.

    Attributes:
        reward: of the frames of a step, uint8 ``[n H W 3]``; None: every reward is 0.
        terminated: of the same, whether the episode is over; None: it never is.
        horizon: steps after which an episode is truncated, >= 1.
    """

    reward: Callable[[Shown], float] | None = None
    terminated: Callable[[Shown], bool] | None = None
    horizon: int = 100

    def __post_init__(self) -> None:
        whole("horizon", self.horizon, 1)
        for name, function in (("reward", self.reward), ("terminated", self.terminated)):
            if function is not None and not callable(function):
                raise InvalidArgument(f"{name} must be a function of frames, not {value_words(function)}")

    def judge(self, frames: Shown, steps: int) -> tuple[float, bool, bool]:
        """(reward, terminated, truncated) after so many steps.

        Raises InvalidArgument for a reward that is no finite number, and for what is neither true nor false.
        """
        reward = 0.0 if self.reward is None else real("the reward", _single(self.reward(frames)))
        if not isfinite(reward):
            raise InvalidArgument(f"the reward is {reward}: it must be a finite number")
        over = False if self.terminated is None else _single(self.terminated(frames))
        # "no" would be true
        return reward, of_kind("terminated", over, bool, "True or False"), steps >= self.horizon


def _single(value: Any) -> Any:
    """The number in an array or a tensor of one; anything else as it is."""
    return value.item() if isinstance(value, Tensor | np.ndarray | np.generic) and not value.shape else value


class Worlds:
    """Clips that are stepped together, each at its own place in its own episode. ``seconds``: of the last step.

    Args:
        starts: where episodes begin, one of which each episode draws.
        rows: clips.
        condition: of ``Session``; None: the model follows no actions, and what is done changes nothing.
    """

    def __init__(
        self,
        model: VideoModel,
        tokenizer: VideoTokenizer,
        starts: Sequence[Start],
        rows: int,
        condition: Condition | None,
        decoding: Decoding,
    ) -> None:
        if not starts:
            raise InvalidArgument("there is no start: give the frames that an episode may begin with")
        self.starts, self._acting = list(starts), condition is not None
        for start in self.starts:  # now, and not when one is drawn after hours
            of_kind("a start", start, Start, "a Start of frames and a name").check(tokenizer, self._acting)
        first = self.starts[0]
        self.session = Session(
            model,
            tokenizer,
            [first.frames] * whole("the number of environments", rows, 1),
            names=[first.name] * rows,
            condition=condition,
            context_actions=[first.actions] * rows,
            **decoding,
        )
        self._steps = np.zeros(rows, np.int64)
        self.seconds = 0.0

    def begin(
        self, row: int, random: np.random.Generator, options: Mapping[str, Any] | None
    ) -> tuple[Picture, dict[str, Any]]:
        """Another episode in a row; its first picture and what is known of it.

        Args:
            random: draws the start, and a number that keys the noise of the episode.
            options: ``start``, the number of the start that is wanted, and ``noise``, the number of the episode.

        Raises InvalidArgument for other options and for a start that is not there.
        """
        asked = dict(of_kind("options", options or {}, Mapping, "a dictionary"))
        # Both are drawn even where they are given: what is drawn after them does not depend on the options.
        index, number = int(random.integers(len(self.starts))), int(random.integers(1 << 62))
        index, number = (
            whole(name, asked.pop(name, own)) for name, own in (("start", index), ("noise", number))
        )
        if asked:
            raise InvalidArgument(f"reset has the options start and noise, not {', '.join(map(str, asked))}")
        if not 0 <= index < len(self.starts):
            raise InvalidArgument(
                f"there is no start {index}: there are {number_of(len(self.starts), 'start')}"
            )
        start = self.starts[index]
        self.session.begin(row, start.frames, f"{start.name}/{number}", context_actions=start.actions)
        self._steps[row] = 0
        return self.seen(row), {"start": index, "noise": number}

    def seen(self, row: int) -> Picture:
        """The last frame given, as the model saw it."""
        return self.session.snapshot().clips[row].chunk.before[-1].numpy().copy()

    def step(self, actions: Sequence[Any]) -> tuple[list[Shown], list[dict[str, Any]]]:
        """Decide the next latent frame of each row; its frames, and what is known of it."""
        done = self.session.step(list(actions) if self._acting else None)
        self._steps += 1
        infos = [{"nfe": passes, "guarantee": done.guarantee} for passes in done.nfe]
        self.seconds = done.seconds  # not in infos: those of one seed and action are equal
        # copies: who draws into what is handed out does not draw into what the session keeps
        return [frames.numpy().copy() for frames in done.frames], infos

    def steps(self, row: int) -> int:
        """Of the episode in a row."""
        return int(self._steps[row])
