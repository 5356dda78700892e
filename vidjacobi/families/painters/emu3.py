"""Pictures of Emu3: a text, then the size of the picture in cells.

Source of the prompt form: image_generation.py of baaivision/Emu3 and ``Emu3Processor`` of ``transformers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.families import emu3
from vidjacobi.families.painters.contract import PainterOptions, Subject, as_one, cells_of, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

FACTOR = 8  # pixels of a cell


@dataclass(frozen=True)
class Emu3Painter:
    """See ``Painter``. ``negative``: the text that guidance leads away from."""

    family: emu3.Emu3
    words: Words
    form: str
    negative: str
    preset: Preset
    grid: Grid
    lacks_pixels: str | None = None
    notes: Sequence[str] = ()

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        text = self._text(subject)
        return {"text": text, "prompt_tokens": len(self.words.ids(text)), "negative": self.negative}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        prompts = [self.words.ids(self._text(subject)) for subject in as_one(subjects)]
        negative = self.words.ids(self._sized(self.negative))
        return self.family.images(prompts, self.grid.h, self.grid.w, negative, guidance)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return self.family.codes(tokens)

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        return self.family.pixels(tokens, self.grid.h, self.grid.w)

    def _text(self, subject: Subject) -> str:
        return self._sized(self.form.replace("{prompt}", self.words.check_plain(text_of(subject, "Emu3"))))

    def _sized(self, text: str) -> str:
        begin = self.words.token("bos_token", "<|extra_203|>")
        image = self.words.token("boi_token", "<|image start|>")
        after = self.words.token("image_wrapper_token", "<|image token|>")
        return f"{begin}{text}{image}{self.grid.h}*{self.grid.w}{after}"


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> Emu3Painter:
    """The model in a folder that ``transformers`` wrote. Raises InvalidArgument, BadCheckpoint."""
    options.refuse("emu3", "tokenizer", "text_encoder", "features")
    facts = load_facts("emu3")
    preset, words = facts.preset("image"), Words(path)
    rows, columns = cells_of(options.size, FACTOR, preset.cells)
    assert facts.prompt is not None
    assert facts.negative is not None
    negative = facts.negative if options.negative is None else words.check_plain(options.negative)
    return Emu3Painter(
        emu3.load(path, runtime), words, facts.prompt, negative, preset, Grid(1, rows, columns)
    )
