"""The Cosmos autoregressive transformer, with the official parameter names: no key map at load."""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cosmos_adapter.transformer.rope import PositionTables, rotate
from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Logits, Positions, Slots, Tokens, Visible

Hidden = Float[Tensor, "b n c"]
Heads = Float[Tensor, "b n k d"]
KVHeads = Float[Tensor, "b n m d"]  # fewer heads than the queries have
ContextEntry = tuple[Tensor, Tensor]  # keys and values [b kv_heads context head_size] of one layer


class PassInputs(NamedTuple):
    """What all layers share in one pass. A tuple, so that accelerate's hooks can move it between devices."""

    cos: Tensor  # [b n head_size/2]
    sin: Tensor
    absolute: Tensor | None  # [b n dim], added in front of every layer
    clips: Tensor | None  # [b 1] 0..b-1, and
    slots: Tensor | None  # [b n] where to write in the cache; None: slots 0..n-1
    mask: Tensor | None  # additive [b 1 group*n l]; None: causal over the inputs themselves
    context_mask: Tensor | None  # bool [b 1 1 context], True: attend; None: all


class LayerCache(NamedTuple):
    """Keys (after QK-norm and RoPE) and values of one layer, each ``[b kv_heads slots head_size]``."""

    keys: Tensor
    values: Tensor


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) in float32 (float64 stays), rounded to x's dtype, then times the weight."""

    def __init__(self, size: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... c"]:
        wide = x if x.dtype == torch.float64 else x.float()
        normed = F.rms_norm(wide, wide.shape[-1:], eps=self.eps)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


def initialise(network: nn.Module, std: float = 0.02, seed: int = 0) -> None:
    """Start values for training: normal matrices and embeddings, the residual outputs narrower, norms 1."""
    generator = torch.Generator().manual_seed(seed)
    layers = max(1, sum(isinstance(module, Layer) for module in network.modules()))
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            nn.init.ones_(parameter)
            continue
        residual = name.endswith(("wo.weight", "w2.weight"))
        nn.init.normal_(parameter, std=std / (2 * layers) ** 0.5 if residual else std, generator=generator)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A projection without bias; the architecture has no bias anywhere."""
    return nn.Linear(inputs, outputs, bias=False)


class GroupedQueryAttention(nn.Module):
    """Grouped-query attention with RMS-normed queries and keys; self or cross."""

    def __init__(self, spec: ModelSpec, key_dim: int):
        super().__init__()
        self.head_size = spec.head_size
        self.wq = linear(spec.dim, spec.n_heads * spec.head_size)
        self.wk = linear(key_dim, spec.n_kv_heads * spec.head_size)
        self.wv = linear(key_dim, spec.n_kv_heads * spec.head_size)
        self.wo = linear(spec.n_heads * spec.head_size, spec.dim)
        self.q_norm = RMSNorm(spec.head_size)  # 1e-5 here whatever norm_eps says, as in the official code
        self.k_norm = RMSNorm(spec.head_size)

    def queries(self, x: Hidden) -> Heads:
        """Normed queries, not rotated."""
        return self.q_norm(self.wq(x).unflatten(-1, (-1, self.head_size)))

    def keys_values(self, x: Float[Tensor, "b n e"]) -> tuple[KVHeads, KVHeads]:
        """Normed keys, not rotated, and values."""
        keys = self.k_norm(self.wk(x).unflatten(-1, (-1, self.head_size)))
        return keys, self.wv(x).unflatten(-1, (-1, self.head_size))

    def forward(self, x: Hidden, shared: PassInputs, cache: LayerCache | None) -> Hidden:
        """Self-attention; writes the inputs' entries into ``cache`` first if there is one."""
        queries = rotate(self.queries(x), shared.cos, shared.sin)
        keys, values = self.keys_values(x)
        keys = rotate(keys, shared.cos, shared.sin)
        if cache is not None:
            _write(cache, keys, values, shared)
        if shared.mask is None:
            mixed = _causal(queries, keys, values)
        else:
            assert cache is not None
            rows, length = len(x), shared.mask.shape[-1]  # the cache may have more of both
            keys, values = cache.keys[:rows, :, :length], cache.values[:rows, :, :length]
            mixed = _masked(queries, keys, values, shared.mask)
        return self.wo(mixed)

    def cross(self, x: Hidden, entry: ContextEntry, mask: Tensor | None) -> Hidden:
        """Attention to a text context: no rotation, no causality."""
        queries, (keys, values) = self.queries(x), entry
        return self.wo(_masked(queries, keys, values, mask))


def _write(cache: LayerCache, keys: KVHeads, values: KVHeads, shared: PassInputs) -> None:
    """Entry (b, i) goes to slot ``slots[b, i]``, or i, over whatever was there."""
    for stored, new in ((cache.keys, keys), (cache.values, values)):
        if shared.slots is None:
            stored[:, :, : new.shape[1]] = new.transpose(1, 2)
        else:
            stored[shared.clips, :, shared.slots] = new.to(stored.dtype)


def _causal(queries: Heads, keys: KVHeads, values: KVHeads) -> Hidden:
    """Every input reads itself and the inputs in front of it."""
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    return mixed.transpose(1, 2).flatten(2)


def _masked(queries: Heads, keys: Tensor, values: Tensor, mask: Tensor | None) -> Hidden:
    """Query heads of a group are stacked along the query axis, so that keys and values are read in place:
    on CPU mostly 1.02-9 times as fast as enable_gqa at 1-128 queries and 1600 slots (once 2 % slower: LOG.md)."""
    b, n, heads, size = queries.shape
    kv_heads = keys.shape[1]
    folded = queries.transpose(1, 2).reshape(b, kv_heads, -1, size)
    mixed = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
    return mixed.reshape(b, heads, n, size).transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.w1 = linear(spec.dim, spec.ffn_hidden_size)
        self.w2 = linear(spec.ffn_hidden_size, spec.dim)
        self.w3 = linear(spec.dim, spec.ffn_hidden_size)

    def forward(self, x: Hidden) -> Hidden:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    """One residual layer: absolute embedding, self-attention, cross-attention, feed-forward."""

    def __init__(self, spec: ModelSpec, index: int):
        super().__init__()
        self.attention = GroupedQueryAttention(spec, spec.dim)
        self.attention_norm = RMSNorm(spec.dim, spec.norm_eps)
        self.has_cross_attention = spec.has_cross_attention(index)
        if self.has_cross_attention:
            self.cross_attention = GroupedQueryAttention(spec, spec.context_dim)
            self.cross_attention_norm = RMSNorm(spec.dim, spec.norm_eps)
        self.feed_forward = FeedForward(spec)
        self.ffn_norm = RMSNorm(spec.dim, spec.norm_eps)

    def forward(
        self, h: Hidden, shared: PassInputs, cache: LayerCache | None, context: ContextEntry | None
    ) -> Hidden:
        if shared.absolute is not None:
            h = h + shared.absolute
        h = h + self.attention(self.attention_norm(h), shared, cache)
        if self.has_cross_attention:
            assert context is not None
            h = h + self.cross_attention.cross(self.cross_attention_norm(h), context, shared.context_mask)
        return h + self.feed_forward(self.ffn_norm(h))


class CosmosTransformer(nn.Module):
    """Tokens to logits. ``forward`` is the plain causal pass (training, reference); ``window`` and
    ``prefill`` use a cache, one ``LayerCache`` per layer."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.tables = PositionTables(spec)
        self.tok_embeddings = nn.Embedding(spec.embedding_rows, spec.dim)
        self.layers = nn.ModuleList(Layer(spec, index) for index in range(spec.n_layers))
        self.norm = RMSNorm(spec.dim, spec.norm_eps)
        self.output = linear(spec.dim, spec.vocab_size)

    def forward(
        self,
        tokens: Tokens,
        context: Float[Tensor, "#b s e"] | None = None,
        context_mask: Bool[Tensor, "#b s"] | None = None,
    ) -> Logits:
        """Logits of every input of whole sequences at positions 0..n-1."""
        entries = None if context is None else self.context_entries(context)
        return self.head(self.prefill(tokens, None, entries, context_mask))

    def prefill(
        self,
        tokens: Tokens,
        cache: tuple[LayerCache, ...] | None,
        entries: tuple[ContextEntry | None, ...] | None = None,
        context_mask: Bool[Tensor, "#b s"] | None = None,
    ) -> Hidden:
        """Hidden states of whole sequences at positions and slots 0..n-1, causally."""
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        seen = None if context_mask is None else context_mask[:, None, None]
        return self._run(tokens, self._pass_inputs(positions, context_mask=seen), cache, entries)

    def window(
        self,
        tokens: Tokens,
        positions: Positions,
        slots: Slots,
        visible: Visible,
        cache: tuple[LayerCache, ...],
        *,
        entries: tuple[ContextEntry | None, ...] | None = None,
    ) -> Hidden:
        """Hidden states of a window: entries are written at ``slots``, then ``visible`` slots are read."""
        mask = self._fold_mask(visible)
        return self._run(tokens, self._pass_inputs(positions, slots=slots, mask=mask), cache, entries)

    def head(self, hidden: Hidden) -> Logits:
        """Logits of hidden states."""
        return self.output(self.norm(hidden))

    def context_entries(self, context: Float[Tensor, "b s e"]) -> tuple[ContextEntry | None, ...]:
        """Every layer's cross-attention keys and values of a text context, the same in all passes."""
        if not self.spec.insert_cross_attn:
            raise InvalidArgument("this model has no cross-attention: it takes no context")
        entries: list[ContextEntry | None] = []
        for layer in self._typed_layers():
            entry = None
            if layer.has_cross_attention:
                keys, values = layer.cross_attention.keys_values(context)
                entry = (keys.transpose(1, 2), values.transpose(1, 2))
            entries.append(entry)
        return tuple(entries)

    def make_cache(self, batch: int, slots: int) -> tuple[LayerCache, ...]:
        """Zeroed cache; each layer's part lies where that layer's weights lie."""
        shape = (batch, self.spec.n_kv_heads, slots, self.spec.head_size)
        weights = [layer.attention.wk.weight for layer in self._typed_layers()]
        return tuple(LayerCache(w.new_zeros(shape), w.new_zeros(shape)) for w in weights)

    def _typed_layers(self) -> list[Layer]:
        return cast(list[Layer], list(self.layers))

    def _fold_mask(self, visible: Visible) -> Tensor:
        """Additive mask [b 1 group*n l], made once per pass. The lowest finite number instead of -inf keeps a
        padding input that sees nothing finite."""
        dtype = self.tok_embeddings.weight.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        mask.masked_fill_(~visible, torch.finfo(dtype).min)
        return mask.repeat(1, self.spec.query_group, 1).unsqueeze(1)

    def _pass_inputs(
        self,
        positions: Positions,
        slots: Slots | None = None,
        mask: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> PassInputs:
        rows = self.tables.rows(positions, self.tok_embeddings.weight.dtype)
        clips = None if slots is None else torch.arange(slots.shape[0], device=slots.device).unsqueeze(1)
        return PassInputs(*rows, clips, slots, mask, context_mask)

    def _run(
        self,
        tokens: Tokens,
        shared: PassInputs,
        cache: tuple[LayerCache, ...] | None,
        entries: tuple[ContextEntry | None, ...] | None,
    ) -> Hidden:
        if self.spec.insert_cross_attn and entries is None:
            raise InvalidArgument("this model cross-attends to a text context: give one (see with_context)")
        h = self.tok_embeddings(tokens)
        for index, layer in enumerate(self.layers):
            layer_cache = None if cache is None else cache[index]
            h = layer(h, shared, layer_cache, None if entries is None else entries[index])
        return h
