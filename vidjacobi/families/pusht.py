"""nano-pusht: a small world model of Push-T that follows actions; see docs/nano_pusht.md for how it is made.

A frame stands for two steps of the simulator; its action is the two targets (x, y) that the agent was pulled to, in
the simulator's units. Actions are no tokens: what they say to each position lies in the rows of the cache, so rows
have conditions of their own and an action may be given when its frame is about to be decoded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.checkpoint import load_strict, without_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument, number_of
from vidjacobi.families import pusht_pixels
from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.pusht_network import PushTCache, PushTNetwork, PushTSpec, check_actions
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.kinds import Grid
from vidjacobi.runtime import Runtime
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

WANTED = "a folder that scripts/nano pusht-export writes, with transformer and tokenizer in it"
SAMPLING = SamplingParams(temperature=1.0, top_p=0.8)


class PushTModel:
    """The network behind one action for each frame, of all clips or of each; see ``vidjacobi.models.protocol``.

    Args:
        network: in eval mode from here on.
        actions: ``[1 or b g k]`` of the frames 1 to g; NaN, and frames after them, have none. None: no frame has.

    Raises InvalidArgument for actions of another shape or out of the world.
    """

    prefix_tokens: tuple[int, ...] = ()

    def __init__(self, network: PushTNetwork, actions: Float[Tensor, "b g k"] | None = None) -> None:
        self.network, self.spec = network.eval(), network.spec
        if actions is None:
            actions = torch.zeros(1, 0, 2 * self.spec.action_points)
        check_actions(actions, self.spec)
        if not len(actions):
            raise InvalidArgument("there are no actions: give those of each clip, or one row for all")
        self.actions = actions
        self.vocab_size, self.max_positions = self.spec.trunk.vocab_size, self.spec.trunk.positions

    @property
    def device(self) -> torch.device:
        """Of the inputs."""
        return self.network.unacted.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.network.unacted.dtype

    @property
    def rows_alike(self) -> bool:
        """Whether all clips have the same actions."""
        return len(self.actions) == 1

    @property
    def bitwise(self) -> bool:
        """Whether passes here are width-invariant; see ``ExactModel``."""
        return self.network.settle(self.device).invariant

    @property
    def padding(self) -> str:
        """What passes here are padded to, in words."""
        return str(self.network.settle(self.device))

    def grid_for(self, frames: int) -> Grid:
        """A latent frame for each frame. Raises InvalidArgument for none, and for more than a clip has."""
        whole = self.network.grid
        if not 1 <= frames <= whole.t:
            raise InvalidArgument(f"a clip of this model has 1 to {whole.t} frames, not {frames}")
        return Grid(frames, whole.h, whole.w)

    @torch.no_grad()
    def make_cache(self, batch: int, slots: int) -> PushTCache:
        """A cache whose rows have the clips' actions. Raises InvalidArgument for another number of clips."""
        if len(self.actions) not in (1, batch):
            raise InvalidArgument(
                f"actions of {number_of(len(self.actions), 'clip')} for a batch of {number_of(batch, 'clip')}: give "
                "those of each clip, or one row for all"
            )
        self.network.settle(self.device)
        cache = self.network.make_cache(batch, slots)
        rows = [self.network.acted_rows(clip.to(self.device)) for clip in self.actions]
        cache.acted.copy_(torch.stack(rows).expand(batch, -1, -1))
        return cache

    @torch.no_grad()
    def act(self, cache: PushTCache, frame: int, actions: Float[Tensor, "b k"]) -> None:
        """Give the first rows of a cache the actions that lead to a frame, before any of its tokens is decoded.

        Raises InvalidArgument for a frame that no action leads to, and for actions that do not fit.
        """
        grid = self.network.grid
        if not 1 <= frame < grid.t:
            raise InvalidArgument(f"actions lead to the frames 1 to {grid.t - 1}, not to {frame}")
        check_actions(actions[:, None], self.spec)
        first = frame * grid.frame_tokens
        for row, action in enumerate(actions.to(self.device)):  # alone, as in acted_rows
            cache.acted[row, first : first + grid.frame_tokens] = self.network.acted(action[None, None])[0]

    @torch.no_grad()
    def prefill(self, tokens: Tokens, cache: PushTCache, keep: int) -> Iterator[Logits]:
        """Feed whole contexts; yields the logits of the last ``keep`` inputs.

        Raises InvalidArgument if ``keep`` is not in 1..n or the context has more positions than the model.
        """
        n = tokens.shape[1]
        if not 1 <= keep <= n:
            raise InvalidArgument(
                f"keep={keep} logits of a context of {number_of(n, 'token')}: it must be 1 to {n}"
            )
        if n > self.max_positions:
            raise InvalidArgument(
                f"{number_of(n, 'token')} are more than the {number_of(self.max_positions, 'position')} of this model"
            )
        return iter([self.network.head(self.network.prefill(tokens, cache)[:, n - keep :])])

    @torch.no_grad()
    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: PushTCache
    ) -> Logits:
        """One pass over a window; see ``vidjacobi.models.protocol.VideoModel.forward``."""
        return self.network.head(self.network.window(tokens, positions, slots, visible, cache))

    def move(self, cache: PushTCache, source: Slots, target: Slots) -> None:
        """Copy entries of each clip from slots to slots; see ``TreeModel.move``."""
        clips = torch.arange(len(source), device=source.device)[:, None]
        for layer in cache.layers:
            for entries in layer:
                entries[clips, :, target] = entries[clips, :, source]
        cache.ids[clips, target] = cache.ids[clips, source]

    def copy_rows(self, cache: PushTCache, rows: RowIndex, source: PushTCache, source_rows: RowIndex) -> None:
        """Copy rows with their actions; see ``vidjacobi.models.protocol.RowModel.copy_rows``."""
        for layer, from_layer in zip(cache.layers, source.layers, strict=True):
            for entries, others in zip(layer, from_layer, strict=True):
                entries[rows, :, : others.shape[2]] = others[source_rows]
        cache.ids[rows, : source.ids.shape[1]] = source.ids[source_rows]
        cache.acted[rows] = source.acted[source_rows]


