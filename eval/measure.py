"""From decided tokens to measured quality: frames, features and per-frame distances for every clip and decoder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import isfinite
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.bench.decode_rows import tokens_file
from vidjacobi.bench.settings import BenchCase
from vidjacobi.datasets.contract import Episode
from vidjacobi.eval import frame_metrics as per_frame
from vidjacobi.eval.feature_cache import cached
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.prediction import REFERENCES, SourceFrames, as_the_model_sees, predicted, reference
from vidjacobi.eval.quality import QUALITIES, ROWS, Quality, QualityKey, read
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.output.token_files import read_tokens
from vidjacobi.shapes import Frames, GridTokens

FEATURES = "features"  # folder of the feature cache
TRUTH = ("truth", 0)
Name = tuple[str, int]  # a decoder and its window, or a reference or the ground truth and 0


@dataclass(frozen=True)
class Measurer:
    """What every clip is measured with.

    Attributes:
        config: the configuration of the evaluation.
        out: its folder.
        decodes: the folder of its bench, with the decided tokens.
        cases: decoders and windows, AR among them.
        contexts: latent grids of the contexts of all clips.
        tokenizer: turns tokens into frames.
        extractor: turns frames into features.
    """

    config: EvalConfig
    out: Path
    decodes: Path
    cases: tuple[BenchCase, ...]
    contexts: GridTokens
    tokenizer: VideoTokenizer
    extractor: Extractor

    @property
    def names(self) -> list[Name]:
        """All that is compared with the ground truth: references, then decoders with their windows."""
        return [(name, 0) for name in REFERENCES] + [case.key for case in self.cases]

    def tokens(self, name: Name, clip: int) -> Int[Tensor, " n"]:
        """The new tokens that a decoder decided for a clip."""
        key = (self.config.model, *name, self.config.seed, clip)
        return torch.from_numpy(read_tokens(tokens_file(self.decodes, key), 1))

    def predicted(self, name: Name, clip: int, source: SourceFrames) -> Frames:
        """The predicted frames of a decoder or reference for a clip."""
        first, count = self.config.context, self.config.frames
        if name[0] in REFERENCES:
            return reference(name[0], source, first, self.tokenizer)
        return predicted(self.contexts[clip], self.tokens(name, clip), first, count, self.tokenizer)

    def content(self, name: Name, clip: int, truth: Frames) -> str:
        """A hash of everything that the frames are made of, as a key of the feature cache."""
        # Predicted frames follow from context and tokens, which are much smaller; to make the frames only to look
        # them up in the cache would take longer than the look-up saves.
        parts = (
            [truth] if name[0] in (*REFERENCES, TRUTH[0]) else [self.contexts[clip], self.tokens(name, clip)]
        )
        shown = f"{name[0] if name[1] == 0 else ''} {self.config.context} {self.config.frames} {self.config.shown}"
        if name[1] and self.config.shown == "all":
            parts.append(truth[: self.config.context])
        found = sha256(f"{self.config.model} {self.config.tokenizer} {shown}".encode())
        for part in parts:
            found.update(part.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


def measure(measurer: Measurer, clips: tuple[Episode, ...]) -> Iterator[dict[Name, Float[Tensor, " f"]]]:
    """The features of every clip's ground truth, references and predictions. Distances go to ``quality.jsonl``."""
    done = set(read(measurer.out / ROWS))
    for index, clip in enumerate(clips):
        yield measure_clip(measurer, index, clip, done)


def measure_clip(
    measurer: Measurer, index: int, clip: Episode, done: set[QualityKey]
) -> dict[Name, Float[Tensor, " f"]]:
    """The features of one clip. Distances that ``done`` names are not measured again."""
    config = measurer.config
    # Read and resized once for all decoders.
    source = clip.frames.read(0, config.frames_needed).frames
    truth = as_the_model_sees(source, measurer.tokenizer)
    given, future = truth[: config.context], truth[config.context :]

    def shown(prediction: Callable[[], Frames]) -> Callable[[], Frames]:
        return prediction if config.shown == "pred" else lambda: torch.cat([given, prediction()])

    def features(name: Name, frames: Callable[[], Frames]) -> Float[Tensor, " f"]:
        key = measurer.content(name, index, truth)
        return cached(measurer.extractor, key, frames, measurer.out / FEATURES).features

    found = {TRUTH: features(TRUTH, shown(lambda: future))}
    rows = []
    for name in measurer.names:
        # Frames are made at most once, and not at all where features and distances are known.
        prediction = cache(lambda name=name: measurer.predicted(name, index, source))
        found[name] = features(name, shown(prediction))
        if (*name, index) not in done:
            rows.append(compare(name, index, prediction(), future, config.ssim_borders))
    QUALITIES.append(measurer.out / ROWS, rows)
    return found


def compare(
    name: Name, clip: int, prediction: Frames, future: Frames, ssim_borders: str = per_frame.MIRRORED
) -> Quality:
    """The distances of every predicted frame from the ground truth."""
    lpips = None if per_frame.lpips_missing() else per_frame.lpips(prediction, future)
    # rounded to what a difference means; a PSNR that is infinite is None in JSON
    return Quality(
        *name,
        clip,
        [
            round(value, 4) if isfinite(value) else None
            for value in per_frame.psnr(prediction, future).tolist()
        ],
        [round(value, 5) for value in per_frame.ssim(prediction, future, ssim_borders).tolist()],
        None if lpips is None else [round(value, 5) for value in lpips.tolist()],
    )
