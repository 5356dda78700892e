"""Emu3.5 (BAAI, arXiv 2510.26583) and UniVLA (arXiv 2506.19850): Emu3's ids in other orders, as tokens only.

Sources: src/utils/logits_processor.py and src/emu3p5/modeling_emu3.py of baaivision/Emu3.5, commit 0e4f935;
reference/Emu3/emu3/mllm/utils_emu3.py of baaivision/UniVLA. Both are published in the form of their authors' own
code, whose layers are those of Qwen3 (Emu3.5) and Llama (UniVLA) of ``transformers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_adapter.checkpoint import read_json
from vidjacobi.config.model_facts import guidance_of
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.layout import after_rows
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import Ids, behind, with_guidance
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import CellRows, Trunk, rows_of
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

VISUAL, ROW_END, FRAME_END = 151_854, 151_846, 151_847  # the first id of a code; <|extra_200|>, <|extra_201|>
EMU3_5 = (
    "BAAI/Emu3.5-Image or BAAI/Emu3.5 of the hub: config.json and all model-*.safetensors, with their index"
)
UNIVLA_FOLDER = "WORLD_MODEL_POSTTRAIN"  # among those of its policies
UNIVLA = "WORLD_MODEL_POSTTRAIN of the hub's Yuqi1997/UniVLA: config.json and all model-*.safetensors, with an index"
SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps"),
)


@dataclass(frozen=True)
class Order:
    """What is given between cells. Behind the last cell of a clip nothing that follows decides one.

    Attributes:
        row_end: the id behind each row of an image; None: rows follow one another.
        frame_end: the id behind each frame of a video; None: there is one frame only.
        visual: the first id of a code; all ids from there on are codes.
    """

    row_end: int | None
    frame_end: int | None
    visual: int = VISUAL

    def between(self, grid: Grid) -> tuple[Tensor, list[int]]:
        """Riders of the cells, and their ids. Raises InvalidArgument for frames that this order does not know."""
        if grid.t > 1 and self.frame_end is None:
            raise InvalidArgument(f"this model makes one picture, not {grid.t} frames")
        # A picture of 2 x 2: riders 0 1 0 0, since nothing is wanted behind the last row, and one id.
        cells = after_rows(grid, int(self.row_end is not None), int(self.frame_end is not None))
        cells[-1] = 0
        ends = [self.row_end] * (grid.h * grid.t - 1) if self.row_end is not None else []
        return cells, ends or [self.frame_end or 0] * (grid.t - 1)


IMAGE, VIDEO = Order(ROW_END, None), Order(None, FRAME_END)


@dataclass(frozen=True)
class Emu3Tokens:
    """The whole network, ``Qwen3ForCausalLM`` or ``LlamaForCausalLM``. A cell's token is its code."""

    network: Any
    order: Order

    def clips(self, prompts: Sequence[Ids], frames: int, height: int, width: int) -> RiderModel:
        """The model of clips of ``frames`` frames of ``height`` x ``width`` cells, of a prompt each, not guided.

        A prompt ends with the token before the first cell: the beginning of the image, its size as text
        ("height*width" of Emu3.5, "frames*height*width" of UniVLA) and the image token. A context may have the first
        frames behind it. Raises InvalidArgument for more frames than one of Emu3.5, and for more places than there
        are.
        """
        grid, layers, head = Grid(frames, height, width), self.network.model, self.network.lm_head
        ids = torch.arange(self.order.visual, head.out_features)
        trunk = Trunk(layers, CellRows(layers.embed_tokens, ids), rows_of(head, ids), len(ids))
        cells, ends = self.order.between(grid)
        most = layers.config.max_position_embeddings
        given = [behind(layers.embed_tokens, prompt, cells, ends, most) for prompt in prompts]
        return RiderModel(trunk, grid, cells, given)

    def images(
        self, prompts: Sequence[Ids], height: int, width: int, negative: Ids, scale: float | None = None
    ) -> VideoModel:
        """The model of pictures of a prompt each, guided against ``negative``, which may be shorter or longer.

        ``scale`` 1: not guided; None: the authors' own of Emu3.5. With pictures in the prompt they mix three
        branches: ``vidjacobi.Guided.weighted`` of three ``clips``.
        """
        given, blank = (self.clips(own, 1, height, width) for own in (prompts, [negative]))
        return with_guidance(given, blank, guidance_of("emu3_5", "image", scale))

    def codes(self, tokens: Tokens) -> Tokens:
        """Codes of the image tokenizer, of decided tokens."""
        return tokens


def load_emu3_5(path: Path, runtime: Runtime) -> Emu3Tokens:
    """Emu3.5 in a folder as its authors publish it. Raises BadCheckpoint."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    network = _read(Qwen3ForCausalLM, Qwen3Config, path, runtime, EMU3_5)
    return Emu3Tokens(network, IMAGE)


def load_univla(path: Path, runtime: Runtime) -> Emu3Tokens:
    """UniVLA's world model in a folder as its authors publish it, or in theirs of all. Raises BadCheckpoint."""
    from transformers import LlamaConfig, LlamaForCausalLM

    path = path / UNIVLA_FOLDER if (path / UNIVLA_FOLDER).is_dir() else path
    network = _read(LlamaForCausalLM, LlamaConfig, path, runtime, UNIVLA)
    return Emu3Tokens(network, VIDEO)


def _read(network: Any, config: Any, path: Path, runtime: Runtime, published: str) -> Any:
    """A network whose ``config.json`` is that of the authors' own class."""
    file = path / "config.json"
    said = read_json(file) if file.is_file() else {}
    lacks = [name for name in (*SIZES, "rope_theta") if name not in said]
    if lacks:
        raise BadCheckpoint(f"{file} is not there or lacks {', '.join(lacks)}: wanted {published}")
    if said.get("rope_scaling") is not None:
        raise BadCheckpoint(f"{file}: rope_scaling={said['rope_scaling']!r} is not known of this model")
    if said["vocab_size"] <= VISUAL:
        raise BadCheckpoint(
            f"{file}: {said['vocab_size']:,} ids have no codes, which begin with {VISUAL:,}: {published}"
        )
    made = config(
        **{name: said[name] for name in SIZES},
        head_dim=said.get("head_dim") or said["hidden_size"] // said["num_attention_heads"],
        rope_parameters={"rope_type": "default", "rope_theta": float(said["rope_theta"])},
        tie_word_embeddings=False,
    )
    return from_transformers(network, path, runtime, published, config=made)
