"""One run of a batch in its folder, from the first check to the last line; the engine does the work."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vidjacobi.batch.action_feed import check_recordings
from vidjacobi.batch.devices import devices_of
from vidjacobi.batch.future_files import FutureFiles, open_out, sweep
from vidjacobi.batch.manifest import DONE, FAILED, SETTINGS, SKIPPED, FinishedItems, damage_in
from vidjacobi.batch.manifest_table import FAILURES, MANIFEST, Totals, compact
from vidjacobi.batch.pipeline import FailedFast
from vidjacobi.batch.progress import ProgressTracker, tell
from vidjacobi.batch.settings import BatchConfig, BatchPlan, parse_shard
from vidjacobi.batch.shard_locks import at_work
from vidjacobi.batch.workers import BatchJob, check_room, everything, listing, run_local
from vidjacobi.datasets import left_out
from vidjacobi.errors import BadInput, BadOutput, VidjacobiError, number_of
from vidjacobi.output.locks import NO_LOCKS
from vidjacobi.processes import Stopped, stoppable

_NOTES = 5  # kinds of notes that are told; manifest.parquet has all


def run_batch(plan: BatchPlan, out: Path, resume: bool, overwrite: bool) -> tuple[dict[str, Any], int]:
    """Roll out every future of the plan's shard that ``out`` does not hold yet.

    Returns counts of futures by status, and the exit status: 0, 1 where a future failed or none was predicted, 130 or
    143 when stopped. Raises VidjacobiError.
    """
    listing(plan.config)  # refuses a dataset that cannot be listed, before ``out`` is touched
    tell_what_is_left_out(plan.config)
    if plan.config.actions is not None:
        check_recordings(plan.config, everything(plan.config))
    if plan.config.engine == "local":
        check_room(plan, devices_of(plan.config))
    with stoppable(), ExitStack() as held:
        job = BatchJob(plan, open_for_shard(plan, out, resume, overwrite, held))
        finished = FinishedItems(out)
        tell_what_is_there(out, finished)
        tally = ProgressTracker(out, plan.config.shard, plan.config.samples)
        status = 0
        try:
            run_engine(job, tally, finished)
        except Stopped as signal:
            tell(f"vidjacobi: stopped by {signal}; what was finished is kept, the same command resumes")
            status = signal.status
        except FailedFast as error:
            tell(f"vidjacobi: {error}")
            status = 1
        except VidjacobiError:
            if tally.counts:
                finish(out, tally)
            raise
        return finish(out, tally), status or ended(plan, tally)


def open_for_shard(plan: BatchPlan, out: Path, resume: bool, overwrite: bool, held: ExitStack) -> FutureFiles:
    """The opened folder; ``held`` keeps this shard's lock. Raises VidjacobiError."""
    with at_work(out, plan.config.shard, held) as (alone, real):
        if not real:
            tell(f"{out}: {NO_LOCKS}")
        files = open_out(out, plan, resume, overwrite, alone)
        sweep(out, alone)  # what killed runs left half written
    return files


def tell_what_is_left_out(config: BatchConfig) -> None:
    """Count and name what lies in the dataset and is no clip; a clip list says by itself what is wanted."""
    said = None if config.clip_list else left_out(config.data, config.dataset)
    if said:
        tell(said)


def tell_what_is_there(out: Path, finished: FinishedItems) -> None:
    """Say what an earlier run left, and which lines of its logs are damaged."""
    tell_damage(out)
    there = finished.counts
    words = [f"{number_of(there[DONE], 'future')} done"]
    words += [f"{number_of(there[SKIPPED], 'episode')} skipped"] * bool(there[SKIPPED])
    words += [f"{there[FAILED]:,} had failed and are tried again"] * bool(there[FAILED])
    if sum(there.values()):
        tell(f"{out}: resumes: {', '.join(words)}")


def tell_damage(out: Path) -> None:
    """Say which lines of the logs are damaged; a batch that runs on finds what they stood for, or makes it again."""
    for place in damage_in(out):
        tell(f"{place}: no row of a batch, and passed over; what it stood for is looked for, or made again")


def ended(plan: BatchPlan, tally: ProgressTracker) -> int:
    """The exit status of a run that was not stopped: 1 where something failed, or nothing is predicted at all."""
    if tally.counts[FAILED]:
        return 1
    if not tally.outlook.wait():
        shard = parse_shard(plan.config.shard)
        if shard.count > 1:
            print(f"no episode falls to shard {shard}")
            return 0
        tell(f"vidjacobi: error: {plan.config.data} lists no episode")
        return 1
    if tally.counts[DONE] + tally.outlook.before == 0:
        tell("vidjacobi: error: nothing was predicted; the lines above say why")
        return 1
    return 0


def run_engine(job: BatchJob, tally: ProgressTracker, finished: FinishedItems) -> None:
    """Do the work with the plan's engine. Raises VidjacobiError, Stopped."""
    config = job.plan.config
    tally.outlook.count(parse_shard(config.shard).of(listing(config)), finished)
    with tally:
        if config.engine == "ray":
            from vidjacobi.batch.ray_engine import run_ray  # Ray is an optional extra

            run_ray(job, tally, finished)
        else:
            run_local(job, tally, finished)


def finish(out: Path, tally: ProgressTracker) -> dict[str, Any]:
    """Write the manifest and print where it is; counts by status, of this run and of all.

    A manifest that cannot be written is told and not raised: where a full disk stopped the run, the error that says
    so must not be lost.
    """
    print(f"{out}: {tally.summary()}")
    try:
        totals = compact(out)
    except BadOutput as error:
        tell(f"vidjacobi: {error}; `vidjacobi report {out}` makes it of the logs")
        return {"out": str(out), "new": dict(tally.counts)}
    for line in reasons(out, totals):
        print(line)
    rows = sum(totals.counts.values())
    print(f"{out / MANIFEST}: {number_of(rows, 'row')}; `vidjacobi report {out}` makes a page of them")
    return {"out": str(out), "new": dict(tally.counts), "all": dict(totals.counts)}


def reasons(out: Path, totals: Totals) -> list[str]:
    """What was skipped and failed, with the commonest reason of each, and what to do; and each kind of note once."""
    then = {
        SKIPPED: "",
        FAILED: f"; {out / FAILURES} says why of each, and the same command tries them again",
    }
    found = []
    for status, reason in totals.reasons.items():
        count = totals.counts[status]
        often = "" if reason.times == count else f", most often ({reason.times:,} times)"
        found.append(f"{count:,} {status}{often}: {reason.text}{then[status]}")
    found += [f"note: {number_of(note.times, 'future')}: {note.text}" for note in totals.notes[:_NOTES]]
    return found


def require_batch(out: Path) -> None:
    """Refuse a folder that no batch was run in. Raises BadInput."""
    if not (out / SETTINGS).is_file():
        raise BadInput(f"{out}: no batch lies here ({SETTINGS} is missing)")
