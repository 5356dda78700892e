"""How close predicted frames are to the ground truth, clip by clip, kept in a file so that none is measured twice."""

from dataclasses import dataclass
from pathlib import Path

from vidjacobi.output.rows import JsonRows

ROWS = "quality.jsonl"
QualityKey = tuple[str, int, int]  # decoder or reference, window (0 for a reference), clip


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
    def key(self) -> QualityKey:
        """(decoder, window, clip)."""
        return self.decoder, self.window, self.clip


QUALITIES = JsonRows(Quality)


def read(path: Path) -> dict[QualityKey, Quality]:
    """All whole rows by key; of two with the same key the later one. A row that was cut off is measured again."""
    return {row.key: row for row in QUALITIES.read(path)}
