"""Probs of a window as the model's own logits and a few numbers a row: nothing of a vocabulary is copied.

``logits_to_probs`` in probs.py says the same in plain form.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.sampling.noise import Purpose
from vidjacobi.sampling.probs import SparseProbs, weights_of
from vidjacobi.shapes import Logits, Probs, Tokens


def takes_sparse_path(logits: Logits) -> bool:
    """Whether only the tokens inside nuclei are looked at: it takes host reads, and shapes that depend on values.

    Compiled code never does, whatever the device (``TruncatedProbs.fused``).
    """
    return logits.device.type == "cpu"


@dataclass(frozen=True)
class SparseRows:
    """The tokens inside the nuclei of some rows in compressed sparse rows (CSR), with rising ids.

    Example: row 3 keeps the tokens 2 and 7, row 5 keeps token 0. Then rows = [3, 5], row = [0, 0, 1],
    ids = [2, 7, 0] and counts = [2, 1].

    Attributes:
        rows: which rows, counted through all clips.
        row: index in ``rows`` of each token's row.
        ids, probs: the tokens and their mass.
        counts: of each row.
    """

    rows: Int[np.ndarray, " r"]
    row: Int[np.ndarray, " m"]
    ids: Int[np.ndarray, " m"]
    probs: Float[np.ndarray, " m"]
    counts: Int[np.ndarray, " r"]

    @property
    def here(self) -> Int[np.ndarray, " m"]:
        """The row of each token, counted through all clips."""
        return self.rows[self.row]

    def part(self, wanted: Bool[np.ndarray, " r"]) -> "SparseRows":
        """Some of the rows."""
        if wanted.all():
            return self
        # Of the example's rows 3 and 5 the second: row = [0], ids = [0], counts = [1].
        tokens, counts = wanted[self.row], self.counts[wanted]
        row = np.repeat(np.arange(len(counts)), counts)
        return SparseRows(self.rows[wanted], row, self.ids[tokens], self.probs[tokens], counts)


@dataclass(frozen=True)
class TruncatedProbs:
    """Probs of a window: exp((x - peak) / divisor) / total for logits x inside the nucleus, 0 outside.

    Attributes:
        logits: as the model returned them.
        peak: the largest of each row.
        floor: inside are logits that are at least so large; at temperature 0 only one of them.
        total: sum of the weights inside.
        divisor: the temperature; infinite where it is 0 (then one token is inside).
        only: at temperature 0 the lowest id with the largest logit, otherwise None.
        table: the probs of all tokens, where they have been written down: on a CPU those of small vocabularies.
        sparse_rows: the tokens inside, where they have been written down.
        fused: draws from these probs are made in compiled code (see dense.py). A property of the pass that made
            the probs, so it is not kept from pass to pass.
    """

    logits: Logits
    peak: Float[Tensor, "b n 1"]
    floor: Float[Tensor, "b n 1"]
    total: Float[Tensor, "b n 1"]
    divisor: Float[Tensor, "b n 1"]
    only: Int[Tensor, "b n 1"] | None = None
    table: Probs | None = None
    sparse_rows: tuple[SparseRows, ...] | None = None
    fused: bool = False

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.logits.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the probs: float32 or better, whatever the logits are."""
        return self.total.dtype

    def of(self, tokens: Tokens) -> Float[Tensor, "b n"]:
        """The mass that each row gives to its token."""
        return self.at(tokens[..., None])[..., 0]

    def at(self, ids: Int[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
        """The mass that each row gives to some tokens."""
        if self.table is not None:
            return self.table.gather(-1, ids)
        return self._mass(self.logits.gather(-1, ids), ids)

    def dense(self) -> Probs:
        """As ``[b n v]``, not to be written to."""
        if self.table is not None:
            return self.table
        ids = None
        if self.only is not None:
            ids = torch.arange(self.vocab_size, device=self.logits.device)
        return self._mass(self.logits, ids)

    def dense_slots(self, slots: Int[Tensor, "b m"]) -> Float[Tensor, "b m v"]:
        """Some slots of every clip as ``[b m v]``, a copy."""
        if self.table is None:
            return self.slots(slots).dense()
        return self.table[torch.arange(len(slots))[:, None], slots]

    def alone(self) -> "TruncatedProbs":
        """Without the tokens that have been written down: what is kept from pass to pass."""
        return replace(self, sparse_rows=None, fused=False)

    def slots(self, slots: Int[Tensor, "b m"]) -> "TruncatedProbs":
        """Some slots of every clip, copied."""
        rows = torch.arange(len(slots), device=slots.device)[:, None]
        return from_tensors(part[rows, slots] for part in self.tensors)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, in the order of the fields."""
        # ``only`` comes last because it may be missing: ``from_tensors`` takes what is left as it.
        found = self.logits, self.peak, self.floor, self.total, self.divisor
        return found if self.only is None else (*found, self.only)

    def _mass(self, logits: Float[Tensor, "b n k"], ids: Int[Tensor, "*k"] | None) -> Float[Tensor, "b n k"]:
        inside = is_inside(logits, ids, self.floor, self.only)
        probs = weights_of(logits, self.peak, self.divisor).div_(self.total)
        # at temperature 0 a logit of -inf is no number here
        # A mask that is multiplied is written over the probs; ``where`` would make another tensor of that size.
        return probs.mul_(inside) if self.only is None else torch.where(inside, probs, 0)


def from_tensors(parts: Iterable[Tensor]) -> TruncatedProbs:
    """The record of these tensors, in the order of its fields."""
    logits, peak, floor, total, divisor, *only = parts
    return TruncatedProbs(logits, peak, floor, total, divisor, only[0] if only else None)


def is_inside(
    numbers: Float[Tensor, "*s"],
    ids: Int[Tensor, "*t"] | None,
    floor: Float[Tensor, "*u"],
    only: Int[Tensor, "*u"] | None,
) -> Bool[Tensor, "*s"]:
    """Which tokens are in their row's nucleus."""
    return numbers >= floor if only is None else (numbers >= floor) & (ids == only)


@dataclass(frozen=True)
class DraftProbs:
    """The distributions q that a window's drafts were drawn from.

    Attributes:
        last: the target probs of the last pass, which its redrafts follow.
        slot: the slot of each draft in it, -1 for fresh ones.
        fresh: probs of the fresh ones; what stands in the other rows is not used.
        vocab_size: number of tokens.
    """

    last: TruncatedProbs
    slot: Int[Tensor, "b n"]
    fresh: SparseProbs
    vocab_size: int

    @classmethod
    def of_pass(cls, probs: TruncatedProbs) -> "DraftProbs":
        """Drafts that are all redrafts of one pass, slot by slot."""
        batch, size = probs.logits.shape[:2]
        slot = torch.arange(size, device=probs.logits.device).expand(batch, -1)
        none = slot[..., None][..., :0]
        return cls(probs, slot, SparseProbs(none, none.to(probs.dtype)), probs.vocab_size)

    def of(self, tokens: Tokens) -> Float[Tensor, "b n"]:
        """The mass that each row gives to its token."""
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        slot = self.slot.clamp(min=0)
        if self.last.table is not None:
            return torch.where(self.slot >= 0, self.last.table[rows, slot, tokens], self._of_fresh(tokens))
        # A number a row, so rows of all clips are counted through: slot 2 of clip 1, of 5 slots each, is row 7.
        at = slot + self.last.logits.shape[1] * rows if len(tokens) > 1 else slot
        peak, floor, total, divisor, *only = (part.take(at) for part in self.last.tensors[1:])
        numbers = self.last.logits[rows, slot, tokens]
        inside = is_inside(numbers, tokens, floor, only[0] if only else None)
        carried = torch.where(inside, weights_of(numbers, peak, divisor) / total, 0)
        return torch.where(self.slot >= 0, carried, self._of_fresh(tokens))

    def _of_fresh(self, tokens: Tokens) -> Float[Tensor, "b n"] | float:
        if not self.fresh.ids.shape[-1]:
            return self.fresh.floor
        named = torch.where(self.fresh.ids == tokens[..., None], self.fresh.probs, 0).sum(-1)
        return named + self.fresh.floor

    def dense(self) -> Probs:
        """As ``[b n v]``."""
        probs = self.last.dense_slots(self.slot.clamp(min=0))
        return self.fresh.instead_of(probs, self.slot < 0)

    def first(self, count: int) -> "DraftProbs":
        """The first slots of every clip."""
        ids, probs = self.fresh.ids[:, :count], self.fresh.probs[:, :count]
        return replace(self, slot=self.slot[:, :count], fresh=SparseProbs(ids, probs, self.fresh.floor))

    def slots(self, slots: Int[Tensor, "b m"]) -> "DraftProbs":
        """Some slots of every clip."""
        rows = torch.arange(len(slots), device=slots.device)[:, None]
        fresh = SparseProbs(self.fresh.ids[rows, slots], self.fresh.probs[rows, slots], self.fresh.floor)
        return DraftProbs(self.last, self.slot[rows, slots], fresh, self.vocab_size)


@dataclass(frozen=True)
class Residual:
    """Rows of a window that are drawn from max(0, p - q) instead of p, with noise of another purpose."""

    drafts: DraftProbs
    rows: Bool[Tensor, "b n"]
    noise: Purpose
