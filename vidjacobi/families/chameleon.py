"""Chameleon (Meta, arXiv 2405.09818) in text mode, and Lumina-mGPT (arXiv 2408.02657), which makes images with it.

``transformers``' own forward call hides the logits of all image tokens, so Lumina's images are made with the layers
and the image rows of the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vidjacobi.config.model_facts import guidance_of
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.layout import after_rows
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import Ids, behind, with_guidance
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import CellRows, Hidden, Trunk, rows_of
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Logits, Tokens

PUBLISHED = "the hub's facebook/chameleon-7b, Alpha-VLLM/Lumina-mGPT-7B-768 and its other sizes"
SIZE, UNIT = (
    8804,
    2,
)  # id of size 0, and cells of a unit: the sizes of a picture are told in units of 32 pixels
ROW_END = 8803
UNUSED = ("vqmodel",)  # the layers have it beside them


@dataclass(frozen=True)
class Chameleon:
    """The whole network, ``ChameleonForConditionalGeneration``. In images a cell is a place among their tokens.

    Attributes:
        network: with its own vocabulary mapping.
        size, row_end: ids of size 0 and of the token behind each row.
    """

    network: Any
    size: int = SIZE
    row_end: int = ROW_END

    def text(self, prompts: Sequence[Ids], length: int) -> RiderModel:
        """The model of texts of ``length`` tokens that go on from a prompt each. Ids are those of the network."""
        layers, head = self.network.model, self.network.lm_head
        trunk = Trunk(layers, layers.embed_tokens, WithoutImages(head, self._ids), head.out_features, UNUSED)
        cells = torch.zeros(length, dtype=torch.long)
        given = [self._given(prompt, cells, ()) for prompt in prompts]
        return RiderModel(trunk, Grid(1, 1, length), cells, given)

    def images(
        self, prompts: Sequence[Ids], start: int, height: int, width: int, scale: float | None = None
    ) -> VideoModel:
        """The model of Lumina's images of ``height`` x ``width`` cells, of a prompt each, which guidance leaves out.

        Args:
            prompts: token ids before the image.
            start: the id that begins an image; the two ids of its size follow, as part of what is given.
            height, width: cells, even numbers.
            scale: of the guidance; 1: none; None: the authors' own.

        Raises InvalidArgument for odd sizes.
        """
        if height % UNIT or width % UNIT:
            raise InvalidArgument(f"the sizes of an image are even numbers of cells, not {height}x{width}")
        opening = [start, self.size + height // UNIT, self.size + width // UNIT]
        grid, ids, layers = Grid(1, height, width), self._ids, self.network.model
        trunk = Trunk(
            layers, CellRows(layers.embed_tokens, ids), rows_of(self.network.lm_head, ids), len(ids), UNUSED
        )
        cells, ends = after_rows(grid, 1), [self.row_end] * height
        given = [self._given([*prompt, *opening], cells, ends) for prompt in prompts]
        blank = [self._given(opening, cells, ends)]
        branches = RiderModel(trunk, grid, cells, given), RiderModel(trunk, grid, cells, blank)
        return with_guidance(*branches, guidance_of("chameleon", "image", scale))

    def codes(self, tokens: Tokens) -> Tokens:
        """Codes of the image tokenizer, of decided tokens of images; ``chameleon_pixels`` makes pictures of them."""
        mapping = self.network.model.vocabulary_mapping
        known = torch.tensor([mapping.bpe2img[index] for index in self._ids.tolist()])
        return known[tokens.cpu()].to(tokens.device)

    @property
    def code_count(self) -> int:
        """Codes that a cell may have."""
        return len(self._ids)

    @property
    def _ids(self) -> Tensor:
        return torch.tensor(sorted(self.network.model.vocabulary_mapping.image_tokens))

    def _given(self, prompt: Ids, cells: Tensor, between: Ids) -> Any:
        most = self.network.model.config.max_position_embeddings
        return behind(self.network.model.embed_tokens, prompt, cells, between, most)


class WithoutImages(nn.Module):
    """A head that gives the least number to some ids, as the network's own forward call does to all of images."""

    def __init__(self, head: nn.Linear, ids: Int[Tensor, " v"]) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("ids", ids.to(head.weight.device), persistent=False)

    def forward(self, hidden: Hidden) -> Logits:
        """Of all ids."""
        found = self.head(hidden)
        return found.index_fill(-1, self.ids, torch.finfo(found.dtype).min)


def load(path: Path, runtime: Runtime) -> Chameleon:
    """The model in a folder that ``transformers`` wrote. Raises BadCheckpoint.

    Lumina's weights are published without the image encoder, which nothing here needs.
    """
    from transformers import ChameleonForConditionalGeneration as Network

    return Chameleon(from_transformers(Network, path, runtime, PUBLISHED, unused="model.vqmodel."))
