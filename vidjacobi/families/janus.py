"""Janus and Janus-Pro (DeepSeek, arXiv 2410.13848, 2501.17811): images of a text prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidjacobi.config.model_facts import guidance_of
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import Ids, behind, with_guidance
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import Trunk
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "the hub's deepseek-community/Janus-Pro-1B and Janus-Pro-7B"


@dataclass(frozen=True)
class Janus:
    """The whole network, ``JanusForConditionalGeneration``."""

    network: Any

    @property
    def grid(self) -> Grid:
        """Cells of a picture."""
        side = round(self.network.model.vision_model.config.num_image_tokens**0.5)
        return Grid(1, side, side)

    def images(
        self, prompts: Sequence[Ids], beginning: int, image: int, padding: int, scale: float | None = None
    ) -> VideoModel:
        """The model of images of a prompt each, guided against a prompt that says nothing.

        As the authors do it, that is the same prompt with every token but two replaced by padding, which is attended.

        Args:
            prompts: token ids, from the beginning of the sentence to the beginning of the image.
            beginning, image, padding: the ids that begin a sentence and an image, and the one that pads.
            scale: of the guidance; 1: none; None: the authors' own.

        Raises InvalidArgument for a prompt that does not end with the beginning of an image.
        """
        if any(not prompt or prompt[-1] != image for prompt in prompts):
            raise InvalidArgument(f"a prompt must end with the beginning of the image, id {image}")
        blank = [
            [token if token in (beginning, image) else padding for token in prompt] for prompt in prompts
        ]
        return with_guidance(self._branch(prompts), self._branch(blank), guidance_of("janus", "image", scale))

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """Pictures of decided tokens ``[b n]``, in [0, 1]."""
        with torch.no_grad():
            made = self.network.decode_image_tokens(tokens).permute(0, 3, 1, 2)
        return (made.float() * 0.5 + 0.5).clamp(0, 1)

    def _branch(self, prompts: Sequence[Ids]) -> RiderModel:
        inner, grid = self.network.model, self.grid
        layers = inner.language_model
        trunk = Trunk(
            layers,
            # what prepare_embeddings_for_image_generation does
            nn.Sequential(inner.generation_embeddings, inner.generation_aligner),
            inner.generation_head,
            self.network.config.vq_config.num_embeddings,
        )
        cells = torch.zeros(grid.tokens, dtype=torch.long)
        most = layers.config.max_position_embeddings
        conditions = [behind(layers.embed_tokens, prompt, cells, most=most) for prompt in prompts]
        return RiderModel(trunk, grid, cells, conditions)


def load(path: Path, runtime: Runtime) -> Janus:
    """The model in a folder that ``transformers`` wrote. Raises BadCheckpoint."""
    from transformers import JanusForConditionalGeneration

    return Janus(from_transformers(JanusForConditionalGeneration, path, runtime, PUBLISHED))
