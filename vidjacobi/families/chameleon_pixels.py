"""Chameleon's image tokenizer out of Meta's ``vqgan.ckpt``, which makes Lumina-mGPT's pictures.

Source of its form: chameleon/inference/vqgan.py and image_tokenizer.py of facebookresearch/chameleon, commit e3b711e:
the network of Esser et al. (2021) under their names, with attention at the lowest resolution alone.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cosmos_adapter.checkpoint import load_strict, without_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.released import StateDict, weights_of
from vidjacobi.families.vq_network import VqNetwork, VqSpec
from vidjacobi.runtime import Runtime

PUBLISHED = "Meta's vqgan.ckpt, also in original_tokenizers of the hub's Alpha-VLLM/Chameleon_7B_mGPT"
TRAINING = "loss."  # the beginning of names of what is needed in training alone
NAMES = (
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.block\.(\d+)\.", r".resnets.\1."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.norm_out\.", ".conv_norm_out."),
)


@dataclass(frozen=True)
class ChameleonPixels:
    """The network."""

    network: VqNetwork

    def pixels(self, codes: Int[Tensor, "b h w"]) -> Float[Tensor, "b 3 H W"]:
        """Pictures of codes, in [0, 1]."""
        with torch.no_grad():
            return (self.network.pixels_of(codes).float().clamp(-1, 1) + 1) / 2


def load(path: Path, runtime: Runtime) -> ChameleonPixels:
    """The tokenizer in a checkpoint file, or in a folder with one. Raises BadCheckpoint."""
    found = weights_of(path, PUBLISHED, ("state_dict",))
    state = {name: part for name, part in found.items() if not name.startswith(TRAINING)}
    try:
        levels = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.down."))
        blocks = 1 + max(
            int(name.split(".")[4]) for name in state if name.startswith("encoder.down.0.block.")
        )
        codes, width = state["quantize.embedding.weight"].shape
        widths = [state[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)]
        latent = state["encoder.conv_out.weight"].shape[0]
        spec = VqSpec(tuple(widths), blocks, latent, codes, width)
    except (KeyError, ValueError, IndexError, InvalidArgument) as error:
        raise BadCheckpoint(
            f"{path} is no image tokenizer of Chameleon ({error}): wanted {PUBLISHED}"
        ) from None
    with without_weights():
        network = VqNetwork(spec)
    load_strict(network, renamed(state, levels), str(path))
    return ChameleonPixels(network.to(runtime.device, runtime.dtype).requires_grad_(False).eval())


def renamed(state: StateDict, levels: int) -> StateDict:
    """Under the names of ``VqNetwork``, whose decoder counts from the lowest resolution; 1x1 kernels as matrices."""
    made = {}
    for name, part in state.items():
        own = re.sub(r"^encoder\.down\.", "encoder.down_blocks.", name)
        own = re.sub(
            r"^decoder\.up\.(\d+)\.", lambda at: f"decoder.up_blocks.{levels - 1 - int(at[1])}.", own
        )
        for old, new in NAMES:
            own = re.sub(old, new, own)
        is_matrix = ".attentions." in own and part.ndim == 4
        made[own] = part[:, :, 0, 0] if is_matrix else part
    return made
