"""Counter-based noise: every draw is a pure function of (seed, stream, position, purpose, pass).

No generator, no state: the same key gives the same number on any device, in any batch, at any window size.
A 64-bit key per (clip, position, purpose, pass) comes from splitmix64; the numbers of one key (one per
vocabulary entry) come from a keyed 32-bit mixer, so a draw may be made for a few tokens only.

Both are written twice, with the same bits: in numpy on the host, where a small operation costs a fifth, and in torch.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.shapes import Counts, Positions


class Purpose(IntEnum):
    """What a draw is for. Two purposes never share a number (design rule 6)."""

    GUMBEL = 1  # the position's own noise: the same in every pass (AR, gumbel coupling, pathwise)
    ACCEPT = 2  # uniform of the rejection test
    REDRAW = 3  # residual draws and independent redrafts
    FRESH = 4  # first draft of a position
    COIN = 5  # which side of a mixture
    SIBLING = 6  # which siblings of a draft are tried
    SIBLING_ACCEPT = 7  # uniforms of their rejection tests


SPARSE_FROM = 256  # vocabulary from which it pays to make the noise of a nucleus only

Kind = type[np.float32] | type[np.float64]
KINDS: dict[torch.dtype, Kind] = {torch.float32: np.float32, torch.float64: np.float64}
HALF, EIGHT, SIGN, SPREAD = np.uint64(32), np.uint64(8), np.uint32(31), np.uint32(0x9E3779B9)
SHIFTS32, FACTORS32 = np.array([16, 15], np.uint32), np.array([0x7FEB352D, 0x846CA68B], np.uint32)
GOLDEN, SHIFTS = np.uint64(0x9E3779B97F4A7C15), np.array([30, 27, 31], np.uint64)
FACTORS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)

FIXED = frozenset({Purpose.GUMBEL, Purpose.FRESH})  # keyed without the pass
PURPOSES = np.array(list(Purpose), np.uint64)[:, None, None]


def noise_key(*parts: object) -> int:
    """64-bit id of one rollout's noise, from e.g. (clip id, start, sample, chunk). Signed, as torch needs it."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def on_host(tensor: Tensor) -> bool:
    """Whether numpy may look at it."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def unsigned(keys: Int[Tensor, "*s"]) -> np.ndarray:
    """The same 64 bits, where shifts are logical and numbers wrap."""
    return keys.numpy().view(np.uint64)


def splitmix64(x: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """The finaliser of splitmix64 on int64 tensors (wrapping arithmetic)."""
    if on_host(x):
        return torch.from_numpy(_splitmix64(unsigned(x)).view(np.int64))
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + GOLDEN
    x ^= x >> SHIFTS[0]
    x *= FACTORS[0]
    x ^= x >> SHIFTS[1]
    x *= FACTORS[1]
    x ^= x >> SHIFTS[2]
    return x


def noise_roots(seed: int | Counts, noise_keys: Counts) -> Counts:
    """What keys all noise of each clip: the user's seed, of all clips or of each, and the clip's ``noise_key``."""
    return splitmix64(noise_keys ^ splitmix64(torch.zeros_like(noise_keys) + seed))


class Noise:
    """The noise of one window. Keys are hashed on the host, when they are first asked for.

    Args:
        roots: ``noise_roots`` of the clips.
        positions: raster indices of the window.
        passes: how many passes each clip took part in before this one.
        dtype: float32 or float64; the underlying 32 random bits are the same.
    """

    def __init__(self, roots: Counts, positions: Positions, passes: Counts, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._roots, self._positions, self._passes = roots, positions, passes

    def keys(self, purpose: Purpose) -> Positions:
        """64-bit key per clip and position."""
        return torch.from_numpy((self._fixed if purpose in FIXED else self._of_pass)[purpose - 1])

    @cached_property
    def _fixed(self) -> np.ndarray:  # of all purposes: the numbers are few and the operations many
        roots, positions = unsigned(self._roots)[:, None], unsigned(self._positions)
        return _splitmix64(roots ^ _splitmix64(positions * EIGHT + PURPOSES)).view(np.int64)

    @cached_property
    def _of_pass(self) -> np.ndarray:
        passes = _splitmix64(unsigned(self._passes)[:, None])
        return _splitmix64(self._fixed.view(np.uint64) ^ passes).view(np.int64)

    def at(self, slots: Int[Tensor, "b m"]) -> "Noise":
        """The noise of some of the positions."""
        return _NoiseAt(self, slots)

    def on(self, device: torch.device) -> "Noise":
        """The same with its keys on a device."""
        return self if device.type == "cpu" else StackedNoise(self.stack().keys_of.to(device), self.dtype)

    def stack(self) -> "StackedNoise":
        """With the keys of all purposes at hand, for a device and for compiled code."""
        return StackedNoise(torch.stack([self.keys(purpose) for purpose in Purpose]), self.dtype)

    def uniform(self, purpose: Purpose) -> Float[Tensor, "b n"]:
        """One number in [0, 1) per position."""
        return self._fraction(self.keys(purpose))

    def uniforms(self, purpose: Purpose, count: int) -> Float[Tensor, "b n k"]:
        """``count`` independent numbers in [0, 1) per position."""
        keys = self.keys(purpose)[..., None]
        return self._fraction(splitmix64(keys ^ splitmix64(torch.arange(1, count + 1, device=keys.device))))

    def _fraction(self, keys: Int[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """The first bits of keys as numbers in [0, 1): as many as the dtype holds exactly."""
        precision = 24 if self.dtype == torch.float32 else 53
        if on_host(keys):
            bits: np.ndarray = (unsigned(keys) >> np.uint64(64 - precision)).astype(KINDS[self.dtype])
            return torch.from_numpy(bits * bits.dtype.type(2.0**-precision))
        return _shift(keys, 64 - precision).to(self.dtype) * 2.0**-precision

    def integer(self, purpose: Purpose, below: int) -> Int[Tensor, "b n"]:
        """One integer in 0..below-1 per position."""
        keys = self.keys(purpose)
        if on_host(keys):
            return torch.from_numpy((unsigned(keys) >> np.uint64(1)).astype(np.int64) % below)
        return _shift(keys, 1) % below

    def exponential(self, purpose: Purpose, vocab_size: int) -> Float[Tensor, "b n v"]:
        """Exp(1) numbers E = exp(-G), G the Gumbel noise, for every token."""
        keys = self.keys(purpose)[..., None]
        spread = spread_on_host(vocab_size) if on_host(keys) else spread_of_all(vocab_size, keys.device)
        return exponential_of(keys, spread, self.dtype)

    def exponential_where(self, purpose: Purpose, mask: Bool[Tensor, "b n v"]) -> Float[Tensor, "b n v"]:
        """The same numbers where ``mask`` holds, 1 elsewhere.

        On a CPU only those are made, a small part; elsewhere all, since picking some would wait for the device.
        """
        if not on_host(mask) or mask.shape[-1] < SPARSE_FROM:
            return self.exponential(purpose, mask.shape[-1])
        return self._some(purpose, mask, lambda at: at % mask.shape[-1])

    def _some(self, purpose: Purpose, mask: Bool[Tensor, "b n k"], ids: Callable[..., np.ndarray]) -> Tensor:
        """The numbers of the tokens ``ids`` where ``mask`` holds, 1 elsewhere; on the host."""
        numbers, at = np.ones(mask.shape, KINDS[self.dtype]), np.flatnonzero(mask.numpy())
        numbers.ravel()[at] = self.exponential_for(purpose, at // mask.shape[-1], ids(at))
        return torch.from_numpy(numbers)

    def exponential_for(self, purpose: Purpose, rows: np.ndarray, ids: np.ndarray) -> Float[np.ndarray, " m"]:
        """The same numbers for some tokens of some rows, counted through all clips; on the host."""
        keys = self.keys(purpose).numpy().ravel()[rows]
        return exponential_on_host(keys, ids.astype(np.uint32) * SPREAD, KINDS[self.dtype])

    def exponential_at(
        self, purpose: Purpose, ids: Int[Tensor, "b n k"], mask: Bool[Tensor, "b n k"] | None = None
    ) -> Float[Tensor, "b n k"]:
        """The same numbers for the tokens ``ids`` only; where ``mask`` does not hold they may be 1."""
        keys = self.keys(purpose)
        if mask is None or not on_host(keys):
            return exponential_of(keys[..., None], spread_of(ids), self.dtype)
        return self._some(purpose, mask, lambda at: ids.numpy().ravel()[at])


@dataclass(frozen=True, eq=False)
class StackedNoise(Noise):
    """The noise of keys that have been hashed: a row for each purpose, in their order."""

    keys_of: Int[Tensor, "q b n"]
    dtype: torch.dtype

    def keys(self, purpose: Purpose) -> Positions:
        """64-bit key per clip and position."""
        return self.keys_of[purpose - 1]


class _NoiseAt(Noise):
    def __init__(self, whole: Noise, slots: Int[Tensor, "b m"]) -> None:
        self.dtype, self._whole, self._slots = whole.dtype, whole, slots

    def keys(self, purpose: Purpose) -> Positions:
        return self._whole.keys(purpose).gather(1, self._slots)


def spread_of(ids: Int[Tensor, "*t"]) -> Int[Tensor, "*t"]:
    """What a token's id is mixed as: multiples of 2^32 / golden ratio, in 32 bits."""
    # By way of 64 bits: an int32 range times this, compiled for a CPU, is an overflow (a loop without end in gcc 12).
    return (ids.long() * 0x9E3779B9).to(torch.int32)


