"""MineWorld (Microsoft, arXiv 2504.08388): Minecraft frames that follow actions. A Llama.

Sizes, ids and their order are those of the official code, commit b9aebcf. A frame of 14x24 cells (224x384 pixels) is
followed by the 11 tokens of the action that leads to the next one; they ride on its last cell.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.frame_tokenizer import FrameTokenizer, load_vq
from vidjacobi.families.layout import Condition, Layout
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import embedded, origin_of
from vidjacobi.families.released import linear_of, llama_of, sizes_of, weights_of
from vidjacobi.families.trunk import CellRows, Trunk, rows_of
from vidjacobi.kinds import Grid, value_words
from vidjacobi.models.action_spec import numbers_of
from vidjacobi.runtime import Runtime

PUBLISHED = (
    "the transformer's checkpoint (a torch file with transformer.* names). Its authors took the weights down from "
    "the hub in May 2025"
)
PIXELS = "vae.ckpt and its config.json, which were published with the weights alone"
HEAD_SIZE, PLACES, BASE, EPSILON = 64, 5552, 10_000.0, 1e-5  # of all released sizes; 16 frames
VISUAL, BUTTONS = 8192, 8192  # ids below are cells; the first id of a button
ACTION = 11  # ids of an action
NAMES = (
    *("use", "attack", "forward", "back", "left", "right", "jump", "sneak", "sprint", "drop", "swapHands"),
    *("pickItem", "inventory", "ESC", *(f"hotbar.{number}" for number in range(1, 10))),
)
PITCH, YAW, BEGIN, NONE, END = 8215, 8236, 8257, 8258, 8259
# buttons of which one is told; both together count as none
PAIRS = (
    *(("forward", "back"), ("left", "right"), ("sprint", "sneak"), ("use", "attack")),
    *(("jump",), ("drop", "pickItem")),
)
CAMERA, BIN, MU = 90.0, 9.0, 11.4887


@dataclass(frozen=True)
class MineWorld:
    """The transformer.

    Attributes:
        layers: a ``LlamaModel``.
        head: of all ids.
        frame: ``(h, w)`` cells.
        visual: number of ids of cells, which come first.
    """

    layers: Any
    head: nn.Linear
    frame: tuple[int, int] = (14, 24)
    visual: int = VISUAL

    def world(
        self, actions: Sequence[Int[Tensor, "_ _"]] | Int[Tensor, "b f a"], frames: int | None = None
    ) -> "MineWorldModel":
        """The model of clips that follow actions: one sequence ``[f a]`` for all clips, or one for each.

        Row i leads from frame i to frame i + 1, so such a clip has f + 1 frames; its context is one frame or more, as
        tokens in raster order.

        Args:
            actions: ids, as many a frame as the network was trained on (``action_ids`` makes them); none where each
                clip is given some as its condition.
            frames: of the longest clip; None: of the longest of these.

        Raises InvalidArgument for actions of other shapes or ids, and for too many frames.
        """
        shapes = [tuple(one.shape) for one in actions]
        wide = (
            any(len(shape) != 2 or 0 in shape for shape in shapes) or len({shape[-1] for shape in shapes}) > 1
        )
        if wide or not (shapes or frames):
            raise InvalidArgument(
                f"actions must be id tensors [frames, tokens] of one width, not {sorted(set(shapes))}"
            )
        width = shapes[0][1] if shapes else ACTION
        grid = Grid(frames or 1 + max(shape[0] for shape in shapes), *self.frame)
        riders = torch.zeros(grid.t, grid.frame_tokens, dtype=torch.long)
        riders[:-1, -1] = width
        cells, most = riders.flatten(), self.layers.config.max_position_embeddings
        if (length := Layout(cells).length) > most:
            raise InvalidArgument(f"{grid.t} frames are {length} tokens, more than this model's {most}")
        ids = torch.arange(self.visual)
        trunk = Trunk(
            self.layers, CellRows(self.layers.embed_tokens, ids), rows_of(self.head, ids), self.visual
        )
        return MineWorldModel(self, trunk, grid, cells, [self.given(one) for one in actions])

    def given(self, actions: Int[Tensor, "f a"]) -> Condition:
        """The condition of a clip that follows actions, told by their ids."""
        riders = torch.zeros(len(actions) + 1, self.frame[0] * self.frame[1], dtype=torch.long)
        riders[:-1, -1] = actions.shape[1]
        ids = actions.flatten().tolist()
        return Condition(Layout(riders.flatten()), embedded(self.layers.embed_tokens, ids), origin_of(ids))


class MineWorldModel(RiderModel):
    """Clips whose frames follow actions; see ``MineWorld.world``. ``frames``: most of a clip."""

    def __init__(
        self,
        family: MineWorld,
        trunk: Trunk,
        grid: Grid,
        cells: Int[Tensor, " c"],
        conditions: Sequence[Condition],
    ) -> None:
        super().__init__(trunk, grid, cells, conditions, prompt=False)
        self.family, self.frames = family, grid.t

    def condition(self, rows: Sequence[Any], first: int = 0) -> Condition:
        """Of a clip of one frame more than there are actions (MineRL dictionaries, or 11 ids each).

        ``first``: the number of the first row, for messages. Raises InvalidArgument.
        """
        return self.family.given(self.ids(rows, first))

    def ids(self, rows: Sequence[Any], first: int = 0) -> Int[Tensor, "f a"]:
        """The ids of actions. Raises InvalidArgument as ``condition``."""
        ids = range(self.family.visual, self.family.head.out_features)
        found = [ids_of_row(row, f"action {first + index}", ids) for index, row in enumerate(rows)]
        return torch.tensor(found, dtype=torch.long).view(len(found), ACTION)


def load(path: Path, runtime: Runtime) -> MineWorld:
    """The model in a checkpoint file, or in a folder with one. Raises BadCheckpoint.

    A ``config.json`` beside it may give sizes that the tensors do not tell; without one they are the released ones.
    """
    state = weights_of(path, PUBLISHED, ("state_dict",))
    own = {name[12:]: tensor for name, tensor in state.items() if name.startswith("transformer.")}
    others = [name for name in state if not name.startswith(("transformer.", "tokenizer."))]
    if not own or others:
        raise BadCheckpoint(f"{path} holds other tensors than MineWorld's: {others[:4]}; wanted: {PUBLISHED}")
    sizes = sizes_of(path)
    weight = own.pop("lm_head.weight", None)
    if weight is None:
        raise BadCheckpoint(f"{path} lacks transformer.lm_head.weight; wanted: {PUBLISHED}")
    heads = sizes.get("num_attention_heads", weight.shape[1] // HEAD_SIZE)
    layers = llama_of(
        {name.removeprefix("model."): tensor for name, tensor in own.items()},
        heads,
        path,
        runtime,
        rms_norm_eps=sizes.get("rms_norm_eps", EPSILON),
        max_position_embeddings=sizes.get("max_position_embeddings", PLACES),
        rope_parameters={"rope_type": "default", "rope_theta": sizes.get("rope_theta", BASE)},
    )
    frame = sizes.get("rows", 14), sizes.get("columns", 24)
    return MineWorld(layers, linear_of(weight, runtime), frame, sizes.get("visual_ids", VISUAL))


def load_tokenizer(path: Path, runtime: Runtime, frames: int = 16) -> FrameTokenizer:
    """The image tokenizer of 224x384 frames in ``vae.ckpt`` beside its ``config.json``. Raises BadCheckpoint."""
    return FrameTokenizer(load_vq(path, runtime, PIXELS), (224, 384), frames)


def ids_of_row(row: object, where: str, ids: range) -> list[int]:
    """The ids of an action: a dictionary of MineRL, or ids already. Raises InvalidArgument, which says ``where``."""
    if isinstance(row, Mapping):
        try:
            found = action_ids(row)
        except InvalidArgument as error:
            raise InvalidArgument(f"{where}: {error}") from None
    else:
        numbers = numbers_of(row, ACTION, where)
        found = [round(number) for number in numbers]
        if found != numbers:
            raise InvalidArgument(f"{where} must be whole numbers, the ids of its tokens, not {row}")
    if wrong := [one for one in found if one not in ids]:
        raise InvalidArgument(
            f"{where}: {wrong[:4]} are no ids of actions, which are {ids.start} to {ids.stop - 1}"
        )
    return found


def action_ids(action: Mapping[str, object]) -> list[int]:
    """The 11 ids of an action of MineRL: buttons by name (0 or 1), and ``camera``: pitch and yaw in degrees.

    Raises InvalidArgument for names that are no buttons.
    """
    unknown = sorted(set(action) - {*NAMES, "camera"})
    if unknown:
        raise InvalidArgument(f"an action has no {', '.join(unknown)}. There are: camera, {', '.join(NAMES)}")
    for name in NAMES:
        pressed = action.get(name, 0)
        pressed = pressed.tolist() if isinstance(pressed, Tensor | np.ndarray) else pressed
        # "0" of a JSON file would count as pressed
        if pressed not in (0, 1):
            raise InvalidArgument(f"{name} must be 0 or 1, not {value_words(pressed)}")
    pitch, yaw = map(
        camera_bin, numbers_of(action.get("camera", [0, 0]), 2, "camera, [pitch, yaw] in degrees,")
    )
    slots = [name for name in NAMES if name.startswith("hotbar.") and action.get(name)]
    held = [BUTTONS + NAMES.index(slots[0]) if len(slots) == 1 else NONE]
    for pair in PAIRS:
        pressed = [name for name in pair if action.get(name)]
        held.append(BUTTONS + NAMES.index(pressed[0]) if len(pressed) == 1 else NONE)
    return [BEGIN, PITCH + pitch, YAW + yaw, *held, END]


def camera_bin(angle: float) -> int:
    """The bin 0 to 20 of an angle in degrees, by mu-law, finer near 0 (Baker et al. 2022); 10 is none."""
    share = max(-CAMERA, min(CAMERA, angle)) / CAMERA
    curved = math.copysign(math.log1p(MU * abs(share)) / math.log1p(MU), share)
    return round((curved * CAMERA + CAMERA) / BIN)
