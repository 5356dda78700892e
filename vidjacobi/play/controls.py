"""From keys and the pointer to the action of a latent frame. Adding a model's: a class and a line in CONTROLS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.loading import load
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.play.beginnings import Begin, TruePushT, TrueWorld, held_out, refused
from vidjacobi.runtime import Runtime, choose
from vidjacobi.session.actions import Condition

Point = tuple[float, float]  # of the picture, from 0, 0 at the top left to 1, 1


@runtime_checkable
class Controls(Protocol):
    """What a model can be told.

    Attributes:
        keys: ``KeyboardEvent.code`` -> what it does, for the page; empty: none are looked at.
        pointer: what the pointer does, in words; empty: nothing.
        condition: of ``Session``; None: the model follows no actions.
    """

    @property
    def keys(self) -> dict[str, str]: ...

    @property
    def pointer(self) -> str: ...

    @property
    def condition(self) -> Condition | None: ...

    def action(self, keys: Sequence[str], pointer: Point | None, last: Any) -> Any:
        """The action of the next latent frame, while these keys are held and the pointer is there.

        ``last``: the action before it, None at the start. No keys and no pointer: nobody acts.
        """
        ...


@dataclass(frozen=True)
class NoControls:
    """Of models that follow no actions: the world goes on by itself."""

    keys: dict[str, str]
    pointer: str = ""
    condition: Condition | None = None

    def action(self, keys: Sequence[str], pointer: Point | None, last: Any) -> None:
        """Nothing can be done."""


class MineWorldControls:
    """MineRL's buttons and camera."""

    BUTTONS: ClassVar = {
        "KeyW": "forward",
        "KeyS": "back",
        "KeyA": "left",
        "KeyD": "right",
        "Space": "jump",
        "ShiftLeft": "sneak",
        "KeyE": "use",
        "KeyF": "attack",
    }
    TURNS: ClassVar = {
        "ArrowUp": (-15, 0),
        "ArrowDown": (15, 0),
        "ArrowLeft": (0, -15),
        "ArrowRight": (0, 15),
    }  # degrees

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.keys = {**self.BUTTONS, **{code: f"turn {code[5:].lower()}" for code in self.TURNS}}
        self.pointer = ""

    def action(self, keys: Sequence[str], pointer: Point | None, last: Any) -> dict[str, Any]:
        """A dictionary of MineRL."""
        turns = [self.TURNS[code] for code in keys if code in self.TURNS]
        camera = [sum(turn[axis] for turn in turns) for axis in (0, 1)]
        return {**{self.BUTTONS[code]: 1 for code in keys if code in self.BUTTONS}, "camera": camera}


class PushTControls:
    """The pointer is where the agent is pulled to."""

    pointer = "where the agent is pulled to"
    WORLD = 512.0  # units of the simulator's picture

    def __init__(self, condition: Condition, points: int) -> None:
        self.keys: dict[str, str] = {}
        self.condition, self._points = condition, points

    def action(self, keys: Sequence[str], pointer: Point | None, last: Any) -> torch.Tensor:
        """The same point for every step of the simulator that a latent frame stands for; without one, the last."""
        if pointer is None and last is not None:
            return last
        x, y = (min(max(side, 0.0), 1.0) * self.WORLD for side in pointer or (0.5, 0.5))
        return torch.tensor([x, y] * self._points, dtype=torch.float32)


@dataclass(frozen=True)
class Playable:
    """A model that is played, and its controls.

    Attributes:
        begin: where it begins without a clip; None: with the bundled one.
        truth: the true world beside it, or None; ``note``: why there is none, where there could be.
    """

    model: VideoModel
    tokenizer: VideoTokenizer
    controls: Controls
    begin: Begin | None = None
    truth: TrueWorld | None = None
    note: str = ""


def open_mineworld(path: Path, runtime: Runtime, tokenizer: str | None) -> Playable:
    """MineWorld. Raises BadCheckpoint."""
    from vidjacobi.families.pairs import load_mineworld

    pair = load_mineworld(path, runtime, tokenizer)
    return Playable(pair.model, pair.tokenizer, MineWorldControls(pair.condition), refused("MineWorld"))


def open_pusht(path: Path, runtime: Runtime, tokenizer: str | None) -> Playable:
    """nano-pusht, with the true Push-T beside it where that is installed. Raises BadCheckpoint, BadInput."""
    from vidjacobi.families.pusht import load as load_pusht

    if tokenizer is not None:
        raise InvalidArgument("nano-pusht brings a tokenizer of its own: leave --tokenizer out")
    family = load_pusht(path, runtime)
    points, frames = family.network.spec.action_points, family.network.grid.t // 2
    parts = family.world(), family.tokenizer, PushTControls(family.condition, points)
    try:
        truth = TruePushT(frames, points, family.tokenizer.frame_size[0])
    except BadInput as error:
        return Playable(*parts, held_out(path, family.tokenizer), note=f"no simulator beside it: {error}")
    return Playable(*parts, truth.begin, truth)


CONTROLS: dict[str, Callable[[Path, Runtime, str | None], Playable]] = {
    "mineworld": open_mineworld,
    "pusht": open_pusht,
}


def open_playable(name: str, device: str, dtype: str, tokenizer: str | None) -> Playable:
    """The model of a name, as ``vidjacobi rollout --model`` takes it. Raises InvalidArgument, BadCheckpoint."""
    from vidjacobi.families.opening import family_name

    family = family_name(name)
    if family is None:
        return Playable(*load(name, device, dtype, tokenizer), NoControls({}))
    if family.family not in CONTROLS:
        raise InvalidArgument(
            f"{family.family} cannot be played: of the families only {', '.join(CONTROLS)} can be stepped"
        )
    return CONTROLS[family.family](family.weights, choose(device, dtype), tokenizer)
