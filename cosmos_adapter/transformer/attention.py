"""Grouped-query attention over a cache whose slots are addressed, and what all layers share in a pass."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cosmos_adapter.transformer.linear import Hidden, Linear, SideBySide, is_changed, side_by_side
from cosmos_adapter.transformer.rope import rotate
from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.invariance import in_pieces
from vidjacobi.runtime import attend, number
from vidjacobi.shapes import Positions, Slots, Tokens, Visible

Heads = Float[Tensor, "b n k d"]
KVHeads = Float[Tensor, "b n m d"]  # fewer heads than the queries have
ContextEntry = tuple[Tensor, Tensor]  # keys and values [b kv_heads context head_size] of one layer


PREFILL_TILE = 128  # positions of a context that are fed at a time


def tiles(tokens: Tokens) -> Iterator[tuple[Tokens, Positions, Slots, Visible]]:
    """Whole sequences at positions and slots 0..n-1 as windows, one after the other, whose inputs see all before."""
    for begin in range(0, tokens.shape[1], PREFILL_TILE):
        tile = tokens[:, begin : begin + PREFILL_TILE]
        places = torch.arange(begin, begin + tile.shape[1], device=tokens.device).expand_as(tile)
        visible = torch.arange(begin + tile.shape[1], device=tokens.device) <= places.unsqueeze(-1)
        yield tile, places, places, visible


class PassInputs(NamedTuple):
    """What all layers share in one pass. It is a tuple, so that accelerate's hooks can move it between devices."""

    cos: Tensor  # [b n 1 head_size], and
    sin: Tensor  # [b n 1 head_size] as ``rotate`` takes them
    absolute: Tensor | None  # [b n dim], added to the hidden states at the start of every layer
    # [b m k] where the keys and values of the first m inputs are written, of each input those of its heads, counted
    # through clips and heads; those of the inputs after them, padding, are not. None: no cache
    places: Tensor | None
    mask: (
        Tensor | None
    )  # additive [b 1 group*n l], without the inputs' own slots; None: causal over the inputs
    context_mask: Tensor | None  # bool [b 1 1 context], True: attend; None: attend to all of the text


class LayerCache(NamedTuple):
    """Keys (after QK-norm and RoPE) and values of one layer, each ``[b kv_heads slots head_size]``."""

    keys: Tensor
    values: Tensor


