"""How close predicted frames are to the ground truth, clip by clip; kept, so that nothing is measured twice."""

from dataclasses import dataclass
from pathlib import Path

from vidjacobi.output.rows import JsonRows

ROWS = "quality.jsonl"
QualityKey = tuple[str, int, int]  # decoder or reference, window (0 for a reference), clip


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
    def key(self) -> QualityKey:
        """What was measured."""
        return self.decoder, self.window, self.clip


QUALITIES = JsonRows(Quality)


def read(path: Path) -> dict[QualityKey, Quality]:
    """All whole rows, the later one where two are of the same; what a kill cut short is measured again."""
    return {row.key: row for row in QUALITIES.read(path)}
