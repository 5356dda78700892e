"""The decodes of a bench as lines of a CSV file, which is added to while the bench runs."""

import csv
import io
import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin

from vidjacobi.errors import BadInput
from vidjacobi.output.atomic import replacing
from vidjacobi.output.names import safe_name

AR = "ar"
TOKENS = "tokens"  # folder of every decode's tokens
Key = tuple[str, str, int, int, int]  # model, decoder, window, seed, clip


@dataclass(frozen=True)
class Measurement:
    """One decode of one clip.

    Attributes:
        model, decoder, law, lanes: names; ``lanes`` is the registry entry.
        seed, clip, window: ``clip`` counts from 0.
        nfe: passes, the prefill included.
        new_tokens: tokens decided.
        positions: mean positions evaluated per pass, the prefill left out.
        seconds, forward_seconds: its share of its batch's wall time, and of that inside the model.
        ar_agreement: share of tokens equal to AR's from the same seed.
        nll: mean -log p of the tokens under the model's untruncated law, nats.
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

    @property
    def key(self) -> Key:
        """What was decoded."""
        return self.model, self.decoder, self.window, self.seed, self.clip


COLUMNS = [column.name for column in fields(Measurement)]


def tokens_file(out: Path, key: Key) -> Path:
    """Where a bench in ``out`` keeps the new tokens of one decode, int32 ``[n]``."""
    model, decoder, *numbers = key
    name = "-".join([safe_name(model), safe_name(decoder), *map(str, numbers)])
    return out / TOKENS / f"{name}.npy"


def append(path: Path, rows: Sequence[Measurement]) -> None:
    """Add lines in one write, so that several processes may do it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writerows({k: "" if v is None else v for k, v in asdict(row).items()} for row in rows)
    with path.open("a", encoding="utf-8") as file:
        file.write(text.getvalue())


def begin(path: Path, rows: Sequence[Measurement] = ()) -> None:
    """A file with the names, and with lines that are kept."""
    with replacing(path) as partial:
        partial.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
        append(partial, rows)


def read(path: Path) -> list[Measurement]:
    """All whole lines; the last one may have been cut off. Raises BadInput."""
    text = path.read_text(encoding="utf-8")
    lines = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    try:
        rows = [
            Measurement(**{f.name: cell(line[f.name], f.type) for f in fields(Measurement)}) for line in lines
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: is not a bench's CSV ({error}); give another --out, or --overwrite"
        ) from error
    return list({row.key: row for row in rows}.values())


def cell(text: str, kind: Any) -> Any:
    """One value."""
    if get_origin(kind) is types.UnionType:
        return None if text == "" else get_args(kind)[0](text)
    return kind(text)
