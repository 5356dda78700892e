"""Pictures of GLM-Image, as tokens of a preview and of the picture: a diffusion model that is not here makes pixels.

Source of the prompt form: ``GlmImageProcessor`` of ``transformers`` 5.23: the sizes of both grids follow the text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import glm_image
from vidjacobi.families.painters.contract import PainterOptions, Size, Subject, as_one, cells_of, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

FACTOR = 32  # pixels of a cell


@dataclass(frozen=True)
class GlmImagePainter:
    """See ``Painter``. ``size``: rows and columns of the picture; its preview comes first."""

    family: glm_image.GlmImage
    words: Words
    form: str
    preset: Preset
    size: Size
    lacks_pixels: str | None = (
        "the diffusion decoder of GLM-Image, which makes them of these tokens, is not here"
    )
    notes: Sequence[str] = ()

    @property
    def preview(self) -> Size:
        """Rows and columns of the preview."""
        ratio = self.size[0] / self.size[1]
        return int(math.sqrt(ratio) * (FACTOR // 2)), int(math.sqrt(1 / ratio) * (FACTOR // 2))

    @property
    def grid(self) -> Grid:
        """See Painter: all cells in one row, since two grids follow one another."""
        return Grid(1, 1, math.prod(self.preview) + math.prod(self.size))

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        text = self._text(subject)
        sizes = {"preview": list(self.preview), "picture": list(self.size)}
        return {"text": text, "prompt_tokens": len(self.words.ids(text)), "grids": sizes}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        prompts = [self.words.ids(self._text(subject)) for subject in as_one(subjects)]
        return self.family.images(prompts, self.preview, self.size)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return tokens

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """Raises InvalidArgument: see ``lacks_pixels``."""
        raise InvalidArgument(f"no pictures: {self.lacks_pixels}")

    def _text(self, subject: Subject) -> str:
        text = self.form.replace("{prompt}", self.words.check_plain(text_of(subject, "GLM-Image")))
        opening, closing = (
            self.words.token(f"grid_{side}_token", name)
            for side, name in (("bos", "<sop>"), ("eos", "<eop>"))
        )
        grids = "".join(f"{opening}{rows} {columns}{closing}" for rows, columns in (self.size, self.preview))
        return f"{self._chat(text)}{grids}{self.words.token('bos_token', '<|dit_token_16384|>')}"

    def _chat(self, text: str) -> str:
        """The text in the folder's own chat template, if it has one."""
        if self.words.tokenizer.chat_template is None:
            return text
        turns = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        return str(self.words.tokenizer.apply_chat_template(turns, tokenize=False))


def words_of(path: Path) -> Words:
    """The text tokenizer: of a release in the folder ``processor`` beside the network's. Raises BadCheckpoint."""
    release = path.parent if path.name == glm_image.ENCODER else path
    return Words(release / glm_image.PROCESSOR if (release / glm_image.PROCESSOR).is_dir() else path)


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> GlmImagePainter:
    """The model in a folder that ``transformers`` wrote, or in that of the release.

    Raises InvalidArgument, BadCheckpoint.
    """
    options.refuse("glm_image", "tokenizer", "text_encoder", "features", "negative")
    facts = load_facts("glm_image")
    preset, words = facts.preset("image"), words_of(path)
    assert facts.prompt is not None
    size = cells_of(options.size, FACTOR, preset.cells)
    notes = (
        () if words.tokenizer.chat_template else (f"{path} has no chat template: texts are fed as they are",)
    )
    return GlmImagePainter(glm_image.load(path, runtime), words, facts.prompt, preset, size, notes=notes)
