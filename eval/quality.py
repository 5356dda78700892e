"""How close predicted frames are to the ground truth, clip by clip, kept in a file so that none is measured twice."""

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
        decoder: name of a decoder or of a reference.
        window: positions per pass; 0 for a reference.
        clip: number of the clip, from 0.
        psnr: in dB for each frame; None where a frame equals the ground truth.
        ssim: for each frame, in [-1, 1].
        lpips: for each frame; None where the weights of its network are missing.
    """

    decoder: str
    window: int
    clip: int
    psnr: list[float | None]
    ssim: list[float]
    lpips: list[float] | None = None

    @property
    def key(self) -> Key:
        """(decoder, window, clip)."""
        return self.decoder, self.window, self.clip


def append(path: Path, rows: Sequence[Quality]) -> None:
    """Append lines to a file in a single write."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read(path: Path) -> dict[Key, Quality]:
    """All whole lines by key; of two with the same key the later one. The last line may be cut off."""
    if not path.is_file():
        return {}
    # a dict keeps the last of equal keys
    return {row.key: row for row in _rows(path)}


def _rows(path: Path) -> Iterator[Quality]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
            yield Quality(**values)
        except (ValueError, TypeError):
            continue  # cut off when the run was killed; it is measured again
