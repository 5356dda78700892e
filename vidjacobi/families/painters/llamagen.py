"""Pictures of LlamaGen: of an ImageNet class by name or number, or of a caption by the features of a T5 encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import llamagen, llamagen_pixels
from vidjacobi.families.painters.contract import PainterOptions, Size, Subject, as_one, cells_of
from vidjacobi.families.painters.t5_features import CaptionFeatures, FeatureFile, T5Features
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.registry import suggest
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

FACTOR = 16  # pixels of a cell where no image tokenizer says it
LACKS = (
    "name vq_ds16_c2i.pt (classes) or vq_ds16_t2i.pt (captions) of FoundationVision/LlamaGen with --tokenizer"
)


@dataclass(frozen=True)
class LlamaGenPainter:
    """See ``Painter``.

    Attributes:
        captions: features of the captions; None: the model reads classes.
        decoder: of the pixels; None where it is not named.
    """

    family: llamagen.LlamaGen
    preset: Preset
    captions: CaptionFeatures | None
    decoder: llamagen_pixels.LlamaGenPixels | None

    @property
    def grid(self) -> Grid:
        """See Painter."""
        return Grid(1, self.family.side, self.family.side)

    @property
    def lacks_pixels(self) -> str | None:
        """See Painter."""
        return LACKS if self.decoder is None else None

    @property
    def notes(self) -> Sequence[str]:
        """See Painter."""
        return () if self.captions is None else self.captions.notes

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        if self.captions is not None:
            return self.captions.describe(subject)
        number = self._number(subject)
        names = imagenet_names()
        return {"class": number, **({"class_name": names[number]} if number < len(names) else {})}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        subjects = as_one(subjects)
        if self.captions is None:
            return self.family.of_classes([self._number(subject) for subject in subjects], guidance)
        return self.family.of_captions(*self.captions.of(subjects), guidance)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return tokens

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        if self.decoder is None:
            raise InvalidArgument(f"no pictures: {LACKS}")
        return self.decoder.pixels(tokens)

    def _number(self, subject: Subject) -> int:
        if subject.label is None:
            raise InvalidArgument(
                f"this LlamaGen was trained on classes and reads no text: --label in place of {subject.prompt!r:.80}"
            )
        classes = self.family.classes
        number = subject.label if isinstance(subject.label, int) else class_number(subject.label)
        if not 0 <= number < classes:
            raise InvalidArgument(f"class {number}: this model has the numbers 0 to {classes - 1}")
        return number


@cache
def imagenet_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes by number, which torchvision keeps beside its weights."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def class_number(name: str) -> int:
    """The number of an ImageNet class. Raises InvalidArgument for an unknown name."""
    names = {known.casefold(): number for number, known in enumerate(imagenet_names())}
    if name.casefold() not in names:
        near = suggest(name, dict.fromkeys(imagenet_names()))
        raise InvalidArgument(
            f"no class of ImageNet is called {name!r}{near}: a number from 0 on will do too"
        )
    return names[name.casefold()]


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> LlamaGenPainter:
    """The model in a checkpoint file, or in a folder with one. Raises InvalidArgument, BadCheckpoint, BadInput."""
    options.refuse("llamagen", "negative")
    decoder = None if options.tokenizer is None else llamagen_pixels.load(options.tokenizer, runtime)
    side = _side(options.size, FACTOR if decoder is None else decoder.factor)
    family = llamagen.load(path, runtime, side)
    facts, captions = load_facts("llamagen"), None
    if family.reads_captions:
        captions = _captions(options, runtime)
    else:
        options.refuse("a LlamaGen of classes", "text_encoder", "features")
    return LlamaGenPainter(
        family, facts.preset("class" if captions is None else "caption"), captions, decoder
    )


def _side(size: Size | None, factor: int) -> int | None:
    if size is None:
        return None
    rows, columns = cells_of(size, factor, None)
    if rows != columns:
        raise InvalidArgument(f"LlamaGen makes square pictures, not {size[1]}x{size[0]} pixels")
    return rows


def _captions(options: PainterOptions, runtime: Runtime) -> CaptionFeatures:
    if (options.text_encoder is None) == (options.features is None):
        raise InvalidArgument(
            "this LlamaGen reads captions as features of flan-t5-xl: name the folder of such an encoder with "
            "--text-encoder, or an npz file of features and mask with --features; one of the two"
        )
    if options.features is not None:
        return FeatureFile(options.features)
    assert options.text_encoder is not None
    return T5Features(options.text_encoder, runtime)
