"""The same network as a ``transformers`` model: from_pretrained, save_pretrained, device_map, generate.

It is a thin wrapper for interchange and a reference for tests. It has no key/value cache, so ``generate`` computes
the whole sequence again for every token. ``cosmos_adapter.transformer.weights.load_model`` reads the same folders
for decoding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec
from cosmos_adapter.transformer.weights import overlay
from vidjacobi.errors import InvalidArgument


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
        if self.generation_config is not None:
            self.generation_config.use_cache = False

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
        **unused: Any,
    ) -> CausalLMOutput:
        """Logits ``[b n v]`` of whole sequences ``[b n]`` at positions 0..n-1, and the loss if there are ``labels``.

        Raises InvalidArgument for padded batches and for ``use_cache=True``.
        """
        if use_cache or unused.get("past_key_values") is not None:
            raise InvalidArgument(
                "no key/value cache here: pass use_cache=False, or use vidjacobi.decoding.api"
            )
        if attention_mask is not None and not bool((attention_mask != 0).all()):
            raise InvalidArgument("padded batches are not supported: all clips must have the same length")
        logits = self.model(input_ids, context)
        loss = None
        if labels is not None:
            # the logits of input i are those of token i + 1
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """The arguments of a step of ``generate``: always the whole sequence."""
        passed = ("attention_mask", "context", "use_cache", "past_key_values")
        return {"input_ids": input_ids, **{name: kwargs[name] for name in passed if name in kwargs}}
