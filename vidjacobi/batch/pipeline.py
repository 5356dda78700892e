"""One process's rollouts: read and encode | decode | to frames and write, side by side, with short lines between.

The main thread decodes, rows refilled as futures finish. What waits between the threads is bounded, so memory does
not grow with the dataset.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock

from vidjacobi.batch.contexts import Planner, encode_context, read_context
from vidjacobi.batch.feed import Feed, MakeRoom, futures_of
from vidjacobi.batch.future_files import Outputs
from vidjacobi.batch.futures import Future, advance, first_chunk, most_positions
from vidjacobi.batch.items import Item
from vidjacobi.batch.manifest import FAILED, Log, Row, State
from vidjacobi.batch.row_limit import Rows, is_out_of_memory
from vidjacobi.batch.settings import Plan
from vidjacobi.batch.threads import CancelToken, Halted, Line, in_thread
from vidjacobi.datasets import Entry
from vidjacobi.datasets.timed_reader import TimedReader
from vidjacobi.decoding.clip_queue import Failed, Finished, Request, decode_each
from vidjacobi.decoding.scheduler import refills
from vidjacobi.errors import BadOutput, VidjacobiError
from vidjacobi.loading import Pair

Retired = tuple[Future, Finished]
JOIN_FRONT, JOIN_BACK = 5.0, 150.0  # seconds that stopping waits: a read may be dropped, what is decided not


class FailedFast(VidjacobiError):
    """Something failed, and the run was to stop then."""


@dataclass(frozen=True)
class Tools:
    """What a run works with. ``observe`` is called with every new row, ``tell`` with lines for people."""

    plan: Plan
    pair: Pair
    outputs: Outputs
    log: Log
    observe: Callable[[Row], None]
    tell: Callable[[str], None]


class Run:
    """A pass over entries. ``counts``: rows recorded by status."""

    def __init__(self, tools: Tools) -> None:
        config = tools.plan.config
        self._tools, self._config, self._pair = tools, config, tools.pair
        self.counts: Counter[str] = Counter()
        self._recording = Lock()
        self._brake = CancelToken()
        self._rows = Rows(config.rows, tools.tell)
        at_once = refills(tools.plan.decoder.method, tools.pair[0])
        ahead = max(2, config.rows // (2 if at_once else 1))
        self._contexts: Line[Request] = Line(ahead, self._brake)
        # Of any length, since decoding must never wait for a thread that waits for its memory; the feed bounds it.
        self._landed: Line[Retired] = Line(0, self._brake)
        self._feed = Feed(self._contexts, self._landed, self._rows, self._brake, waits=not at_once)

    def over(self, entries: Iterable[Entry], state: State, reader: TimedReader) -> "Counter[str]":
        """Do what is missing of the entries. An interrupt stops it; what is decided by then is still written.

        Raises BadOutput where results cannot be written, FailedFast, and what the dataset's listing raises.
        """
        front = in_thread("contexts", lambda: self._read(entries, state, reader), self._brake)
        back = in_thread("frames", self._write, self._brake)
        try:
            self._decode()
            self._landed.end()
            back.join()
        except Halted:
            pass
        finally:
            self._brake.pull()
            front.join(JOIN_FRONT)
            back.join(JOIN_BACK)
        if self._brake.error:
            raise self._brake.error
        return self.counts

    def _read(self, entries: Iterable[Entry], state: State, reader: TimedReader) -> None:
        """The thread in front."""
        config, tokenizer = self._config, self._pair[1]
        planner = Planner(config, state, self._tools.outputs, reader, self._record)
        for task in planner.tasks(self._unless_stopped(entries)):
            try:
                clip = read_context(task, config, reader)
                encode = partial(encode_context, task, clip, tokenizer)
                context = self._rows.sparing(encode, "encoding frames", self._brake)
                request = first_chunk(context, config, self._pair)
            except Halted:
                raise
            except Exception as error:  # whatever is wrong with this episode, the others go on
                self._fail(task.items, error)
                continue
            self._contexts.put(request)
        self._contexts.end()

    def _unless_stopped(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self._brake.check()
            yield entry

    def _decode(self) -> None:
        """The main thread: until nothing is left."""
        while not self._decode_some():
            self._rows.settle()

    def _decode_some(self) -> bool:
        """Decode until nothing is left, or (False) memory runs out; what was in flight then begins again."""
        config = self._config
        try:
            results = decode_each(
                self._pair[0],
                self._feed,
                self._rows.now,
                self._tools.plan.decoder,
                None,
                config.sampling,
                positions=most_positions(config, self._pair),
                keep_going=True,
            )
            for result in results:
                for future in self._feed.landed(result):
                    self._land(future, result)
            return True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            lost = self._feed.lost()
            if not isinstance(error, MakeRoom) and not self._rows.halve("decoding"):
                if not lost:
                    raise
                self._drop(lost.pop(0), error)
            for request in lost:
                self._feed.follow(request)
            return False

    def _land(self, future: Future, result: Finished | Failed) -> None:
        if isinstance(result, Finished):
            self._landed.put((future, result))
        else:
            self._fail([item_of(future)], result.error)
            self._feed.close()

    def _drop(self, request: Request, error: Exception) -> None:
        """Give up futures for which one row is too many."""
        futures = futures_of(request)
        self._fail([item_of(future) for future in futures], error)
        self._feed.close(len(futures))

    def _write(self) -> None:
        """The thread behind."""
        for future, finished in self._landed:
            try:
                turn = partial(advance, future, finished, self._config, self._pair)
                following = self._rows.sparing(turn, "turning tokens into frames", self._brake)
                if following is not None:
                    self._feed.follow(following)
                    continue
                row = self._tools.outputs.write(future.row(), future.made(self._config))
            except (BadOutput, Halted):
                raise
            except Exception as error:  # whatever is wrong with this future, the others go on
                self._fail([item_of(future)], error)
            else:
                self._record(row)
            self._feed.close()

    def _fail(self, items: list[Item], error: Exception) -> None:
        reason = str(error) if isinstance(error, VidjacobiError) else repr(error)
        for item in items:
            self._record(Row(*item, status=FAILED, error=reason))

    def _record(self, row: Row) -> None:
        """Into the log; from any thread."""
        with self._recording:
            self._tools.log.append(row)
            self.counts[row.status] += 1
            self._tools.observe(row)
        if row.status == FAILED and self._config.fail_fast:
            self._brake.pull(FailedFast(f"stopped at the first failure: {row.episode}: {row.error}"))


def item_of(future: Future) -> Item:
    """Its row of the manifest."""
    return Item(future.context.task.episode.id, future.context.task.start, future.sample)
