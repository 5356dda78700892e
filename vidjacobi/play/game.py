"""One world that is played: a session, its forks, and what the page is told of them."""

import io
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import real
from vidjacobi.play.beginnings import TrueWorld
from vidjacobi.play.controls import Controls, Point
from vidjacobi.session import Session

MOST_ROWS = 4  # that are shown side by side


class Game:
    """Requests of a page, one at a time.

    Args:
        begin: makes a session at its start, with noise of the given number; ``truth`` begins there too.
        controls: of its model.
        truth: the true world, which is told what is done in the world that one acts in; None: there is none.
    """

    def __init__(
        self, begin: Callable[[int], Session], controls: Controls, truth: TrueWorld | None = None
    ) -> None:
        self._begin, self._controls, self._lock, self._truth = begin, controls, threading.Lock(), truth
        self._number, self._passes, self._seconds, self._frames, self._steps = 0, 0, 0.0, 0, 0
        self.session, self._last = begin(0), list[Any]([None])  # and the last action of each world
        self.requests: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "reset": self.reset,
            "step": self.step,
            "fork": self.fork,
            "rewind": self.rewind,
        }

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What a request does: ``{"what": "step", ...}``. Raises InvalidArgument."""
        do = self.requests.get(str(asked.get("what")))
        if do is None:
            raise InvalidArgument(f"a page may ask for {', '.join(self.requests)}, not {asked.get('what')!r}")
        with self._lock:
            return do(asked)

    def reset(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Begin anew with other noise; ``same: true`` with the same."""
        self._number += 0 if asked.get("same") else 1
        self.session = self._begin(self._number)
        self._passes, self._seconds, self._frames, self._steps = 0, 0.0, 0, 0
        self._last = [None]
        return self._state(self._seen())

    def step(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Decide the next latent frame: ``keys`` and ``pointer`` act in the row ``row``, nobody in the others."""
        actions, row = None, 0
        if self._controls.condition is not None:
            row = asked.get("row", 0)
            if not isinstance(row, int) or not 0 <= row < len(self.session):
                raise InvalidArgument(f"there is no world {row!r}: there are {len(self.session)}")
            keys, pointer = _keys(asked.get("keys")), _point(asked.get("pointer"))
            actions = [
                # Nobody acts in the other worlds: what that means is for the controls to say.
                self._controls.action(*((keys, pointer) if index == row else ([], None)), last)
                for index, last in enumerate(self._last)
            ]
        step = self.session.step(actions)
        if self._truth and actions:
            self._truth.step(actions[row])
        self._last = actions or self._last
        self._steps += 1
        self._passes += step.decoded.stats.passes
        self._seconds += step.seconds
        self._frames += len(step.frames[0])
        return {**self._state([frames.numpy() for frames in step.frames]), "guarantee": step.guarantee}

    def fork(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Every world twice: with the same noise, or with ``fresh: true`` with noise of their own."""
        if 2 * len(self.session) > MOST_ROWS:
            raise InvalidArgument(
                f"at most {number_of(MOST_ROWS, 'world')} side by side: reset begins anew with one"
            )
        self.session = self.session.fork(2, crn=not asked.get("fresh"))
        # In the order in which the session lays its copies: A A B B.
        self._last = [last for last in self._last for _ in range(2)]
        return self._state(self._seen())

    def rewind(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Take the last latent frame back."""
        self.session.rewind(1)
        if self._truth:
            self._truth.back()
        return self._state(self._seen())

    def _seen(self) -> list[np.ndarray]:
        return [frames.numpy()[-1:] for frames in self.session.seen()]

    def _state(self, shown: Sequence[np.ndarray]) -> dict[str, Any]:
        return {
            "worlds": [[picture(frame) for frame in frames] for frames in shown],
            "latents": max(self.session.latents),
            "passes": round(self._passes / self._steps, 2) if self._steps else None,
            "fps": round(self._frames / self._seconds, 2) if self._seconds else None,
            "truth": picture(self._truth.picture()) if self._truth else None,
        }


def picture(frame: np.ndarray) -> str:
    """A frame as the address of a PNG."""
    made = io.BytesIO()
    Image.fromarray(frame).save(made, "PNG", compress_level=1)
    return f"data:image/png;base64,{b64encode(made.getvalue()).decode()}"


def _keys(found: object) -> list[str]:
    if not isinstance(found, list | None) or not all(isinstance(code, str) for code in found or ()):
        raise InvalidArgument("keys must be a list of names")
    return found or []


def _point(found: object) -> Point | None:
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 2:
        raise InvalidArgument("pointer must be [x, y], from 0 to 1")
    x, y = (real("a side of the pointer", side) for side in found)
    return x, y
