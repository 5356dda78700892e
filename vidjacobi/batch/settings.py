"""What a batch is to run, checked before anything is read; and what may change when it resumes."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import gcd
from typing import Any, TypeVar

from vidjacobi.acting import absolute_family
from vidjacobi.config.decoder import INNER, DecoderConfig, decoder_asked_for
from vidjacobi.config.rollout import as_authors_sample
from vidjacobi.config.settings import load_settings
from vidjacobi.datasets import DATASETS
from vidjacobi.datasets.clip_starts import SHORT, parse_starts
from vidjacobi.decoding.api import strategies_of
from vidjacobi.errors import InvalidArgument
from vidjacobi.processes import check_workers
from vidjacobi.registry import lookup
from vidjacobi.sampling.probs import SamplingParams

T = TypeVar("T")
OUTPUTS = {
    "videos": "an mp4, the context first, and the tokens",
    "frames": "a folder of PNG pictures, the context first, and the tokens",
    "tokens": "the tokens only; nothing is turned into frames",
}
ENGINES = ("local", "ray")
# what leads to predicted frames, of models that follow actions; what they do: ``vidjacobi.batch.action_feed.CHOICES``
ACTIONS = {
    "dataset": "the actions recorded with the clip",
    "shuffled": "those of another recording, as a control",
    "zero": "nothing is done, as a control",
}
# How the work is spread and how much of it is asked for; results depend on none of these.
MAY_CHANGE = {
    *("samples", "limit", "rows", "workers", "devices", "shard", "engine", "ray_address", "gpus"),
    *("seconds", "fail_fast", "run_torchscript", "offload", "memory_check", "other_versions", "reader"),
    "dtype",  # the dtype really used, the weights and the versions are compared by vidjacobi.provenance
}


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th episode from the ``index``-th on."""

    index: int = 0
    count: int = 1

    def part(self, worker: int, workers: int) -> "Shard":
        """The share of one of several workers."""
        # Shard 1/3 holds 1, 4, 7, 10 ...; its two workers get 1/6 (1, 7, ...) and 4/6 (4, 10, ...).
        return Shard(self.index + self.count * worker, self.count * workers)

    def of(self, entries: Iterable[T]) -> Iterator[T]:
        """Those of the entries that belong to it."""
        return (entry for number, entry in enumerate(entries) if number % self.count == self.index)

    def overlaps(self, other: "Shard") -> bool:
        """Whether some place in a dataset belongs to both."""
        # i + a n = j + b m has a solution iff n's and m's greatest common divisor divides i - j
        return (self.index - other.index) % gcd(self.count, other.count) == 0

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """``i/n`` with 0 <= i < n. Raises InvalidArgument."""
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or int(index) >= int(count):
        raise InvalidArgument(f"shard: i/n with i from 0 to n - 1 is needed, such as 0/4, not {text!r}")
    return Shard(int(index), int(count))


