"""What a family takes of a network of ``transformers``: its layers, the embeddings of cells, and a head over them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.invariance import by_inputs
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
        embed: cells ``[b n]``, ids below ``vocab_size``, to embeddings ``[b n dim]``. A module, as the head: what is
            inside of another function no probe knows, and passes are then said to be equal up to rounding.
        head: hidden states to logits ``[b n v]`` of the ids that a cell may have.
        vocab_size: v, the number of those ids.
        unused: names of modules in the layers that passes do not call, such as a tokenizer of images.

    Raises InvalidArgument for attention that cannot read a cache by slots.
    """

    layers: nn.Module
    embed: Callable[[Tokens], Hidden]
    head: Callable[[Hidden], Logits]
    vocab_size: int
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_attention(self.config)

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

    @property
    def first_layer(self) -> nn.Module | None:
        """Of its layers, which are taken to be alike; None where no list in the network is as long as ``depth``."""
        lists = (part for part in self.layers.modules() if isinstance(part, nn.ModuleList))
        return next((part[0] for part in lists if len(part) == self.depth), None)


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

    @property
    def places(self) -> int:
        """Rows of the tables."""
        return len(self.cos)

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
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "longrope":
        raise InvalidArgument(
            "rope_type='longrope' turns all of a pass by the longest place in it: entries of other passes do not fit"
        )


def rows_of(linear: nn.Linear, ids: Int[Tensor, " v"]) -> nn.Linear:
    """A head with some of the rows of another one, in this order; a view of them where the ids count up."""
    chosen: slice | Tensor = ids.to(linear.weight.device)
    if torch.equal(ids, torch.arange(int(ids[0]), int(ids[0]) + len(ids))):
        chosen = slice(int(ids[0]), int(ids[0]) + len(ids))
        with torch.inference_mode(False):
            linear.weight.data = by_inputs(linear.weight.data)  # as passes want it: else they would copy rows
    bias = None if linear.bias is None else linear.bias.detach()[chosen]
    made = head_of(linear.weight.detach()[chosen], bias)
    vars(made)["rows_of"] = (linear,)  # which is no module of it
    return made


def head_of(weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> nn.Linear:
    """A projection by these very tensors."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


class CellRows(nn.Module):
    """Embeddings of cells by some of the rows of a table, in this order."""

    rows: Tensor

    def __init__(self, table: nn.Embedding, ids: Int[Tensor, " v"]) -> None:
        super().__init__()
        self.table = table
        self.register_buffer("rows", ids.to(table.weight.device), persistent=False)

    def forward(self, tokens: Tokens) -> Hidden:
        """Of cells ``[b n]``."""
        return self.table(self.rows[tokens])
