"""What is said where the two folders of a comparison hold clips of different kinds."""

from collections.abc import Iterable, Sequence

from vidjacobi.video.images import frame_files
from vidjacobi.video.records import ClipInfo, Kind

Pairs = Sequence[tuple[ClipInfo, ClipInfo]]  # generated and real
CODEC = (
    "the two folders hold clips that were written differently ({0} against {1}): compression alone changes the "
    "distance; compare files that were written in the same way, or folders of png images"
)
RATES = (
    "the two folders hold clips of different rates ({0} against {1} frames a second): frames are compared by their "
    "numbers, so where the clips show the same motion at different rates, bring them to one rate first"
)


def differing(pairs: Pairs) -> list[str]:
    """Notes about codecs and rates that the two sides do not share."""
    written = [_listed(map(_written, side)) for side in zip(*pairs, strict=True)]
    notes = [CODEC.format(*written)] if written[0] != written[1] else []
    # pictures in folders have no rate
    videos = [pair for pair in pairs if all(clip.kind is Kind.VIDEO for clip in pair)]
    if any(abs(float(a.fps) - float(b.fps)) > 0.005 * float(b.fps) for a, b in videos):
        notes.append(
            RATES.format(
                *(_listed(f"{float(c.fps):.4g}" for c in side) for side in zip(*videos, strict=True))
            )
        )
    return notes


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(set(texts)))


def _written(clip: ClipInfo) -> str:
    """The codec of a video, the kinds of images of a folder."""
    if clip.kind is Kind.VIDEO:
        return clip.codec
    return "/".join(sorted({file.suffix.lower()[1:] for file in frame_files(clip.source)}))
