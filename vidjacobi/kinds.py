"""The kinds of values that callers and models hand in: numbers, objects with certain members, latent grids, logits.

Whatever is of another kind is refused here, in words that name it. Nothing is computed with the values, so every
call and every pass can be checked. torch is imported where a tensor is looked at, and only there: the process that
reads videos does without it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TypeVar

from typing_extensions import get_protocol_members

from vidjacobi.errors import BadModelOutput, InvalidArgument

T = TypeVar("T")


@dataclass(frozen=True)
class Grid:
    """The latent token grid ``(t, h, w)`` of one clip, read in raster order.

    Cosmos DV8x16x16 at 640x1024 and 33 frames: ``Grid(5, 40, 64)``, 12,800 tokens.
    """

    t: int
    h: int
    w: int

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.h * self.w

    @property
    def tokens(self) -> int:
        """Tokens of the clip."""
        return self.t * self.h * self.w

    def locate(self, position: int) -> tuple[int, int, int]:
        """(t, h, w) of the raster index ``position``, which does not count special tokens."""
        return position // self.frame_tokens, position // self.w % self.h, position % self.w


def whole(name: str, value: object, least: int | None = None) -> int:
    """The argument ``name`` as an int; numpy's whole numbers will do.

    Raises InvalidArgument for anything else, for True and False, and for a number below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidArgument(f"{name} must be a whole number, not {value_words(value)}")
    if least is not None and value < least:
        raise InvalidArgument(f"{name} must be at least {least}, not {value}")
    return int(value)


def real(name: str, value: object) -> float:
    """The argument ``name`` as a float. Raises InvalidArgument for what is no number, and for True and False."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgument(f"{name} must be a number, not {value_words(value)}")
    try:
        return float(value)
    except OverflowError:  # such as 10**400
        raise InvalidArgument(f"{name} is beyond every number that can be computed with") from None


def of_kind(name: str, value: T, kinds: type | tuple[type, ...], words: str) -> T:
    """``value``, if it is an instance of ``kinds``, which are ``words`` to the user. Raises InvalidArgument."""
    if not isinstance(value, kinds):
        raise InvalidArgument(f"{name} must be {words}, not {value_words(value)}")
    return value


def value_words(value: object) -> str:
    """A value in a message: its type, and what it is as far as that fits."""
    text = repr(value)
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) <= 40 and "\n" not in text else f"a {kind}"


def tensor_words(value: object) -> str:
    """A tensor's dtype and shape; the type of anything else."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value_words(value)
    kind = "" if value.layout == torch.strided else f"{str(value.layout).removeprefix('torch.')} "
    return f"{kind}{value.dtype} {list(value.shape)}{' on meta' if value.is_meta else ''}"


def check_members(name: str, value: object, protocol: type) -> None:
    """Raise InvalidArgument, which names what is missing, for an object that lacks members of ``protocol``."""
    missing = [member for member in sorted(get_protocol_members(protocol)) if not hasattr(value, member)]
    if missing:
        raise InvalidArgument(
            f"{name} ({type(value).__name__}) lacks {', '.join(missing)}: vidjacobi.{protocol.__name__} says what it "
            "must offer"
        )


def checked_logits(logits: T, wanted: tuple[int, ...], where: str) -> T:
    """The logits of a call, if they are floating-point numbers ``[clips, inputs, vocabulary]`` of the wanted sizes.

    Raises BadModelOutput.
    """
    from torch import Tensor

    if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted or not logits.is_floating_point():
        raise BadModelOutput(
            f"{where} must return floating-point logits [clips, inputs, vocabulary] = {list(wanted)}, and returned "
            f"{tensor_words(logits)}; vidjacobi.testing.check_model says more"
        )
    return logits


def checked_chunks(chunks: Iterator[T], vocab_size: int, rows: int, keep: int) -> Iterator[T]:
    """The logits that ``prefill`` yields of ``rows`` clips, if there are ``keep`` of each. Raises BadModelOutput."""
    from torch import Tensor

    left = keep
    for chunk in chunks:
        if (
            not isinstance(chunk, Tensor)
            or not chunk.is_floating_point()
            or chunk.ndim != 3
            or (chunk.shape[0], chunk.shape[2]) != (rows, vocab_size)
            or not chunk.shape[1]
        ):
            raise BadModelOutput(
                f"prefill must yield floating-point logits [{rows}, m, {vocab_size}] with m >= 1, and yielded "
                f"{tensor_words(chunk)}; vidjacobi.testing.check_model says more"
            )
        left -= chunk.shape[1]
        if left < 0:
            break
        yield chunk
    if left:
        raise BadModelOutput(
            f"prefill must yield the logits of the last keep={keep} inputs, and yielded "
            f"{'more' if left < 0 else keep - left}: does it ignore keep? vidjacobi.testing.check_model says more"
        )
