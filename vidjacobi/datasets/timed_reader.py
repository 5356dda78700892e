"""Reading in a process of its own, so that a broken or malicious video can neither hang nor crash the run.

A frame source is sent to a worker process, which reads for its parent. If no answer comes in time, the worker is
killed with every process that it started; if it dies, its parent lives on. Both are a BadInput for that episode,
and the next read starts a new worker, which takes about a second. Otherwise a read takes some milliseconds more
than in this process. POSIX only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import fields
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any

import torch

from vidjacobi.datasets.contract import FrameSource
from vidjacobi.errors import BadInput
from vidjacobi.video.clips import ReadClip

SECONDS = 120.0  # far longer than any read takes, and longer than decord is given within it
START_SECONDS = 120.0  # in which the worker imports what it needs, on a busy machine too


class TimedReader:
    """Reads frame sources in a worker process. Use it as a context, or ``close`` it. Threads take turns.

    Args:
        seconds: the longest time for one answer.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._line: Connection[Any, Any] | None = None

    def count(self, frames: FrameSource) -> int:
        """``frames.count()`` in the worker. Raises BadInput, also where it hangs or crashes."""
        answer = self._ask("count", frames, ())
        assert isinstance(answer, int)
        return answer

    def read(self, frames: FrameSource, start: int, count: int, stride: int = 1) -> ReadClip:
        """``frames.read(start, count, stride)`` in the worker. Raises BadInput, also where it hangs or crashes."""
        pictures, facts = self._ask("read", frames, (start, count, stride))
        return ReadClip(torch.from_numpy(pictures), **facts)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._kill()

    def __enter__(self) -> "TimedReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, task: str, frames: FrameSource, arguments: tuple[int, ...]) -> Any:
        with self._lock:
            line = self._line or self._start()
            try:
                line.send((task, frames, arguments, self.seconds))
                if not line.poll(self.seconds):
                    self._kill()
                    raise BadInput(f"no answer within {self.seconds:g} s; its reader was ended")
                good, answer = line.recv()
            except (EOFError, OSError) as error:
                raise BadInput(f"its reader crashed ({self._kill()}); the file is damaged") from error
            except BaseException:  # such as Ctrl-C
                self._kill()  # an answer that still comes must not be taken for that of the next question
                raise
        if not good:
            raise BadInput(answer)
        return answer

    def _start(self) -> "Connection[Any, Any]":
        ours, theirs = Pipe()
        # The worker is a new interpreter and not a fork: a fork would copy the locks that other threads hold.
        code = f"from vidjacobi.datasets.timed_reader import serve; serve({theirs.fileno()})"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._worker = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # where video libraries complain about damaged files
                env=environment,
                start_new_session=True,  # Ctrl-C does not reach it, and a kill reaches every process that it started
            )
        self._line = ours
        try:
            if not ours.poll(START_SECONDS):
                raise OSError(f"not ready within {START_SECONDS:g} s")
            ours.recv()  # "ready"
        except (EOFError, OSError) as error:
            raise BadInput(
                f"the process that reads videos does not start ({self._kill()}): {error}"
            ) from error
        return ours

    def _kill(self) -> str:
        """End the worker with everything that it started. Returns a text: how it had ended before, if it had."""
        worker, line = self._worker, self._line
        self._worker = self._line = None
        if line is not None:
            line.close()
        if worker is None:
            return "it was not running"
        with contextlib.suppress(subprocess.TimeoutExpired):
            # After a crash the end of the process may show a moment later than the closed connection.
            worker.wait(0.2 if line is not None else 0)
        ended = worker.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        if ended is None:
            return "it had to be ended"
        # a negative exit status is the signal that ended the process
        return signal.Signals(-ended).name if ended < 0 else f"exit status {ended}"


def serve(number: int) -> None:
    """The loop of the worker: answer questions on connection ``number`` until its other end is closed."""
    line: Connection[Any, Any] = Connection(number)
    line.send("ready")
    while True:
        try:
            task, frames, arguments, seconds = line.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # a source that cannot be unpickled here
            line.send((False, f"its source cannot be sent to another process: {error!r}"))
            continue
        # If the parent is gone, nobody kills a worker that hangs. The default action of SIGALRM then ends it, even
        # while it is inside a library that holds the interpreter's lock.
        signal.setitimer(signal.ITIMER_REAL, seconds + 10)
        answer = _answer(task, frames, arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            line.send(answer)
        except OSError:
            return


def _answer(task: str, frames: FrameSource, arguments: tuple[int, int, int]) -> tuple[bool, Any]:
    try:
        if task == "count":
            return True, frames.count()
        clip = frames.read(*arguments)
        facts = {field.name: getattr(clip, field.name) for field in fields(clip)}
        # The frames are sent as an array: a tensor would be sent through shared memory.
        return True, (facts.pop("frames").numpy(), facts)
    except BadInput as error:
        return False, str(error)
    except Exception as error:  # libraries raise anything; only this episode is lost, not the run
        return False, f"cannot be read: {error!r}"
