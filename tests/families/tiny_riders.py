"""A tiny random Llama or GPT-2 with given tokens between its cells, and its logits computed the plain way."""

import torch
from torch import Tensor

from vidjacobi.families.gpt_blocks import GptBlocks
from vidjacobi.families.layout import Condition, Layout, after_rows, behind_prompt
from vidjacobi.families.model import RiderModel
from vidjacobi.families.trunk import CellRows, Trunk, rows_of
from vidjacobi.kinds import Grid

GRID, VOCAB, DIM = Grid(3, 2, 3), 24, 32
SIZES = {
    "hidden_size": DIM,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
GPT2_SIZES = {"n_embd": DIM, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
STYLES = ("llama", "gpt2")


def tiny_trunk(
    vocab: int = VOCAB,
    attention: str = "sdpa",
    dtype: torch.dtype = torch.float64,
    style: str = "llama",
) -> Trunk:
    """Its cells are the ids from 5 on."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    options = {"vocab_size": 60, "eos_token_id": None, "attn_implementation": attention}
    if style == "llama":
        net = LlamaForCausalLM(LlamaConfig(**SIZES, **options))
        layers = net.model
    else:
        net = GPT2LMHeadModel(GPT2Config(**GPT2_SIZES, **options)).eval()
        layers = GptBlocks(net.transformer)
    net.to(dtype).requires_grad_(False)
    table, ids = net.get_input_embeddings(), torch.arange(5, 5 + vocab)
    return Trunk(layers, CellRows(table, ids), rows_of(net.lm_head, ids), vocab)


def condition(cells: Tensor, prompt: int = 0, seed: int = 1, size: float = 1.0) -> Condition:
    """Random embeddings for a prompt of some length and the riders of the cells."""
    layout = Layout(behind_prompt(prompt, cells) if prompt else cells)
    count = layout.total + (prompt > 0)
    generator = torch.Generator().manual_seed(seed)
    return Condition(layout, size * torch.randn(count, DIM, generator=generator, dtype=torch.float64))


def rider_model(
    *prompts: int,
    grid: Grid = GRID,
    attention: str = "sdpa",
    style: str = "llama",
    **options: torch.dtype,
) -> RiderModel:
    """A token behind each row, and two more behind each frame; a condition for each length of a prompt."""
    cells = after_rows(grid, 1, 2)
    conditions = [condition(cells, prompt, seed) for seed, prompt in enumerate(prompts)]
    return RiderModel(tiny_trunk(attention=attention, style=style, **options), grid, cells, conditions)


def plain_logits(model: RiderModel, tokens: Tensor, row: int = 0) -> Tensor:
    """Logits ``[b n v]`` behind each position of whole clips of one condition: one sequence, no cache, no mask."""
    own, special = model.conditions[row], len(model.prefix_tokens)
    given, cells = iter(own.given), model.trunk.embed(tokens.clamp(max=model.vocab_size - 1))
    parts, last = [], []
    for position in range(tokens.shape[1]):
        parts.append(next(given).expand(len(tokens), -1) if position < special else cells[:, position])
        parts += [next(given).expand(len(tokens), -1) for _ in range(int(own.layout.riders[position]))]
        last.append(len(parts) - 1)
    whole = torch.stack([part.to(model.dtype) for part in parts], 1)
    layers = model.trunk.layers
    layers = layers.network if isinstance(layers, GptBlocks) else layers  # as transformers runs it
    return model.trunk.head(layers(inputs_embeds=whole, use_cache=False).last_hidden_state[:, last])