@dataclass(frozen=True)
class PushT:
    """The weights, from which models of clips with actions are made.

    Attributes:
        network: the transformer.
        tokenizer: pixels to its tokens and back.
    """

    network: PushTNetwork
    tokenizer: FrameTokenizer

    def world(self, actions: Float[Tensor, "b g k"]) -> PushTModel:
        """The model of clips that follow actions: row i leads from frame i to frame i + 1. Raises InvalidArgument."""
        return PushTModel(self.network, actions)

    def free(self) -> PushTModel:
        """The model of clips whose actions nobody knows."""
        return PushTModel(self.network)


def load(path: Path, runtime: Runtime) -> PushT:
    """The model in a folder with ``transformer`` and ``tokenizer``. Raises BadCheckpoint."""
    network = load_network(path / "transformer", runtime)
    tokenizer = pusht_pixels.load(path / "tokenizer", runtime)
    grid, side = network.grid, tokenizer.frame_size[0] // tokenizer.network.stride
    if (grid.h, grid.w) != (side, side) or network.spec.trunk.vocab_size != tokenizer.network.codes:
        raise BadCheckpoint(
            f"{path}: transformer and tokenizer do not belong together: {grid.h}x{grid.w} tokens out of "
            f"{network.spec.trunk.vocab_size} there, {side}x{side} out of {tokenizer.network.codes} here"
        )
    return PushT(network, tokenizer)


def load_network(path: Path, runtime: Runtime) -> PushTNetwork:
    """The transformer in a folder with its ``config.json``. Raises BadCheckpoint."""
    state, sizes = weights_of(path, WANTED, ("state_dict",)), sizes_of(path)
    try:
        spec = PushTSpec.from_config(sizes)
    except (TypeError, InvalidArgument) as error:
        raise BadCheckpoint(f"{path} has sizes that are not possible ({error}): wanted {WANTED}") from None
    with without_weights():
        network = PushTNetwork(spec)
    load_strict(network, state, str(path))
    return network.to(runtime.device, runtime.dtype).requires_grad_(False)
