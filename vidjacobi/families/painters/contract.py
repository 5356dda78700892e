"""What a family offers to those who want pictures: ``Painter``; and what a user may ask of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.shapes import Tokens

Size = tuple[int, int]


@dataclass(frozen=True)
class Subject:
    """What a picture is to show: a text, or a class by its name or number.

    Attributes:
        prompt, label: one of the two; neither for a model whose pictures are of nothing in particular.
        row: its place in the list of prompts, from 0 on; the same in a file of caption features.
    """

    prompt: str | None = None
    label: str | int | None = None
    row: int = 0


@dataclass(frozen=True)
class PainterOptions:
    """What a user says about pictures beside the weights.

    Attributes:
        tokenizer: file or folder of what turns tokens into pixels, where it does not come with the weights.
        text_encoder: folder of a T5 encoder and its tokenizer.
        features: an npz file with ``features`` ``[captions, places, channels]`` and their ``mask``.
        size: (height, width) in pixels; None: the family's own.
        negative: the text that guidance leads away from; None: the authors' own.
    """

    tokenizer: Path | None = None
    text_encoder: Path | None = None
    features: Path | None = None
    size: Size | None = None
    negative: str | None = None

    def refuse(self, family: str, *names: str) -> None:
        """Raise InvalidArgument where one of these options is given, which this family has no use for."""
        for name in names:
            if getattr(self, name) is not None:
                raise InvalidArgument(f"{family} has no use for --{name.replace('_', '-')}: leave it out")


@runtime_checkable
class Painter(Protocol):
    """A family that makes pictures, with weights, ready to be asked.

    Attributes:
        preset: how its authors sample and guide; ``guidance`` None: there is no branch to guide against.
        grid: rows and columns of cells; ``grid.tokens`` tokens are decided for a picture.
        lacks_pixels: why no pictures are made of the tokens, and what would; None where they are made.
        notes: what a user should know before waiting for it.
    """

    @property
    def preset(self) -> Preset: ...
    @property
    def grid(self) -> Grid: ...
    @property
    def lacks_pixels(self) -> str | None: ...
    @property
    def notes(self) -> Sequence[str]: ...

    def describe(self, subject: Subject) -> dict[str, Any]:
        """What is fed for a subject, in plain values for a record. Raises InvalidArgument for one it cannot make."""
        ...

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """The model of a picture of each subject, or of one for all where they are one. 1: not guided."""
        ...

    def codes(self, tokens: Tokens) -> Tokens:
        """Decided tokens ``[b n]`` as the codes that its image tokenizer knows."""
        ...

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """Pictures of decided tokens ``[b n]``, in [0, 1]. Never called where ``lacks_pixels`` says why not."""
        ...


def cells_of(size: Size | None, factor: int, default: Sequence[int] | None) -> Size:
    """Rows and columns of a picture of ``size`` pixels, ``factor`` of them a cell; without a size ``default``.

    Raises InvalidArgument for a size that is no whole number of cells.
    """
    if size is None:
        assert default is not None
        return default[0], default[1]
    if any(side % factor or side < factor for side in size):
        raise InvalidArgument(
            f"a picture of {size[1]}x{size[0]} pixels: both sides must be multiples of {factor} for this model"
        )
    return size[0] // factor, size[1] // factor


def text_of(subject: Subject, family: str) -> str:
    """The prompt of a subject. Raises InvalidArgument for a class."""
    if subject.prompt is None:
        raise InvalidArgument(f"{family} makes pictures of texts, it has no class {subject.label!r}")
    return subject.prompt


def as_one(subjects: Sequence[Subject]) -> Sequence[Subject]:
    """The subjects, or the first alone where all show the same: their futures then share a prefill."""
    first = subjects[0]
    same = all((one.prompt, one.label, one.row) == (first.prompt, first.label, first.row) for one in subjects)
    return subjects[:1] if same else subjects
