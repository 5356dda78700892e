"""A tiny model whose joint law can be enumerated, for tests of decoders (also of one's own)."""

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.grid import Grid
from vidjacobi.sampling.probs import SamplingParams, logits_to_probs
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

SMALL = Grid(3, 1, 2)


class TinyVideoModel:
    """Probabilities looked up in a random table by a hash of everything to the left, mixed with a law per place.

    Every law depends on every earlier token, some tokens have probability zero, and laws of neighbouring
    histories resemble each other, so that drafts are sometimes right. The cache holds a code of (position, token).

    Args:
        vocab_size: 3-5 if the joint law is to be enumerated.
        grid: latent grid; ``max_positions`` is its number of tokens.
        seed: of the tables.
        surprise: weight of the history against the place, 0 (independent tokens) and up.
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
        self._weights = torch.randint(1, 1 << 30, (grid.tokens, vocab_size), generator=generator)
        table = torch.randn(997, vocab_size, generator=generator, dtype=torch.float64) * surprise
        table[torch.rand(table.shape, generator=generator) < 0.15] = -torch.inf
        table[:, 0] = table[:, 0].clamp(min=-2)  # no law is empty
        place = torch.randn(grid.frame_tokens, vocab_size, generator=generator, dtype=torch.float64)
        self._table, self._place = table.to(dtype), place.to(dtype)

    def grid_for(self, frames: int) -> Grid:
        """One latent frame per frame."""
        return Grid(frames, self._grid.h, self._grid.w)

    def make_cache(self, batch: int, slots: int) -> Int[Tensor, "rows slots"]:
        """Codes by slot."""
        return torch.zeros(batch, slots, dtype=torch.long)

    def prefill(self, tokens: Tokens, cache: Int[Tensor, "rows slots"], keep: int) -> Iterator[Logits]:
        """One chunk per input, to exercise callers."""
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
        """Look the laws up."""
        cache.scatter_(1, slots, self._weights[positions, tokens])
        seen = cache[: len(tokens), None, : visible.shape[-1]]
        history = (visible * seen).sum(-1) % self._table.shape[0]
        return self._table[history] + self._place[(positions + 1) % self._place.shape[0]]

    def move(self, cache: Int[Tensor, "rows slots"], source: Slots, target: Slots) -> None:
        """Copy codes from slots to slots."""
        cache.scatter_(1, target, cache.gather(1, source))

    def copy_rows(
        self,
        cache: Int[Tensor, "rows slots"],
        rows: RowIndex,
        source: Int[Tensor, "others fewer"],
        source_rows: RowIndex,
    ) -> None:
        """Copy codes from rows to rows."""
        cache[rows, : source.shape[1]] = source[source_rows]


def joint_law(
    model: TinyVideoModel, context: Int[Tensor, " c"], new_tokens: int, sampling: SamplingParams
) -> Float[Tensor, " s"]:
    """Probability of each of the ``vocab_size ** new_tokens`` continuations, in lexicographic order."""
    every = torch.tensor(list(product(range(model.vocab_size), repeat=new_tokens)))
    clips = torch.cat([context.expand(len(every), -1), every], 1)
    cache = model.make_cache(len(clips), clips.shape[1])
    logits = torch.cat(list(model.prefill(clips[:, :-1], cache, new_tokens)), 1)
    laws = logits_to_probs(logits.double(), sampling)
    return laws.gather(-1, every[..., None])[..., 0].prod(-1)


def sequence_index(tokens: Tokens, vocab_size: int) -> Int[Tensor, " b"]:
    """Each row's place in the order of ``joint_law``."""
    powers = vocab_size ** torch.arange(tokens.shape[1] - 1, -1, -1)
    return (tokens * powers).sum(-1)
