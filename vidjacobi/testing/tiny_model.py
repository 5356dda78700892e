"""A tiny model for tests of decoders, whose distribution over whole continuations can be enumerated.

A decoder of your own is lossless if the tokens that it makes with this model follow ``joint_probs``:

    model = TinyVideoModel(vocab_size=3)
    context = torch.tensor([0, 1])                                # the first frame: a grid of 1 x 2 tokens
    exact = joint_probs(model, context, 4, SamplingParams())      # 3**4 = 81 probabilities
    tokens = ...                                                  # [b 4], one row from each of many seeds
    seen = sequence_index(tokens, 3).bincount(minlength=81)       # compare seen / b with exact

The model is also the shortest example of ``vidjacobi.models.protocol``: its cache entry is a single number.
"""

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.kinds import Grid
from vidjacobi.sampling.probs import SamplingParams, logits_to_probs
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

SMALL = Grid(3, 1, 2)  # three frames of one row of two tokens


class TinyVideoModel:
    """A model whose logits are the sum of two random tables: one by history, one by place in the frame.

    The history table is looked up by a hash of all tokens to the left, so that every distribution depends on every
    earlier token and a decoder that reads a wrong one is caught. About 15 % of the tokens have probability zero.
    The table by place makes distributions of different histories resemble each other, so that drafts are sometimes
    accepted. The cache entry of an input is a code of its position and token.

    Args:
        vocab_size: number of tokens; 3 to 5 if continuations are to be enumerated.
        grid: latent grid of the longest clip; ``max_positions`` is its number of tokens.
        seed: seed of the tables.
        surprise: weight of the history table. At 0 tokens are independent of each other; the larger it is, the less
            can be guessed.
        dtype: dtype of the logits.
    """

    prefix_tokens: tuple[int, ...] = ()
    rows_alike = True

    def __init__(
        self,
        vocab_size: int = 4,
        grid: Grid = SMALL,
        seed: int = 0,
        surprise: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.vocab_size, self.max_positions, self._grid, self.dtype = vocab_size, grid.tokens, grid, dtype
        self.device = torch.device("cpu")
        # One large random number for each (position, token); their sum over the history is its hash.
        self._weights = torch.randint(1, 1 << 30, (grid.tokens, vocab_size), generator=generator)
        table = torch.randn(997, vocab_size, generator=generator, dtype=torch.float64) * surprise
        table[torch.rand(table.shape, generator=generator) < 0.15] = -torch.inf
        table[:, 0] = table[:, 0].clamp(min=-2)  # so that every row has a possible token
        place = torch.randn(grid.frame_tokens, vocab_size, generator=generator, dtype=torch.float64)
        self._table, self._place = table.to(dtype), place.to(dtype)

    def grid_for(self, frames: int) -> Grid:
        """One latent frame for each frame."""
        return Grid(frames, self._grid.h, self._grid.w)

    def make_cache(self, batch: int, slots: int) -> Int[Tensor, "rows slots"]:
        """Zeroed codes, one for each slot."""
        return torch.zeros(batch, slots, dtype=torch.long)

    def prefill(self, tokens: Tokens, cache: Int[Tensor, "rows slots"], keep: int) -> Iterator[Logits]:
        """Feed whole contexts and yield the logits one input at a time, the smallest chunks that are allowed."""
        # A prefill is a forward pass at slots 0..n-1 in which input i sees slots 0..i.
        length = tokens.shape[1]
        positions = torch.arange(length).expand(tokens.shape)
        visible = torch.ones(length, length, dtype=torch.bool).tril().expand(tokens.shape[0], -1, -1)
        logits = self.forward(tokens, positions, positions, visible, cache)
        yield from logits[:, length - keep :].split(1, dim=1)

    def forward(
        self,
        tokens: Tokens,
        positions: Positions,
        slots: Slots,
        visible: Visible,
        cache: Int[Tensor, "rows slots"],
    ) -> Logits:
        """Write every input's code at its slot, then look up the logits by the codes that the input sees."""
        # An example: the tokens at positions 0, 1 and 2 have the codes 5, 8 and 3. The input at position 2 sees slots
        # 0, 1 and 2, so its history is (5 + 8 + 3) % 997 = 16, and its logits, those of position 3, are row 16 of the
        # history table plus the row of position 3's place in the frame.
        cache.scatter_(1, slots, self._weights[positions, tokens])
        seen = cache[: len(tokens), None, : visible.shape[-1]]
        history = (visible * seen).sum(-1) % self._table.shape[0]
        return self._table[history] + self._place[(positions + 1) % self._place.shape[0]]

    def move(self, cache: Int[Tensor, "rows slots"], source: Slots, target: Slots) -> None:
        """Copy codes from slots to slots of the same clip."""
        cache.scatter_(1, target, cache.gather(1, source))

    def copy_rows(
        self,
        cache: Int[Tensor, "rows slots"],
        rows: RowIndex,
        source: Int[Tensor, "others fewer"],
        source_rows: RowIndex,
    ) -> None:
        """Copy codes from rows to rows, of this cache or of another one."""
        cache[rows, : source.shape[1]] = source[source_rows]


def joint_probs(
    model: TinyVideoModel, context: Int[Tensor, " c"], new_tokens: int, sampling: SamplingParams
) -> Float[Tensor, " s"]:
    """The exact probability of each of the ``vocab_size ** new_tokens`` continuations, in lexicographic order.

    Args:
        context: tokens that are given, at least one.
        new_tokens: length of the continuations.
        sampling: temperature, top-k and top-p; its seed is not used.
    """
    every = torch.tensor(list(product(range(model.vocab_size), repeat=new_tokens)))
    clips = torch.cat([context.expand(len(every), -1), every], 1)
    cache = model.make_cache(len(clips), clips.shape[1])
    logits = torch.cat(list(model.prefill(clips[:, :-1], cache, new_tokens)), 1)
    # The chain rule: the probability of a continuation is the product of its tokens' probabilities, each given all
    # tokens to its left, which one prefill of every continuation yields.
    probs = logits_to_probs(logits.double(), sampling)
    return probs.gather(-1, every[..., None])[..., 0].prod(-1)


def sequence_index(tokens: Tokens, vocab_size: int) -> Int[Tensor, " b"]:
    """The index of each row in the order of ``joint_probs``: its tokens read as a number in base ``vocab_size``.

    With three tokens, (0, 0, 2) has index 2 and (1, 0, 2) has 1 * 9 + 0 * 3 + 2 = 11.
    """
    powers = vocab_size ** torch.arange(tokens.shape[1] - 1, -1, -1)
    return (tokens * powers).sum(-1)
