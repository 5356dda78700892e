"""Who is at work in the folder of a batch: a lock for each shard, and one while a run opens the folder.

Runs open one folder one after the other. So each sees the settings that the one before it wrote, and knows whether it
is alone there: only then may it begin anew, and remove what killed runs left.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vidjacobi.batch.manifest import LOGS, label_of
from vidjacobi.batch.settings import Shard, parse_shard
from vidjacobi.errors import BadOutput
from vidjacobi.output.locks import is_locked, locked

_OPENING, _RUN = ".opening", ".run-"


@contextmanager
def at_work(out: Path, shard: str, held: ExitStack) -> Iterator[tuple[bool, bool]]:
    """While the folder is opened: take this shard's lock, which ``held`` keeps to the end of the run.

    Gives whether no other run is at work in ``out``, and whether the file system has locks at all. Raises BadOutput
    where a run is at work on some of the same episodes.
    """
    with locked(out / LOGS / _OPENING, wait=True) as real:
        others = shards_at_work(out)
        for other in others:
            if other.overlaps(parse_shard(shard)):
                raise BadOutput(
                    f"{out}: another run is at work here (shard {other}), on some of the same episodes; "
                    "wait for it, or end it"
                )
        held.enter_context(locked(out / LOGS / f"{_RUN}{label_of(shard)}", wait=False))
        yield real and not others, real


def shards_at_work(out: Path) -> list[Shard]:
    """The shards that runs are at work on now."""
    found = []
    for path in (out / LOGS).glob(f"{_RUN}*"):
        numbers = re.fullmatch(r"(\d+)-of-(\d+)", path.name.removeprefix(_RUN))
        if numbers and is_locked(path):
            found.append(Shard(*map(int, numbers.groups())))
    return found
