"""LlamaGen's image tokenizer, which is that of Janus in ``transformers`` under other names.

Names as in the authors' code, commit ce98ec4. Only codes to pixels; its encoder is read too, so that every tensor is
accounted for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.checkpoint import load_strict, without_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.released import weights_of
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "vq_ds16_c2i.pt, vq_ds16_t2i.pt or vq_ds8_c2i.pt of the hub's FoundationVision/LlamaGen"
NAMES = {
    "down": {"conv_blocks.": "down.", ".res.": ".block."},
    "up": {"conv_blocks.": "up.", ".res.": ".block."},
    "mid": {"mid.0.": "mid.block_1.", "mid.1.": "mid.attn_1.", "mid.2.": "mid.block_2."},
}
COUNTER = "quantize.codebook_used"  # of the training


@dataclass(frozen=True)
class LlamaGenPixels:
    """The network, ``JanusVQVAE``."""

    network: Any

    @property
    def factor(self) -> int:
        """Pixels of a side of a cell."""
        return 2 ** (len(self.network.config.channel_multiplier) - 1)

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """Square pictures of decided tokens ``[b n]``, in [0, 1]. Raises InvalidArgument where n is no square."""
        side = round(tokens.shape[1] ** 0.5)
        if side * side != tokens.shape[1]:
            raise InvalidArgument(f"{tokens.shape[1]} cells are no square picture")
        self.network.quantize.quant_state_dims = [side, side]
        with torch.no_grad():
            return (self.network.decode(tokens).float() * 0.5 + 0.5).clamp(0, 1)


def load(path: Path, runtime: Runtime) -> LlamaGenPixels:
    """The tokenizer in a checkpoint file, or in a folder with one. Raises BadCheckpoint."""
    from transformers.models.janus.configuration_janus import JanusVQVAEConfig
    from transformers.models.janus.modeling_janus import JanusVQVAE

    found = weights_of(path, PUBLISHED, ("model", "module", "state_dict", "ema"))
    state = {renamed(name): part for name, part in found.items() if name != COUNTER}
    try:
        codes, width = state["quantize.embedding.weight"].shape
        base, latent = (state[f"encoder.{name}.weight"].shape[0] for name in ("conv_in", "conv_out"))
        levels = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.down."))
        blocks = 1 + max(
            int(name.split(".")[4]) for name in state if name.startswith("encoder.down.0.block.")
        )
        widths = [state[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)]
    except (KeyError, ValueError) as error:
        raise BadCheckpoint(
            f"{path} is no image tokenizer of LlamaGen ({error}): wanted {PUBLISHED}"
        ) from None
    config = JanusVQVAEConfig(
        embed_dim=width,
        num_embeddings=codes,
        latent_channels=latent,
        base_channels=base,
        channel_multiplier=[size // base for size in widths],
        num_res_blocks=blocks,
    )
    with without_weights():
        network = JanusVQVAE(config)
    load_strict(network, state, str(path))
    return LlamaGenPixels(network.to(runtime.device, runtime.dtype).requires_grad_(False).eval())


def renamed(name: str) -> str:
    """A parameter's name in ``transformers``."""
    kinds = ("mid", "down" if name.startswith("encoder.") else "up")
    for old, new in ((old, new) for kind in kinds for old, new in NAMES[kind].items()):
        name = name.replace(old, new)
    return name
