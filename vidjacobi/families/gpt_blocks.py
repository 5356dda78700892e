"""Networks in the style of GPT-2 as the layers of a ``Trunk``: learned positions are added, then block by block.

``ImageGPTModel`` of ``transformers`` 5.23 cannot be called with a mask over the slots of a cache: it reshapes the
mask and lays a triangle of its own over the scores. So blocks are run one after the other here. The network itself
stays as it is, and its own ``generate`` with it.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.slot_attention import SlotPass, slot_attention
from vidjacobi.families.slot_cache import SlotCache
from vidjacobi.families.trunk import Hidden

PARTS = ("wpe", "h", "ln_f")
BLOCK_PARTS = ("ln_1", "attn", "ln_2", "mlp")


@dataclass(frozen=True)
class Passed:
    """The result, under the name that ``transformers`` gives it."""

    last_hidden_state: Hidden


class GptBlocks(nn.Module):
    """The blocks of a network, called as ``transformers``' decoders are.

    Args:
        network: ``GPT2Model``, ``ImageGPTModel`` or another one with their parts: ``wpe``, ``h`` with ``ln_1``,
            ``attn`` (``c_attn``, ``c_proj``), ``ln_2`` and ``mlp``, and ``ln_f``. Attention is always PyTorch's own,
            in the dtype of the weights.

    Raises InvalidArgument for another network, and for one that attends to an encoder too.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        lacks = [name for name in PARTS if not hasattr(network, name)]
        if not lacks:
            lacks = [f"h.{name}" for name in BLOCK_PARTS if not hasattr(network.h[0], name)]
        if lacks:
            raise InvalidArgument(
                f"{type(network).__name__} is not built as GPT-2: it has no {', '.join(lacks)}"
            )
        if network.config.add_cross_attention:
            raise InvalidArgument(f"{type(network).__name__} attends to an encoder, which is not here")
        self.network = network

    @property
    def config(self) -> Any:
        """Of the network."""
        return self.network.config

    @property
    def places(self) -> int:
        """Places that it has learned."""
        return self.network.wpe.num_embeddings

    def forward(
        self,
        inputs_embeds: Hidden,
        position_ids: Int[Tensor, "b n"],
        attention_mask: Tensor,
        past_key_values: SlotCache,
        use_cache: bool,
        slots: SlotPass,
    ) -> Passed:
        """One pass; see ``slot_attention`` for the mask."""
        # The last cell of a clip is never fed but as padding, whose result nobody looks at: it may lie beyond.
        x = inputs_embeds + self.network.wpe(position_ids.clamp(max=self.places - 1))
        for number, block in enumerate(self.network.h):
            x = x + self._attend(block.attn, block.ln_1(x), attention_mask, slots, number)
            x = x + block.mlp(block.ln_2(x))
        return Passed(self.network.ln_f(x))

    def _attend(self, attention: Any, x: Hidden, mask: Tensor, slots: SlotPass, number: int) -> Hidden:
        queries, keys, values = (
            part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for part in attention.c_attn(x).split(attention.embed_dim, -1)
        )
        keys, values = slots.cache.update(keys, values, number)
        scale = attention.head_dim**-0.5 if attention.scale_attn_weights else 1.0
        if attention.scale_attn_by_inverse_layer_idx:
            scale /= number + 1
        mixed, _ = slot_attention(attention, queries, keys, values, mask, scale, slots)
        return attention.c_proj(mixed.flatten(2))
