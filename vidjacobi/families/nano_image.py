"""nano-image: small pictures of a kind of scene, trained for this package so that picture decoding can be tried.

A Qwen3 of ``transformers`` (a Llama whose queries and keys are normed) over one latent frame of nano's tokenizer. The
prompt is vectors of a class. The weights ship with vidjacobi, with a model card in ``assets/nano_image``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_adapter.checkpoint import field_values, load_strict, without_weights
from cosmos_adapter.tokenizer.model import CosmosTokenizer
from cosmos_adapter.tokenizer.weights import load_tokenizer
from cosmos_adapter.transformer.rope import rotary_angles
from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.config.model_facts import guidance_of
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.layout import Condition, Layout, behind_prompt
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import with_guidance
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.families.trunk import ATTENTION, AngleTable, Hidden, Trunk, head_of
from vidjacobi.kinds import Grid, value_words
from vidjacobi.models.protocol import VideoModel
from vidjacobi.registry import lookup
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Logits, Tokens

WANTED = "config.json and model.safetensors as `python scripts/nano export-image` writes them"


@dataclass(frozen=True)
class NanoImage:
    """The transformer, its classes, and the tokenizer of its pictures.

    Attributes:
        trunk: over the tokenizer's codes.
        grid: one latent frame.
        classes: their names, by number.
        vectors: prompts of each class, then that of no class.
        tokenizer: nano's.
    """

    trunk: Trunk
    grid: Grid
    classes: tuple[str, ...]
    vectors: Float[Tensor, "n e dim"]
    tokenizer: CosmosTokenizer

    def of_classes(self, classes: Sequence[str | int], scale: float | None = None) -> VideoModel:
        """The model of pictures of a class each, by name or number, guided against no class.

        ``scale`` 1: not guided; None: the card's. Raises InvalidArgument for a class that is not there.
        """
        given = self._branch([self.number(label) for label in classes])
        guided = guidance_of("nano-image", "class", scale)
        return with_guidance(given, self._branch([len(self.classes)]), guided)

    def number(self, label: str | int) -> int:
        """The number of a class. Raises InvalidArgument for one that is not there."""
        if isinstance(label, str):
            return lookup("class", label, {name: index for index, name in enumerate(self.classes)})
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.classes):
            raise InvalidArgument(
                f"class {value_words(label)}: this model has the numbers 0 to {len(self.classes) - 1}, which are "
                f"{', '.join(self.classes)}"
            )
        return label

    def pixels(self, tokens: Tokens) -> Float[Tensor, "b 3 h w"]:
        """Pictures of decided tokens ``[b n]``, in [0, 1]. Raises InvalidArgument for another number of tokens."""
        if tokens.shape[1] != self.grid.tokens:
            raise InvalidArgument(f"a picture has {self.grid.tokens} tokens, not {tokens.shape[1]}")
        frames = tokens.unflatten(1, (1, self.grid.h, self.grid.w))
        return torch.cat([self.tokenizer.to_frames(frame[None])[:, :, 0] for frame in frames])

    def _branch(self, numbers: Sequence[int]) -> RiderModel:
        places, count = torch.arange(1, 1 + self.grid.tokens), self.vectors.shape[1]
        rope = torch.cat([torch.zeros(count, dtype=torch.long), places])
        cells = torch.zeros_like(places)
        layout = Layout(behind_prompt(count, cells), rope)
        conditions = [Condition(layout, self.vectors[number], b"%d" % number) for number in numbers]
        return RiderModel(self.trunk, self.grid, cells, conditions)


class Network(nn.Module):
    """The layers, the tables of the tokens, which are products of two matrices, and the vectors of the classes."""

    def __init__(self, spec: ModelSpec, rank: int, classes: int, prompt: int) -> None:
        from transformers import Qwen3Config, Qwen3Model

        super().__init__()
        config = Qwen3Config(
            vocab_size=1,
            hidden_size=spec.dim,
            intermediate_size=spec.ffn_hidden_size,
            num_hidden_layers=spec.n_layers,
            num_attention_heads=spec.n_heads,
            num_key_value_heads=spec.n_kv_heads,
            head_dim=spec.head_size,
            rms_norm_eps=spec.norm_eps,
            max_position_embeddings=spec.positions,
            attn_implementation=ATTENTION[0],
        )
        self.model = Qwen3Model(config)
        self.model.embed_tokens = nn.Identity()  # never called: it is given embeddings
        self.embedding, self.head = (Product(spec.vocab_size, rank, spec.dim) for _ in range(2))
        self.classes = nn.Parameter(torch.empty(classes + 1, prompt, spec.dim))

    def embed(self, tokens: Tokens) -> Hidden:
        """Of cells."""
        return F.linear(F.embedding(tokens, self.embedding.codes), self.embedding.map.T)

    def logits(self, hidden: Hidden) -> Logits:
        """Of the next cell."""
        return F.linear(F.linear(hidden, self.head.map), self.head.codes)


class Product(nn.Module):
    """A table ``[rows dim]`` as the product of two matrices."""

    def __init__(self, rows: int, rank: int, dim: int) -> None:
        super().__init__()
        self.codes, self.map = nn.Parameter(torch.empty(rows, rank)), nn.Parameter(torch.empty(rank, dim))


def load(path: Path, runtime: Runtime) -> NanoImage:
    """The model in a folder with its ``config.json`` and weights. Raises BadCheckpoint."""
    state, config = weights_of(path, WANTED, ()), sizes_of(path)
    try:
        spec = ModelSpec(**field_values(ModelSpec, config))
        classes = tuple(str(name) for name in config["classes"])
        with without_weights():
            network = Network(spec, config["rank"], len(classes), config["prompt"])
    except (KeyError, TypeError, RuntimeError, InvalidArgument) as error:
        raise BadCheckpoint(f"{path} is no nano-image ({error}): wanted {WANTED}") from None
    load_strict(network, state, str(path))
    angles = rotary_angles(spec, torch.float64 if runtime.dtype == torch.float64 else torch.float32)
    network.model.rotary_emb = nn.Identity()  # made without numbers; no weight
    network.to(runtime.device, runtime.dtype).requires_grad_(False)
    network.model.rotary_emb = AngleTable(angles.cos(), angles.sin()).to(runtime.device)  # not rounded
    tokenizer = nano_tokenizer(runtime)
    sides = tuple(side // tokenizer.stride_space for side in tokenizer.frame_size)
    if spec.video_latent_shape != (1, *sides) or spec.vocab_size != tokenizer.vocab_size:
        raise BadCheckpoint(
            f"{path} is of {spec.video_latent_shape} tokens out of {spec.vocab_size}, nano's tokenizer makes "
            f"{(1, *sides)} out of {tokenizer.vocab_size}"
        )
    cells, head = network.embedding, network.head
    embed = nn.Sequential(nn.Embedding.from_pretrained(cells.codes), head_of(cells.map.T))
    trunk = Trunk(
        network.model, embed, nn.Sequential(head_of(head.map), head_of(head.codes)), spec.vocab_size
    )
    return NanoImage(trunk, spec.grid, classes, network.classes, tokenizer)


def nano_tokenizer(runtime: Runtime) -> CosmosTokenizer:
    """The tokenizer of nano, which codes a single frame as one latent frame."""
    with resources.as_file(resources.files("vidjacobi") / "assets" / "nano" / "tokenizer") as folder:
        return load_tokenizer(folder, runtime.device, runtime.dtype)
