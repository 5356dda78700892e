"""Folders as MineWorld and iVideoGPT are published: tiny random networks, released names and ids."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_riders import SIZES
from torch import Tensor, nn

from vidjacobi.families.ivideogpt_pixels import PairNetwork, PairSpec
from vidjacobi.families.mineworld import VISUAL
from vidjacobi.families.vq_network import VqNetwork, VqSpec

ROWS, COLUMNS = 2, 3  # of a frame of MineWorld
CODES = 64  # of each tokenizer of iVideoGPT
WIDTH = 3  # numbers of an action of iVideoGPT


def drawn(module: nn.Module, size: float = 0.3) -> dict[str, Tensor]:
    """Its state with random numbers in every matrix."""
    generator = torch.Generator().manual_seed(7)
    return {
        name: size * torch.randn(part.shape, generator=generator) if part.ndim > 1 else part.clone()
        for name, part in module.state_dict().items()
    }


def llama(vocab: int, places: int) -> dict[str, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = SIZES | {"max_position_embeddings": places}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=vocab, tie_word_embeddings=False)).state_dict()


def write_mineworld(folder: Path, places: int = 57) -> str:
    """``places`` of the transformer: 57 are 4 frames of 6 cells and three actions."""
    folder.mkdir(parents=True)
    state = {f"transformer.{name}": part.clone() for name, part in llama(8262, places).items()}
    torch.save({"state_dict": state}, folder / "300M_16f.ckpt")
    sizes = {"num_attention_heads": 4, "max_position_embeddings": places, "rows": ROWS, "columns": COLUMNS}
    (folder / "config.json").write_text(json.dumps(sizes))
    spec = {
        "block_out_channels": [8, 8, 8],
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
    }
    spec |= {"num_vq_embeddings": VISUAL}
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(json.dumps(spec))
    network = VqNetwork(VqSpec(**(spec | {"block_out_channels": (8, 8, 8)})))
    torch.save({f"model.{name}": part for name, part in drawn(network).items()}, folder / "vae" / "vae.ckpt")
    return f"mineworld:{folder}"


def write_ivideogpt(folder: Path, acted: bool, places: int = 600, width: int = WIDTH) -> str:
    """``places`` of the transformer: 600 are 2 context frames of 256 ids and 5 new ones; ``width`` of an action."""
    state = {f"llm.{name}": part.clone() for name, part in llama(2 * CODES + 2, places).items()}
    if acted:
        state |= {f"action_linear.{name}": part for name, part in drawn(nn.Linear(width, 32), 1.0).items()}
    spec = {"block_out_channels": [32, 32], "layers_per_block": 1, "latent_channels": 8, "norm_num_groups": 8}
    spec |= {"num_vq_embeddings": CODES, "num_dyn_embeddings": CODES, "context_length": 2, "resolution": 32}
    sizes = {"num_attention_heads": 4, "max_position_embeddings": places}
    network = PairNetwork(PairSpec(**(spec | {"block_out_channels": (32, 32)})))
    for name, tensors, config in (("transformer", state, sizes), ("tokenizer", drawn(network), spec)):
        (folder / name).mkdir(parents=True)
        save_file(
            {key: part.contiguous() for key, part in tensors.items()}, folder / name / "model.safetensors"
        )
        (folder / name / "config.json").write_text(json.dumps(config))
    return f"ivideogpt:{folder}"
