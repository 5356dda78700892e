"""GLM-Image (Zhipu): a small picture of a text prompt, then the large one, as tokens of one sequence.

Every cell tells the rotary embedding its row and its column. Pixels are made by a diffusion model that is not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.layout import Condition, Layout, behind_prompt
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import Ids, embedded, origin_of
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import Trunk
from vidjacobi.kinds import Grid
from vidjacobi.runtime import Runtime

PUBLISHED = "the hub's zai-org/GLM-Image, its folders vision_language_encoder and (for texts) processor"
# of the release, which has another tokenizer in ``tokenizer``, that of its diffusion model
ENCODER, PROCESSOR = "vision_language_encoder", "processor"
Size = tuple[int, int]


@dataclass(frozen=True)
class GlmImage:
    """The whole network, ``GlmImageForConditionalGeneration``. A cell's id is that of the network."""

    network: Any

    def images(self, prompts: Sequence[Ids], preview: Size, size: Size) -> RiderModel:
        """The model of pictures of ``size`` = (rows, columns) cells behind previews, of a prompt each.

        Prompts are token ids up to the beginning of the image, without images of their own. Tokens are the cells of
        the preview, then those of the picture.
        """
        if min(*preview, *size) < 1:
            raise InvalidArgument(f"sizes are (rows, columns) of at least one cell, not {preview} and {size}")
        inner = self.network.model.language_model
        trunk = Trunk(inner, inner.embed_tokens, self.network.lm_head, self.network.lm_head.out_features)
        cells = preview[0] * preview[1] + size[0] * size[1]
        # one shape of frame for both: drafts from above are right in the picture, where its rows fit
        rows = cells // size[1] if cells % size[1] == 0 else 1
        riders, conditions = torch.zeros(cells, dtype=torch.long), []
        for prompt in prompts:
            layout = Layout(behind_prompt(len(prompt), riders), places(len(prompt), [preview, size]))
            conditions.append(Condition(layout, embedded(inner.embed_tokens, prompt), origin_of(prompt)))
        return RiderModel(trunk, Grid(1, rows, cells // rows), riders, conditions, axes=3)


def places(prompt: int, grids: Sequence[Size]) -> Int[Tensor, "3 s"]:
    """Time, row and column of a prompt's tokens and of the cells of grids that follow one another."""
    parts, start = [torch.arange(prompt).expand(3, -1)], prompt
    for rows, columns in grids:
        cell = torch.arange(rows * columns)
        parts.append(torch.stack([torch.zeros_like(cell), cell // columns, cell % columns]) + start)
        start += max(rows, columns)
    return torch.cat(parts, 1)


def load(path: Path, runtime: Runtime) -> GlmImage:
    """The model in a folder that ``transformers`` wrote, or in that of the release. Raises BadCheckpoint."""
    from transformers import GlmImageForConditionalGeneration

    path = path / ENCODER if (path / ENCODER).is_dir() else path
    return GlmImage(from_transformers(GlmImageForConditionalGeneration, path, runtime, PUBLISHED))
