"""Logits to laws, and draws from laws. Everything here is float32 or better."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Laws, Logits, Mask

LIKELY = 512  # most tokens of nearly all nuclei: on a CPU only these are sorted, and wider nuclei once more


@dataclass(frozen=True)
class Warp:
    """How logits become the law that tokens follow: temperature, then top-k, then top-p, then renormalise.

    temperature >= 0 (0: all mass on the likeliest token, the lowest id on ties); 0 < top_p <= 1;
    top_k >= 1 or None for all.
    """

    temperature: float = 1.0
    top_p: float = 0.8
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InvalidArgument(f"temperature must be a number >= 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InvalidArgument(f"top-p must lie in (0, 1], not {self.top_p} (1 switches it off)")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidArgument(f"top-k must be at least 1, not {self.top_k} (leave it out to keep all)")


def law_dtype(model_dtype: torch.dtype) -> torch.dtype:
    """Laws, ratios and uniforms are float32, or float64 if the model is."""
    return torch.float64 if model_dtype == torch.float64 else torch.float32


def is_finite(logits: Logits, used: Mask | None = None) -> Bool[Tensor, " b"]:
    """Of each clip: no law that is ``used`` is NaN, +inf or nothing but -inf (-inf is probability zero)."""
    finite = logits.amax(-1).isfinite()
    return (finite if used is None else finite | ~used).all(-1)


def laws_of(logits: Logits, warp: Warp) -> Laws:
    """The law of every row: what AR decoding would sample from."""
    logits = logits.to(law_dtype(logits.dtype))
    if warp.temperature == 0:
        return one_hot(logits.argmax(-1), logits.shape[-1], logits.dtype)
    laws = torch.softmax(logits if warp.temperature == 1 else logits / warp.temperature, -1)
    if warp.top_k is not None and warp.top_k < laws.shape[-1]:
        laws = cut_(laws, laws.topk(warp.top_k, -1).values[..., -1:])
    if warp.top_p < 1:
        laws = cut_(laws, nucleus_floor(laws, warp.top_p))
    return laws


def cut_(laws: Laws, floor: Float[Tensor, "b n 1"]) -> Laws:
    """The laws of the tokens with at least the floor's probability, in place."""
    laws.masked_fill_(laws < floor, 0)
    return laws.div_(laws.sum(-1, keepdim=True))


def nucleus_floor(laws: Laws, top_p: float) -> Float[Tensor, "b n 1"]:
    """Smallest probability inside the nucleus.

    A token is inside iff the mass of strictly more likely tokens is at most ``top_p``, so that ties stay
    together. With probabilities in falling order the mass in front of a token never falls, so the inside is
    everything down to the value of the last token with at most ``top_p`` in front of it.
    """
    if laws.device.type != "cpu" or laws.shape[-1] <= 2 * LIKELY:
        return floor_of(sort_falling(laws), top_p)[0]
    numbers, rest = laws.numpy(), laws.shape[-1] - LIKELY
    likely = torch.from_numpy(np.sort(np.partition(numbers, rest, -1)[..., rest:], -1)).flip(-1)
    floor, whole = floor_of(likely, top_p)
    wide = ~whole.numpy()
    floor.numpy()[wide] = floor_of(sort_falling(torch.from_numpy(numbers[wide][None])), top_p)[0][0].numpy()
    return floor


def floor_of(falling: Laws, top_p: float) -> tuple[Float[Tensor, "b n 1"], Mask]:
    """The smallest probability inside the nucleus, and whether the nucleus ends inside ``falling``."""
    before = falling.cumsum(-1) - falling
    inside = before <= top_p
    last = inside.sum(-1, keepdim=True) - 1
    floor = falling.gather(-1, last.clamp(min=0))  # -1: a row of NaN, which the decoders refuse
    return floor, ~inside[..., -1]


def sort_falling(laws: Laws) -> Laws:
    """Every row in falling order. numpy's sort is vectorised: a fifth of torch's time on a CPU (LOG.md)."""
    if laws.device.type == "cpu":
        return torch.from_numpy(np.sort(laws.numpy(), -1)).flip(-1)
    return laws.sort(-1, descending=True).values


def normalise(weights: Laws) -> Laws:
    """Rows divided by their sums (which must be positive)."""
    return weights / weights.sum(-1, keepdim=True)


def one_hot(tokens: Int[Tensor, "b n"], vocab_size: int, dtype: torch.dtype) -> Laws:
    """All mass on one token a row."""
    laws = torch.zeros(*tokens.shape, vocab_size, dtype=dtype, device=tokens.device)
    return laws.scatter_(-1, tokens[..., None], 1)


def race(weights: Laws, exponential: Float[Tensor, "b n v"]) -> Int[Tensor, "b n"]:
    """A draw from ``weights`` (need not be normalised): argmax(log w + G), written argmax(w / E), E = exp(-G).

    Tokens of weight 0 score 0 and lose to every other.
    """
    return (weights / exponential).argmax(-1)


def residual(target: Laws, draft: Laws) -> Laws:
    """max(0, p - q), unnormalised; p itself where nothing is left (p equals q up to rounding)."""
    left = (target - draft).clamp_(min=0)
    return torch.where(left.sum(-1, keepdim=True) > 0, left, target)


def probability(laws: Laws, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """The mass that each row gives to its token."""
    return laws.gather(-1, tokens[..., None])[..., 0]


@dataclass(frozen=True)
class SparseLaws:
    """Laws with few tokens: ``floor`` everywhere plus ``probs`` at ``ids`` (distinct within a row).

    A copied token is one entry of mass 1; the uniform law is no entries and a floor of 1/v.
    """

    ids: Int[Tensor, "b n k"]
    probs: Float[Tensor, "b n k"]
    floor: float = 0.0

    def dense(self, vocab_size: int) -> Laws:
        """As ``[b n v]``."""
        laws = self.probs.new_full((*self.ids.shape[:-1], vocab_size), self.floor)
        return laws.scatter_add_(-1, self.ids, self.probs)

    def instead_of(self, laws: Laws, where: Mask) -> Laws:
        """Written over ``laws`` where the mask holds, in place."""
        laws.masked_fill_(where[..., None], self.floor)
        return laws.scatter_add_(-1, self.ids, torch.where(where[..., None], self.probs, 0))


def strongest(laws: Laws, keep: int) -> SparseLaws:
    """The ``keep`` likeliest tokens of each row, renormalised."""
    probs, ids = laws.topk(min(keep, laws.shape[-1]), -1)
    return SparseLaws(ids, normalise(probs))
