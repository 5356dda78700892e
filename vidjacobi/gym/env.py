"""One world as ``gymnasium.Env``."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from typing_extensions import Unpack

from vidjacobi.errors import InvalidArgument
from vidjacobi.gym.starts import Start
from vidjacobi.gym.worlds import Decoding, Picture, Rules, Shown, Worlds
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.session.actions import Condition


class WorldModelEnv(gymnasium.Env[np.ndarray, Any]):
    """A world model to act in. A step is a latent frame; what is seen is its last frame, uint8 ``[H W 3]``.

    ``info`` of a step has ``frames``, all frames of the latent frame ``[n H W 3]``, ``nfe`` and the decoder's
    ``guarantee``; the wall time is ``worlds.seconds``. ``reset(seed=...)`` fixes start, noise and so everything that
    follows from the actions; its options ``start`` and ``noise`` choose them by number: episodes of one noise have
    common random numbers.

    Args:
        model, tokenizer: from ``vidjacobi.load``, of a family, or your own.
        starts: where episodes begin (``starts_of`` reads them from a dataset).
        action_space: of what ``condition`` takes. By default there is one action, which does nothing.
        condition: of ``vidjacobi.session.Session``; None: the model follows no actions.
        reward, terminated, horizon: see ``vidjacobi.gym.worlds.Rules``.
        render_mode: ``rgb_array``, ``human`` (a window, needs pygame) or None.
        decoding: decoder, window and sampling of the session.

    Raises InvalidArgument for what does not fit together.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        model: VideoModel,
        tokenizer: VideoTokenizer,
        starts: Sequence[Start],
        *,
        action_space: spaces.Space[Any] | None = None,
        condition: Condition | None = None,
        reward: Callable[[Shown], float] | None = None,
        terminated: Callable[[Shown], bool] | None = None,
        horizon: int = 100,
        render_mode: str | None = None,
        **decoding: Unpack[Decoding],
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InvalidArgument(f"render_mode must be rgb_array, human or None, not {render_mode!r}")
        self.render_mode = render_mode
        self.action_space = acting_space(action_space, condition)
        self.observation_space = pictures(tokenizer)
        self._rules = Rules(reward, terminated, horizon)
        self.worlds = Worlds(model, tokenizer, starts, 1, condition, decoding)
        self._shown: Picture | None = None
        self._window: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode. Raises InvalidArgument for unknown options."""
        super().reset(seed=seed)
        self._shown, info = self.worlds.begin(0, self.np_random, options)
        self._show()
        return self._shown.copy(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Decide the next latent frame."""
        if self._shown is None:
            raise InvalidArgument("an episode begins with reset")
        (frames,), (info,) = self.worlds.step([action])
        reward, terminated, truncated = self._rules.judge(frames, self.worlds.steps(0))
        self._shown = frames[-1].copy()
        self._show()
        return self._shown.copy(), reward, terminated, truncated, {**info, "frames": frames}

    def render(self) -> Any:
        """The last frame in mode ``rgb_array``; in mode ``human`` it is in the window already."""
        return self._shown.copy() if self.render_mode == "rgb_array" and self._shown is not None else None

    def _show(self) -> None:
        if self.render_mode != "human" or self._shown is None:
            return
        try:
            import pygame
        except ImportError as error:
            raise InvalidArgument("render_mode human needs pygame: pip install pygame") from error
        height, width = self._shown.shape[:2]
        size = (width * max(1, 480 // width), height * max(1, 480 // width))
        if self._window is None:
            pygame.display.init()
            self._window = pygame.display.set_mode(size)
        picture = pygame.surfarray.make_surface(self._shown.swapaxes(0, 1))
        self._window.blit(pygame.transform.scale(picture, size), (0, 0))
        pygame.event.pump()
        pygame.display.flip()

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            import pygame

            pygame.display.quit()
            self._window = None


def pictures(tokenizer: VideoTokenizer) -> spaces.Box:
    """Of frames of a tokenizer."""
    return spaces.Box(0, 255, (*tokenizer.frame_size, 3), np.uint8)


def acting_space(space: spaces.Space[Any] | None, condition: Condition | None) -> spaces.Space[Any]:
    """The space of actions. Raises InvalidArgument where a condition has no space, or the reverse."""
    if (space is None) != (condition is None):
        raise InvalidArgument(
            "a model that follows actions needs both: condition, and the action_space of what it takes"
        )
    return spaces.Discrete(1) if space is None else space
