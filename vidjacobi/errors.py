"""What can go wrong, as the user reads it. The command prints the message and exits with 2."""


class VidjacobiError(Exception):
    """Base of all errors with a message meant for the user: what was wrong and what to do."""


class InvalidArgument(VidjacobiError, ValueError):
    """A number or name outside what is possible."""


class BadInput(VidjacobiError):
    """A video, image or folder that cannot be used."""


class BadCheckpoint(VidjacobiError):
    """Weights or a configuration that do not fit the model."""


class BadModelOutput(VidjacobiError):
    """The model returned something that is not a law."""


class BadOutput(VidjacobiError):
    """A result that cannot be written where it was asked for."""


def check_whole(part: str, name: str, value: object, least: int) -> None:
    """Refuse an option of a part that is no whole number of at least ``least``. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(f"{part}: {name} must be a whole number of at least {least}, not {value!r}")
