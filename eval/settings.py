"""What an evaluation runs, checked before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vidjacobi.bench.settings import BenchConfig
from vidjacobi.config.settings import load_settings
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup

SHOWN = ("pred", "all")  # frames that a distance is computed from: the predicted ones, or the context too
BORDERS = ("mirrored", "valid")  # of SSIM; see vidjacobi.eval.frame_metrics
# Settings that may change when an evaluation is resumed: more clips are added at the end, and decoders and windows
# beside the others. Features are kept by network and frames.
MAY_CHANGE = (
    "clips",
    "decoders",
    "windows",
    "workers",
    "draws",
    "videos",
    "network",
    "weights",
    "resize",
    "shown",
    "reader",
    "dtype",  # the dtype really used, the weights and the versions are compared by vidjacobi.provenance
    "other_versions",
)


@dataclass
class EvalConfig:
    """Which clips, which decoders, and how their output is measured.

    Attributes:
        dataset: entry of ``vidjacobi.datasets.DATASETS``.
        data: the folder of the dataset.
        split, camera: parts of the dataset, where it has several.
        stride, start: every ``stride``-th frame from frame ``start`` on.
        clip_list: file with the ids of the clips to take, in its order. None takes clips in the order of the hashes
        of
            their ids, so that a larger number of clips contains a smaller one.
        clips: most clips.
        model, tokenizer, device, dtype: as for ``vidjacobi.load``.
        context, frames: frames that are given, and frames that are predicted after them.
        decoders, windows: every decoder runs at every window, beside AR.
        seed, temperature, top_p, top_k: as for ``vidjacobi.decode``.
        network: entry of ``vidjacobi.eval.features.FEATURES``.
        weights: file with the weights of the network; None to find them.
        resize: how frames are made to fit the network; entry of ``vidjacobi.eval.features.RESIZES``.
        shown: frames that a distance is computed from: ``pred`` or ``all``.
        ssim_borders: entry of ``vidjacobi.eval.frame_metrics.SSIM_BORDERS``.
        draws: number of draws of a bootstrap.
        videos: number of clips that the report plays.
        workers: processes that decode; latencies mean most with one.
        reader: entry of ``vidjacobi.video.records.READERS``; all read the same frames.
        other_versions: resume although packages that results depend on have changed.
    """

    dataset: str = "realestate10k"
    data: str = ""
    split: str | None = None
    camera: str | None = None
    stride: int = 1
    start: int = 0
    clip_list: str | None = None
    clips: int = 150
    model: str = "nano"
    tokenizer: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    context: int = 9
    frames: int = 24
    decoders: list[Any] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 0.8
    top_k: int | None = None
    network: str = "i3d"
    weights: str | None = None
    resize: str = "squash"
    shown: str = "pred"
    ssim_borders: str = "mirrored"
    draws: int = 1000
    videos: int = 6
    workers: int = 1
    reader: str = "pyav"
    other_versions: bool = False

    def check(self) -> None:
        """Raise InvalidArgument for settings that cannot be run."""
        if not self.data:
            raise InvalidArgument("an evaluation needs --data: the dataset's folder")
        lookup("choice of frames", self.shown, dict.fromkeys(SHOWN))
        lookup("kind of borders", self.ssim_borders, dict.fromkeys(BORDERS))
        for name in ("stride", "clips", "draws"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("start", "videos"):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name} cannot be {getattr(self, name)}")
        if self.clips < 2:
            raise InvalidArgument("a distance between sets of clips needs at least 2 clips")
        self.bench(self.clips).check()

    def settings(self) -> dict[str, Any]:
        """The settings that must be the same when an evaluation is resumed."""
        return {key: value for key, value in asdict(self).items() if key not in MAY_CHANGE}

    @property
    def frames_needed(self) -> int:
        """Number of frames that a clip needs, for context and prediction."""
        return self.context + self.frames

    def bench(self, clips: int) -> BenchConfig:
        """The decodes that the evaluation needs, as a bench of so many clips."""
        return BenchConfig(
            models=[self.model],
            tokenizer=self.tokenizer,
            clips=clips,
            seeds=[self.seed],
            context=self.context,
            frames=self.frames,
            decoders=self.decoders,
            windows=self.windows,
            workers=self.workers,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            device=self.device,
            dtype=self.dtype,
            other_versions=self.other_versions,
        )


def load_eval(name: str, flags: Mapping[str, Any], pairs: Sequence[str] = ()) -> EvalConfig:
    """``configs/eval/NAME.yaml`` or the file at a path, with flags and ``key=value`` pairs laid over it, checked.

    Raises InvalidArgument.
    """
    config = load_settings("eval", name, EvalConfig, flags, pairs)
    config.check()
    return config
