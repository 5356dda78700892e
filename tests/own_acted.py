"""A world model of the user's own whose frames follow actions: two (x, y) a frame, 5 frames a second."""

from hashlib import sha256
from typing import Any

from conditioned_model import ConditionedTiny
from own_model import GRID, VOCAB, BlockTokenizer

from vidjacobi.models.action_spec import ActionSpec, FrameActions
from vidjacobi.runtime import Runtime


def condition(actions: FrameActions) -> int:
    """A number that another action would change."""
    return int.from_bytes(sha256(actions.numpy().tobytes()).digest()[:4])


def load(runtime: Runtime) -> tuple[ConditionedTiny, BlockTokenizer]:
    """A clip needs a condition."""
    return ConditionedTiny(VOCAB, GRID, surprise=0.5, dtype=runtime.dtype), BlockTokenizer()


def held(before: FrameActions) -> list[float]:
    """The last action again."""
    return before[-1, -2:].tolist() * 2


def actions(model: Any, tokenizer: Any) -> ActionSpec:
    """Of robot_sets: numbers of -1 to 7."""
    return ActionSpec(("x", "y"), condition, per_frame=2, fps=5.0, low=-1.0, high=7.0, no_op=held)


load.actions = actions  # type: ignore[attr-defined]


def load_plain(runtime: Runtime) -> tuple[ConditionedTiny, BlockTokenizer]:
    """One action a frame of any rate; nothing is an action that does nothing."""
    return load(runtime)


load_plain.actions = lambda model, tokenizer: ActionSpec(("x", "y"), condition)  # type: ignore[attr-defined]


def load_wrong(runtime: Runtime) -> tuple[ConditionedTiny, BlockTokenizer]:
    """Three numbers."""
    return load(runtime)


load_wrong.actions = lambda model, tokenizer: ActionSpec(("x", "y", "z"), condition)  # type: ignore[attr-defined]
