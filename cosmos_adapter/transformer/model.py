"""A Cosmos transformer as a ``vidjacobi.models.protocol.VideoModel``."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.transformer.attention import ContextEntry, Hidden, LayerCache
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import PRESETS
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import Grid
from vidjacobi.runtime import refuse_autocast
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

# Logits that are in memory at once during the prefill: with 64,000 tokens those of 262 inputs, 32 MB in bfloat16.
HEAD_CHUNK = 1 << 24


class CosmosModel:
    """A Cosmos transformer that can be decoded. It computes no gradients; to train, call the network itself."""

    def __init__(self, network: CosmosTransformer, entries: tuple[ContextEntry | None, ...] | None = None):
        self.network = network.eval()
        self.spec = network.spec
        self.vocab_size = self.spec.vocab_size
        self.max_positions = self.spec.positions
        # The begin-of-video token has the first id after the vocabulary: it can be fed and never drawn.
        self.prefix_tokens: tuple[int, ...] = (self.spec.vocab_size,) if self.spec.begin_of_video else ()
        self._entries = entries

    @property
    def device(self) -> torch.device:
        """Device of the inputs, which is that of the token embedding."""
        return self.network.tok_embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.network.tok_embeddings.weight.dtype

    @property
    def recommended_top_p(self) -> float:
        """The top-p that the authors recommend for a released model, 0.8 for any other."""
        matches = [preset.top_p for preset in PRESETS.values() if preset.spec == self.spec]
        return matches[0] if matches else 0.8

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of ``frames`` frames, rounded up to whole latent frames.

        Raises InvalidArgument for no frames and for more than the model covers.
        """
        if frames < 1:
            raise InvalidArgument(f"a clip has at least 1 frame, got {frames}")
        latents = 1 + -(-(frames - 1) // self.spec.frame_stride)
        whole = self.spec.grid
        if latents > whole.t:
            limit = 1 + (whole.t - 1) * self.spec.frame_stride
            raise InvalidArgument(
                f"{number_of(frames, 'frame')} are more than the {limit} that this model covers at once"
            )
        return Grid(latents, whole.h, whole.w)

    @torch.no_grad()
    def with_context(self, context: Float[Tensor, "b s e"]) -> "CosmosModel":
        """A model with the same weights that cross-attends to a text context ``[1 or b, length, context_dim]``.

        All rows of the text are attended to, zeroed padding rows too, as in the released pipeline. Raises
        InvalidArgument for a model without cross-attention or a context of another width.
        """
        if self.spec.insert_cross_attn and context.shape[-1] != self.spec.context_dim:
            raise InvalidArgument(
                f"context has {context.shape[-1]} channels, expected {self.spec.context_dim}"
            )
        moved = context.to(device=self.device, dtype=self.dtype)
        return CosmosModel(self.network, self.network.context_entries(moved))

    def make_cache(self, batch: int, slots: int) -> tuple[LayerCache, ...]:
        """Zeroed keys and values of at least ``slots`` slots for each of ``batch`` clips.

        Raises InvalidArgument in ``torch.autocast``.
        """
        refuse_autocast(self.device)
        self.network.settle(self.device)
        return self.network.make_cache(batch, slots)

    @property
    def bitwise(self) -> bool:
        """Whether passes here are width-invariant, in the dtype and number of threads of now; see ``ExactModel``."""
        return self.network.settle(self.device).invariant

    @property
    def padding(self) -> str:
        """What passes here are padded to, in words."""
        return str(self.network.settle(self.device))

    @torch.no_grad()
    def prefill(self, tokens: Tokens, cache: Any, keep: int) -> Iterator[Logits]:
        """Feed whole contexts at once, then yield the logits of the last ``keep`` inputs in chunks.

        Raises InvalidArgument if ``keep`` is not in 1..n or the context has more positions than the model.
        """
        n = tokens.shape[1]
        if not 1 <= keep <= n:
            raise InvalidArgument(
                f"keep={keep} logits of a context of {number_of(n, 'token')}: it must be 1 to {n}"
            )
        self._check_positions(n)
        hidden = self.network.prefill(tokens, cache, self._context(tokens.shape[0]))
        # Hidden states are 4,096 numbers for each input, logits 64,000: the head is applied chunk by chunk. The copy
        # lets the hidden states of the rest of the context be freed.
        return self._head_chunks(hidden[:, n - keep :].clone())

    @torch.no_grad()
    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Any
    ) -> Logits:
        """One pass over a window; see ``vidjacobi.models.protocol.VideoModel.forward``."""
        entries = self._context(tokens.shape[0])
        hidden = self.network.window(tokens, positions, slots, visible, cache, entries=entries)
        return self.network.head(hidden)

    def move(self, cache: Any, source: Slots, target: Slots) -> None:
        """Copy cache entries of each clip from slots to slots, in every layer; see ``TreeModel.move``."""
        # [b 1] and [b m] broadcast to pairs (clip, slot); the right side is read before anything is written.
        clips = torch.arange(source.shape[0], device=source.device).unsqueeze(1)
        for layer in cache:
            for entries in layer:
                entries[clips, :, target] = entries[clips, :, source]

    @property
    def rows_alike(self) -> bool:
        """Whether the same tokens get the same logits in any row: False if rows have texts of their own."""
        return all(entry is None or len(entry[0]) == 1 for entry in self._entries or ())

    def copy_rows(self, cache: Any, rows: RowIndex, source: Any, source_rows: RowIndex) -> None:
        """Copy whole rows of cache entries, in every layer; see ``vidjacobi.models.protocol.RowModel.copy_rows``."""
        for layer, from_layer in zip(cache, source, strict=True):
            for entries, others in zip(layer, from_layer, strict=True):
                here = entries.device
                entries[rows.to(here), :, : others.shape[2]] = others[source_rows.to(here)]

    def _head_chunks(self, hidden: Hidden) -> Iterator[Logits]:
        rows = max(1, HEAD_CHUNK // (hidden.shape[0] * self.vocab_size))
        for chunk in hidden.split(rows, dim=1):
            yield self._head(chunk)

    @torch.no_grad()
    def _head(self, hidden: Hidden) -> Logits:
        return self.network.head(hidden)

    def _check_positions(self, n: int) -> None:
        if n > self.max_positions:
            raise InvalidArgument(
                f"{number_of(n, 'token')} are more than the {number_of(self.max_positions, 'position')} of this model"
            )

    def _context(self, batch: int) -> tuple[ContextEntry | None, ...] | None:
        """The entries of the text context for ``batch`` rows; a single context is shared by all of them."""
        if self._entries is None:
            return None
        return tuple(None if entry is None else _expand(entry, batch) for entry in self._entries)


def _expand(entry: ContextEntry, batch: int) -> ContextEntry:
    keys, values = entry
    if keys.shape[0] not in (1, batch):
        raise InvalidArgument(
            f"{number_of(keys.shape[0], 'context')} for a batch of {number_of(batch, 'clip')}"
        )
    return keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)
