"""The decodes of a bench: a row of its CSV file and a file of tokens each, written while the bench runs."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from vidjacobi.errors import BadInput
from vidjacobi.output.rows import CsvRows
from vidjacobi.output.run_folder import safe_name

AR = "ar"
TOKENS = "tokens"  # folder of every decode's tokens
DecodeKey = tuple[str, str, int, int, int]  # model, decoder, window, seed, clip


@dataclass(frozen=True)
class Measurement:
    """One decode of one clip.

    Attributes:
        model, decoder, guarantee, lanes: names; ``lanes`` is the registry entry.
        seed, clip, window: ``clip`` counts from 0.
        nfe: passes, the prefill included.
        new_tokens: tokens decided.
        positions: mean positions evaluated per pass, the prefill left out.
        seconds, forward_seconds: its share of its batch's wall time, and of that inside the model.
        ar_agreement: share of tokens equal to AR's from the same seed.
        nll: mean -log p of the tokens under the model's probabilities without top-k and top-p, nats.
        excess, kl: see ``vidjacobi.bench.likelihood``; ``kl`` of lossy decoders only.
    """

    model: str
    decoder: str
    guarantee: str
    lanes: str
    seed: int
    clip: int
    window: int
    nfe: int
    new_tokens: int
    positions: float
    seconds: float
    forward_seconds: float
    ar_agreement: float
    nll: float
    excess: float
    kl: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what no decode can have."""
        seconds = (self.seconds, self.forward_seconds, self.positions)
        if (
            min(self.nfe, self.new_tokens, self.window) < 1
            or self.clip < 0
            or not all(map(isfinite, seconds))
        ):
            raise ValueError(f"a decode of {self.nfe} passes, {self.new_tokens} tokens, {self.seconds} s")

    @property
    def key(self) -> DecodeKey:
        """Which decode it is; the later one of two rows with the same key counts."""
        return self.model, self.decoder, self.window, self.seed, self.clip


MEASUREMENTS = CsvRows(Measurement)


def tokens_file(out: Path, key: DecodeKey) -> Path:
    """Where a bench in ``out`` keeps the new tokens of one decode, int32 ``[n]``."""
    model, decoder, *numbers = key
    name = "-".join([safe_name(model), safe_name(decoder), *map(str, numbers)])
    return out / TOKENS / f"{name}.npy"


def read(path: Path) -> list[Measurement]:
    """All whole rows, each key once; the last line may have been cut off. Raises BadInput."""
    try:
        rows = MEASUREMENTS.read(path)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: is not a bench's CSV ({error}); give another --out, or --overwrite"
        ) from error
    # two rows of one key: its tokens were gone, so it was decoded again
    return list({row.key: row for row in rows}.values())
