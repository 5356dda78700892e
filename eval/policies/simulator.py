"""The true Push-T of ``gym-pusht`` behind a few methods: set a state, step, draw. Needs the extra ``pusht``."""

import os

import numpy as np
from jaxtyping import Float, UInt8

from vidjacobi.errors import BadInput
from vidjacobi.eval.pusht_poses import BOXES, MIDDLE, SIDE, turned

REACH = 16.0  # an agent of radius 15 that is nearer to the T than this touches it


class Simulator:
    """One world. An action is a target (x, y) of the agent in 0 to 512, held for a tenth of a second.

    Raises BadInput where ``gym-pusht`` is not installed.
    """

    def __init__(self) -> None:
        for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # no display, no sound, and no lines about them
            os.environ.setdefault(driver, "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import cv2
            from gym_pusht.envs import PushTEnv
        except ImportError as error:
            raise BadInput(
                f'the true Push-T is not installed ({error}): pip install -e ".[pusht]" in the checkout'
            ) from None
        cv2.setNumThreads(1)  # of one of several workers
        self._env = PushTEnv(obs_type="state")
        self._env.reset(seed=0)

    def reset(self, seed: int) -> None:
        """A start as the environment draws it."""
        self._env.reset(seed=seed)

    def place(self, agent: np.ndarray, pose: np.ndarray) -> None:
        """Set where the agent (at rest) and the T are. The environment's own way to do so puts the T elsewhere."""
        env = self._env
        env.block.angle = float(pose[2])  # first: the position that is set next is that of the turned T
        env.block.position = float(pose[0]), float(pose[1])
        env.block.velocity, env.block.angular_velocity = (0, 0), 0
        env.agent.position, env.agent.velocity = (float(agent[0]), float(agent[1])), (0, 0)
        for body in (env.block, env.agent):
            env.space.reindex_shapes_for_body(body)

    def step(self, target: np.ndarray) -> None:
        """One step of the environment: its controller pulls the agent to the target. Nothing is drawn or judged."""
        from pymunk import Vec2d

        env, target = self._env, Vec2d(float(target[0]), float(target[1]))
        for _ in range(int(1 / (env.dt * env.control_hz))):
            pull = (target - env.agent.position) * env.k_p - env.agent.velocity * env.k_v
            env.agent.velocity += pull * env.dt
            env.space.step(env.dt)

    def push(self, direction: np.ndarray, distance: float, speed: float = 150.0) -> None:
        """Move the agent along a direction of length 1, whatever is in its way: for planning."""
        env = self._env
        env.agent.velocity = tuple(map(float, direction * speed))
        for _ in range(int(distance / speed / 0.02)):
            env.space.step(0.02)

    @property
    def pose(self) -> np.ndarray:
        """Of the T: x, y, angle."""
        return np.array([*self._env.block.position, self._env.block.angle])

    @property
    def agent(self) -> np.ndarray:
        """Its centre."""
        return np.array(self._env.agent.position)

    @property
    def state(self) -> np.ndarray:
        """Agent and pose, five numbers."""
        return np.concatenate([self.agent, self.pose])

    def picture(self, size: int = 64) -> UInt8[np.ndarray, "s s 3"]:
        """Drawn at 512 and shrunk by area. The environment's own small pictures are not smoothed."""
        import cv2
        import pygame

        drawn = self._env._draw()
        width, height = drawn.get_size()
        pixels = np.frombuffer(pygame.image.tobytes(drawn, "RGB"), np.uint8).reshape(height, width, 3)
        return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def distance_to_tee(
    points: Float[np.ndarray, "*n 2"], poses: Float[np.ndarray, "*m 3"]
) -> Float[np.ndarray, "*n"]:
    """From points of the world ``[*n 2]`` to Ts ``[*n 3]``, or to one ``[3]``; 0 inside."""
    across, down = np.moveaxis(np.asarray(points) - poses[..., :2], -1, 0)
    cos, sin = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    # Turned back by the T's angle, so that its two boxes lie along the axes. To a box it is how far a point lies
    # beyond half its width and half its height, 0 where it does not: (0, -10) is 10 away from the bar, which
    # reaches from 0 to 30.
    x, y = cos * across + sin * down, cos * down - sin * across
    sides = [
        np.hypot(
            (abs(x - (x0 + x1) / 2) - (x1 - x0) / 2).clip(0), (abs(y - (y0 + y1) / 2) - (y1 - y0) / 2).clip(0)
        )
        for x0, x1, y0, y1 in BOXES
    ]
    return np.asarray(np.minimum(*sides))


def centre_of(pose: np.ndarray) -> np.ndarray:
    """The T's centre of gravity."""
    return pose[:2] + turned(float(pose[2])) @ np.array([0, MIDDLE])


def inside(pose: np.ndarray, agent: np.ndarray) -> bool:
    """Whether the T's middle and the agent are in the picture."""
    points = np.concatenate([centre_of(pose), agent])
    return bool(((points >= 0) & (points <= SIDE)).all())
