"""Attention over a cache by slots in one order of summation, whichever pass asks and wherever an entry was written.

What an input sees in the cache comes first, in the order of its slots. Its own entry is merged in last, out of the
pass and not out of the cache, and so is its *company*: a rider's are its cell and the riders before it on that cell.
So a sibling and its riders get the numbers that one-by-one decoding would have computed, and may be moved.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vidjacobi.families.slot_cache import SlotCache
from vidjacobi.invariance import in_pieces
from vidjacobi.runtime import attend

NAME = "vidjacobi_slots"  # among the attention functions of ``transformers``

Asked = Float[Tensor, "b k g n d"]  # queries, stacked by the key head that they read


class Company(NamedTuple):
    """The inputs that riders of a pass have in front of them on their cell, the cell first and themselves last.

    Attributes:
        first: the riders are the inputs from this one on.
        inputs: places among the inputs of the pass.
        own: which of them are company of the rider; the others fill up.
    """

    first: int
    inputs: Int[Tensor, "b e w"]
    own: Bool[Tensor, "b e w"]


class SlotPass(NamedTuple):
    """What the attention of every layer is told of a pass.

    Attributes:
        cache: where entries lie.
        read: slots of it that are read, the first ones.
        company: of the riders; None: the pass has none.
        queries: that attention is asked for at once, of all heads of a group; 0: any number.
    """

    cache: SlotCache
    read: int
    company: Company | None
    queries: int


def slot_attention(
    module: Any,
    query: Float[Tensor, "b h m d"],
    key: Float[Tensor, "b k m d"],
    value: Float[Tensor, "b k m d"],
    attention_mask: Float[Tensor, "b 1 q a"],
    scaling: float | None = None,
    slots: SlotPass | None = None,
    **unused: Any,
) -> tuple[Float[Tensor, "b m h d"], None]:
    """Attention as a layer of ``transformers`` calls it. ``key`` and ``value`` are the pass's own entries.

    ``attention_mask`` hides from each input the slots of itself and of its company; its rows stand there once for
    each query head of a group.
    """
    assert slots is not None
    layer, (b, heads, m, size), kv_heads = slots.cache.layers[module.layer_idx], query.shape, key.shape[1]
    keys, values = (part[:b, :, : slots.read] for part in (layer.keys, layer.values))
    if scaling is not None and scaling != size**-0.5:
        query = query * (scaling * size**0.5)  # the kernel scales as attention usually does
    # With 4 query heads, 2 key heads and inputs 0 1 2 the first key head is asked by the rows 0 1 2 0 1 2.
    asked = query.reshape(b, kv_heads, -1, m, size)
    mixed, norm = in_pieces(attend, asked.flatten(2, 3), keys, values, attention_mask, slots.queries)
    mixed, norm = mixed.reshape(asked.shape), norm.reshape(asked.shape[:-1])
    found = _with_company(asked, mixed, norm, key.unsqueeze(3), value.unsqueeze(3))
    if (company := slots.company) is not None:
        riders = slice(company.first, company.first + company.inputs.shape[1])
        near, said = (_gathered(part, company.inputs) for part in (key, value))
        parts = asked[..., riders, :], mixed[..., riders, :], norm[..., riders]
        found[..., riders, :] = _with_company(*parts, near, said, company.own)
    return found.reshape(b, heads, m, size).transpose(1, 2), None


def _gathered(entries: Float[Tensor, "b k m d"], inputs: Int[Tensor, "b e w"]) -> Float[Tensor, "b k e w d"]:
    index = inputs.flatten(1)[:, None, :, None].expand(-1, entries.shape[1], -1, entries.shape[3])
    return entries.gather(2, index).unflatten(2, inputs.shape[1:])


def _with_company(
    asked: Asked,
    mixed: Asked,
    norm: Float[Tensor, "b k g n"],
    keys: Float[Tensor, "b k n w d"],
    values: Float[Tensor, "b k n w d"],
    own: Bool[Tensor, "b n w"] | None = None,
) -> Asked:
    """What attention mixed, with a log-sum-exp of ``norm``, and of w entries more those that are ``own``."""
    # Separate operations, each rounded at every place alike: sums and products written as one round otherwise in the
    # vectors and in the tail of a kernel. An entry that is not own weighs exactly 0, so that it changes no bit.
    wide = norm.dtype
    scores = (asked.to(wide).unsqueeze(-2) * keys.unsqueeze(2)).sum(-1).mul_(asked.shape[-1] ** -0.5)
    if own is not None:
        scores = scores.masked_fill(~own[:, None, None], torch.finfo(wide).min)
    # An input that sees nothing has a norm near the lowest number: what attention returned then weighs exactly 0.
    top = torch.maximum(norm, scores.squeeze(-1) if own is None else scores.amax(-1))
    weight, weights = (norm - top).exp_(), (scores - top.unsqueeze(-1)).exp_()
    total, sums = weight, mixed.to(wide) * weight.unsqueeze(-1)
    for place in range(weights.shape[-1]):
        share = weights[..., place]
        total = total + share
        sums = sums + share.unsqueeze(-1) * values[..., place, :].unsqueeze(2)
    return (sums / total.unsqueeze(-1)).to(asked.dtype)


ALL_ATTENTION_FUNCTIONS.register(NAME, slot_attention)
