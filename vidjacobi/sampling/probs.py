"""Sampling parameters, and logits to probs in plain form. Everything here is float32 or better.

The functions on dense probs (``logits_to_probs``, ``gumbel_max``, ``residual``) are the definitions; AR decoding and
the tests use them. truncated_probs.py, sampler.py and dense.py compute the same without sorting or copying a
vocabulary.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import real, whole
from vidjacobi.runtime import number
from vidjacobi.shapes import Logits, Mask, Probs


@dataclass(frozen=True)
class SamplingParams:
    """Temperature, then top-k, then top-p, then renormalise; and the seed of the noise that tokens are drawn with.

    Args:
        temperature: >= 0; 0 is greedy (all mass on the likeliest token, the lowest id on ties). None takes the
            decoder's own temperature, or 1 where it names none.
        top_p: nucleus mass in (0, 1]; 1 switches it off.
        top_k: likeliest tokens that are kept, >= 1; None keeps all.
        seed: a signed 64-bit integer. The same seed, clip id and numbers give the same tokens, in any batch.

    Raises:
        InvalidArgument: a number is out of range, or no number.
    """

    temperature: float | None = None
    top_p: float = 0.8
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        plain = {"top_p": real("top-p", self.top_p), "seed": whole("the seed", self.seed)}
        if self.temperature is not None:
            plain["temperature"] = real("temperature", self.temperature)
        if self.top_k is not None:
            plain["top_k"] = whole("top-k", self.top_k)
        for name, value in plain.items():  # Python's own numbers, whatever was given
            object.__setattr__(self, name, value)
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise InvalidArgument(f"temperature must be a number >= 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InvalidArgument(f"top-p must lie in (0, 1], not {self.top_p} (1 switches it off)")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidArgument(f"top-k must be at least 1, not {self.top_k} (leave it out to keep all)")
        if not -(1 << 63) <= self.seed < 1 << 63:
            raise InvalidArgument(f"the seed must fit 64 bits (signed), not {self.seed}")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature == 0

    @property
    def divisor(self) -> float:
        """What logits are divided by: the temperature, infinity where it is 0, 1 where it is None."""
        return 1.0 if self.temperature is None else self.temperature or float("inf")

    def resolve(self, decoders_own: float | None) -> "SamplingParams":
        """With a temperature: this one, else the decoder's own, else 1."""
        if self.temperature is not None:
            return self
        return replace(self, temperature=1.0 if decoders_own is None else decoders_own)

    def check_range(self, model_dtype: torch.dtype) -> None:
        """Refuse a temperature that the dtype of the probs cannot hold. Raises InvalidArgument."""
        dtype = probs_dtype(model_dtype)
        least, most = torch.finfo(dtype).tiny, torch.finfo(dtype).max
        if self.temperature and not least <= self.temperature <= most:
            raise InvalidArgument(
                f"temperature must be 0 (greedy) or lie in [{least:.3g}, {most:.3g}], the range of "
                f"{str(dtype).removeprefix('torch.')}, in which this model's probs are computed, "
                f"not {self.temperature}"
            )


DEFAULT_SAMPLING = SamplingParams()


def probs_dtype(model_dtype: torch.dtype) -> torch.dtype:
    """Probs, ratios and uniforms are float32, or float64 if the model is."""
    return torch.float64 if model_dtype == torch.float64 else torch.float32


def is_finite(logits: Logits, used: Mask | None = None) -> Bool[Tensor, " b"]:
    """Of each clip: no row that is ``used`` has NaN, +inf or nothing but -inf (-inf is probability zero)."""
    finite = logits.amax(-1).isfinite()
    return (finite if used is None else finite | ~used).all(-1)