@runtime_checkable
class EntryStore(Protocol):
    """What keeps the keys and values of one layer in a way of its own, such as a cache of another library."""

    def attend(self, queries: Heads, keys: KVHeads, values: KVHeads) -> Hidden:
        """Keep the entries of the inputs, and attend to all that is kept and is not after the input.

        Queries and keys are rotated.
        """
        ...


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), computed in float32 or float64, rounded to x's dtype, then times the weight."""

    def __init__(self, size: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... c"]:
        # In the official order: rounded before the weight, not after. In bfloat16 the other order differs.
        return normalised(x, self.eps) * self.weight


def normalised(x: Float[Tensor, "... c"], eps: float) -> Float[Tensor, "... c"]:
    """x / sqrt(mean(x^2) + eps), computed in float32 or float64.

    The numbers of ``F.rms_norm``, which takes three times as long for a few rows on a CPU.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    mean = (wide * wide).sum(-1, keepdim=True).div_(number(int(x.shape[-1]), wide))
    return (wide * mean.add_(number(eps, wide)).rsqrt_()).to(x.dtype)


def are_alike(one: Any, other: Any) -> bool:
    """Whether two norms are as they were built, and differ in their weights only."""
    return (
        type(one) is type(other) is RMSNorm
        and one.eps == other.eps
        and not any(map(is_changed, (one, other)))
    )


class GroupedQueryAttention(nn.Module):
    """Attention of many query heads to fewer key/value heads, with RMS-normed queries and keys; self or cross.

    With 32 query heads and 8 key/value heads, query heads 0 to 3 read key/value head 0, heads 4 to 7 read head 1,
    and so on (Ainslie et al. 2023).
    """

    joined: SideBySide | None = None  # queries, keys and values of self-attention; ``settle`` sets it
    most_queries = 0  # that attention is asked for at once, of all heads of a group; 0: any number

    def __init__(self, spec: ModelSpec, key_dim: int):
        super().__init__()
        self.head_size, self.n_heads = spec.head_size, spec.n_heads
        self.wq = Linear(spec.dim, spec.n_heads * spec.head_size)
        self.wk = Linear(key_dim, spec.n_kv_heads * spec.head_size)
        self.wv = Linear(key_dim, spec.n_kv_heads * spec.head_size)
        self.wo = Linear(spec.n_heads * spec.head_size, spec.dim)
        self.q_norm = RMSNorm(spec.head_size)  # with eps 1e-5 whatever norm_eps says, as in the official code
        self.k_norm = RMSNorm(spec.head_size)

    def queries(self, x: Hidden) -> Heads:
        """Normed queries, not rotated yet."""
        return self.q_norm(self.wq(x).unflatten(-1, (-1, self.head_size)))

    def keys_values(self, x: Float[Tensor, "b n e"]) -> tuple[KVHeads, KVHeads]:
        """Normed keys, not rotated yet, and values."""
        keys = self.k_norm(self.wk(x).unflatten(-1, (-1, self.head_size)))
        return keys, self.wv(x).unflatten(-1, (-1, self.head_size))

    @property
    def alike(self) -> tuple[Linear, ...]:
        """The projections of the same input, in self-attention."""
        return self.wq, self.wk, self.wv

    def settle(self, most_queries: int, fake: bool) -> None:
        """Attend in pieces from now on; join the projections of self-attention, unless they are ``fake``."""
        self.most_queries = most_queries
        if not fake:
            self.joined = side_by_side(self.alike, self.joined, self)

    def projected(self, x: Hidden) -> tuple[Heads, KVHeads]:
        """Normed queries with the normed keys behind them, neither rotated yet, and values.

        Together they take a third of the operations that they take one by one, and have the same numbers.
        """
        joined = self.joined if are_alike(self.q_norm, self.k_norm) else None
        made = None if joined is None else joined.product(x)
        if made is None:
            keys, values = self.keys_values(x)
            return torch.cat([self.queries(x), keys], 2), values
        # With 4 query heads and 2 key/value heads there are 8 of everything: q q q q k k v v.
        heads = made.unflatten(-1, (-1, self.head_size))
        count = self.n_heads + (int(heads.shape[2]) - self.n_heads) // 2
        # narrow is one view; an index with colons in front of it is one for each colon
        both = normalised(heads.narrow(2, 0, count), self.q_norm.eps)
        both.narrow(2, 0, self.n_heads).mul_(self.q_norm.weight)
        both.narrow(2, self.n_heads, count - self.n_heads).mul_(self.k_norm.weight)
        return both, heads.narrow(2, count, int(heads.shape[2]) - count)

    def forward(self, x: Hidden, shared: PassInputs, cache: LayerCache | EntryStore | None) -> Hidden:
        """Self-attention. If there is a cache, the entries of the inputs are written into it first."""
        both, values = self.projected(x)
        # Keys are stored rotated: a slot's entry stays right as long as its token stays at its position.
        both = rotate(both, shared.cos, shared.sin)
        queries, keys = both.split([self.n_heads, int(both.shape[2]) - self.n_heads], 2)
        if cache is not None and not isinstance(cache, LayerCache):
            return self.wo(cache.attend(queries, keys, values))
        if shared.mask is None:
            return self.wo(_causal(queries, keys, values))
        assert cache is not None
        assert shared.places is not None
        _write(cache, keys, values, shared.places)
        # The mask is as long as the prefix that is in use, in whole blocks, while the cache has room for the whole
        # clip. A slice of a tensor is a view, so nothing is copied.
        rows, length = x.shape[0], shared.mask.shape[-1]
        before = LayerCache(cache.keys[:rows, :, :length], cache.values[:rows, :, :length])
        return self.wo(_own_last(queries, before, shared.mask, keys, values, self.most_queries))

    def cross(self, x: Hidden, entry: ContextEntry, mask: Tensor | None) -> Hidden:
        """Attention to a text context, without rotation and without causality."""
        queries, (keys, values) = self.queries(x), entry
        return self.wo(_masked(queries, keys, values, mask, self.most_queries))


def entry_places(slots: Int[Tensor, "b m"], keys: Float[Tensor, "r k l d"]) -> Int[Tensor, "b m k"]:
    """Where in a cache's ``keys`` the entries of the heads of each input go that are written at ``slots[b, i]``."""
    # With 2 heads and 512 slots, slot 4 of clip 0 is row 4 of head 0 and 516 of head 1; of clip 1 1028, 1540.
    heads, length = keys.shape[1:3]
    first = torch.arange(0, len(slots) * heads * length, length, device=slots.device)
    return first.view(-1, 1, heads) + slots.unsqueeze(-1)


def _write(cache: LayerCache, keys: KVHeads, values: KVHeads, places: Tensor) -> None:
    """Write the entries of the inputs at ``places``, over whatever is there."""
    size, used, flat = int(keys.shape[3]), places.shape[1], places.flatten()
    for stored, new in ((cache.keys, keys), (cache.values, values)):
        rows = new[:, :used].reshape(-1, size)
        stored.view(-1, size).index_copy_(0, flat, rows.to(stored.dtype))


def _causal(queries: Heads, keys: KVHeads, values: KVHeads) -> Hidden:
    """Attention in which every input reads itself and the inputs before it."""
    if queries.requires_grad and not queries.is_cuda:
        return _products(queries, keys, values)
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    return mixed.transpose(1, 2).flatten(2)


def _products(queries: Heads, keys: KVHeads, values: KVHeads) -> Hidden:
    """The same as two products of matrices: on a CPU, forward and backward in bfloat16 take half of the time.

    Heads of a group are stacked as ``_masked`` says.
    """
    b, n, heads, size = queries.shape
    kv_heads = keys.shape[2]
    folded = queries.transpose(1, 2).reshape(b * kv_heads, -1, size)
    k, v = (x.transpose(1, 2).reshape(b * kv_heads, n, size) for x in (keys, values))
    later = queries.new_full((n, n), -torch.inf).triu(1).repeat(heads // kv_heads, 1)
    scores = torch.baddbmm(later.expand(b * kv_heads, -1, -1), folded, k.transpose(1, 2), alpha=size**-0.5)
    mixed = torch.bmm(scores.softmax(-1), v)
    return mixed.view(b, heads, n, size).transpose(1, 2).flatten(2)


def _masked(queries: Heads, keys: Tensor, values: Tensor, mask: Tensor | None, most: int) -> Hidden:
    """Attention with keys and values ``[b m l d]`` and a mask ``[b 1 1 l]``, or none, in pieces of ``most`` rows.

    The query heads of a group are stacked along the query axis, so that the keys and values are read where they are
    and never repeated for each query head. On a CPU this is mostly 1.02 to 9 times as fast as ``enable_gqa`` at 1 to
    128 inputs and 1,600 slots, and once 2 % slower (docs/log/speed.md).
    """
    # With 4 query heads, 2 key/value heads and 3 inputs, each key/value head sees 2 * 3 = 6 queries:
    #   head 0 of inputs 0 1 2, head 1 of inputs 0 1 2   attend to key/value head 0
    #   head 2 of inputs 0 1 2, head 3 of inputs 0 1 2   attend to key/value head 1
    b, n, heads, size = queries.shape
    kv_heads = keys.shape[1]
    folded = queries.transpose(1, 2).reshape(b, kv_heads, -1, size)
    pieces = folded.split(most or max(1, folded.shape[2]), 2)
    found = [F.scaled_dot_product_attention(some, keys, values, attn_mask=mask) for some in pieces]
    mixed = found[0] if len(found) == 1 else torch.cat(found, 2)
    return mixed.reshape(b, heads, n, size).transpose(1, 2).flatten(2)


def _own_last(
    queries: Heads, before: LayerCache, mask: Tensor, keys: KVHeads, values: KVHeads, most: int
) -> Hidden:
    """Attention to the slots that the mask shows, then each input's own entry, which it does not, merged in last.

    So the order of summation is that of positions wherever the entry is stored: the accepted sibling of a draft tree
    gets the numbers that one-by-one decoding would have computed, and its entry can be moved.
    """
    b, n, heads, size = queries.shape
    kv_heads = keys.shape[2]
    folded = queries.transpose(1, 2).reshape(b, kv_heads, -1, size)
    mixed, norm = in_pieces(attend, folded, before.keys, before.values, mask, most)
    # Let Z be the log-sum-exp of the scores in front and o the own score: the own share is
    # exp(o) / (exp(Z) + exp(o)) = 1 / (1 + exp(Z - o)). An input that sees nothing has Z near the lowest number, so a
    # share of exactly 1 and a weight of exactly 0 for whatever attention returned.
    # [b kv_heads group n d], and for the own entry [b kv_heads 1 n d]
    asked, mixed = (x.view(b, kv_heads, -1, n, size) for x in (folded, mixed))
    own_keys, own_values = (x.transpose(1, 2).unsqueeze(2) for x in (keys, values))
    wide = norm.dtype
    own = (asked.to(wide) * own_keys).sum(-1)
    own.mul_(number(int(size) ** -0.5, own))
    # Separate operations: sigmoid, lerp and addcmul round otherwise in the vectors and in the tail of a kernel.
    one = number(1, own)
    share = (norm.view_as(own) - own).exp_().add_(one).reciprocal_().unsqueeze(-1)
    both = (mixed.to(wide) * (one - share)).add_(own_values * share)
    return both.to(queries.dtype).view(b, heads, n, size).transpose(1, 2).flatten(2)
