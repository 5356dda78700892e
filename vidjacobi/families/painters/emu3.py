"""Pictures of Emu3 and Emu3.5: a text, then the size of the picture in cells.

Sources of the prompt forms: image_generation.py of baaivision/Emu3 and ``Emu3Processor`` of ``transformers``;
configs/example_config_t2i.py of baaivision/Emu3.5, whose model may also say the size itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import BadCheckpoint
from vidjacobi.families import emu3, emu3_layouts
from vidjacobi.families.painters.contract import PainterOptions, Subject, as_one, cells_of, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

FACTOR, FACTOR_3_5 = 8, 16  # pixels of a cell
NO_PIXELS = "BAAI/Emu3.5-VisionTokenizer of the hub, which makes them of these codes, is not built in"


@dataclass(frozen=True)
class Emu3Painter:
    """See ``Painter``. ``negative``: the text that guidance leads away from."""

    family: emu3.Emu3 | emu3_layouts.Emu3Tokens
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
        assert isinstance(self.family, emu3.Emu3)
        return self.family.pixels(tokens, self.grid.h, self.grid.w)

    def _text(self, subject: Subject) -> str:
        text = self.words.check_plain(text_of(subject, "Emu3"))
        return self._sized(self.form.replace("{prompt}", text))

    def _sized(self, text: str) -> str:
        begin = self.words.token("bos_token", "<|extra_203|>")
        image = self.words.token("boi_token", "<|image start|>")
        after = self.words.token("image_wrapper_token", "<|image token|>")
        return f"{begin}{text}{image}{self.grid.h}*{self.grid.w}{after}"


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> Emu3Painter:
    """The model in a folder that ``transformers`` wrote. Raises InvalidArgument, BadCheckpoint."""
    asked = _asked("emu3", Words(path), options, FACTOR)
    return Emu3Painter(emu3.load(path, runtime), *asked)


def open_emu3_5(path: Path, runtime: Runtime, options: PainterOptions) -> Emu3Painter:
    """Emu3.5 in a folder as its authors publish it, with a text tokenizer that ``transformers`` reads: codes only.

    Raises InvalidArgument, BadCheckpoint.
    """
    try:
        words = Words(path)
    except BadCheckpoint as error:
        raise BadCheckpoint(
            f"{error}. Emu3.5's own is code of its authors (src/tokenizer_emu3_ibq of baaivision/Emu3.5), which is "
            "not run here: save it as a tokenizer.json, or decode token ids in Python (docs/families.md)"
        ) from error
    asked = _asked("emu3_5", words, options, FACTOR_3_5)
    return Emu3Painter(emu3_layouts.load_emu3_5(path, runtime), *asked, lacks_pixels=NO_PIXELS)


def _asked(
    family: str, words: Words, options: PainterOptions, factor: int
) -> tuple[Words, str, str, Preset, Grid]:
    """The fields of an ``Emu3Painter`` behind its family. Raises InvalidArgument."""
    options.refuse(family, "tokenizer", "text_encoder", "features")
    facts = load_facts(family)
    preset = facts.preset("image")
    rows, columns = cells_of(options.size, factor, preset.cells)
    assert facts.prompt is not None
    assert facts.negative is not None
    negative = facts.negative if options.negative is None else words.check_plain(options.negative)
    return words, facts.prompt, negative, preset, Grid(1, rows, columns)
