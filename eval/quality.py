"""How close predicted frames are to the ground truth, clip by clip; kept, so that nothing is measured twice."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROWS = "quality.jsonl"
Key = tuple[str, int, int]  # decoder or reference, window (0 for a reference), clip


@dataclass(frozen=True)
class Quality:
    """One prediction against the ground truth, frame by frame.

    Attributes:
        decoder: or the name of a reference; window 0 for those.
        psnr: dB per frame, None where a frame equals the truth; ssim: in [-1, 1]; lpips: None where its weights are
            not there.
    """

    decoder: str
    window: int
    clip: int
    psnr: list[float | None]
    ssim: list[float]
    lpips: list[float] | None = None

    @property
    def key(self) -> Key:
        """What was measured."""
        return self.decoder, self.window, self.clip


def append(path: Path, rows: Sequence[Quality]) -> None:
    """Add lines in one write."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read(path: Path) -> dict[Key, Quality]:
    """All whole lines, the later one where two are of the same; the last line may have been cut off."""
    if not path.is_file():
        return {}
    return {row.key: row for row in _rows(path)}


def _rows(path: Path) -> Iterator[Quality]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
            yield Quality(**values)
        except (ValueError, TypeError):
            continue  # cut off when the run was killed: measured again
