"""Pictures of Push-T that are drawn here, without the simulator."""

import math

import numpy as np

from vidjacobi.eval.pusht_poses import COLOURS, GOAL, SIDE, drawn_tees, to_centred

POSES = np.array([[200.0, 180.0, 0.4], [330.0, 300.0, 2.9], [256.0, 256.0, math.pi / 4]])
AGENTS = np.array([[90.0, 400.0], [150.5, 120.25], [420.0, 200.0]])


def picture(agent: np.ndarray | None, pose: np.ndarray | None, size: int = 64) -> np.ndarray:
    """White, the goal, the T over it, the agent over all; drawn at eight times the size and shrunk by area."""
    large = size * 8
    shown = np.broadcast_to(COLOURS[0], (large, large, 3)).copy()
    for colour, where in ((1, GOAL), (2, pose)):
        if where is not None:
            share = drawn_tees(to_centred(where[None]), large)[0].numpy()[..., None]
            shown = shown * (1 - share) + COLOURS[colour] * share
    if agent is not None:
        middle = (np.arange(large) + 0.5) * SIDE / large
        inside = np.hypot(middle - agent[0], middle[:, None] - agent[1]) <= 15
        shown[inside] = COLOURS[3]
    return shown.reshape(size, 8, size, 8, 3).mean((1, 3)).round().astype(np.uint8)
