"""What a family takes of a network of ``transformers``: its layers, the embeddings of cells, and a head over them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Logits, Tokens

Hidden = Float[Tensor, "b n dim"]
ATTENTION = ("sdpa", "eager")


@dataclass(frozen=True)
class Trunk:
    """Layers that take embeddings, and what turns cells into embeddings and hidden states into logits.

    Attributes:
        layers: a decoder of ``transformers`` (``LlamaModel``, ``Qwen2Model``, ``Qwen3Model``, ``ChameleonModel``,
            ``Emu3TextModel``, ``GlmImageTextModel``; of the style of GPT-2 through ``GptBlocks``), called with
            ``inputs_embeds``, ``position_ids``, a 4-D mask and a cache.
        embed: cells ``[b n]``, ids below ``vocab_size``, to embeddings ``[b n dim]``.
        head: hidden states to logits ``[b n v]`` of the ids that a cell may have.
        vocab_size: v, the number of those ids.

    Raises InvalidArgument for attention that cannot read a cache by slots.
    """

    layers: nn.Module
    embed: Callable[[Tokens], Hidden]
    head: Callable[[Hidden], Logits]
    vocab_size: int

    def __post_init__(self) -> None:
        check_attention(self.config)
        self.layers.eval()

    @property
    def config(self) -> Any:
        """Of the layers, as ``transformers`` has it."""
        return self.layers.config

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.layers.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the first weights."""
        return next(self.layers.parameters()).device

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.config.num_hidden_layers

    @property
    def places(self) -> int | None:
        """Places of a sequence that it has learned; None where it can tell any apart."""
        return getattr(self.layers, "places", None)

    def mask(self, visible: Bool[Tensor, "b m a"]) -> Tensor:
        """The mask ``[b 1 m a]`` as its attention wants it: eager attention adds it, and would add True as 1."""
        if self.config._attn_implementation == "sdpa":
            return visible[:, None]
        none = torch.zeros((), dtype=self.dtype, device=visible.device)
        return torch.where(visible, none, torch.finfo(self.dtype).min)[:, None]


class AngleTable(nn.Module):
    """In the place of a network's rotary embedding: cosine and sine of the angles of each place, from tables.

    ``cos`` and ``sin`` are ``[places head/2]``; channel c of a head is turned with channel c + head/2.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, cos: Float[Tensor, "s half"], sin: Float[Tensor, "s half"]) -> None:
        super().__init__()
        for name, part in (("cos", cos), ("sin", sin)):
            self.register_buffer(name, part.repeat(1, 2), persistent=False)

    def forward(self, x: Tensor, position_ids: Int[Tensor, "b n"]) -> tuple[Tensor, Tensor]:
        """Called by the network."""
        return self.cos[position_ids].to(x.dtype), self.sin[position_ids].to(x.dtype)


def check_attention(config: Any) -> None:
    """Raise InvalidArgument, with the reason, for attention that is wrong with a mask over addressed slots."""
    kind = config._attn_implementation
    if kind not in ATTENTION:
        raise InvalidArgument(
            f"attn_implementation={kind!r} takes no mask over the slots of a cache: load the network with one of "
            f"{', '.join(ATTENTION)}"
        )
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True):
        raise InvalidArgument(
            f"attention with sliding_window={window} forgets its window where it is given a mask, and would be "
            "wrong without a word"
        )
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise InvalidArgument(f"layers of the kinds {', '.join(sorted(kinds))} keep no entry by slot")


def rows_of(linear: nn.Linear, ids: Int[Tensor, " v"]) -> Callable[[Hidden], Logits]:
    """A head with some of the rows of another one, in this order; a view of them where the ids count up."""
    chosen: slice | Tensor = ids.to(linear.weight.device)
    if torch.equal(ids, torch.arange(int(ids[0]), int(ids[0]) + len(ids))):
        chosen = slice(int(ids[0]), int(ids[0]) + len(ids))
    weight = linear.weight.detach()[chosen]
    bias = None if linear.bias is None else linear.bias.detach()[chosen]
    return lambda hidden: F.linear(hidden, weight, bias)


def ids_of(table: nn.Embedding, ids: Int[Tensor, " v"]) -> Callable[[Tokens], Hidden]:
    """Embeddings of cells by some of the rows of a table, in this order."""
    rows = ids.to(table.weight.device)
    return lambda tokens: table(rows[tokens])
