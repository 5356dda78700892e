"""LlamaGen (Sun et al., arXiv 2406.06525): images of a class or a caption, as a Llama of ``transformers``.

Official code, commit ce98ec4. Its rotary embedding turns neighbouring pairs, half of them with the row and half with
the column of a cell, so rows of the query and key weights are reordered and the angles come from a table. Condition
places have cosine *and* sine 0: their queries and keys are zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vidjacobi.config.model_facts import guidance_of
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.layout import Condition, Layout, behind_prompt, bytes_of
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import with_guidance
from vidjacobi.families.released import StateDict, linear_of, llama_of, sizes_of, weights_of
from vidjacobi.families.trunk import AngleTable, Trunk
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime

PUBLISHED = (
    "a checkpoint of the hub's FoundationVision/LlamaGen or peizesun/llamagen_t2i, such as c2i_B_384.pt"
)
HEADS = {768: 12, 1024: 16, 1280: 20, 1536: 24, 3200: 32}  # of the released widths
TABLE, MLP, NULL = (
    "cls_embedding.embedding_table.weight",
    "cls_embedding.cap_proj.",
    "cls_embedding.uncond_embedding",
)


def cell_angles(side: int, head: int, base: float) -> AngleTable:
    """Cosine and sine of a place: 0 is any condition, 1 + c is cell c of a square of ``side`` cells."""
    half = head // 2
    speed = base ** -(torch.arange(0, half, 2)[: half // 2].float() / half)
    # The first half of the angles turns with the row of a cell, the second with its column.
    turn = torch.arange(side).float()[:, None] * speed
    angles = torch.cat([turn[:, None].expand(-1, side, -1), turn.expand(side, -1, -1)], -1).flatten(0, 1)
    none = torch.zeros(1, angles.shape[1])
    return AngleTable(torch.cat([none, angles.cos()]), torch.cat([none, angles.sin()]))


@dataclass(frozen=True)
class LlamaGen:
    """The transformer.

    Attributes:
        trunk: over the codes of the image tokenizer.
        side: cells of a row and of a column: 16 of 256 pixels, 24 of 384, 32 of 512.
        condition: the tensors of classes or captions, by official name.
    """

    trunk: Trunk
    side: int
    condition: StateDict

    @property
    def reads_captions(self) -> bool:
        """Whether it was trained on captions, not on classes."""
        return NULL in self.condition

    @property
    def classes(self) -> int:
        """Number of its classes. Raises InvalidArgument for a network that reads captions."""
        return len(self._tensor(TABLE, "classes")) - 1

    def of_classes(
        self, classes: Sequence[int], scale: float | None = None, cells: int | None = None
    ) -> VideoModel:
        """The model of images of a class each, guided against no class; ``scale`` 1: not guided; None: the
        authors' own.

        ``cells``: how many cells are guided, the first ones; None: all. The authors' ``cfg_interval`` guides two more
        than it says. Raises InvalidArgument for a class that is not there, and for a network that reads captions.
        """
        table = self._tensor(TABLE, "classes")
        if wrong := [label for label in classes if not 0 <= label < len(table) - 1]:
            raise InvalidArgument(f"classes {wrong[:4]}: this model has 0 to {len(table) - 2}")
        given = self._branch([(b"%d" % label, table[label][None]) for label in classes])
        none = self._branch([(b"none", table[-1][None])])
        return with_guidance(given, none, guidance_of("llamagen", "class", scale), cells)

    def of_captions(
        self,
        features: Float[Tensor, "b n c"],
        mask: Bool[Tensor, "b n"],
        scale: float | None = None,
        cells: int | None = None,
    ) -> VideoModel:
        """The model of images of a caption each: features of its T5 encoder, and which of the n places hold some.

        The branch without a caption has learned features at the places of the caption. ``cells``: as for classes.
        Raises InvalidArgument.
        """
        null = self._tensor(NULL, "captions")
        if features.shape[1:] != null.shape or mask.shape != features.shape[:2] or not mask.any(1).all():
            raise InvalidArgument(
                f"caption features must be [captions, {null.shape[0]}, {null.shape[1]}], with a mask of the first "
                f"two that has a place for each, not {list(features.shape)} and {list(mask.shape)}"
            )
        kept = [places.to(self.trunk.device) for places in mask]
        moved, origins = features.to(self.trunk.device, self.trunk.dtype), []
        for row, places in zip(features.float().cpu(), mask.cpu(), strict=True):
            origins.append(bytes_of(row[places]))
        made = [self._project(row[own]) for row, own in zip(moved, kept, strict=True)]
        blank = [(bytes_of(own), self._project(null[own])) for own in kept]
        given = self._branch(list(zip(origins, made, strict=True)))
        return with_guidance(given, self._branch(blank), guidance_of("llamagen", "caption", scale), cells)

    def _tensor(self, name: str, what: str) -> Tensor:
        if name not in self.condition:
            raise InvalidArgument(f"this LlamaGen was not trained on {what}")
        return self.condition[name]

    def _project(self, features: Float[Tensor, "n c"]) -> Float[Tensor, "n dim"]:
        first, second = (self.condition[f"{MLP}fc{number}.weight"] for number in (1, 2))
        return F.linear(F.gelu(F.linear(features, first), approximate="tanh"), second)

    def _branch(self, given: Sequence[tuple[bytes, Float[Tensor, "_ dim"]]]) -> RiderModel:
        """Of embeddings, each beside what it was made of."""
        grid = Grid(1, self.side, self.side)
        cells = torch.zeros(grid.tokens, dtype=torch.long)
        conditions = []
        for origin, vectors in given:
            rope = torch.cat([torch.zeros(len(vectors), dtype=torch.long), 1 + torch.arange(grid.tokens)])
            conditions.append(Condition(Layout(behind_prompt(len(vectors), cells), rope), vectors, origin))
        return RiderModel(self.trunk, grid, cells, conditions)


def load(path: Path, runtime: Runtime, side: int | None = None) -> LlamaGen:
    """The model in a checkpoint file, or in a folder with one.

    ``side``: see ``LlamaGen``; the file does not say it. A ``config.json`` beside it may say ``block_size`` (cells)
    and ``n_head``. Raises InvalidArgument where nothing says the side, and BadCheckpoint.
    """
    state = weights_of(path, PUBLISHED, ("model", "module", "state_dict"))
    sizes = sizes_of(path)
    side = side or round(sizes.get("block_size", 0) ** 0.5)
    if not side:
        raise InvalidArgument(
            "the checkpoint does not say how large its images are: give side, 16 for 256 pixels, 24 for 384"
        )
    try:
        dim = state["tok_embeddings.weight"].shape[1]
        heads = sizes.get("n_head") or HEADS[dim]
        layers = renamed(state, heads)
        head = linear_of(state["output.weight"], runtime)
    except KeyError as error:
        raise BadCheckpoint(f"{path} is no LlamaGen ({error} is not there): wanted {PUBLISHED}") from None
    network = llama_of(
        layers,
        heads,
        path,
        runtime,
        rms_norm_eps=sizes.get("norm_eps", 1e-5),
        max_position_embeddings=side**2 + 120,
    )
    network.rotary_emb = cell_angles(side, dim // heads, float(sizes.get("rope_base", 10_000))).to(
        runtime.device
    )
    table = network.embed_tokens
    assert isinstance(table, nn.Embedding)
    trunk = Trunk(network, table, head, head.out_features)
    own = {
        name: part.to(runtime.device, runtime.dtype)
        for name, part in state.items()
        if "cls_embedding" in name
    }
    return LlamaGen(trunk, side, own)


def layer_sizes(path: Path) -> dict[str, int]:
    """What decides the memory of pictures, by the shapes in a checkpoint; no tensor is read.

    ``floats``, ``layers``, ``heads``, ``head``, ``vocab`` and ``cells``, 0 where nothing says them. Raises
    BadCheckpoint.
    """
    state, sizes = weights_of(path, PUBLISHED, ("model", "module", "state_dict")), sizes_of(path)
    try:
        vocab, dim = state["output.weight"].shape
        heads = sizes.get("n_head") or HEADS[dim]
        layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    except (KeyError, ValueError) as error:
        raise BadCheckpoint(f"{path} is no LlamaGen ({error} is not there): wanted {PUBLISHED}") from None
    floats = sum(part.numel() for part in state.values())
    known = {"floats": floats, "layers": layers, "heads": heads, "head": dim // heads, "vocab": vocab}
    return known | {"cells": int(sizes.get("block_size", 0))}


def renamed(state: Mapping[str, Tensor], heads: int) -> StateDict:
    """The layers under the names of ``transformers``, halves of a head's rotation instead of neighbouring pairs.

    Raises BadCheckpoint for names that are not LlamaGen's, KeyError for one that is missing.
    """
    left = {name for name in state if not name.startswith(("cls_embedding.", "output."))}
    made = {"embed_tokens.weight": state["tok_embeddings.weight"], "norm.weight": state["norm.weight"]}
    left -= {"tok_embeddings.weight", "norm.weight"}
    dim = made["norm.weight"].shape[0]
    size = dim // heads
    # Of a head of 4 numbers the pairs (0, 1) and (2, 3) turn here, in ``transformers`` the numbers i and i + 2: the
    # order 0 2 1 3 puts each pair there. Queries and keys are reordered alike, so that their products stay.
    order = torch.cat([torch.arange(0, size, 2), torch.arange(1, size, 2)])
    plain = {
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.w2": "mlp.down_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    for number in range(1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))):
        here = f"layers.{number}."
        query, key, value = state[f"{here}attention.wqkv.weight"].split(dim)
        for name, part in (("q", query), ("k", key)):
            made[f"{here}self_attn.{name}_proj.weight"] = part.view(heads, size, dim)[:, order].reshape(
                dim, dim
            )
        made[f"{here}self_attn.v_proj.weight"] = value
        made |= {f"{here}{new}.weight": state[f"{here}{old}.weight"] for old, new in plain.items()}
        left -= {f"{here}{name}.weight" for name in (*plain, "attention.wqkv")}
    if left:
        raise BadCheckpoint(f"tensors that LlamaGen does not have: {', '.join(sorted(left)[:8])}")
    return made