@lru_cache(maxsize=4)
def spread_on_host(vocab_size: int) -> Int[Tensor, " v"]:
    """``spread_of_all`` on the host, not to be written to."""
    return torch.from_numpy((np.arange(vocab_size, dtype=np.uint32) * SPREAD).view(np.int32))


def spread_of_all(vocab_size: int, device: torch.device) -> Int[Tensor, " v"]:
    """Of every token."""
    return torch.arange(0, vocab_size * 0x9E3779B9, 0x9E3779B9, device=device).to(torch.int32)


def exponential_of(keys: Int[Tensor, "*s"], spread: Int[Tensor, "*t"], dtype: torch.dtype) -> Tensor:
    """The Exp(1) numbers of tokens (``spread_of``) under 64-bit keys; the shapes broadcast."""
    if on_host(keys):
        made = exponential_on_host(keys.numpy(), spread.numpy().view(np.uint32), KINDS[dtype])
        return torch.from_numpy(made)
    # Two keyed rounds: with one, the sequences of two keys would be permutations of each other by xor.
    if torch.compiler.is_compiling():
        low, high = keys.to(torch.int32), _shift(keys, 32).to(torch.int32)
        return exponential_from_bits(_mix32(_mix32(spread ^ low) + high), dtype)
    low, high = keys.contiguous().view(torch.int32).unflatten(-1, (-1, 2)).unbind(-1)
    return exponential_from_bits(_mix_in_place(_mix_in_place(spread ^ low).add_(high)), dtype)


