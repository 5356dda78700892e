"""What a bench runs, checked before anything is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vidjacobi.bench.bars import BARS, Bar
from vidjacobi.config.decoder import DecoderConfig, load_decoder, with_window
from vidjacobi.config.settings import load_settings
from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.strategies.lanes import RasterLane
from vidjacobi.errors import InvalidArgument
from vidjacobi.processes import check_workers
from vidjacobi.registry import build
from vidjacobi.sampling.probs import SamplingParams

# Settings that no single decode depends on: a bench that is resumed may ask for more, fewer or other ones.
MAY_CHANGE = (
    *("models", "clips", "seeds", "decoders", "windows", "workers", "bars", "baseline", "reference"),
    *("dtype", "other_versions"),  # the dtype really used, weights and versions: see vidjacobi.provenance
)
WORDS = ("window", "paper", "summary")  # keys of a decoder that do not change what it does


@dataclass
class BenchConfig:
    """What to compare: every decoder at every window, and AR, on every clip with every seed.

    Attributes:
        models, tokenizer: as for ``vidjacobi.load``.
        clips: number of the held-out contexts that ship with each model.
        seeds: every clip is decoded with each of them.
        context, frames: frames that are given, and frames to predict after them.
        decoders: names or YAML paths, or {name: ..., window: ...} or {name: ..., windows: [...]}. A decoder with
        lanes
            has a width of its own and runs once, at its own window, unless windows are named.
        windows: positions per pass, for decoders without lanes.
        baseline: decoder whose passes others are compared with at equal windows.
        reference: decoder whose passes those of decoders with lanes are compared with at equal mean positions.
        batch: clips that are decoded together. Passes per clip do not depend on it; seconds are a share of the
        batch's.
        workers: processes, each with its share of the threads.
        temperature, top_p, top_k, device, dtype: as for ``vidjacobi.decode`` and ``vidjacobi.load``.
        compile: how passes are made; a key of ``vidjacobi.decoding.compiled.MODES``.
        bars: entries of ``vidjacobi.bench.bars.BARS``.
        other_versions: resume although packages that results depend on have changed.
    """

    models: list[str] = field(default_factory=lambda: ["nano"])
    tokenizer: str | None = None
    clips: int = 16
    seeds: list[int] = field(default_factory=lambda: [0])
    context: int = 9
    frames: int = 24
    decoders: list[Any] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    baseline: str = "gs_sjd"
    reference: str = "pathwise"
    batch: int = 1
    workers: int = 1
    temperature: float = 1.0
    top_p: float = 0.8
    top_k: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    compile: str = "off"
    bars: list[Any] = field(default_factory=list)
    other_versions: bool = False

    @property
    def least(self) -> tuple[int, ...]:
        """The numbers that must be at least 1."""
        return self.clips, self.context, self.frames, self.batch, self.workers

    def sampling(self, seed: int) -> SamplingParams:
        """Temperature, top-p, top-k and this seed as one record. Raises InvalidArgument for a number out of range."""
        return SamplingParams(self.temperature, self.top_p, self.top_k, seed)

    def check(self) -> None:
        """Raise InvalidArgument for settings that cannot be run."""
        if min(self.windows, default=0) < 1 or not self.decoders:
            raise InvalidArgument("a bench needs at least one decoder and windows of at least 1")
        if not self.models or not self.seeds or min(self.least) < 1:
            raise InvalidArgument(
                "a bench needs at least one model, one seed, one clip, one frame of context and one to predict; "
                "batch and workers are at least 1"
            )
        check_workers(self.workers)
        _ = [self.sampling(seed) for seed in self.seeds]  # their numbers are checked when they are made
        cases_of(self)
        bars_of(self)


@dataclass(frozen=True)
class BenchCase:
    """One decoder at one window."""

    decoder: DecoderConfig

    @property
    def key(self) -> tuple[str, int]:
        """(name, window)."""
        return self.decoder.name, self.decoder.window

    @property
    def has_lanes(self) -> bool:
        """Whether its lanes decide how many positions a pass has, rather than the window."""
        return lane_rule(self.decoder) != "raster"


def lane_rule(decoder: DecoderConfig) -> str:
    """The registry name of a decoder's lanes."""
    return "raster" if decoder.lanes is None else str(decoder.lanes["name"])


