"""ImageGPT (OpenAI, Chen et al. 2020): small pictures of nothing in particular, pixel by pixel, by a GPT-2.

A cell is a pixel, whose code stands for one of 512 colours. Source of the colours' scale: src/run.py of
openai/image-gpt, commit 66e2cd3.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.checkpoint import read_json
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.gpt_blocks import GptBlocks
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import behind
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import Trunk
from vidjacobi.kinds import Grid
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "the hub's openai/imagegpt-small, -medium and -large"
COLOURS = "preprocessor_config.json"
TRIANGLES = (".attn.bias", ".attn.masked_bias")  # of old files: constants, no weights


@dataclass(frozen=True)
class ImageGPT:
    """The whole network, ``ImageGPTForCausalImageModeling``.

    Attributes:
        network: its last id begins a picture, and is none of a cell.
        colours: of the codes, each channel in [-1, 1]; None where the folder does not say them.
    """

    network: Any
    colours: Float[Tensor, "v 3"] | None = None

    @property
    def grid(self) -> Grid:
        """Rows and columns of pixels: as many as it has places."""
        side = round(self.network.config.max_position_embeddings**0.5)
        return Grid(1, side, side)

    def images(self) -> RiderModel:
        """The model of pictures. A context may have their first pixels behind the special token."""
        layers, codes = self.network.transformer, self.network.lm_head.out_features
        trunk = Trunk(GptBlocks(layers), layers.wte, self.network.lm_head, codes)
        cells = torch.zeros(self.grid.tokens, dtype=torch.long)
        return RiderModel(trunk, self.grid, cells, [behind(layers.wte, [codes], cells)])

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """Pictures of decided tokens ``[b n]``, in [0, 1]. Raises InvalidArgument where no colours are known."""
        if self.colours is None:
            raise InvalidArgument(
                f"no pictures: the folder of the weights has no {COLOURS}, which says the colours"
            )
        shown = (127.5 * (self.colours[tokens] + 1)).round() / 255
        return shown.unflatten(1, (self.grid.h, self.grid.w)).permute(0, 3, 1, 2)


def load(path: Path, runtime: Runtime) -> ImageGPT:
    """The model in a folder that ``transformers`` wrote, and its colours. Raises BadCheckpoint."""
    from transformers import ImageGPTForCausalImageModeling

    # its own attention offers nothing else; GptBlocks has another
    kind = ImageGPTForCausalImageModeling
    network = from_transformers(kind, path, runtime, PUBLISHED, leftovers=TRIANGLES, attention="eager")
    side, codes = round(network.config.max_position_embeddings**0.5), network.lm_head.out_features
    if side**2 != network.config.max_position_embeddings:
        raise BadCheckpoint(f"{path}: {network.config.max_position_embeddings} places are no square picture")
    file = path / COLOURS
    if not file.is_file():
        return ImageGPT(network)
    try:
        colours = torch.tensor(read_json(file)["clusters"], dtype=torch.float32, device=runtime.device)
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{file} says no colours ({error})") from None
    if colours.shape != (codes, 3) or not bool((colours.abs() <= 1).all()):
        raise BadCheckpoint(f"{file} must say {codes} colours of 3 numbers in [-1, 1]")
    return ImageGPT(network, colours)
