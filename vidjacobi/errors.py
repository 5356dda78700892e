"""The errors that users see. The command line prints their message, without a traceback, and exits with 2.

``number_of`` is for messages that count something.
"""


class VidjacobiError(Exception):
    """Base of all errors whose message is meant for the user: what was wrong and what to do about it."""


class InvalidArgument(VidjacobiError, ValueError):
    """A number, a name or a combination of options that is not possible."""


class BadInput(VidjacobiError):
    """A video, image or folder that cannot be used."""


class BadCheckpoint(VidjacobiError):
    """Weights or a configuration that do not fit the model."""


class BadModelOutput(VidjacobiError):
    """The model returned something from which no token can be drawn, such as NaN, or breaks its protocol."""


class BadOutput(VidjacobiError):
    """A result cannot be written where it was asked for."""


def number_of(number: int, noun: str) -> str:
    """A number of things in a message: ``1 frame``, ``24 frames``, ``1,200 passes``."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "ch")) else "s"
    return f"{number:,} {noun}{ending}"
