"""What a model must offer to be decoded. Any object with these members will do; nothing is subclassed.

**Positions.** A clip is one sequence: the model's special tokens, if it has any, then its latent grid in raster
order. The input at position i yields the logits of the token at position i + 1.

**Slots.** A cache has numbered places, called slots, and one entry (such as the keys and values of all layers) in
each. The decoder chooses the slot of every input: the slot of a token is its position, so that slot 7 belongs to
position 7; siblings of a draft tree and padding get slots after the clip. An input *writes* its entry at its slot,
over whatever is there. Nothing is ever removed: the entry of a rejected draft stays until the token that replaces
it is fed, at the same slot, and until then no input sees it.

**Visible.** ``visible[b, i, s]`` is True where input i of clip b may attend to the entry in slot s. Entries are
written before any is read, so an input sees itself and the inputs of the same pass that lie before it.

An example: positions 0 to 4 are decided, and the window of this pass has 4 inputs. The first is the last decided
token, at position 4; the others are drafts for positions 5, 6 and 7. Slots 0 to 3 hold entries of decided tokens.
Slots 4 to 6 hold entries of drafts that the last pass rejected; this pass overwrites them.

    slot                  0 1 2 3   4 5 6 7   8 9 ...
    input 0, position 4   x x x x   x . . .   . .       logits of position 5: judge the draft there
    input 1, position 5   x x x x   x x . .   . .       logits of position 6
    input 2, position 6   x x x x   x x x .   . .       logits of position 7
    input 3, position 7   x x x x   x x x x   . .       logits of position 8, for a new draft

Say that the draft at 5 is accepted and the one at 6 is replaced by another token. The next pass begins with that
token at position 6. Slots 4 and 5 are right already; slots 6 and 7 are overwritten.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import Grid, value_words
from vidjacobi.shapes import GridTokens, Logits, Positions, RowIndex, Slots, Tokens, Visible

Cache = Any  # the model makes it and reads it; the decoder only passes it on


@runtime_checkable
class VideoModel(Protocol):
    """An autoregressive model of discrete video tokens. The module's docstring explains slots and visibility."""

    vocab_size: int  # tokens are 0..vocab_size-1; special tokens may have larger ids
    max_positions: int  # most positions of a clip, special tokens included
    prefix_tokens: tuple[int, ...]  # special tokens before the grid: () or (begin-of-video id,)

    @property
    def device(self) -> torch.device:
        """Device of tokens, positions, slots and masks that the model is given."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights. The decoder computes probs in float32, or in float64 if this is float64."""
        ...

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of a clip of ``frames`` frames. Raises InvalidArgument for more than the model covers."""
        ...

    def make_cache(self, batch: int, slots: int) -> Cache:
        """A cache of ``slots`` slots for each of ``batch`` clips. What it holds is not read before it is written."""
        ...

    def prefill(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """Feed whole contexts ``[b n]`` at positions and slots 0..n-1; every input sees itself and all before it.

        Yields the logits of the last ``keep`` inputs (1 <= keep <= n) in order, in chunks ``[b m v]``. The sizes
        m >= 1 are the model's choice and sum to ``keep``; small ones keep the logits of a whole frame, which may be
        gigabytes, from being in memory at once. All entries are in the cache when the last chunk has been yielded.
        """
        ...

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
    ) -> Logits:
        """One pass over a window: write every input's entry at its slot, then let each input read what it sees.

        Inputs of a clip are not always neighbours, nor in one run: positions may skip what is decided already.

        Args:
            tokens, positions, slots: of the inputs, each ``[b n]``.
            visible: ``[b n l]``. Only slots before l are read, so an attention over the first l slots is enough; l is
                a multiple of 64 and may be smaller than the cache.
            cache: made by ``make_cache``, with at least b rows; clip i has row i.

        Returns:
            Logits ``[b n v]`` of the position after each input. Clips with fewer inputs than others are padded:
            padding inputs share one slot that no input sees, and their logits are ignored but must be finite.
        """
        ...


@runtime_checkable
class TreeModel(VideoModel, Protocol):
    """A model that can move cache entries.

    A sibling of a draft tree is fed at a slot after the clip. If it is accepted, its entry is moved to the slot of
    its position. With a model that cannot move entries the token is fed once more, which takes an input of the next
    pass.
    """

    def move(self, cache: Cache, source: Slots, target: Slots) -> None:
        """Copy the entries of each clip from the slots ``source`` to the slots ``target``, both ``[b m]``."""
        ...


@runtime_checkable
class RowModel(VideoModel, Protocol):
    """A model that can copy rows of its caches.

    Several futures of one context then share a prefill, and the row of a finished clip is given to the next clip of
    a queue between two passes. Without it every row has a prefill of its own, and a batch of clips is decoded to its
    end before the next batch begins.

    ``forward`` may be given fewer rows than the cache has; they are its first ones.
    """

    @property
    def rows_alike(self) -> bool:
        """Whether the same tokens get the same logits in any row. False if rows have conditions of their own."""
        ...

    def copy_rows(self, cache: Cache, rows: RowIndex, source: Cache, source_rows: RowIndex) -> None:
        """Copy the rows ``source_rows`` of ``source``, all slots, over the first slots of ``rows`` of ``cache``.

        ``source`` has no more slots than ``cache``. It may be the same cache; then no row is in both lists.
        """
        ...


@runtime_checkable
class ConditionedModel(RowModel, Protocol):
    """A model of clips that have a condition each: a prompt, a class, actions, or whatever else it may be given.

    Conditions live in the rows of its caches, and ``copy_rows`` copies them with the rows. Beside them its rows are
    alike, so clips of one batch may have different conditions, and a free row takes a clip of another condition.
    """

    @property
    def conditions(self) -> tuple[Any, ...] | None:
        """Those of clips for which none are given: one for all, or one for each clip of a decode.

        Empty: each clip must be given one. None: this model takes no conditions.
        """
        ...

    def condition_id(self, condition: Any, positions: int) -> str:
        """A name for a condition, by which it is told from others: equal ones give equal logits.

        Raises InvalidArgument for what is no condition of this model, or of a clip of so many positions.
        """
        ...

    def set_conditions(self, cache: Cache, conditions: Sequence[Any]) -> None:
        """Give the first rows of a cache a condition each, before their prefill. Room is made where there is none."""
        ...


@runtime_checkable
class ExactModel(VideoModel, Protocol):
    """A model that knows whether its passes are width-invariant."""

    @property
    def bitwise(self) -> bool:
        """Whether the logits of a position have the same bits whatever else is in the pass.

        That is: in windows of any width, at any place and in any slot, in batches of any size, with any prefix length
        read, and whoever wrote the cache. AR and windows then decide the very same tokens. Asked on the model's own
        device; False where a probe found otherwise.
        """
        ...

    @property
    def padding(self) -> str:
        """What passes are padded to for it, in words."""
        ...


def takes_conditions(model: VideoModel) -> TypeGuard[ConditionedModel]:
    """Whether clips of this model may have conditions of their own."""
    return isinstance(model, ConditionedModel) and model.conditions is not None


def conditions_of(
    model: VideoModel, given: object, positions: Sequence[int]
) -> tuple[list[Any], list[str]] | None:
    """The condition of each clip and its name: those that are given, else the model's own; None where it takes none.

    Args:
        given: a list with one for each clip; None: the model's own.
        positions: of each clip, context and new tokens.

    Raises InvalidArgument for a model that takes none, another number of them, and what is no condition.
    """
    if not takes_conditions(model):
        if given is not None:
            raise InvalidArgument(f"conditions are given, and {type(model).__name__} takes none")
        return None
    clips, own = len(positions), model.conditions or ()
    if given is None:
        if not own:
            raise InvalidArgument(
                "each clip of this model needs a condition: give conditions=[...], one a clip"
            )
        found = list(own * clips if len(own) == 1 else own)
    elif isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise InvalidArgument(f"conditions must be a list with one for each clip, not {value_words(given)}")
    else:
        found = list(given)
    if len(found) != clips:
        raise InvalidArgument(
            f"{number_of(len(found), 'condition')} for a batch of {number_of(clips, 'clip')}: give one for each clip"
        )
    return found, [model.condition_id(one, count) for one, count in zip(found, positions, strict=True)]


def flatten(model: VideoModel, grid: GridTokens) -> Int[Tensor, "b n"]:
    """The sequence of a latent grid: the model's special tokens, then the grid tokens in raster order."""
    # A model with begin-of-video token 64000 turns a grid of tokens 5, 9, 2 into 64000, 5, 9, 2.
    prefix = torch.tensor(model.prefix_tokens, dtype=grid.dtype, device=grid.device)
    return torch.cat([prefix.expand(len(grid), -1), grid.flatten(1)], 1)
