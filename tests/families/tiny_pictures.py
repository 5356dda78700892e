"""Folders as the families are published: tiny random networks beside text tokenizers whose ids fit them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiny_nets as nets
import torch

VQ_NAMES = {
    "encoder.down.": "encoder.conv_blocks.",
    "decoder.up.": "decoder.conv_blocks.",
    ".block.": ".res.",
    "mid.block_1.": "mid.0.",
    "mid.attn_1.": "mid.1.",
    "mid.block_2.": "mid.2.",
}
WORDS = (
    "a",
    "red",
    "barn",
    "blue",
    "dog",
    "in",
    "snow",
    "bad",
    "highly",
    "realistic",
    "image",
    "of",
    *"2346*",
    "13",
    "19",
)


def write_words(folder: Path, names: Mapping[str, int], attributes: Mapping[str, str], size: int) -> None:
    """A tokenizer of ``size`` ids: the special tokens ``names``, some words, and fillers."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab, words = dict(names), iter(WORDS)
    for index in range(size):
        if index not in vocab.values():
            vocab[next(words, f"filler{index}")] = index
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **attributes).save_pretrained(folder)


def write_janus(folder: Path) -> str:
    nets.janus().float().save_pretrained(folder)
    names = {"<unk>": 0, "<s>": nets.BEGIN, "</s>": 2, "<pad>": nets.PAD, "<begin_of_image>": nets.IMAGE}
    names |= {"<end_of_image>": 8, "<image_placeholder>": 9}
    attributes = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    write_words(folder, names, attributes, 60)
    return f"janus:{folder}"


def write_emu3(folder: Path) -> str:
    nets.emu3().float().save_pretrained(folder)
    ids = nets.EMU3
    names = {"<unk>": 0, "<|extra_203|>": ids["bos"], "<|image start|>": ids["boi"], "<pad>": ids["pad"]}
    names |= {"<|image token|>": ids["img"], "<eos>": ids["eos"], "<image>": ids["image"]}
    names |= {"<|image end|>": ids["eoi"], "<|extra_201|>": ids["eof"]}
    write_words(folder, names, {"bos_token": "<|extra_203|>", "pad_token": "<pad>"}, 50)
    return f"emu3:{folder}"


def write_lumina(folder: Path) -> str:
    nets.chameleon().float().save_pretrained(folder)
    names = {"<unk>": 0, "<s>": 1, "<racm3:break>": 91, "<reserved08706>": 68, "<reserved08799>": 69}
    write_words(folder, names | {"<reserved08800>": 70}, {"bos_token": "<s>"}, 100)
    return f"chameleon:{folder}"


def write_simplear(folder: Path) -> str:
    nets.qwen2().float().save_pretrained(folder)
    write_words(folder, {"<unk>": 0, "<|t2i|>": 1, "<|soi|>": 2}, {}, nets.SIMPLEAR_FIRST)
    return f"simplear:{folder}"


def write_glm_image(folder: Path) -> str:
    nets.glm_image().float().save_pretrained(folder)
    names = {"<unk>": 0, "<sop>": 1, "<eop>": 2, "<|dit_token_16384|>": 50, "<img>": 51}
    write_words(folder, names, {"bos_token": "<|dit_token_16384|>"}, 60)
    return f"glm_image:{folder}"


def write_emu3_tokens(folder: Path, name: str, places: int = 64) -> tuple[Any, dict[str, Any]]:
    """Emu3.5 or UniVLA as their authors publish them, six codes; the network and what its ``config.json`` says."""
    import json

    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    from vidjacobi.families.emu3_layouts import VISUAL

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "max_position_embeddings": places, "vocab_size": VISUAL + 6}
    options = {
        "rms_norm_eps": 1e-5,
        "head_dim": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e3},
    }
    kinds = (Qwen3ForCausalLM, Qwen3Config) if name == "emu3_5" else (LlamaForCausalLM, LlamaConfig)
    network = nets.made(lambda: kinds[0](kinds[1](**sizes, **options)), torch.float32)
    network.save_pretrained(folder)
    said = {**sizes, "model_type": "Emu3", "rms_norm_eps": 1e-5, "rope_theta": 5e3, "rope_scaling": None}
    said |= {
        "architectures": ["Emu3ForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_emu3.Emu3Config"},
    }
    (folder / "config.json").write_text(json.dumps(said))
    return network, said


def write_emu3_5(folder: Path) -> str:
    """With a text tokenizer that ``transformers`` reads, which the release lacks."""
    write_emu3_tokens(folder, "emu3_5")
    names = {"<unk>": 0, "<|extra_203|>": 1, "<|image start|>": 2, "<|image token|>": 3, "<|extra_100|>": 4}
    write_words(folder, names, {"bos_token": "<|extra_203|>"}, 60)
    return f"emu3_5:{folder}"


def write_imagegpt(folder: Path, coloured: bool = True) -> str:
    """Pictures of 4x4 pixels; the colours lie beside the weights."""
    import json

    network = nets.imagegpt().float()
    network.save_pretrained(folder)
    if coloured:
        colours = torch.linspace(-1, 1, 3 * network.lm_head.out_features).view(-1, 3)
        (folder / "preprocessor_config.json").write_text(json.dumps({"clusters": colours.tolist()}))
    return f"imagegpt:{folder}"


