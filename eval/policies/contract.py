"""What a policy sees and says: the scripted ones, and users' own, named as ``package.module:function``."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from vidjacobi.errors import BadInput, InvalidArgument, VidjacobiError
from vidjacobi.eval.policies.pushers import JUDGED
from vidjacobi.eval.pusht_poses import SIDE
from vidjacobi.models.own import TARGET, in_words
from vidjacobi.registry import suggest

Target = Float[np.ndarray, "2"]


@runtime_checkable
class FramePolicy(Protocol):
    """A policy that sees pictures and nothing else: a function, or an object that is called.

    A class is made anew for each episode, with the number of its start, which may seed what is drawn.
    """

    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Any:
        """The next target of the agent.

        Args:
            frames: RGB, all pictures of this episode so far, the newest one last; n grows from 1 on.

        Returns (x, y) in units of the simulator, 0 to 512, y down, held until the next picture (0.2 seconds).
        """
        ...


@dataclass(frozen=True)
class Seen:
    """What there is to see of one episode.

    Attributes:
        frames: all pictures so far.
        agent, tee: read off the newest one; what is lost from sight is where it was.
    """

    frames: UInt8[np.ndarray, "n h w 3"]
    agent: Float[np.ndarray, "2"]
    tee: Float[np.ndarray, "3"]


Act = Callable[[Seen], Target]


@dataclass(frozen=True)
class Policy:
    """A policy by its name.

    Attributes:
        make: what acts in the episode of a start, by the start's number; ``seed`` differs from evaluation to
            evaluation.
        source: the sha256 of the file that a user's own policy is in; empty for the scripted ones.
    """

    name: str
    make: Callable[[int, int], Act]
    source: str = ""


def scripted(name: str) -> Policy:
    """One of ``JUDGED``: it is told where the agent is and how the T lies, read off the newest picture."""

    def make(start: int, seed: int) -> Act:
        acting = JUDGED[name](np.random.default_rng([seed, start]))
        acting.reset()
        return lambda seen: acting.act(seen.agent, seen.tee)

    return Policy(name, make)


def own(name: str) -> Policy:
    """A user's function or class. Importing it runs its code. Raises InvalidArgument, BadInput where that fails."""
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last, so that nothing here hides an installed package
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise InvalidArgument(
                f"--policy {name}: there is no module {error.name!r} in {here} or among the installed packages"
            ) from None
        raise BadInput(f"--policy {name}: importing {module} failed: {in_words(error)}") from error
    except Exception as error:
        raise BadInput(f"--policy {name}: importing {module} failed: {in_words(error)}") from error
    found = getattr(loaded, attribute, None)
    if not callable(found):
        raise InvalidArgument(f"--policy {name}: {module} has no function or class {attribute!r}")
    file = getattr(loaded, "__file__", None)
    source = sha256(Path(file).read_bytes()).hexdigest() if file else ""

    def make(start: int, seed: int) -> Act:
        acting: FramePolicy = calling(name, found, start) if inspect.isclass(found) else found
        return lambda seen: checked(name, calling(name, acting, seen.frames))

    return Policy(name, make, source)


def calling(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What foreign code returns. Raises BadInput where it fails."""
    try:
        return function(*arguments)
    except VidjacobiError:
        raise
    except Exception as error:
        raise BadInput(f"the policy {name} failed: {in_words(error)}") from error


def checked(name: str, target: Any) -> Target:
    """A target. Raises BadInput for what is none: it would be clipped or refused later, without the policy's name."""
    try:
        found = np.asarray(target, float)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (2,) or not np.isfinite(found).all() or found.min() < 0 or found.max() > SIDE:
        raise BadInput(
            f"the policy {name} must return two numbers (x, y) from 0 to {SIDE:g}, and returned {target!r:.80}"
        )
    return found


def policies_of(names: list[str]) -> list[Policy]:
    """Policies by name, scripted or ``package.module:function``. Raises InvalidArgument, BadInput."""
    made = []
    for name in names:
        if name in JUDGED:
            made.append(scripted(name))
        elif TARGET.fullmatch(name):
            made.append(own(name))
        else:
            raise InvalidArgument(
                f"unknown policy {name!r}{suggest(name, JUDGED)}. There are: {', '.join(JUDGED)}; one of your own is "
                "package.module:function"
            )
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InvalidArgument(f"the policy {twice[0]} is named twice")
    return made
