"""Pictures of ImageGPT: of nothing in particular, so that nothing is asked for but how many."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import imagegpt
from vidjacobi.families.painters.contract import PainterOptions, Subject
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens


@dataclass(frozen=True)
class ImageGptPainter:
    """See ``Painter``."""

    family: imagegpt.ImageGPT
    preset: Preset
    lacks_pixels: str | None = None
    notes: Sequence[str] = ()

    @property
    def grid(self) -> Grid:
        """See Painter: a cell is a pixel."""
        return self.family.grid

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        if subject.prompt is not None or subject.label is not None:
            asked = subject.prompt if subject.label is None else f"class {subject.label}"
            raise InvalidArgument(
                f"ImageGPT reads no text and knows no classes: leave {asked!r:.80} out, and say how many pictures "
                "with --samples"
            )
        return {}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        return self.family.images()

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return tokens

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        return self.family.pixels(tokens)


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> ImageGptPainter:
    """The model in a folder that ``transformers`` wrote. Raises InvalidArgument, BadCheckpoint."""
    options.refuse("imagegpt", "tokenizer", "text_encoder", "features", "size", "negative")
    family = imagegpt.load(path, runtime)
    lacks = (
        None if family.colours is not None else f"{path} has no {imagegpt.COLOURS}, which says the colours"
    )
    return ImageGptPainter(family, load_facts("imagegpt").preset("image"), lacks)