def write_llamagen(folder: Path, kind: str, classes: int = 10, width: int = 24) -> str:
    """A transformer in the authors' names, of ``classes`` or of captions with features of ``width``; 4x4 cells."""
    from safetensors.torch import save_file

    generator, dim, codes, ffn = torch.Generator().manual_seed(0), 32, nets.JANUS_CODES, 64

    def noise(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    state = {"tok_embeddings.weight": noise(codes, dim), "norm.weight": torch.ones(dim)}
    state["output.weight"] = noise(codes, dim)
    for layer in range(2):
        own = {"attention.wqkv": noise(3 * dim, dim), "attention.wo": noise(dim, dim)}
        own |= {f"feed_forward.w{number}": noise(ffn, dim) for number in (1, 3)}
        own |= {"feed_forward.w2": noise(dim, ffn)}
        own |= {f"{name}_norm": torch.ones(dim) for name in ("attention", "ffn")}
        state |= {f"layers.{layer}.{name}.weight": tensor for name, tensor in own.items()}
    if kind == "class":
        state["cls_embedding.embedding_table.weight"] = noise(classes + 1, dim)
    else:
        state["cls_embedding.cap_proj.fc1.weight"] = noise(dim, width)
        state["cls_embedding.cap_proj.fc2.weight"] = noise(dim, dim)
        state["cls_embedding.uncond_embedding"] = noise(120, width)
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text('{"n_head": 4, "block_size": 16}')
    return f"llamagen:{folder}"


def write_vq(folder: Path) -> Path:
    """LlamaGen's image tokenizer, which is that of the tiny Janus under other names; 2 pixels a cell."""
    network = nets.janus().model.vqmodel.float()
    state = {"quantize.codebook_used": torch.zeros(3)}
    for name, part in network.state_dict().items():
        own = name
        for old, new in VQ_NAMES.items():
            own = own.replace(old, new)
        state[own] = part
    folder.mkdir(exist_ok=True)
    torch.save({"model": state}, folder / "vq.pt")
    return folder / "vq.pt"


def write_vqgan(folder: Path) -> tuple[Path, Any]:
    """Chameleon's image tokenizer under Meta's names, 16 pixels a cell, and its encoder in ``transformers``."""
    from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
    from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE

    generator, wide, levels = torch.Generator().manual_seed(0), 32, 5
    sizes = {
        "base_channels": wide,
        "channel_multiplier": [1, 1, 1, 1, 2],
        "num_res_blocks": 1,
        "embed_dim": 4,
    }
    sizes |= {"num_embeddings": nets.CODES, "latent_channels": 6, "resolution": 64}
    encoder = nets.made(lambda: ChameleonVQVAE(ChameleonVQVAEConfig(**sizes)), torch.float32)
    for name, part in encoder.named_parameters():
        if part.ndim > 1 or "norm" not in name:
            part.data = 0.3 * torch.randn(part.shape, generator=generator)
    state = {name: part.clone() for name, part in encoder.state_dict().items()}

    def conv(name: str, inside: int, outside: int, size: int = 3) -> None:
        scale = 1.5 / (inside * size**2) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(outside, inside, size, size, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(outside, generator=generator)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(channels, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(channels, generator=generator)

    def block(name: str, inside: int, outside: int) -> None:
        for number, channels in ((1, inside), (2, outside)):
            norm(f"{name}.norm{number}", channels)
            conv(f"{name}.conv{number}", channels, outside)
        if inside != outside:
            conv(f"{name}.nin_shortcut", inside, outside, 1)

    conv("post_quant_conv", 4, 6, 1)
    conv("decoder.conv_in", 6, 2 * wide)
    for number in (1, 2):
        block(f"decoder.mid.block_{number}", 2 * wide, 2 * wide)
    norm("decoder.mid.attn_1.norm", 2 * wide)
    for part in ("q", "k", "v", "proj_out"):
        conv(f"decoder.mid.attn_1.{part}", 2 * wide, 2 * wide, 1)
    inside = 2 * wide
    for level in reversed(range(levels)):
        outside = 2 * wide if level == levels - 1 else wide
        for number in range(2):
            block(f"decoder.up.{level}.block.{number}", inside if number == 0 else outside, outside)
        if level:
            conv(f"decoder.up.{level}.upsample.conv", outside, outside)
        inside = outside
    norm("decoder.norm_out", wide)
    conv("decoder.conv_out", wide, 3)
    state["loss.discriminator.main.0.weight"] = torch.ones(2)
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": state}, folder / "vqgan.ckpt")
    return folder / "vqgan.ckpt", encoder


def write_t5(folder: Path, width: int) -> None:
    """A T5 encoder of this width and its tokenizer."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "d_model": width, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    network = T5EncoderModel(T5Config(**sizes)).eval()
    network.save_pretrained(folder)
    write_words(folder, {"<pad>": 0, "</s>": 1, "<unk>": 2}, {"pad_token": "<pad>", "eos_token": "</s>"}, 60)
