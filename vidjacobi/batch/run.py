"""One run of a batch in its folder, from the first check to the last line; the engine does the work."""

from pathlib import Path
from typing import Any

from vidjacobi.batch.future_files import SETTINGS, open_out, sweep
from vidjacobi.batch.manifest import FAILED, FAILURES, LOGS, MANIFEST, compact, label_of
from vidjacobi.batch.pipeline import FailedFast
from vidjacobi.batch.progress import ProgressTracker, tell
from vidjacobi.batch.settings import BatchPlan
from vidjacobi.batch.workers import BatchJob, check_room, devices_of, listing, run_local
from vidjacobi.errors import BadInput, BadOutput, VidjacobiError
from vidjacobi.output.run_folder import locked
from vidjacobi.processes import Stopped, stoppable


def run_batch(plan: BatchPlan, out: Path, resume: bool, overwrite: bool) -> tuple[dict[str, Any], int]:
    """Roll out every future of the plan's shard that ``out`` does not hold yet.

    Returns counts of futures by status, and the exit status: 0, 1 where a future failed, 130 or 143 when stopped.
    Raises VidjacobiError.
    """
    listing(plan.config)  # refuses a dataset that cannot be listed, before ``out`` is touched
    if plan.config.engine == "local":
        check_room(plan, devices_of(plan.config))
    shard = plan.config.shard
    status = 0
    # one run for each shard: two would make the same futures, and each would sweep away the other's files
    with stoppable(), locked(out / LOGS / f".run-{label_of(shard)}", wait=False):
        job = BatchJob(plan, open_out(out, plan, resume, overwrite))
        sweep(out, alone=shard == "0/1")  # what killed runs left half written
        tally = ProgressTracker(out, shard)
        try:
            run_engine(job, tally)
        except Stopped as signal:
            tell(f"vidjacobi: stopped by {signal}; what was finished is kept, the same command resumes")
            status = signal.status
        except FailedFast as error:
            tell(f"vidjacobi: {error}")
        except VidjacobiError:
            if tally.counts:
                finish(out, tally)
            raise
        return finish(out, tally), status or int(tally.counts[FAILED] > 0)


def run_engine(job: BatchJob, tally: ProgressTracker) -> None:
    """Do the work with the plan's engine. Raises VidjacobiError, Stopped."""
    with tally:
        if job.plan.config.engine == "ray":
            from vidjacobi.batch.ray_engine import run_ray  # Ray is an optional extra

            run_ray(job, tally)
        else:
            run_local(job, tally)


def finish(out: Path, tally: ProgressTracker) -> dict[str, Any]:
    """Write the manifest and print where it is; counts by status, of this run and of all.

    A manifest that cannot be written is told and not raised: where a full disk stopped the run, the error that says
    so must not be lost.
    """
    print(f"{out}: {tally.line()}")
    try:
        totals = compact(out)
    except BadOutput as error:
        tell(f"vidjacobi: {error}; `vidjacobi report {out}` makes it of the logs")
        return {"out": str(out), "new": dict(tally.counts)}
    if totals[FAILED]:
        print(f"{totals[FAILED]} failed; {out / FAILURES} says why, and the same command tries them again")
    print(f"{out / MANIFEST}: {sum(totals.values())} rows; `vidjacobi report {out}` makes a page of them")
    return {"out": str(out), "new": dict(tally.counts), "all": dict(totals)}


def require_batch(out: Path) -> None:
    """Refuse a folder that no batch was run in. Raises BadInput."""
    if not (out / SETTINGS).is_file():
        raise BadInput(f"{out}: no batch lies here ({SETTINGS} is missing)")