def _mix_in_place(x: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """``_mix32`` where each operation is a launch: a shift by 16 is the upper half of a number, a view."""
    halves = x.view(torch.int16).unflatten(-1, (-1, 2))
    lower, upper = halves[..., 0], halves[..., 1]
    lower.bitwise_xor_(upper)
    x.mul_(0x7FEB352D)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF))
    x.mul_(_signed(0x846CA68B, 32))
    lower.bitwise_xor_(upper)
    return x


def exponential_on_host(keys: np.ndarray, spread: np.ndarray, kind: Kind) -> Float[np.ndarray, "*s"]:
    """``exponential_of`` in numpy. Each step rounds as ``exponential_from_bits`` does: by way of int32 too."""
    low, high = keys.astype(np.uint32), (keys.view(np.uint64) >> HALF).astype(np.uint32)
    bits = spread ^ low
    _mix(bits)
    bits += high
    _mix(bits)
    v: np.ndarray = bits.view(np.int32).astype(kind)
    v += np.multiply(bits >> SIGN, kind(2.0**32), dtype=kind)
    v += kind(0.5)
    v *= kind(-(2.0**-32))
    np.maximum(v, kind(2.0**-24 - 1), out=v)
    torch.from_numpy(v).log1p_()  # numpy's log1p has other bits
    return np.negative(v, out=v)


def _mix(x: np.ndarray) -> None:
    """``_mix32`` in place."""
    x ^= x >> SHIFTS32[0]
    x *= FACTORS32[0]
    x ^= x >> SHIFTS32[1]
    x *= FACTORS32[1]
    x ^= x >> SHIFTS32[0]


def exponential_from_bits(bits: Int[Tensor, "*s"], dtype: torch.dtype) -> Float[Tensor, "*s"]:
    """E = -log1p(-v), v = (h + 0.5) / 2^32 of an unsigned 32-bit h held in int32. The bits are written over.

    A winner has a large Gumbel, that is a small v: this form keeps its relative precision where -log(-log(u)) would
    round u to 1 in float32 and let any token win. v is kept below 1 (E stays finite).
    """
    v = bits.to(dtype).add_(bits.bitwise_right_shift_(31), alpha=-(2.0**32))  # -1 for 2^31 and more
    return v.add_(0.5).mul_(-(2.0**-32)).clamp_(min=2.0**-24 - 1).log1p_().neg_()


def _mix32(x: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
    """lowbias32, a bijective mixer of 32 bits (int32, wrapping; the masks make the shifts logical)."""
    x = (x ^ (x >> 16 & 0xFFFF)) * 0x7FEB352D
    x = (x ^ (x >> 15 & 0x1FFFF)) * _signed(0x846CA68B, 32)
    return x ^ (x >> 16 & 0xFFFF)


def _shift(x: Int[Tensor, "*s"], bits: int) -> Int[Tensor, "*s"]:
    """Logical right shift of int64."""
    return x >> bits & (1 << 64 - bits) - 1


def _signed(constant: int, bits: int = 64) -> int:
    return constant - (1 << bits) if constant >> bits - 1 else constant
