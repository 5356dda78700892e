"""The Cosmos autoregressive transformer. Parameters have the official names, so checkpoints load without a map."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from cosmos_adapter.transformer.attention import (
    ContextEntry,
    EntryStore,
    GroupedQueryAttention,
    LayerCache,
    PassInputs,
    RMSNorm,
    entry_places,
    tiles,
)
from cosmos_adapter.transformer.linear import FeedForward, Hidden, Linear, pack_weights, packing_keeps_bits
from cosmos_adapter.transformer.rope import PositionTables, spread
from cosmos_adapter.transformer.spec import ModelSpec, round_up
from cosmos_adapter.transformer.traced import Records, takes_records
from vidjacobi.errors import InvalidArgument
from vidjacobi.invariance import BLOCK, PLAIN, USUAL, PassShape, Sizes, hidden, pass_shape, stacked
from vidjacobi.runtime import attend
from vidjacobi.shapes import Logits, Positions, Slots, Tokens, Visible


def initialise(network: nn.Module, std: float = 0.02, seed: int = 0) -> None:
    """Set start values for training: normal matrices and embeddings with deviation ``std``, and norms of 1."""
    generator = torch.Generator().manual_seed(seed)
    layers = max(1, sum(isinstance(module, Layer) for module in network.modules()))
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            nn.init.ones_(parameter)
            continue
        # Matrices that write into the residual stream are narrower (as in GPT-2), so that the variance of the sum of
        # 2 * layers of them does not grow with the depth.
        residual = name.endswith(("wo.weight", "w2.weight"))
        nn.init.normal_(parameter, std=std / (2 * layers) ** 0.5 if residual else std, generator=generator)


class Layer(nn.Module):
    """One residual layer: absolute embedding if the model has one, self-attention, cross-attention, feed-forward."""

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
        self,
        h: Hidden,
        shared: PassInputs,
        cache: LayerCache | EntryStore | None,
        context: ContextEntry | None,
    ) -> Hidden:
        if shared.absolute is not None:
            h = h + shared.absolute
        h = h + self.attention(self.attention_norm(h), shared, cache)
        if self.has_cross_attention:
            assert context is not None
            h = h + self.cross_attention.cross(self.cross_attention_norm(h), context, shared.context_mask)
        return h + self.feed_forward(self.ffn_norm(h))


class CosmosTransformer(nn.Module):
    """The network, from tokens to logits.

    ``forward`` is the plain causal pass, for training and as a reference. ``prefill`` and ``window`` use a cache with
    one ``LayerCache`` for each layer.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.tables = PositionTables(spec)
        self.tok_embeddings = nn.Embedding(spec.embedding_rows, spec.dim)
        self.layers = nn.ModuleList(Layer(spec, index) for index in range(spec.n_layers))
        self.norm = RMSNorm(spec.dim, spec.norm_eps)
        self.output = Linear(spec.dim, spec.vocab_size)
        self.shape = PLAIN
        self._packed: tuple[Linear, ...] = ()
        self._records: Records | None = None

    def settle(self, device: torch.device, beside: Sequence[Linear] = ()) -> PassShape:
        """Find the padding with which passes on ``device`` are width-invariant; it is probed once for each setting.

        ``beside``: projections of the same passes that are not the network's own.
        Where none is found passes are not padded. Where there are no numbers they are padded as processors usually
        need it. Weights are stored from now on as products are fastest (``by_inputs``).
        """
        weight = self.tok_embeddings.weight
        spec, linears = self.spec, [*beside, *(part for part in self.modules() if isinstance(part, Linear))]
        products = {(part.in_features, part.out_features) for part in linears}
        # and of those that are computed as one
        products |= {(spec.dim, sum(part.out_features for part in joined)) for joined in self._joined()}
        ordered = tuple(sorted(products, key=math.prod))
        heads = spec.n_kv_heads, spec.query_group, spec.head_size
        sizes = Sizes(ordered, *heads, gates=(spec.ffn_hidden_size,))
        # on the meta device, or in the mode of fake tensors, which says another device
        fake = weight.is_meta or isinstance(weight.new_empty(0), FakeTensor)
        threads = torch.get_num_threads()
        self.shape = USUAL if fake else pass_shape(sizes, weight.dtype, device, threads, attend)
        self._records = self._records or Records(Layer)
        for part in linears:
            part.settle(self.shape.most_of(part.in_features, part.out_features), fake)
        for layer in self._typed_layers():
            layer.attention.settle(self.shape.queries, fake)
            if layer.has_cross_attention:
                layer.cross_attention.most_queries = self.shape.queries
            layer.feed_forward.settle(self.shape.plain_silu, fake)
            for joined in filter(None, (layer.attention.joined, layer.feed_forward.joined)):
                joined.most_rows = self.shape.most_of(*joined.whole.shape[::-1])
        self._pack(tuple(linears), not fake and packing_keeps_bits(sizes, weight.dtype, device, threads))
        return self.shape

    def _pack(self, linears: tuple[Linear, ...], wanted: bool) -> None:
        owners = (owner for layer in self._typed_layers() for owner in (layer.attention, layer.feed_forward))
        pack_weights(linears, [owner.joined for owner in owners if owner.joined], wanted)
        self._packed = linears if wanted else ()

    def unpack(self) -> None:
        """Forget packed copies of weights, before passes for which nobody settles: of ``generate``, of a training.

        Weights may have been written since by way of ``.data``, or by a fused optimiser, which leaves no trace.
        """
        if self._packed and not torch.compiler.is_compiling():  # compiled code uses none
            self._pack(self._packed, False)

    def forward(
        self,
        tokens: Tokens,
        context: Float[Tensor, "#b s e"] | None = None,
        context_mask: Bool[Tensor, "#b s"] | None = None,
    ) -> Logits:
        """Logits of every input of whole sequences at positions 0..n-1; every input sees itself and all before it.

        Raises InvalidArgument where the model cross-attends to a text and ``context`` is None.
        """
        self.unpack()
        entries = None if context is None else self.context_entries(context)
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        seen = None if context_mask is None else context_mask[:, None, None]
        h, shared = self.tok_embeddings(tokens), self._pass_inputs(positions, context_mask=seen)
        return self.head(self._through(h, shared, None, entries))

    def prefill(
        self,
        tokens: Tokens,
        cache: tuple[LayerCache, ...],
        entries: tuple[ContextEntry | None, ...] | None = None,
    ) -> Hidden:
        """Hidden states of whole sequences at positions and slots 0..n-1; every input sees itself and all before it.

        Windows one after the other: the entries are those that passes of any other width would have written.
        Raises InvalidArgument where the model cross-attends to a text and ``entries`` is None.
        """
        return torch.cat([self.window(*tile, cache, entries=entries) for tile in tiles(tokens)], 1)

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
        """Hidden states of a window: entries are written at ``slots``, then the slots in ``visible`` are read.

        See ``vidjacobi.models.protocol.VideoModel.forward`` for the arguments. The pass is padded as ``settle`` found
        out, and each input's own entry is merged in last: a position has the same numbers in any pass.
        """
        b, n = tokens.shape
        if more := self.shape.padding(b, n):
            tokens = F.pad(tokens, (0, more))
        h = self.tok_embeddings(tokens)
        return self.window_of(h, positions, slots, visible, cache, entries=entries)

    def window_of(
        self,
        h: Float[Tensor, "b m c"],
        positions: Positions,
        slots: Slots,
        visible: Visible,
        cache: tuple[LayerCache, ...],
        *,
        entries: tuple[ContextEntry | None, ...] | None = None,
    ) -> Hidden:
        """``window`` of inputs that are embedded already, with padding behind them as ``shape`` wants it."""
        n, rows, length = positions.shape[1], h.shape[1], self.shape.length(visible.shape[-1])
        mask = self._mask_of_others(visible, slots, rows, length)
        if rows > n:
            positions = F.pad(positions, (0, rows - n))
        shared = self._pass_inputs(positions, entry_places(slots, cache[0].keys), mask)
        return self._through(h, shared, cache, entries)[:, :n]

    def whole(self, h: Hidden, positions: Positions) -> Hidden:
        """Hidden states of whole sequences that are embedded already; every input sees itself and all before it."""
        self.unpack()
        return self._through(h, self._pass_inputs(positions), None, None)

    def hidden(
        self,
        tokens: Tokens,
        positions: Positions,
        stores: Sequence[EntryStore] | None,
        entries: tuple[ContextEntry | None, ...] | None = None,
    ) -> Hidden:
        """Hidden states of inputs whose keys and values the caller keeps: a store for each layer, None for no cache.

        Raises InvalidArgument where the model cross-attends to a text and ``entries`` is None.
        """
        self.unpack()
        return self._through(self.tok_embeddings(tokens), self._pass_inputs(positions), stores, entries)

    def head(self, hidden: Hidden) -> Logits:
        """Logits of the hidden states of the last layer."""
        n = hidden.shape[1]
        if more := self.shape.padding(len(hidden), n):
            hidden = F.pad(hidden, (0, 0, 0, more))
        return self.output(self.norm(hidden))[:, :n]

    def context_entries(self, context: Float[Tensor, "b s e"]) -> tuple[ContextEntry | None, ...]:
        """The cross-attention keys and values of a text context, for every layer (None: it has no cross-attention).

        They are the same in all passes, so they are computed once. Raises InvalidArgument for a model without
        cross-attention.
        """
        if not self.spec.insert_cross_attn:
            raise InvalidArgument("this model has no cross-attention: it takes no context")
        self.unpack()
        entries: list[ContextEntry | None] = []
        for layer in self._typed_layers():
            entry = None
            if layer.has_cross_attention:
                keys, values = layer.cross_attention.keys_values(context)
                entry = (keys.transpose(1, 2), values.transpose(1, 2))
            entries.append(entry)
        return tuple(entries)

    def make_cache(self, batch: int, slots: int) -> tuple[LayerCache, ...]:
        """A cache of zeros, in whole blocks. The part of each layer is on the device of that layer's weights."""
        shape = (batch, self.spec.n_kv_heads, round_up(slots, BLOCK), self.spec.head_size)
        weights = [layer.attention.wk.weight for layer in self._typed_layers()]
        return tuple(LayerCache(w.new_zeros(shape), w.new_zeros(shape)) for w in weights)

    def _joined(self) -> Iterator[tuple[Linear, ...]]:
        for layer in self._typed_layers():
            yield from (layer.attention.alike, layer.feed_forward.alike)

    def _typed_layers(self) -> list[Layer]:
        return cast(list[Layer], list(self.layers))

    def _mask_of_others(self, visible: Visible, slots: Slots, rows: int, length: int) -> Tensor:
        """The additive mask ``[b 1 group*rows length]`` of a padded pass, in which no input sees its own slot."""
        mask = hidden(visible, rows, length, self.tok_embeddings.weight.dtype)
        # what is beyond the length is the slot of padding, whose inputs see nothing
        own = slots.unsqueeze(-1).clamp(max=length - 1)
        mask[:, : slots.shape[1]].scatter_(2, own, torch.finfo(mask.dtype).min)
        return stacked(mask, self.spec.query_group)

    def _pass_inputs(
        self,
        positions: Positions,
        places: Int[Tensor, "b m k"] | None = None,
        mask: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> PassInputs:
        cos, sin, absolute = self.tables.rows(positions, self.tok_embeddings.weight.dtype)
        return PassInputs(*spread(cos, sin), absolute, places, mask, context_mask)

    def _through(
        self,
        h: Hidden,
        shared: PassInputs,
        cache: Sequence[LayerCache | EntryStore] | None,
        entries: tuple[ContextEntry | None, ...] | None,
    ) -> Hidden:
        if self.spec.insert_cross_attn and entries is None:
            raise InvalidArgument("this model cross-attends to a text context: give one (see with_context)")
        if self._records is not None and takes_records(h, shared, cache):
            return self._records.through(self._typed_layers(), h, shared, cast(Any, cache))
        for index, layer in enumerate(self.layers):
            layer_cache = None if cache is None else cache[index]
            h = layer(h, shared, layer_cache, None if entries is None else entries[index])
        return h
