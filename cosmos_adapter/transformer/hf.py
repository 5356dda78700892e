"""The same network as a ``transformers`` model: from_pretrained, save_pretrained, device_map, generate.

For interchange, a reference for tests, and the baseline of ``scripts/peers.py``: ``generate`` keeps keys and values
in transformers' own caches, dynamic (its default) or static. ``cosmos_adapter.transformer.weights.load_model`` reads
the same folders for decoding.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from cosmos_adapter.transformer.attention import Heads, Hidden, KVHeads
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec
from cosmos_adapter.transformer.weights import overlay
from vidjacobi.errors import InvalidArgument, number_of


class CosmosARConfig(PretrainedConfig):
    """``ModelSpec`` as a config of transformers. Its keyword arguments are the fields of ``ModelSpec``."""

    model_type = "cosmos_ar"
    attribute_map = {  # noqa: RUF012 - the base class reads a plain dict here
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "intermediate_size": "ffn_hidden_size",
        "max_position_embeddings": "max_seq_len",
    }

    def __init__(self, **kwargs: Any):
        # transformers also makes a config without arguments, to compare others with it, so every field has a default.
        own = overlay(ModelSpec(), kwargs, type(self).__name__).to_config()
        for name, value in own.items():
            setattr(self, name, value)
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**{name: value for name, value in kwargs.items() if name not in own})

    @property
    def spec(self) -> ModelSpec:
        """The sizes as the rest of this package uses them. Raises BadCheckpoint if no network can have them."""
        return overlay(ModelSpec(), self.__dict__, type(self).__name__)


class CosmosARForCausalLM(PreTrainedModel, GenerationMixin):
    """The Cosmos autoregressive transformer. Its state dict has the official names with the prefix ``model.``."""

    config_class = CosmosARConfig
    base_model_prefix = "model"
    _no_split_modules = ["Layer"]  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: CosmosARConfig):
        super().__init__(config)
        self.model = CosmosTransformer(config.spec)
        self.post_init()

    @classmethod
    def from_network(cls, network: CosmosTransformer) -> "CosmosARForCausalLM":
        """Wrap a network without copying its weights."""
        dtype = network.tok_embeddings.weight.dtype
        with torch.device("meta"):
            # The wrapper builds a network of its own, which costs no memory on the meta device and is replaced at
            # once.
            wrapper = cls(CosmosARConfig(**network.spec.to_config(), dtype=str(dtype).removeprefix("torch.")))
        wrapper.model = network
        return wrapper.eval()

    def save_pretrained(self, save_directory: Any, **options: Any) -> None:
        """As of the library, for weights that lie in parts of one tensor too (``linear.SideBySide``)."""
        options.setdefault(
            "state_dict", {name: part.contiguous() for name, part in self.state_dict().items()}
        )
        super().save_pretrained(save_directory, **options)

    def get_input_embeddings(self) -> torch.nn.Module:
        """The token embedding."""
        return self.model.tok_embeddings

    def get_output_embeddings(self) -> torch.nn.Module:
        """The output projection, which is not tied to the embedding."""
        return self.model.output

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        context: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        past_key_values: Any = None,
        position_ids: Tensor | None = None,
        logits_to_keep: int = 0,
        **unused: Any,
    ) -> CausalLMOutputWithPast:
        """Logits ``[b n v]`` of sequences ``[b n]``, the cache if there is one, and the loss if there are ``labels``.

        Inputs follow what is in ``past_key_values``, at positions 0, 1, ... without a cache; ``use_cache=True`` makes
        an empty one. ``logits_to_keep``: of so many last inputs only; 0: of all.

        Raises InvalidArgument for padded batches, other positions, more than the model or the cache has room for, and
        a cache that is none of transformers' ``Cache`` classes.
        """
        if attention_mask is not None and not bool((attention_mask != 0).all()):
            raise InvalidArgument("padded batches are not supported: all clips must have the same length")
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        positions = self._positions(input_ids, position_ids, past_key_values)
        entries = None if context is None else self.model.context_entries(context)
        stores = (
            None if past_key_values is None else _stores(past_key_values, self.config.n_layers, positions)
        )
        hidden = self.model.hidden(input_ids, positions.expand_as(input_ids), stores, entries)
        logits = self.model.head(hidden[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            # the logits of input i are those of token i + 1
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past_key_values)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, next_sequence_length: int | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The arguments of a step of ``generate``: the tokens that are not in the cache; without one, all of them."""
        passed = ("attention_mask", "context", "use_cache", "past_key_values", "logits_to_keep")
        new = input_ids if next_sequence_length is None else input_ids[:, -next_sequence_length:]
        return {"input_ids": new, **{name: kwargs[name] for name in passed if name in kwargs}}

    def _positions(self, tokens: Tensor, given: Tensor | None, past: Any) -> Tensor:
        """The positions ``[1 n]`` of the inputs, which follow those in the cache. Raises InvalidArgument."""
        if past is not None and not isinstance(past, Cache):
            raise InvalidArgument(f"past_key_values is a {type(past).__name__}: give a Cache of transformers")
        first = 0 if past is None else int(past.get_seq_length())
        end, room = first + tokens.shape[1], self.config.spec.positions
        if past is not None and past.get_max_length() > 0:
            room = min(room, past.get_max_length())
        if end > room:
            raise InvalidArgument(
                f"{number_of(end, 'token')} are more than the {number_of(room, 'position')} of the model or its cache"
            )
        positions = torch.arange(first, end, device=tokens.device).unsqueeze(0)
        if given is not None and not torch.equal(given.expand_as(tokens), positions.expand_as(tokens)):
            raise InvalidArgument(f"position_ids must be {first} to {end - 1}: clips have no gaps")
        return positions


@dataclass(frozen=True)
class _Store:
    """One layer of a cache of transformers, read as transformers' own models do.

    Attributes:
        mask: ``[n l]``, True: read; None: all entries, or with ``causal`` those up to the input's own.
    """

    cache: Cache
    layer: int
    mask: Tensor | None
    causal: bool

    def attend(self, queries: Heads, keys: KVHeads, values: KVHeads) -> Hidden:
        """Keep the entries and attend to what is kept; see ``EntryStore``."""
        q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
        k, v = self.cache.update(k, v, self.layer)
        mask = None if self.mask is None else self.mask.to(q.device)
        if q.shape[2] == 1:
            # one input: the query heads of a group stand in the place of inputs, and no key is repeated for them
            folded = q.reshape(len(q), k.shape[1], -1, q.shape[-1])
            return F.scaled_dot_product_attention(folded, k, v, attn_mask=mask).flatten(1).unsqueeze(1)
        grouped = q.shape[1] != k.shape[1]
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=self.causal, enable_gqa=grouped
        )
        return mixed.transpose(1, 2).flatten(2)


def _stores(cache: Cache, layers: int, positions: Tensor) -> list[_Store]:
    """What each layer reads in a pass over ``positions`` ``[1 n]``."""
    inputs = positions.shape[1]
    kept, offset = cache.get_mask_sizes(inputs, 0)
    fresh = kept == inputs  # nothing but the inputs themselves: PyTorch's own causal mask does
    mask = None
    if not fresh and (
        inputs > 1 or cache.is_compileable
    ):  # the entries of a static cache are read to its end
        slots = torch.arange(offset, offset + kept, device=positions.device)
        mask = slots <= positions[0].unsqueeze(-1)
    return [_Store(cache, layer, mask, fresh) for layer in range(layers)]
