"""Pictures of Janus and Janus-Pro: the roles' template around a text, then the beginning of the image.

Source of the prompt form: generation_inference.py of deepseek-ai/Janus and ``JanusProcessor`` of ``transformers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import Preset, load_facts
from vidjacobi.families import janus
from vidjacobi.families.painters.contract import PainterOptions, Subject, as_one, text_of
from vidjacobi.families.painters.words import Words
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens


@dataclass(frozen=True)
class JanusPainter:
    """See ``Painter``."""

    family: janus.Janus
    words: Words
    form: str
    preset: Preset
    lacks_pixels: str | None = None
    notes: Sequence[str] = ()

    @property
    def grid(self) -> Grid:
        """See Painter."""
        return self.family.grid

    @property
    def _image(self) -> str:
        return self.words.token("boi_token", "<begin_of_image>")

    def describe(self, subject: Subject) -> dict[str, Any]:
        """See Painter."""
        return {"text": self._text(subject), "prompt_tokens": len(self._ids(subject))}

    def model(self, subjects: Sequence[Subject], guidance: float) -> VideoModel:
        """See Painter."""
        words = self.words
        prompts = [self._ids(subject) for subject in as_one(subjects)]
        special = words.special("bos_token"), words.id(self._image), words.special("pad_token")
        return self.family.images(prompts, *special, scale=guidance)

    def codes(self, tokens: Tokens) -> Tokens:
        """See Painter."""
        return tokens

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """See Painter."""
        return self.family.pixels(tokens)

    def _text(self, subject: Subject) -> str:
        return self.form.replace("{prompt}", self.words.check_plain(text_of(subject, "Janus"))) + self._image

    def _ids(self, subject: Subject) -> list[int]:
        return self.words.ids(self._text(subject))


def open_painter(path: Path, runtime: Runtime, options: PainterOptions) -> JanusPainter:
    """The model in a folder that ``transformers`` wrote. Raises InvalidArgument, BadCheckpoint."""
    options.refuse("janus", "tokenizer", "text_encoder", "features", "size", "negative")
    facts = load_facts("janus")
    words = Words(path)
    assert facts.prompt is not None
    return JanusPainter(janus.load(path, runtime), words, facts.prompt, facts.preset("image"))
