"""Families whose frames follow actions, as pairs of a model and a video tokenizer: what each asks of actions.

A new one needs a function and a line in ACTED.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.context_tokenizer import PairAsTokenizer
from vidjacobi.families.layout import Condition
from vidjacobi.families.mineworld import ids_of_row
from vidjacobi.families.pairs import IVideoGPTPair, MineWorldPair, load_ivideogpt, load_mineworld
from vidjacobi.families.pusht import load as load_pusht
from vidjacobi.families.pusht_network import WORLD
from vidjacobi.models.action_spec import ActedPair, ActionSpec, FrameActions
from vidjacobi.runtime import Runtime

PUSHT_STEPS = 10  # of gym-pusht a second; an action of nano-pusht is a target of each
# what the ids of an action of MineWorld say, in their order; see ``mineworld.action_ids``
MINEWORLD_IDS = (
    *("begin", "pitch", "yaw", "hotbar", "forward_back", "left_right", "sprint_sneak", "use_attack", "jump"),
    *("drop_pick", "end"),
)


def open_mineworld(path: Path, runtime: Runtime, tokenizer: str | Path | None) -> ActedPair:
    """MineWorld: an action of MineRL a frame, or its 11 ids. Raises BadCheckpoint, InvalidArgument."""
    pair = load_mineworld(path, runtime, tokenizer)
    ids = range(pair.family.visual, pair.family.head.out_features)
    spec = ActionSpec(
        names=MINEWORLD_IDS,
        condition=partial(_mineworld_condition, pair),
        read=partial(ids_of_row, ids=ids),
        no_op=partial(_mineworld_no_op, ids),
    )
    return ActedPair(pair.model, pair.tokenizer, spec)


def open_pusht(path: Path, runtime: Runtime, tokenizer: str | Path | None) -> ActedPair:
    """nano-pusht: the targets (x, y) of the simulator's steps that a frame stands for. Raises BadCheckpoint.

    Nothing is done where the target stays what it was: the agent comes to rest there.
    """
    if tokenizer is not None:
        raise InvalidArgument("nano-pusht brings a tokenizer of its own: leave --tokenizer out")
    family = load_pusht(path, runtime)
    points = family.network.spec.action_points
    spec = ActionSpec(
        names=("target_x", "target_y"),
        condition=_as_it_is,
        per_frame=points,
        fps=PUSHT_STEPS / points,
        low=0.0,
        high=WORLD,
        no_op=partial(_held_target, points),
    )
    return ActedPair(family.world(), family.tokenizer, spec)


def open_ivideogpt(path: Path, runtime: Runtime, tokenizer: str | Path | None) -> ActedPair:
    """iVideoGPT: the numbers that it was trained on, or no actions. Raises BadCheckpoint, InvalidArgument.

    Clips are of one chunk, and begin with as many context frames as it was trained with.
    """
    pair = load_ivideogpt(path, runtime, tokenizer)
    model = pair.family.world(*_context_of(pair), pair.max_frames - pair.context)
    spec = None
    if pair.width:
        names = tuple(f"action_{number}" for number in range(pair.width))
        spec = ActionSpec(names, partial(_ivideogpt_condition, pair))
    return ActedPair(model, PairAsTokenizer(pair), spec)


ACTED: dict[str, Callable[[Path, Runtime, str | Path | None], ActedPair]] = {
    "mineworld": open_mineworld,
    "pusht": open_pusht,
}


# Of these a clip has one chunk: a later one would be given the frames that were made, coded anew at length.
ONE_CHUNK = {"ivideogpt": open_ivideogpt}


def _context_of(pair: IVideoGPTPair) -> tuple[int, int]:
    """Context frames, and the codes of each."""
    return pair.context, pair.tokenizer.spec.side**2


def _ivideogpt_condition(pair: IVideoGPTPair, actions: FrameActions) -> Condition:
    # Row 1 leads from frame 1, the last of two given ones, to the first new one.
    new = actions[pair.context - 1 :]
    return pair.family.given(*_context_of(pair), len(new), new)


def _mineworld_condition(pair: MineWorldPair, actions: FrameActions) -> object:
    return pair.condition([[round(number) for number in row] for row in actions.tolist()])


def _mineworld_no_op(ids: range, before: FrameActions) -> Sequence[float]:
    """No button, and a camera that stays."""
    return [float(number) for number in ids_of_row({}, "no action", ids)]


def _as_it_is(actions: FrameActions) -> FrameActions:
    return actions


def _held_target(points: int, before: FrameActions) -> Sequence[float]:
    """The last target before. Raises InvalidArgument where there was none."""
    if not len(before):
        raise InvalidArgument(
            "nothing is done in Push-T where the target stays what it was, and before the first frame there was "
            "none: give a --context of 2 frames or more"
        )
    return before[-1, -2:].tolist() * points