def logits_to_probs(logits: Logits, sampling: SamplingParams) -> Probs:
    """What AR decoding samples from: temperature, top-k, top-p, renormalise. It sorts the vocabulary."""
    numbers = logits.to(probs_dtype(logits.dtype))
    if sampling.greedy:
        return one_hot(numbers.argmax(-1), numbers.shape[-1], numbers.dtype)
    size, peak = numbers.shape[-1], numbers.amax(-1, keepdim=True)
    divisor = None if sampling.divisor == 1 else torch.full_like(peak, sampling.divisor)
    # Both truncations become one floor: a token stays iff its logit is at least that.
    floor = None
    if sampling.top_k is not None and sampling.top_k < size:
        floor = numbers.topk(sampling.top_k, -1).values[..., -1:]
    if sampling.top_p < 1:
        falling = sort_falling(numbers)
        # Top-p is a share of what top-k has left, not of everything.
        mass = to_fixed_point(inside_of(floor, falling, weights_of(falling, peak, divisor)), size)
        allowed = share_of(mass.sum(-1, keepdim=True), sampling.top_p, peak.dtype)
        end = floor_of(falling, mass, allowed)
        floor = end if floor is None else torch.maximum(floor, end)
    weights = inside_of(floor, numbers, weights_of(numbers, peak, divisor))
    # By the sum of whole units, not of floats: all paths of the sampler find the same total to the last bit.
    return weights / total_of(to_fixed_point(weights, size).sum(-1, keepdim=True), size, weights.dtype)


