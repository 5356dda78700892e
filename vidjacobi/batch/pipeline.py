"""One process's rollouts in three threads: read and encode | decode | turn into frames and write.

The main thread decodes; rows are refilled as futures finish. What waits between the threads is bounded, so memory
does not grow with the dataset.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

from vidjacobi.batch.contexts import ContextTask, EncodedContext, Planner, encode_context, read_context
from vidjacobi.batch.fed_actions import FedActions
from vidjacobi.batch.future_files import FutureFiles
from vidjacobi.batch.futures import (
    Future,
    MakeRoom,
    RequestFeed,
    advance,
    first_chunk,
    futures_of,
    most_positions,
)
from vidjacobi.batch.manifest import FAILED, FinishedItems, Item, ManifestRow
from vidjacobi.batch.settings import BatchConfig, BatchPlan
from vidjacobi.batch.threads import (
    BoundedQueue,
    Cancelled,
    CancelToken,
    RowLimit,
    in_thread,
    is_out_of_memory,
)
from vidjacobi.datasets import Entry
from vidjacobi.decoding.clip_queue import Failed, Finished, Request, decode_each
from vidjacobi.decoding.scheduler import refills
from vidjacobi.errors import BadOutput, VidjacobiError
from vidjacobi.loading import Pair
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.output.rows import RowLog
from vidjacobi.rollouts.clip_job import model_notes
from vidjacobi.video.records import ReadClip
from vidjacobi.video.timed_reader import TimedReader

Decided = tuple[Future, Finished]
# Seconds that stopping waits for a thread: a read may be dropped, what is decided must be written.
JOIN_READER, JOIN_WRITER = 5.0, 150.0


class FailedFast(VidjacobiError):
    """A future failed, and the run was asked to stop at the first failure."""


@dataclass(frozen=True)
class Tools:
    """What a pipeline works with.

    Attributes:
        observe: is called with every new row.
        tell: prints a line for the user.
        encode, decode, to_frames: the step that each of the three threads does with a context or a future.
        actions: makes the actions of a clip, where the model follows some.
        condition: makes the condition of a context's futures for a chunk (0, 1, ...), where the model takes one.
    """

    plan: BatchPlan
    pair: Pair
    files: FutureFiles
    log: RowLog[ManifestRow]
    observe: Callable[[ManifestRow], None]
    tell: Callable[[str], None]
    encode: Callable[[ContextTask, ReadClip, VideoTokenizer], EncodedContext] = encode_context
    decode: Callable[..., Iterator[Finished | Failed]] = decode_each
    to_frames: Callable[[Future, Finished, BatchConfig, Pair], Request | None] = advance
    actions: Callable[[ContextTask], FedActions] | None = None
    condition: Callable[[EncodedContext, int], Any] | None = None


class Pipeline:
    """One pass over some entries of the dataset.

    Attributes:
        counts: rows recorded, by status.
    """

    def __init__(self, tools: Tools) -> None:
        config = tools.plan.config
        self._tools, self._config, self._pair = tools, config, tools.pair
        self.counts: Counter[str] = Counter()
        self._recording = Lock()
        self._cancel = CancelToken()
        self._rows = RowLimit(config.rows, tools.tell)
        at_once = refills(tools.plan.decoder.method, tools.pair[0])
        # contexts that wait: for half of the rows where these are refilled one by one, else for the next whole batch
        ahead = max(2, config.rows // (2 if at_once else 1))
        self._contexts: BoundedQueue[Request] = BoundedQueue(ahead, self._cancel)
        # Of any length, since decoding must never wait for a thread that waits for its memory; the feed bounds it.
        self._decided: BoundedQueue[Decided] = BoundedQueue(0, self._cancel)
        self._feed = RequestFeed(self._contexts, self._decided, self._rows, self._cancel, waits=not at_once)

    def run(self, entries: Iterable[Entry], finished: FinishedItems, reader: TimedReader) -> "Counter[str]":
        """Do what is missing of the entries. An interrupt stops it; what is decided by then is still written.

        Raises BadOutput where results cannot be written, FailedFast, and what the dataset's listing raises.
        """
        reading = in_thread("contexts", lambda: self._read(entries, finished, reader), self._cancel)
        writing = in_thread("frames", self._write, self._cancel)
        try:
            self._decode()  # returns when every future is written or failed, next chunks included
            self._decided.end()
            writing.join()
        except Cancelled:
            pass
        finally:
            self._cancel.cancel()  # with no error of its own: an earlier one is kept
            reading.join(JOIN_READER)
            writing.join(JOIN_WRITER)
        if self._cancel.error:
            raise self._cancel.error
        return self.counts

    def _read(self, entries: Iterable[Entry], finished: FinishedItems, reader: TimedReader) -> None:
        """The first thread: read and encode contexts."""
        config, tokenizer = self._config, self._pair[1]
        planner = Planner(config, finished, self._tools.files, reader, self._record, self._tools.tell)
        for task in planner.tasks(self._unless_stopped(entries)):
            try:
                acted = self._tools.actions and self._tools.actions(task)
                clip = read_context(task, config, reader)
                encode = partial(self._tools.encode, task, clip, tokenizer)
                context = self._rows.retrying(encode, "encoding frames", self._cancel)
                look = partial(model_notes, config.model, clip.frames, tokenizer)
                notes = tuple(self._rows.retrying(look, "looking at a context", self._cancel))
                context = replace(context, notes=notes, actions=acted)
                request = self._conditioned(first_chunk(context, config, self._pair), context)
            except Cancelled:
                raise
            except Exception as error:  # whatever is wrong with this episode, the others continue
                self._fail(task.items, error)
                continue
            self._contexts.put(request)
        self._contexts.end()

    def _unless_stopped(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self._cancel.check()
            yield entry

    def _conditioned(self, request: Request, context: EncodedContext) -> Request:
        """With the condition of its context and chunk."""
        make = self._tools.condition
        return request if make is None else replace(request, condition=make(context, request.chunk))

    def _decode(self) -> None:
        """The main thread: decode until nothing is left."""
        while not self._decode_some():
            self._rows.settle()

    def _decode_some(self) -> bool:
        """Decode until nothing is left, or (False) memory runs out; what was in flight then begins again."""
        config = self._config
        try:
            results = self._tools.decode(
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
                for future in self._feed.take(result):
                    self._hand_on(future, result)
            return True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Everything in flight begins again; its noise is keyed, so its tokens will be the same.
            lost = self._feed.lost()
            if not isinstance(error, MakeRoom) and not self._rows.halve("decoding"):
                if not lost:
                    raise
                self._drop(lost.pop(0), error)  # one row is too many for it: give it up, try the others
            for request in lost:
                self._feed.follow(request)
            return False

    def _hand_on(self, future: Future, result: Finished | Failed) -> None:
        if isinstance(result, Finished):
            self._decided.put((future, result))
        else:
            self._fail([future.item], result.error)
            self._feed.close()

    def _drop(self, request: Request, error: Exception) -> None:
        """Give up futures for which one row is too many."""
        futures = futures_of(request)
        self._fail([future.item for future in futures], error)
        self._feed.close(len(futures))

    def _write(self) -> None:
        """The last thread: turn tokens into frames and write them."""
        for future, finished in self._decided:
            try:
                turn = partial(self._tools.to_frames, future, finished, self._config, self._pair)
                following = self._rows.retrying(turn, "turning tokens into frames", self._cancel)
                if following is not None:
                    self._feed.follow(self._conditioned(following, future.context))
                    continue
                row = self._tools.files.write(future.row(), future.content(self._config))
            except (BadOutput, Cancelled):  # a full disk is not this future's fault: it stops the run
                raise
            except Exception as error:  # whatever is wrong with this future, the others continue
                self._fail([future.item], error)
            else:
                self._record(row)
            self._feed.close()

    def _fail(self, items: list[Item], error: Exception) -> None:
        reason = str(error) if isinstance(error, VidjacobiError) else repr(error)
        for item in items:
            self._record(ManifestRow(*item, status=FAILED, error=reason))

    def _record(self, row: ManifestRow) -> None:
        """Write a row to the log; any thread may."""
        with self._recording:
            self._tools.log.append(row)
            self.counts[row.status] += 1
            self._tools.observe(row)
        if row.status == FAILED and self._config.fail_fast:
            self._cancel.cancel(FailedFast(f"stopped at the first failure: {row.episode}: {row.error}"))