@dataclass
class BatchConfig:
    """A batch. Every field is a flag.

    Attributes:
        dataset: entry of ``vidjacobi.datasets.DATASETS``, or auto; ``data`` is its path.
        camera, split, clip_list: which part of the dataset is taken; only every ``stride``-th frame counts.
        need_truth: take only clips that also have the ``frames`` after the context, to compare the futures with.
        starts: rule of ``vidjacobi.datasets.clip_starts.STARTS`` for clips of ``frames_needed`` frames.
        short: policy of ``vidjacobi.datasets.clip_starts.SHORT`` for episodes with fewer frames than that.
        actions: a key of ACTIONS; None: the model is told nothing.
        limit: take only the first so many episodes.
        samples: futures of each context.
        model, tokenizer, run_torchscript, dtype, offload, compile: as ``vidjacobi.load``.
        memory_check: refuse, before anything is loaded, what is predicted not to fit.
        reader: entry of ``vidjacobi.video.records.READERS``; all read the same frames.
        context, frames: frames given and frames predicted.
        decoder, window, seed, temperature, top_p, top_k: as ``vidjacobi.decode``.
        output: a key of OUTPUTS.
        rows: futures that are decoded at a time, per worker.
        shard: ``i/n``: every n-th episode from the i-th on, i from 0.
        engine, ray_address: local processes, or Ray (a cluster's address; none: this machine).
        devices: comma-separated, or auto: every GPU, else the CPU.
        workers: processes; None: one per device.
        gpus: per worker of Ray, may be a fraction; None: 1 where there are any.
        seconds: longest time that reading one context may take.
        fail_fast: stop at the first failure.
        other_versions: resume although packages that results depend on have changed.
    """

    data: str = ""
    dataset: str = "auto"
    camera: str | None = None
    split: str | None = None
    stride: int = 1
    clip_list: str | None = None
    need_truth: bool = False
    starts: str = "first"
    short: str = "skip"
    actions: str | None = None
    limit: int | None = None
    samples: int = 1
    model: str = "nano"
    tokenizer: str | None = None
    run_torchscript: bool = False
    dtype: str = "auto"
    offload: bool = False
    compile: str = "off"
    memory_check: bool = True
    reader: str = "pyav"
    context: int = 9
    frames: int = 24
    decoder: str = "pathwise"
    window: int | None = None
    seed: int = 0
    temperature: float | None = None
    top_p: float = 0.8
    top_k: int | None = None
    output: str = "videos"
    rows: int = 8
    shard: str = "0/1"
    engine: str = "local"
    ray_address: str | None = None
    devices: str = "auto"
    workers: int | None = None
    gpus: float | None = None
    seconds: float = 120.0
    fail_fast: bool = False
    other_versions: bool = False

    def check(self) -> None:
        """Raise InvalidArgument for what cannot be run."""
        if self.dataset != "auto":
            lookup("dataset", self.dataset, DATASETS)
        parse_starts(self.starts)
        lookup("policy for short episodes", self.short, SHORT)
        lookup("output", self.output, OUTPUTS)
        lookup("engine", self.engine, dict.fromkeys(ENGINES))
        if self.actions is not None:
            lookup("choice of actions", self.actions, ACTIONS)
            if self.short == "pad":
                raise InvalidArgument(
                    "--short pad repeats frames, between which nothing was done: leave it out"
                )
        parse_shard(self.shard)
        for name in ("ray_address", "gpus"):
            if getattr(self, name) is not None and self.engine != "ray":
                raise InvalidArgument(f"{name.replace('_', '-')} goes with --engine ray")
        if self.engine == "local":
            check_workers(self.workers or 1)
        if self.engine == "ray" and self.shard != "0/1":
            raise InvalidArgument("Ray spreads the work by itself: leave --shard out")
        _ = self.sampling  # its numbers are checked when it is made

    @property
    def sampling(self) -> SamplingParams:
        """Temperature, top-p, top-k and seed as one record. Raises InvalidArgument for a number out of range."""
        return SamplingParams(self.temperature, self.top_p, self.top_k, self.seed)

    @property
    def frames_needed(self) -> int:
        """Frames that a clip must have: the context and, for truth and actions, as many as are predicted."""
        return self.context + (self.frames if self.need_truth or self.actions else 0)

    def dataset_options(self) -> dict[str, object]:
        """For ``open_dataset``: what was given."""
        given = {"camera": self.camera, "split": self.split, "clips": self.clip_list}
        options: dict[str, object] = {key: value for key, value in given.items() if value is not None}
        return {**options, **({"stride": self.stride} if self.stride > 1 else {})}


@dataclass(frozen=True)
class BatchPlan:
    """A checked batch and its decoder at its window."""

    config: BatchConfig
    decoder: DecoderConfig

    def settings(self) -> dict[str, Any]:
        """Everything that the results depend on: a batch resumes only where these are the same."""
        mine = {key: value for key, value in asdict(self.config).items() if key not in MAY_CHANGE}
        return {**mine, "decoder": asdict(self.decoder)}


def load_plan(name: str, flags: Mapping[str, Any], pairs: Sequence[str] = ()) -> BatchPlan:
    """``configs/batch/NAME.yaml`` or a path, with flags and ``key=value`` pairs laid over it.

    Raises InvalidArgument.
    """
    own = [pair for pair in pairs if not pair.startswith(INNER)]
    config = load_settings("batch", name, BatchConfig, flags, own)
    config.check()
    config, decoder = decoder_asked_for(_absolute(config), flags, pairs)
    strategies_of(decoder)  # builds its strategies, which refuse options that do not exist
    return BatchPlan(as_authors_sample(config, name, flags, pairs), decoder)


def _absolute(config: BatchConfig) -> BatchConfig:
    """The same with paths that mean the same wherever a worker runs; names of models stay names."""
    # "nano" is a model's name, unless a file or folder here is called so
    config = replace(config, model=absolute_family(config.model))
    names = [name for name in ("model", "tokenizer") if os.path.exists(getattr(config, name) or "")]
    names += [name for name in ("data", "clip_list") if getattr(config, name)]
    return replace(config, **{name: os.path.abspath(getattr(config, name)) for name in names})