def load_bench(name: str, flags: Mapping[str, Any], pairs: Sequence[str] = ()) -> BenchConfig:
    """``configs/bench/NAME.yaml`` or the file at a path, with flags and ``key=value`` pairs laid over it, checked.

    Raises InvalidArgument.
    """
    config = load_settings("bench", name, BenchConfig, flags, pairs)
    config.check()
    return config


def cases_of(config: BenchConfig) -> list[BenchCase]:
    """Every decoder at every window, except AR, which always runs. Raises InvalidArgument."""
    found: dict[tuple[str, int], BenchCase] = {}
    for entry in config.decoders:
        for decoder in decoders_of(entry, config.windows):
            case = BenchCase(decoder)
            if decoder.method == "autoregressive":
                continue
            # Rows are told apart by name and window, so two files of one name would be mixed up.
            if found.setdefault(case.key, case) != case:
                raise InvalidArgument(f"two different decoders are called {decoder.name!r}: rename a file")
    # By window; the sort is stable, so decoders keep their order at each window.
    windows = sorted({window for _, window in found})
    return sorted(found.values(), key=lambda case: windows.index(case.key[1]))


def decoders_of(entry: Any, windows: list[int]) -> list[DecoderConfig]:
    """One entry of ``decoders`` as a decoder at each of its windows. Raises InvalidArgument."""
    options = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name, one, several = (options.pop(key, None) for key in ("name", "window", "windows"))
    if options or not isinstance(name, str) or (one is not None and several is not None):
        raise InvalidArgument(f"a bench's decoder is a name or {{name, window or windows}}, not {entry!r}")
    decoder = load_decoder(name)
    parts = strategies_of(decoder)
    if one is None and several is None:
        lanes = parts is not None and not isinstance(parts.lanes, RasterLane)
        several = [decoder.window] if lanes or decoder.is_ar else windows
    wanted = [one] if several is None else several
    tree = parts.draft_tree if parts else None
    for window in wanted:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise InvalidArgument(f"decoder {name!r}: a window must be at least 1, not {window!r}")
        if tree and tree.share is None and not tree.levels(window):
            raise InvalidArgument(
                f"decoder {name!r}: a window of {window} has no room for siblings, use at least {tree.width}"
            )
    return [with_window(decoder, window) for window in wanted]


def bars_of(config: BenchConfig) -> list[Bar]:
    """The bars that the results are judged by. Raises InvalidArgument."""
    for entry in config.bars:
        if not isinstance(entry, Mapping):
            raise InvalidArgument(f"a bar is {{name: ..., ...}}, not {entry!r}")
    return [build("bar", entry, BARS) for entry in config.bars]


def definitions(config: BenchConfig) -> dict[str, Any]:
    """The configuration of every decoder by name, without its window and its texts."""
    found = {}
    for case in cases_of(config):
        found[case.decoder.name] = {k: v for k, v in asdict(case.decoder).items() if k not in WORDS}
    return found


def differences(config: BenchConfig, before: Mapping[str, Any], decoders: Mapping[str, Any]) -> list[str]:
    """Why this bench cannot resume one with the settings ``before`` and these ``decoders``; empty if it can."""
    now, defaults, found = asdict(config), asdict(BenchConfig()), []
    for key, value in now.items():
        old = before.get(key, defaults[key])  # a setting that did not exist yet had its default
        if key not in MAY_CHANGE and old != value:
            found.append(f"{key}: {old} there, {value} here")
    for name, definition in definitions(config).items():
        old = {k: v for k, v in decoders.get(name, definition).items() if k not in WORDS}
        if old != definition:
            found.append(f"decoder {name} has changed")
    return found
