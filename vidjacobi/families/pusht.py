"""nano-pusht: a small world model of Push-T that follows actions; see docs/nano_pusht.md for how it is made.

A frame stands for two steps of the simulator; its action is the two targets (x, y) that the agent was pulled to, in
the simulator's units. Actions are no tokens: they are the condition of a clip, and what they say to each position
lies in the rows of the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.checkpoint import load_strict, without_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument, number_of
from vidjacobi.families import pusht_pixels
from vidjacobi.families.action_files import matrix_of
from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.pusht_network import PushTCache, PushTNetwork, PushTSpec, check_actions
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.kinds import Grid
from vidjacobi.runtime import Runtime, refuse_autocast
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

WANTED = "a folder that scripts/nano pusht-export writes, with transformer and tokenizer in it"
Actions = Float[Tensor, "_ k"]  # of one clip, a row a frame
SAMPLING = SamplingParams(temperature=1.0, top_p=0.8)


class PushTModel:
    """The network; the condition of a clip is its actions. See ``vidjacobi.models.protocol.ConditionedModel``.

    Actions ``[g k]`` lead to the frames 1 to g; NaN, and frames after them, have none: their actions are not known.

    Args:
        network: in eval mode from here on.
        conditions: of clips for which none are given: those of each, or one for all; none: each clip must be given
            one.

    Raises InvalidArgument for actions of another shape or out of the world.
    """

    prefix_tokens: tuple[int, ...] = ()
    rows_alike = True  # beside their actions, which are copied with them

    def __init__(self, network: PushTNetwork, conditions: Sequence[Actions] = ()) -> None:
        self.network, self.spec = network.eval(), network.spec
        for actions in conditions:
            check_actions(actions, self.spec)
        self.conditions: tuple[Actions, ...] = tuple(conditions)
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

    def condition(self, actions: Sequence[Sequence[float]] | Actions) -> Actions:
        """What a clip that follows actions is given, rows of numbers that lead to its frames from frame 1 on.

        Raises InvalidArgument for actions of another shape or out of the world.
        """
        if not isinstance(actions, Tensor):
            return _condition(actions, self.spec)
        check_actions(actions, self.spec)
        return actions

    def make_cache(self, batch: int, slots: int) -> PushTCache:
        """A cache whose rows have the model's own actions, where it has one row of them for all.

        Raises InvalidArgument in ``torch.autocast``.
        """
        refuse_autocast(self.device)
        self.network.settle(self.device)
        cache = self.network.make_cache(batch, slots)
        if len(self.conditions) == 1:
            self.set_conditions(cache, self.conditions * batch)
        return cache

    def condition_id(self, condition: Any, positions: int) -> str:
        """The sha256 of actions. Raises InvalidArgument for what are none of this model's."""
        check_actions(condition, self.spec)
        # In float64, which holds every float32: equal numbers have one name in either dtype.
        return sha256(condition.detach().cpu().double().contiguous().numpy().tobytes()).hexdigest()

    @torch.no_grad()
    def set_conditions(self, cache: PushTCache, conditions: Sequence[Actions]) -> None:
        """Give the first rows of a cache their actions.

        Frames that are decoded already are not read anew, so an action may be given when its frame is about to be.
        """
        # By identity: futures of one clip are given one tensor, whose rows are computed once.
        made: dict[int, Tensor] = {}
        for row, actions in enumerate(conditions):
            if id(actions) not in made:
                made[id(actions)] = self.network.acted_rows(actions.to(self.device))
            cache.acted[row] = made[id(actions)]

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

    def world(self, actions: Sequence[Actions] | Float[Tensor, "b g k"] = ()) -> PushTModel:
        """The model of clips that follow actions: those of each clip, or one row for all; none: given to ``decode``.

        Row i leads from frame i to frame i + 1. Raises InvalidArgument.
        """
        return PushTModel(self.network, list(actions))

    def condition(self, actions: Sequence[Any]) -> Actions:
        """A clip's condition out of its actions, as ``vidjacobi.session.Session`` asks for it.

        Args:
            actions: two points (x, y) each, or their four numbers, 0 to 512: lists, arrays or tensors.

        Raises InvalidArgument for another number of them, and for what is no finite number of the world.
        """
        return _condition(actions, self.network.spec)

    def free(self) -> PushTModel:
        """The model of clips whose actions nobody knows."""
        return PushTModel(self.network, [torch.zeros(0, 2 * self.network.spec.action_points)])


def _condition(actions: Sequence[Any], spec: PushTSpec) -> Actions:
    found = matrix_of([_flat(action) for action in actions], 2 * spec.action_points)
    check_actions(found, spec)
    return found


def _flat(action: Any) -> Any:
    """The numbers of points, one after the other; anything else as it is."""
    listed = action.tolist() if isinstance(action, Tensor | np.ndarray) else action
    if isinstance(listed, list | tuple) and any(hasattr(one, "__len__") for one in listed):
        return [number for point in listed for number in (point if hasattr(point, "__iter__") else [point])]
    return listed


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
