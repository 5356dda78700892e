"""How long a comparison of two folders will take: guessed before it begins, from the first pair and some noise."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from vidjacobi.bench.duration import about
from vidjacobi.errors import number_of
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.folder_pair import ClipPair, Options, Side, compare
from vidjacobi.eval.fvd import SPLITS, distance, formula_of, spread
from vidjacobi.shapes import Frames

FRAMES = 16  # frames that are timed, where the network does not need more
DRAWS = (2, 4)  # draws of two short bootstraps: they differ by two draws and by nothing that is done once
Clock = Callable[[], float]


@dataclass(frozen=True)
class PairForecast:
    """The guessed seconds of the parts of a comparison, and what the guess rests on.

    Attributes:
        features: the network, on the clips of both sides.
        reading: both sides' frames.
        frame_means: PSNR and SSIM.
        bootstrap: the draws, and the distances of the floor.
        frames: frames of noise that were timed.
        cached: whether features may be stored already, which are not computed again.
    """

    features: float
    reading: float
    frame_means: float
    bootstrap: float
    frames: int
    cached: bool

    def __str__(self) -> str:
        """Two sentences for the console."""
        whole = self.features + self.reading + self.frame_means + self.bootstrap
        most = " at most (stored features are not computed again)" if self.cached else ""
        return (
            f"this comparison will take {about(whole)}{most}: features {about(self.features)}, reading "
            f"{about(self.reading)}, PSNR and SSIM {about(self.frame_means)}, bootstrap {about(self.bootstrap)}. "
            f"This is a guess: {number_of(self.frames, 'frame')} of noise and of the first pair were timed"
        )


def forecast(
    pairs: Sequence[ClipPair], extractor: Extractor, options: Options, clock: Clock = time.perf_counter
) -> PairForecast:
    """Time a few frames of the first pair, as many of noise of its size, and a few draws, and scale them up.

    Raises BadInput where the first pair cannot be read.
    """

    def timed(work: Callable[[], object]) -> float:
        began = clock()
        work()
        return clock() - began

    sides = (pairs[0].generated, pairs[0].real)
    count, protocol = sides[0].count, extractor.protocol
    group = protocol.get("frames_in_groups_of", 1)
    least, frames = (-(-number // group) * group for number in (protocol["least_frames"], FRAMES))
    frames = min(count, max(frames, least))
    parts = [Side(side.clip, side.start, frames) for side in sides]
    reading = timed(lambda: [part.read(options.reader) for part in parts])
    noise = noise_of(frames, sides[0])
    found = extractor(noise[None, :least])  # loads libraries, which is not timed
    features = timed(lambda: extractor(noise[None]))
    means = timed(lambda: compare(noise, noise.flip(1), options.ssim_borders)) if options.per_frame else 0.0
    scale = len(pairs) * count / frames
    made, real = torch.randn(2, len(pairs), found.shape[1], generator=torch.Generator().manual_seed(0))
    kind = formula_of(protocol)
    one = timed(lambda: distance(made, real, kind))
    few, many = (timed(lambda draws=draws: spread(made, real, draws, kind=kind)) for draws in DRAWS)  # type: ignore[misc]
    draws = options.draws * max(0.0, many - few) / (DRAWS[1] - DRAWS[0])
    bootstrap = draws + one * (1 + SPLITS * (len(pairs) >= 4))
    cached = options.cache is not None
    return PairForecast(2 * scale * features, scale * reading, scale * means, bootstrap, frames, cached)


def noise_of(frames: int, side: Side) -> Frames:
    """Frames of noise, as large as those of a clip."""
    size = (frames, side.clip.height, side.clip.width, 3)
    return torch.randint(256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
