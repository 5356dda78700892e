"""Pictures of nano-image: of one of its classes by name or number."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import nano_image
from vidjacobi.families.painters.contract import PainterOptions, Subject, as_one
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens


@dataclass(frozen=True)
class NanoImagePainter:
    """See ``Painter``."""

    family: nano_image.NanoImage
    preset: Preset
    lacks_pixels: None = None
    notes: Sequence[str] = ()

    @property
    def grid(self) -> Grid:
        """See Painter."""
        return self.family.grid

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        number = self._number(subject)
        return {"class": number, "class_name": self.family.classes[number]}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        return self.family.of_classes([self._number(subject) for subject in as_one(subjects)], guidance)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return tokens

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        return self.family.pixels(tokens)

    def _number(self, subject: Subject) -> int:
        if subject.label is None:
            raise InvalidArgument(
                f"nano-image reads no text: --label CLASS in place of {subject.prompt!r:.80}, one of "
                f"{', '.join(self.family.classes)}"
            )
        return self.family.number(subject.label)


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> NanoImagePainter:
    """The model in a folder. Raises InvalidArgument, BadCheckpoint."""
    options.refuse("nano-image", "tokenizer", "text_encoder", "features", "size", "negative")
    return NanoImagePainter(nano_image.load(path, runtime), load_facts("nano-image").preset("class"))
