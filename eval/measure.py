"""From decided tokens to measured quality: frames, features and per-frame distances of every clip and decoder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.bench.decode_rows import tokens_file
from vidjacobi.bench.settings import Case
from vidjacobi.datasets.contract import Episode
from vidjacobi.eval import frame_metrics as per_frame
from vidjacobi.eval.feature_cache import cached
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.prediction import REFERENCES, Source, as_the_model_sees, predicted, reference
from vidjacobi.eval.quality import QUALITIES, ROWS, Quality, QualityKey, read
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames, GridTokens

FEATURES = "features"  # folder of the cache
TRUTH = ("truth", 0)
Name = tuple[str, int]  # decoder and window; a reference or the ground truth and 0


@dataclass(frozen=True)
class Measurer:
    """What every clip is measured with.

    Attributes:
        config, out: of the evaluation; ``decodes`` is the folder of its bench.
        cases: decoders and windows, AR's among them.
        contexts: latent grids of the clips' contexts.
        extractor: of the features.
    """

    config: EvalConfig
    out: Path
    decodes: Path
    cases: tuple[Case, ...]
    contexts: GridTokens
    tokenizer: VideoTokenizer
    extractor: Extractor

    @property
    def names(self) -> list[Name]:
        """Everything that is compared with the ground truth."""
        return [(name, 0) for name in REFERENCES] + [case.key for case in self.cases]

    def tokens(self, name: Name, clip: int) -> Int[Tensor, " n"]:
        """What a decoder decided."""
        key = (self.config.model, *name, self.config.seed, clip)
        return torch.from_numpy(np.load(tokens_file(self.decodes, key)).astype(np.int64))

    def predicted(self, name: Name, clip: int, source: Source) -> Frames:
        """Predicted frames of one decoder or reference."""
        first, count = self.config.context, self.config.frames
        if name[0] in REFERENCES:
            return reference(name[0], source, first, self.tokenizer)
        return predicted(self.contexts[clip], self.tokens(name, clip), first, count, self.tokenizer)

    def content(self, name: Name, clip: int, truth: Frames) -> str:
        """Hash of what frames are made of; frames themselves only where nothing smaller tells them."""
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
    """Features of every clip's ground truth, references and predictions; the rest goes to ``quality.jsonl``."""
    done = set(read(measurer.out / ROWS))
    for index, clip in enumerate(clips):
        yield measure_clip(measurer, index, clip, done)


def measure_clip(
    measurer: Measurer, index: int, clip: Episode, done: set[QualityKey]
) -> dict[Name, Float[Tensor, " f"]]:
    """One clip; what ``done`` names is not measured again."""
    config = measurer.config
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
        prediction = cache(lambda name=name: measurer.predicted(name, index, source))
        found[name] = features(name, shown(prediction))
        if (*name, index) not in done:
            rows.append(compare(name, index, prediction(), future))
    QUALITIES.append(measurer.out / ROWS, rows)
    return found


def compare(name: Name, clip: int, prediction: Frames, future: Frames) -> Quality:
    """Distances of every predicted frame from the ground truth."""
    lpips = None if per_frame.lpips_missing() else per_frame.lpips(prediction, future)
    return Quality(
        *name,
        clip,
        [
            round(value, 4) if isfinite(value) else None
            for value in per_frame.psnr(prediction, future).tolist()
        ],
        [round(value, 5) for value in per_frame.ssim(prediction, future).tolist()],
        None if lpips is None else [round(value, 5) for value in lpips.tolist()],
    )
