"""The transformer of nano-pusht: layers of Cosmos over inputs that know what stood at the place they predict.

The input at position i predicts position i + 1, its *target*. Beside the token at i it carries

- which place of the frame the target has;
- what stood in the 3x3 places round the target in the two frames before (a linear map of small embeddings);
- where the given action's points lie *relative to that place* (waves of the differences).

With plain action tokens a transformer of this size did not use the actions at all after nine minutes of training;
with these features it does after one. Features of the past are read from the ids in the cache, so they hold for any
number of frames a decode and for drafts too; those of actions are computed once for a clip and lie in the cache's
rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cosmos_adapter.checkpoint import field_values
from cosmos_adapter.transformer.attention import Hidden, LayerCache, tiles
from cosmos_adapter.transformer.linear import Linear
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec, round_up
from vidjacobi.errors import InvalidArgument
from vidjacobi.invariance import BLOCK, PassShape
from vidjacobi.kinds import Grid, tensor_words, value_words
from vidjacobi.shapes import Logits, Positions, Slots, Tokens, Visible

PAST = 2  # frames before the target's that are looked at
ROUND = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
LOOKED_AT = PAST * len(ROUND)
WAVES = 5  # of a difference: half a turn a picture, one turn, two, ...
WORLD = 512.0  # side of the simulator's square, the unit of actions
NOTHING = -1  # the id of a place outside of the grid, or that an input may not see

Seen = Int[Tensor, "b n r"]  # ids round each target, NOTHING where there is none
Acted = Float[Tensor, "b n dim"]  # what the actions say to each target


@dataclass(frozen=True)
class PushTSpec:
    """Sizes.

    Attributes:
        trunk: of the layers, the tokens and the grid.
        near_width: numbers of an embedding of a neighbour.
        action_points: points (x, y) that an action has: targets of the simulator's steps that a frame stands for.
    """

    trunk: ModelSpec
    near_width: int = 32
    action_points: int = 2

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "PushTSpec":
        """The inverse of ``to_config``. Raises InvalidArgument for values that are not possible."""
        own = {key: value for key, value in field_values(cls, config).items() if key != "trunk"}
        return cls(ModelSpec(**field_values(ModelSpec, config)), **own)

    def to_config(self) -> dict[str, Any]:
        """All sizes side by side, ready for JSON."""
        return {**self.trunk.to_config(), "near_width": self.near_width, "action_points": self.action_points}


class PushTCache(NamedTuple):
    """A row for each clip.

    Attributes:
        layers: keys and values.
        ids: ``[rows slots]``, the token at each slot.
        acted: ``[rows positions+1 dim]``, what the actions say to each position.
    """

    layers: tuple[LayerCache, ...]
    ids: Tensor
    acted: Tensor


class PushTNetwork(nn.Module):
    """The network. ``forward`` is the plain causal pass over whole clips, for training and as a reference."""

    def __init__(self, spec: PushTSpec) -> None:
        super().__init__()
        self.spec, self.grid, dim = spec, spec.trunk.grid, spec.trunk.dim
        self.trunk = CosmosTransformer(spec.trunk)
        self.near = nn.Embedding(spec.trunk.vocab_size, spec.near_width)
        self.near_in = Linear(LOOKED_AT * spec.near_width, dim)
        self.target_place = nn.Embedding(self.grid.frame_tokens, dim)
        self.action_in = Linear(2 * spec.action_points * (2 + 2 * WAVES), dim)
        self.action_out = Linear(dim, dim)
        self.unacted = nn.Parameter(torch.zeros(dim))

    def settle(self, device: torch.device) -> PassShape:
        """See ``CosmosTransformer.settle``."""
        return self.trunk.settle(device, (self.near_in, self.action_in, self.action_out))

    def acted(self, actions: Float[Tensor, "b g k"]) -> Acted:
        """What the actions of g frames say to each place of these frames ``[b g*frame dim]``.

        Actions in the simulator's units; NaN where a frame has none.
        """
        grid = self.grid
        known = ~actions.isnan().any(-1, keepdim=True)
        wide = torch.promote_types(self.unacted.dtype, torch.float32)
        points = (actions.nan_to_num(0).to(wide) / WORLD).unflatten(-1, (-1, 2))[
            :, :, None
        ]  # [b g 1 points 2]
        apart = points - _middles(grid.h, grid.w, actions.device)[:, None]
        turns = apart[..., None] * (math.pi * 2 ** torch.arange(WAVES, device=actions.device))
        waves = torch.cat(
            [(2 * apart)[..., None], (8 * apart).tanh()[..., None], turns.sin(), turns.cos()], -1
        )
        said = self.action_out(F.silu(self.action_in(waves.flatten(3).to(self.unacted.dtype))))
        return torch.where(known[..., None], said, self.unacted.to(said.dtype)).flatten(1, 2)

    def acted_rows(self, actions: Float[Tensor, "g k"]) -> Float[Tensor, "p dim"]:
        """What a clip's actions say to all its positions and one after them; row i leads from frame i to i + 1.

        One frame at a time, so that the numbers do not depend on how many there are.
        """
        frames = [self.acted(row[None, None])[0] for row in actions]
        first = self.unacted.expand(self.grid.frame_tokens, -1)
        after = self.unacted.expand((self.grid.t - 1 - len(frames)) * self.grid.frame_tokens + 1, -1)
        return torch.cat([first, *frames, after])

    def forward(self, tokens: Tokens, actions: Float[Tensor, "b g k"]) -> Hidden:
        """Hidden states of whole clips of g + 1 frames, before ``head``; the last input predicts nothing."""
        self.trunk.unpack()
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        found = sources(self.grid, tokens.device)[positions[0] + 1]
        inside = (found >= 0) & (found < tokens.shape[1])
        seen = torch.where(inside, tokens[:, found.clamp(0, tokens.shape[1] - 1)], NOTHING)
        said = self.acted(actions)
        frame = self.grid.frame_tokens
        rows = self.unacted.to(said.dtype).expand(len(tokens), frame, -1)
        said = torch.cat([rows[:, 1:], said, rows[:, :1]], 1)
        return self.trunk.whole(self.inputs(tokens, positions, seen, said), positions)

    def head(self, hidden: Hidden) -> Logits:
        """Logits of hidden states."""
        return self.trunk.head(hidden)

    def inputs(self, tokens: Tokens, positions: Positions, seen: Seen, acted: Acted) -> Hidden:
        """What goes into the first layer."""
        near = self.near(seen.clamp(min=0))
        near = torch.where((seen >= 0)[..., None], near, near.new_zeros(()))
        place = self.target_place((positions + 1) % self.grid.frame_tokens)
        return self.trunk.tok_embeddings(tokens) + place + acted + self.near_in(near.flatten(2))

    def make_cache(self, batch: int, slots: int) -> PushTCache:
        """A cache of zeros, in whole blocks."""
        layers = self.trunk.make_cache(batch, slots)
        spec, like = self.spec.trunk, self.unacted
        ids = torch.zeros(batch, round_up(slots, BLOCK), dtype=torch.long, device=like.device)
        return PushTCache(layers, ids, like.new_zeros(batch, spec.positions + 1, spec.dim))

    def prefill(self, tokens: Tokens, cache: PushTCache) -> Hidden:
        """Hidden states of whole contexts at positions and slots 0..n-1, in windows one after the other."""
        return torch.cat([self.window(*tile, cache) for tile in tiles(tokens)], 1)

    def window(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: PushTCache
    ) -> Hidden:
        """Hidden states of a window; see ``CosmosTransformer.window``."""
        b, n = tokens.shape
        cache.ids[:b].scatter_(1, slots, tokens)
        seen = self.seen(positions, visible, cache.ids[:b])
        rows = (positions + 1)[..., None].expand(-1, -1, cache.acted.shape[-1])
        acted = cache.acted[:b].gather(1, rows)
        padded = positions
        if more := self.trunk.shape.padding(b, n):
            tokens, padded = F.pad(tokens, (0, more)), F.pad(positions, (0, more))
            seen, acted = F.pad(seen, (0, 0, 0, more)), F.pad(acted, (0, 0, 0, more))
        h = self.inputs(tokens, padded, seen, acted)
        return self.trunk.window_of(h, positions, slots, visible, cache.layers)

    def seen(self, positions: Positions, visible: Visible, ids: Int[Tensor, "b s"]) -> Seen:
        """The ids round each target, as far as an input may see them: the slot of a token is its position."""
        found = sources(self.grid, positions.device)[positions + 1]
        inside = (found >= 0) & (found < visible.shape[-1])
        found = found.clamp(0, visible.shape[-1] - 1)
        shown = inside & visible.gather(2, found)
        there = ids.gather(1, found.flatten(1)).view_as(found)
        return torch.where(shown, there, NOTHING)


@cache
def sources(grid: Grid, device: torch.device) -> Int[Tensor, "p r"]:
    """The positions round each position in the frames before, and round one after the last: NOTHING outside.

    A position of frame 5 in a grid of 8x8 is looked for 64 and 128 positions earlier.
    """
    found = torch.full((grid.tokens + 1, LOOKED_AT), NOTHING)
    for position in range(grid.tokens):
        t, y, x = grid.locate(position)
        for number in range(LOOKED_AT):
            back, (down, across) = 1 + number // len(ROUND), ROUND[number % len(ROUND)]
            if back <= t and 0 <= y + down < grid.h and 0 <= x + across < grid.w:
                found[position, number] = ((t - back) * grid.h + y + down) * grid.w + x + across
    with torch.inference_mode(False):  # the first caller may be in it, and a training may use the table later
        return found.clone().to(device)


@cache
def _middles(h: int, w: int, device: torch.device) -> Float[Tensor, "c 2"]:
    """The middles (x, y) of a frame's places, 0 to 1."""
    with torch.inference_mode(False):
        x, y = (torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h
        return torch.stack([x.repeat(h), y.repeat_interleave(w)], 1).to(device)


def check_actions(actions: object, spec: PushTSpec) -> None:
    """Raise InvalidArgument unless actions ``[g k]`` of a clip fit the model and lie in the world; NaN is none."""
    width, most = 2 * spec.action_points, spec.trunk.grid.t - 1
    if not isinstance(actions, Tensor):
        raise InvalidArgument(f"actions must be a tensor [frames, {width}], not {value_words(actions)}")
    if actions.ndim != 2 or actions.shape[1] != width or not actions.is_floating_point():
        raise InvalidArgument(
            f"actions must be floating-point numbers [frames, {width}], not {tensor_words(actions)}"
        )
    if len(actions) > most:
        raise InvalidArgument(f"actions for {len(actions)} frames, and a clip of this model has {most + 1}")
    wrong = ~actions.isnan() & ~((actions >= 0) & (actions <= WORLD))
    if wrong.any():
        value = actions[wrong][0].item()
        raise InvalidArgument(f"an action is a point of the world, 0 to {WORLD:g}, and one is {value:g}")
