"""Emu3 (BAAI, arXiv 2409.18869): images of a text prompt; a row of codes ends with a token that is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.config.model_facts import guidance_of
from vidjacobi.families.layout import after_rows
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import Ids, behind, with_guidance
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import CellRows, Trunk, rows_of
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "the hub's BAAI/Emu3-Gen-hf"


@dataclass(frozen=True)
class Emu3:
    """The whole network, ``Emu3ForConditionalGeneration``. A cell's id is its place among the visual tokens."""

    network: Any

    def images(
        self,
        prompts: Sequence[Ids],
        height: int,
        width: int,
        negative: Ids | None = None,
        scale: float | None = None,
    ) -> VideoModel:
        """The model of images of ``height`` x ``width`` cells, of a prompt each, guided against ``negative``.

        The prompts say the size too; see the network's processor. Both end with the token before the first cell. The
        prompts of the two branches may have different lengths. ``scale`` 1 or no ``negative``: not guided; None: the
        authors' own.
        """
        given = self._branch(prompts, Grid(1, height, width))
        if negative is None:
            return given
        blank = self._branch([negative], Grid(1, height, width))
        return with_guidance(given, blank, guidance_of("emu3", "image", scale))

    def codes(self, tokens: Tokens) -> Tokens:
        """Codes of the image tokenizer, of decided tokens."""
        mapping = self.network.vocabulary_mapping
        return mapping.bpe2img_mapping_tensor.long()[self._ids[tokens.cpu()]].to(tokens.device)

    def pixels(self, tokens: Tokens, height: int, width: int) -> Float[Tensor, "b 3 h w"]:
        """Pictures of decided tokens ``[b n]``, in [0, 1]."""
        codes = self.codes(tokens).view(-1, height, width)
        with torch.no_grad():
            return (self.network.model.vqmodel.decode(codes).float() * 0.5 + 0.5).clamp(0, 1)

    @property
    def _ids(self) -> Tensor:
        return torch.tensor(self.network.vocabulary_mapping.image_tokens)

    def _branch(self, prompts: Sequence[Ids], grid: Grid) -> RiderModel:
        layers, ids = self.network.model.text_model, self._ids
        trunk = Trunk(
            layers, CellRows(layers.embed_tokens, ids), rows_of(self.network.lm_head, ids), len(ids)
        )
        cells = after_rows(grid, 1)
        ends = [self.network.vocabulary_mapping.eol_token_id] * grid.h
        most = layers.config.max_position_embeddings
        given = [behind(layers.embed_tokens, own, cells, ends, most) for own in prompts]
        return RiderModel(trunk, grid, cells, given)


def load(path: Path, runtime: Runtime) -> Emu3:
    """The model in a folder that ``transformers`` wrote. Raises BadCheckpoint."""
    from transformers import Emu3ForConditionalGeneration

    return Emu3(from_transformers(Emu3ForConditionalGeneration, path, runtime, PUBLISHED))
