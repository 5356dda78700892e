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