def inside_of(
    floor: Float[Tensor, "*t"] | None, numbers: Float[Tensor, "*s"], weights: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """The weights of logits that are at least the floor, 0 for the others."""
    return weights if floor is None else torch.where(numbers >= floor, weights, number(0, weights))


def floor_of(
    falling: Float[Tensor, "*s k"],
    mass: Int[Tensor, "*s k"],
    allowed: Int[Tensor, "*s 1"],
) -> Float[Tensor, "*s 1"]:
    """Smallest logit inside the nucleus, of logits in falling order and their masses.

    A token is inside iff the mass of strictly more likely tokens is at most ``allowed``, so that ties stay
    together. In falling order the mass before a token never falls, so the inside is everything down to the
    value of the last token with at most ``top_p`` before it. Example, top-p 0.8::

        probs           0.5  0.25  0.1  0.1  0.05
        mass before     0    0.5   0.75 0.85 0.95     at most 0.8: the first three
        inside          yes  yes   yes  yes  no       the fourth ties with the third
    """
    # the last one inside is the first down to which there is more than allowed; its place, how many come before it
    last = (mass.cumsum(-1) <= allowed).sum(-1, keepdim=True)
    return falling.gather(-1, last.clamp(max=falling.shape[-1] - 1))


def weights_of(
    numbers: Float[Tensor, "*s"], peak: Float[Tensor, "*t"], divisor: Float[Tensor, "*t"] | None
) -> Float[Tensor, "*s"]:
    """exp((x - peak) / T) of logits x: probs that are not normalised, 1 for the likeliest token. None: T is 1."""
    differences = numbers - peak
    return (differences if divisor is None else differences.div_(divisor)).exp_()


def exp_of(differences: Float[np.ndarray, "*s"], divisor: float) -> Float[np.ndarray, "*s"]:
    """``weights_of`` of x - peak, written over it."""
    if divisor != 1:  # a sixth of the time of a block, for nothing
        differences /= differences.dtype.type(divisor)
    return torch.from_numpy(differences).exp_().numpy()  # numpy's exp has other bits


def to_fixed_point(weights: Float[Tensor, "*s"], vocab_size: int) -> Int[Tensor, "*s"]:
    """Fixed-point weights: whole units of at most 2^-46 (for 64,000 tokens).

    Sums of whole numbers do not depend on their order, as sums of floats do: (0.1 + 0.2) + 0.3 and
    0.1 + (0.2 + 0.3) differ in the last bit. So a nucleus and its mass are the same whichever way, on whichever
    device and in whichever batch they are found.
    """
    return weights.mul(number(fixed_point_scale(vocab_size), weights)).to(torch.int64)


def fixed_point_scale(vocab_size: int) -> float:
    """Units of mass in a weight of 1: so many that the sum over the vocabulary stays below 2^62."""
    return 2.0 ** (62 - vocab_size.bit_length())


def share_of(whole: Int[Tensor, "*s 1"], top_p: float, dtype: torch.dtype) -> Int[Tensor, "*s 1"]:
    """The mass ``top_p`` of the whole: most mass before a token that is inside the nucleus."""
    share = whole.to(dtype)
    return share.mul_(number(top_p, share)).to(torch.int64)


def total_of(mass: Int[Tensor, "*s 1"], vocab_size: int, dtype: torch.dtype) -> Float[Tensor, "*s 1"]:
    """The mass of a nucleus in weights: what probs are divided by."""
    total = mass.to(dtype)
    return total.div_(number(fixed_point_scale(vocab_size), total))


def sort_falling(numbers: Float[Tensor, "*s v"]) -> Float[Tensor, "*s v"]:
    """Every row in falling order. numpy's sort is vectorised: a third of torch's CPU time (docs/log/speed.md)."""
    if numbers.device.type == "cpu" and not torch.compiler.is_compiling():
        negated = -numbers.numpy()
        negated.sort(-1)
        return torch.from_numpy(np.negative(negated, out=negated))
    return numbers.sort(-1, descending=True).values


def normalise(weights: Probs) -> Probs:
    """Rows divided by their sums (which must be positive)."""
    return weights / weights.sum(-1, keepdim=True)


def one_hot(tokens: Int[Tensor, "b n"], vocab_size: int, dtype: torch.dtype) -> Probs:
    """All mass on one token a row."""
    probs = torch.zeros(*tokens.shape, vocab_size, dtype=dtype, device=tokens.device)
    return probs.scatter_(-1, tokens[..., None], 1)


def gumbel_max(weights: Probs, exponential: Float[Tensor, "b n v"]) -> Int[Tensor, "b n"]:
    """A draw from ``weights`` (need not be normalised) by the Gumbel-max trick.

    argmax(log w + G) with Gumbel noise G is a sample of w. Written argmax(w / E) with E = exp(-G), which is
    exponential noise: no logarithm, and tokens of weight 0 score 0 and lose to every other.
    """
    return (weights / exponential).argmax(-1)


def residual(target: Probs, draft: Probs) -> Probs:
    """max(0, p - q), unnormalised; p itself where nothing is left (p equals q up to rounding)."""
    # p = 0.5 0.3 0.2 and q = 0.2 0.3 0.5 leave 0.3 0 0.
    left = (target - draft).clamp_(min=0)
    return torch.where(left.sum(-1, keepdim=True) > 0, left, target)


def probability(probs: Probs, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """The mass that each row gives to its token."""
    return probs.gather(-1, tokens[..., None])[..., 0]


@dataclass(frozen=True)
class SparseProbs:
    """Probabilities with few tokens: ``floor`` everywhere plus ``probs`` at ``ids`` (distinct within a row).

    A copied token is one entry of mass 1; the uniform distribution is no entries and a floor of 1/v.
    """

    ids: Int[Tensor, "b n k"]
    probs: Float[Tensor, "b n k"]
    floor: float = 0.0

    def dense(self, vocab_size: int) -> Probs:
        """As ``[b n v]``."""
        probs = self.probs.new_full((*self.ids.shape[:-1], vocab_size), self.floor)
        return probs.scatter_add_(-1, self.ids, self.probs)

    def instead_of(self, probs: Probs, where: Mask) -> Probs:
        """Written over ``probs`` where the mask holds, in place."""
        probs.masked_fill_(where[..., None], self.floor)
        if not self.ids.shape[-1]:
            return probs
        return probs.scatter_add_(-1, self.ids, torch.where(where[..., None], self.probs, 0))
