"""One process of a batch: it loads the model, lists its shard, and runs the pipeline over it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from vidjacobi.batch.future_files import Outputs
from vidjacobi.batch.items import Shard
from vidjacobi.batch.manifest import Log, Row, State
from vidjacobi.batch.pipeline import Run, Tools
from vidjacobi.batch.settings import BatchConfig, Plan
from vidjacobi.datasets import Entry, open_dataset
from vidjacobi.datasets.timed_reader import TimedReader
from vidjacobi.loading import Pair, load
from vidjacobi.models.tokenizer import check_lengths


@dataclass(frozen=True)
class Job:
    """What every worker of a batch is told."""

    plan: Plan
    outputs: Outputs


def load_pair(config: BatchConfig, device: str) -> Pair:
    """The model on a device, and that it can do what is asked for. Raises InvalidArgument, BadCheckpoint."""
    how = config.tokenizer, config.run_torchscript, config.offload, config.compile
    pair = load(config.model, device, config.dtype, *how)
    check_lengths(config.context, config.frames, config.samples, pair[1])
    return pair


def listing(config: BatchConfig) -> Iterator[Entry]:
    """The entries of the dataset, up to the limit. Raises BadInput, InvalidArgument."""
    entries = open_dataset(config.data, config.dataset, **config.dataset_options())  # type: ignore[arg-type]
    return islice(entries, config.limit)


def run_shard(
    job: Job, shard: Shard, device: str, observe: Callable[[Row], None], tell: Callable[[str], None]
) -> "Counter[str]":
    """Do what is missing of a shard; returns the number of rows recorded, by status."""
    config = job.plan.config
    entries = shard.of(listing(config))
    log = Log(job.outputs.out, config.shard)
    tools = Tools(job.plan, load_pair(config, device), job.outputs, log, observe, tell)
    reader = TimedReader(config.seconds)
    with closing(log):
        counts = Run(tools).over(entries, State(job.outputs.out), reader)
    reader.close()  # where the run was stopped it may be waiting for a hanging video, and ends with this process
    return counts


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
