"""Many worlds in one batch as ``gymnasium.vector.VectorEnv``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from typing_extensions import Unpack

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.gym.env import acting_space, pictures
from vidjacobi.gym.starts import Start
from vidjacobi.gym.worlds import Decoding, Rules, Shown, Worlds
from vidjacobi.kinds import whole
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.session.actions import Condition


class WorldModelVectorEnv(VectorEnv[np.ndarray, Any, np.ndarray]):
    """``num_envs`` worlds, which are rows of one batch: each gives what a ``WorldModelEnv`` of its seed gives.

    An episode that is over is begun anew in the same step (``AutoresetMode.SAME_STEP``): the observation is the first
    of the new episode, and ``infos`` has ``final_obs`` and ``final_info`` of the old one. Row i of ``reset(seed=s)``
    has the seed s + i. Arguments are those of ``WorldModelEnv``.
    """

    metadata = {  # noqa: RUF012 - as Gymnasium has it
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        model: VideoModel,
        tokenizer: VideoTokenizer,
        starts: Sequence[Start],
        num_envs: int,
        *,
        action_space: spaces.Space[Any] | None = None,
        condition: Condition | None = None,
        reward: Callable[[Shown], float] | None = None,
        terminated: Callable[[Shown], bool] | None = None,
        horizon: int = 100,
        render_mode: str | None = None,
        **decoding: Unpack[Decoding],
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise InvalidArgument(f"render_mode of a vector must be rgb_array or None, not {render_mode!r}")
        self.render_mode = render_mode
        self._rules = Rules(reward, terminated, horizon)
        self.worlds = Worlds(model, tokenizer, starts, num_envs, condition, decoding)
        self.num_envs = num_envs
        self.single_action_space = acting_space(action_space, condition)
        self.single_observation_space = pictures(tokenizer)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._random = [np.random.default_rng() for _ in range(num_envs)]
        self._shown: np.ndarray | None = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every row. Raises InvalidArgument for another number of seeds."""
        seeds: Sequence[int | None] = [None] * self.num_envs
        if isinstance(seed, Sequence | np.ndarray):
            seeds = list(seed)
        elif seed is not None:
            seeds = [whole("the seed", seed) + row for row in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise InvalidArgument(f"{number_of(len(seeds), 'seed')} for {self.num_envs} environments")
        # As ``gymnasium.Env.reset`` does it: a row draws what an environment of its seed draws.
        self._random = [
            old if own is None else np_random(whole("the seed", own, 0))[0]
            for own, old in zip(seeds, self._random, strict=True)
        ]
        infos: dict[str, Any] = {}
        seen = []
        for row in range(self.num_envs):
            first, info = self.worlds.begin(row, self._random[row], options)
            seen.append(first)
            infos = self._add_info(infos, info, row)
        self._shown = np.stack(seen)
        return self._shown.copy(), infos

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Decide the next latent frame of every row in one batch."""
        if self._shown is None:
            raise InvalidArgument("an episode begins with reset")
        frames, told = self.worlds.step(list(iterate(self.action_space, actions)))
        judged = [self._rules.judge(own, self.worlds.steps(row)) for row, own in enumerate(frames)]
        rewards = np.array([reward for reward, _, _ in judged], np.float64)
        terminated, truncated = (np.array([own[part] for own in judged], np.bool_) for part in (1, 2))
        infos: dict[str, Any] = {}
        for row, own in enumerate(frames):
            self._shown[row], info = own[-1], {**told[row], "frames": own}
            if terminated[row] or truncated[row]:
                infos = self._add_info(infos, {"final_obs": own[-1], "final_info": info}, row)
                self._shown[row], info = self.worlds.begin(row, self._random[row], None)
            infos = self._add_info(infos, info, row)
        return self._shown.copy(), rewards, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The last frame of every row, in mode ``rgb_array``."""
        return None if self.render_mode is None or self._shown is None else tuple(self._shown.copy())
