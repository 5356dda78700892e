"""The Ray engine: Ray Data hands episodes to a pool of actors, each with a model of its own.

Ray schedules, restarts actors that die and gives their episodes to others. What such an actor had finished is found
in the output folder, which all machines must share. Untested on a cluster and with GPUs.
"""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vidjacobi.batch.contexts import unfinished
from vidjacobi.batch.future_files import recorded_dtype
from vidjacobi.batch.manifest import FAILED, FinishedItems, new_log
from vidjacobi.batch.pipeline import FailedFast, Pipeline
from vidjacobi.batch.progress import ProgressTracker, tell
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.batch.workers import BatchJob, check_room, listing, tools_of
from vidjacobi.datasets import Entry
from vidjacobi.errors import InvalidArgument, VidjacobiError
from vidjacobi.processes import available_cores, stoppable
from vidjacobi.runtime import choose
from vidjacobi.video.timed_reader import TimedReader

if TYPE_CHECKING:
    from ray.data import Dataset

_STORE = 200 * 2**20  # bytes of a local object store: only names of episodes go through it
_FUTURES = 4  # futures for each row that an actor is handed at a time


def run_ray(job: BatchJob, tally: ProgressTracker, finished: FinishedItems) -> None:
    """Do what is missing of the job with Ray. Raises VidjacobiError, Stopped."""
    config = job.plan.config
    entries = list(unfinished(listing(config), finished, job.files, config.samples, tell))
    if not entries:
        return
    with _connected(config) as gpus, stoppable():  # after Ray, which installs a handler of its own
        for answer in _dataset(job, entries, gpus).iter_rows():
            tally.look()
            if answer["error"]:
                raise VidjacobiError(str(answer["error"]))
            if answer["failed"] and config.fail_fast:
                raise FailedFast("stopped at the first failure")


class Actor:
    """A model that stays; called with batches of entries."""

    def __init__(self, job: BatchJob, threads: int | None) -> None:
        if threads:
            torch.set_num_threads(threads)
        config, out = job.plan.config, job.files.out
        device = config.devices.split(",")[0]
        check_dtype(config, device, recorded_dtype(out))
        check_room(job.plan, [device])
        self._tools = tools_of(job, device, new_log(out, config.shard), lambda row: None)
        self._finished, self._reader = FinishedItems(out), TimedReader(config.seconds)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do what is missing of the entries. What ends the run is an answer, because Ray would wrap an exception."""
        failed, error = 0, ""
        try:
            entries: list[Entry] = list(batch["entry"])  # a column of objects, as Ray hands it over
            failed = Pipeline(self._tools).run(entries, self._finished, self._reader)[FAILED]
        except FailedFast:
            failed = 1
        except VidjacobiError as reason:
            error = str(reason)
        return {"failed": np.array([failed]), "error": np.array([error])}


def check_dtype(config: BatchConfig, device: str, recorded: str) -> None:
    """Refuse to compute in another dtype than the machine that started the batch. Raises InvalidArgument."""
    mine = str(choose(device, config.dtype).dtype).removeprefix("torch.")
    if mine != recorded:
        raise InvalidArgument(
            f"an actor computes in {mine}, and the batch was started in {recorded}: give --dtype {mine} or {recorded}"
        )


def _dataset(job: BatchJob, entries: list[Entry], gpus: float) -> "Dataset":
    from ray.data import ActorPoolStrategy, from_items

    config = job.plan.config
    workers = _workers(config)
    # Ray takes a block as the smallest piece of work, so there are as many of them as batches.
    size = batch_size(len(entries), config, workers)
    threads = None if config.ray_address else max(1, available_cores() // workers)
    rows = from_items([{"entry": entry} for entry in entries], override_num_blocks=-(-len(entries) // size))
    return rows.map_batches(
        Actor,
        fn_constructor_args=(job, threads),
        batch_size=size,
        compute=ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus or None,
    )


def private() -> dict[str, str]:
    """Environment of a Ray of this run alone: it listens on 127.0.0.1 only, and answers nobody without a new token.

    Whoever can speak to a Ray can run programs on it. Set before Ray is imported, which reads it then.
    """
    # without clusters, a Ray of one machine takes 127.0.0.1 for its address on every system, and listens on no other
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    return {**alone, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def batch_size(entries: int, config: BatchConfig, workers: int) -> int:
    """Episodes that an actor is handed at a time: enough to keep its rows full, few enough to spread the end."""
    full = -(-_FUTURES * config.rows // config.samples)
    return max(1, min(full, entries // (4 * workers)))


def _workers(config: BatchConfig) -> int:
    return config.workers or (torch.cuda.device_count() if torch.cuda.is_available() else 0) or 1


@contextmanager
def _connected(config: BatchConfig) -> Iterator[float]:
    """Connect to a cluster or start Ray on this machine; gives the GPUs per actor.

    Raises InvalidArgument where Ray is not installed or cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A local Ray gives its actors a low priority by default, but here they are the work.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if not config.ray_address:
        os.environ.update(private())
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvalidArgument(f"--engine ray needs Ray ({error}): pip install 'ray[data]'") from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.ray_address:
        options["address"] = config.ray_address
    else:
        options |= {
            "num_cpus": _workers(config) + 1,
            "object_store_memory": _STORE,
            "include_dashboard": False,
        }
    try:
        ray.init(**options)
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        raise InvalidArgument(f"Ray cannot be reached or started: {error}") from error
    try:
        addresses = {node["NodeManagerAddress"] for node in ray.nodes()}
        if not config.ray_address and addresses != {"127.0.0.1"}:
            raise InvalidArgument(
                f"Ray {ray.__version__} does not keep to this machine (it listens on {', '.join(addresses)}): use "
                "--engine local, or a Ray that does"
            )
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        there = ray.cluster_resources().get("GPU", 0)
        yield config.gpus if config.gpus is not None else float(there > 0)
    finally:
        ray.shutdown()
