"""Pictures of Lumina-mGPT, through Meta's image tokenizer where its file is named.

Source of the prompt form: demo_image_generation.py and convertsation.py of Alpha-VLLM/Lumina-mGPT.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families import chameleon, chameleon_pixels
from vidjacobi.families.painters.contract import PainterOptions, Subject, as_one, cells_of, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

FACTOR = 16  # pixels of a cell; sizes are told in units of 32
LACKS = f"name {chameleon_pixels.PUBLISHED}, with --tokenizer"
START, ROW_END, SIZE = "<racm3:break>", "<reserved08799>", "<reserved08800>"  # SIZE: of no unit at all


@dataclass(frozen=True)
class LuminaPainter:
    """See ``Painter``. ``decoder``: of the pixels; None where it is not named."""

    family: chameleon.Chameleon
    words: Words
    form: str
    preset: Preset
    grid: Grid
    decoder: chameleon_pixels.ChameleonPixels | None = None
    notes: Sequence[str] = ()

    @property
    def lacks_pixels(self) -> str | None:
        """See Painter."""
        return LACKS if self.decoder is None else None

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        text = self._text(subject)
        return {"text": text, "prompt_tokens": len(self.words.ids(text))}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        prompts = [self.words.ids(self._text(subject)) for subject in as_one(subjects)]
        return self.family.images(prompts, self.words.id(START), self.grid.h, self.grid.w, guidance)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return self.family.codes(tokens)

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        if self.decoder is None:
            raise InvalidArgument(f"no pictures: {LACKS}")
        return self.decoder.pixels(self.codes(tokens).view(-1, self.grid.h, self.grid.w))

    def _text(self, subject: Subject) -> str:
        sized = self.form.replace("{width}", str(FACTOR * self.grid.w)).replace(
            "{height}", str(FACTOR * self.grid.h)
        )
        return sized.replace("{prompt}", self.words.check_plain(text_of(subject, "Lumina-mGPT")))


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> LuminaPainter:
    """The model in a folder that ``transformers`` wrote. Raises InvalidArgument, BadCheckpoint."""
    options.refuse("chameleon", "text_encoder", "features", "negative")
    facts = load_facts("chameleon")
    preset, words = facts.preset("image"), Words(path)
    units = [side // chameleon.UNIT for side in preset.cells or ()]
    rows, columns = cells_of(options.size, FACTOR * chameleon.UNIT, units)
    assert facts.prompt is not None
    grid = Grid(1, rows * chameleon.UNIT, columns * chameleon.UNIT)
    ids = {"size": words.id(SIZE), "row_end": words.id(ROW_END)}
    family = replace(chameleon.load(path, runtime), **ids)
    decoder = None if options.tokenizer is None else chameleon_pixels.load(options.tokenizer, runtime)
    if decoder is not None:
        _check(decoder, family, options.tokenizer)
    return LuminaPainter(family, words, facts.prompt, preset, grid, decoder)


def _check(decoder: chameleon_pixels.ChameleonPixels, family: chameleon.Chameleon, path: Path | None) -> None:
    """Raise BadCheckpoint for an image tokenizer that is not of this model's codes."""
    known, made = decoder.network.codes, family.code_count
    if known != made or decoder.network.stride != FACTOR:
        raise BadCheckpoint(
            f"{path} knows {known:,} codes of {decoder.network.stride} pixels, the model makes {made:,} of {FACTOR}"
        )
