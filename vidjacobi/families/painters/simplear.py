"""Pictures of SimpleAR, whose codes are those of the Cosmos tokenizer DV8x16x16, one latent frame.

Source of the prompt form: generate.py of wdrink/SimpleAR.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.tokenizer.model import CosmosTokenizer
from cosmos_adapter.tokenizer.weights import load_tokenizer
from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families import simplear
from vidjacobi.families.painters.contract import PainterOptions, Subject, as_one, cells_of, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

FACTOR = 16  # pixels of a cell
LACKS = "name the Cosmos tokenizer DV8x16x16 (nvidia/Cosmos-1.0-Tokenizer-DV8x16x16) with --tokenizer FOLDER"


@dataclass(frozen=True)
class SimpleARPainter:
    """See ``Painter``. ``tokenizer``: of the pixels; None where it is not named."""

    family: simplear.SimpleAR
    words: Words
    form: str
    negative: str
    preset: Preset
    grid: Grid
    tokenizer: CosmosTokenizer | None
    notes: Sequence[str] = ()

    @property
    def lacks_pixels(self) -> str | None:
        """See Painter."""
        return LACKS if self.tokenizer is None else None

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        text = self._text(subject)
        return {"text": text, "prompt_tokens": len(self.words.ids(text)), "negative": self.negative}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        prompts = [self.words.ids(self._text(subject)) for subject in as_one(subjects)]
        return self.family.images(prompts, self.grid.h, self.words.ids(self.negative), guidance)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return self.family.codes(tokens)

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        if self.tokenizer is None:
            raise InvalidArgument(f"no pictures: {LACKS}")
        return self.tokenizer.to_frames(self.codes(tokens).view(-1, 1, self.grid.h, self.grid.w))[:, :, 0]

    def _text(self, subject: Subject) -> str:
        return self.form.replace("{prompt}", self.words.check_plain(text_of(subject, "SimpleAR")))


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> SimpleARPainter:
    """The model in a folder that ``transformers`` wrote. Raises InvalidArgument, BadCheckpoint."""
    options.refuse("simplear", "text_encoder", "features")
    facts = load_facts("simplear")
    preset, words = facts.preset("image"), Words(path)
    rows, columns = cells_of(options.size, FACTOR, preset.cells)
    if rows != columns:
        raise InvalidArgument(f"SimpleAR makes square pictures, not {columns} x {rows} cells")
    assert facts.prompt is not None
    assert facts.negative is not None
    tokenizer = None
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer, runtime.device, runtime.dtype)
    family = simplear.load(path, runtime, len(words))  # as the authors' code, which subtracts len(tokenizer)
    codes = family.network.lm_head.out_features - family.first
    if codes < 1 or (tokenizer is not None and tokenizer.vocab_size > codes):
        raise BadCheckpoint(
            f"{path}: {len(words):,} tokens of its text tokenizer leave {max(codes, 0):,} of "
            f"{family.network.lm_head.out_features:,} ids for codes: they do not belong together"
        )
    negative = facts.negative
    if options.negative is not None:
        negative = facts.prompt.replace("{prompt}", words.check_plain(options.negative))
    return SimpleARPainter(family, words, facts.prompt, negative, preset, Grid(1, rows, columns), tokenizer)
