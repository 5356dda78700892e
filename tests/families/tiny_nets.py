"""Tiny random networks of ``transformers``' own classes, whose ids lie as in the released ones."""

from collections.abc import Callable
from typing import Any

import torch
from tiny_riders import GPT2_SIZES, SIZES

SIDE, JANUS_CODES = 4, 48
CODES = 40  # of the tokenizers of Chameleon and Emu3
CHAMELEON_FIRST, EMU3_FIRST, SIMPLEAR_FIRST = 4, 50, 30
BEGIN, PAD, IMAGE = 1, 3, 7  # of Janus
EMU3 = {"image": 20, "boi": 21, "eoi": 22, "img": 23, "eol": 24, "eof": 25, "eos": 26, "bos": 27, "pad": 28}


def made(build: Callable[[], Any], dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    return build().eval().to(dtype).requires_grad_(False)


def janus() -> Any:
    from transformers import JanusConfig, JanusForConditionalGeneration

    text = {
        **SIZES,
        "model_type": "llama",
        "vocab_size": 100,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    }
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {
        "image_size": 4 * SIDE,
        "patch_size": 4,
        "projection_dim": 32,
        "num_image_tokens": SIDE**2,
        "depth": 1,
    }
    codes = {"embed_dim": 8, "num_embeddings": JANUS_CODES, "latent_channels": 32, "base_channels": 32}
    codes |= {"channel_multiplier": [1, 1], "num_res_blocks": 1, "num_patches": SIDE, "projection_dim": 32}
    codes |= {"num_hidden_layers": 2, "image_token_embed_dim": 32}
    config = JanusConfig(text_config=text, vision_config=vision, vq_config=codes, image_token_id=90)
    network = made(lambda: JanusForConditionalGeneration(config))
    options = network.generation_config
    options.bos_token_id, options.eos_token_id, options.pad_token_id = BEGIN, 2, PAD
    options.generation_kwargs = {"boi_token_id": IMAGE}
    return network


def emu3() -> Any:
    from transformers import Emu3Config, Emu3ForConditionalGeneration

    names = {"<image>": EMU3["image"], "<|extra_200|>": EMU3["eol"]}
    names |= {f"<|visual token {code:06d}|>": EMU3_FIRST + code for code in range(CODES)}
    text = {**SIZES, "vocab_size": 100, "attention_dropout": 0.0}
    text |= {f"{name}_token_id": EMU3[name] for name in ("pad", "bos", "eos")}
    codes = {
        "codebook_size": CODES,
        "embed_dim": 4,
        "latent_channels": 4,
        "base_channels": 32,
        "hidden_size": 32,
    }
    codes |= {"channel_multiplier": [1, 1], "num_res_blocks": 1, "attn_resolutions": [1]}
    codes |= {"temporal_downsample_factor": 1}
    config = Emu3Config(text_config=text, vq_config=codes, vocabulary_map=names)
    return made(lambda: Emu3ForConditionalGeneration(config))


def chameleon() -> Any:
    from transformers import ChameleonConfig, ChameleonForConditionalGeneration

    letters = "ABCDEFGHIJ"
    names = {"<image>": 90, "<racm3:break>": 91, "<eoss>": 92}
    for code in range(CODES):
        names["IMGIMG" + "".join(letters[int(digit)] for digit in str(code)) + "Z"] = CHAMELEON_FIRST + code
    codes = {"base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1, "embed_dim": 4}
    codes |= {"num_embeddings": CODES, "latent_channels": 4, "resolution": 16}
    sizes = {**SIZES, "num_key_value_heads": 4, "vocab_size": 100}
    config = ChameleonConfig(**sizes, eos_token_id=None, vocabulary_map=names, vq_config=codes)
    return made(lambda: ChameleonForConditionalGeneration(config))


def glm_image() -> Any:
    from transformers import GlmImageConfig, GlmImageForConditionalGeneration

    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 1, 1],
        "partial_rotary_factor": 1.0,
    }
    text = {
        **SIZES,
        "vocab_size": 100,
        "vision_vocab_size": JANUS_CODES,
        "pad_token_id": 0,
        "rope_parameters": rope,
    }
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "image_size": 32, "patch_size": 4}
    vision |= {"out_hidden_size": 32, "intermediate_size": 64}
    codes = {"embed_dim": 8, "num_embeddings": CODES, "latent_channels": 32}
    ids = {"image_token_id": 90, "image_start_token_id": 91, "image_end_token_id": 92}
    config = GlmImageConfig(text_config=text, vision_config=vision, vq_config=codes, **ids)
    network = made(lambda: GlmImageForConditionalGeneration(config))
    network.generation_config.eos_token_id = None
    return network


def qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**SIZES, vocab_size=SIMPLEAR_FIRST + CODES, eos_token_id=None, bos_token_id=1)
    return made(lambda: Qwen2ForCausalLM(config))


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(**GPT2_SIZES, vocab_size=60, eos_token_id=None, bos_token_id=1)
    return made(lambda: GPT2LMHeadModel(config))


def imagegpt() -> Any:
    from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling

    sizes = {**GPT2_SIZES, "n_positions": 16}
    config = ImageGPTConfig(**sizes, vocab_size=CODES + 1, eos_token_id=None)
    return made(lambda: ImageGPTForCausalImageModeling(config))


def qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(**SIZES, head_dim=8, vocab_size=EMU3_FIRST + CODES, eos_token_id=None)
    return made(lambda: Qwen3ForCausalLM(config))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SIZES, vocab_size=EMU3_FIRST + CODES, eos_token_id=None)
    return made(lambda: LlamaForCausalLM(config))
