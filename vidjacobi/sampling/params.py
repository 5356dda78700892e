"""How logits become a token: the numbers that a user chooses."""

from dataclasses import dataclass, replace

from vidjacobi.errors import InvalidArgument


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
        InvalidArgument: a number is out of range.
    """

    temperature: float | None = None
    top_p: float = 0.8
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
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


DEFAULT_SAMPLING = SamplingParams()
