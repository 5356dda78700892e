"""Reading in a process of its own: a bad file can neither hang nor crash the run, nor fill the machine's memory.

Every command reads videos and pictures through it. A question is sent to a worker process (``reading_worker``). If no
answer comes in time, the worker is killed with every process that it started; if it dies or needs more memory than
it is given, its parent lives on. Each is a BadInput for that file, and the next read starts a new worker, which takes
tenths of a second. A read takes some milliseconds more than in this process. POSIX only; memory is limited on Linux.
"""

import atexit
import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vidjacobi.errors import BadInput, InvalidArgument

if TYPE_CHECKING:
    from vidjacobi.video.records import ClipInfo, ReadClip, Source

SECONDS = 120.0  # far longer than any read takes, and longer than decord is given within it
START_SECONDS = 120.0  # in which the worker imports what it needs, on a busy machine too
MOST_MEMORY = 8 << 30  # bytes: the largest read, and a decoder of pictures of the largest size
_BYTES_PER_SECOND = 1e6  # about the rate of playing; all of an odd file is decompressed


class TimedReader:
    """Reads in a worker process. Use it as a context, or ``close`` it. Threads take turns.

    Args:
        seconds: the longest time for one answer; a path's is longer by what it takes to read a file of its size.
        memory: bytes that the worker may take (None: half of the machine's, MOST_MEMORY at most).
    """

    def __init__(self, seconds: float = SECONDS, memory: int | None = None) -> None:
        self.seconds = seconds
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.memory = memory or min(MOST_MEMORY, machine // 2)
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | _Fork | None = None
        self._line: Connection[Any, Any] | None = None
        self._folder = ""  # of the worker's temporary files
        self._ready = False
        self._owner = os.getpid()

    def open_clip(self, path: str | Path) -> "ClipInfo":
        """``clips.open_clip`` in the worker. Raises BadInput, also where it hangs or crashes."""
        return self._ask("open_clip", (path,), str(path), self._seconds_for(path))

    def read_frames(
        self,
        path: str | Path,
        start: int,
        count: int,
        from_end: bool = False,
        stride: int = 1,
        reader: str | None = None,
    ) -> "ReadClip":
        """``clips.read_frames`` in the worker. Raises BadInput, also where it hangs or crashes."""
        asked = (path, start, count, from_end, stride, reader)
        return self._ask("read_frames", asked, str(path), self._seconds_for(path))

    def count(self, frames: "Source", name: str = "") -> int:
        """``frames.count()`` in the worker; messages call it ``name``. Raises BadInput as ``open_clip``."""
        return self._ask("count", (frames,), name, self.seconds)

    def read(self, frames: "Source", start: int, count: int, stride: int = 1, name: str = "") -> "ReadClip":
        """``frames.read(start, count, stride)`` in the worker; as ``count``."""
        return self._ask("read", (frames, start, count, stride), name, self.seconds)

    def start(self) -> None:
        """Start the worker and do not wait for it; a fork where no other thread is, whose locks it would copy."""
        with self._lock:
            if self._worker is None:
                alone = sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1
                waits = (
                    signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
                )  # else the kernel may keep no status
                self._start(fork=alone and waits)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._kill(patience=0.0)

    def __enter__(self) -> "TimedReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seconds_for(self, path: str | Path) -> float:
        with contextlib.suppress(OSError, ValueError):  # the worker says what is wrong with it
            status = os.stat(path)
            held = 512 * status.st_blocks or status.st_size  # without the holes of a sparse file
            return self.seconds + min(held, status.st_size) / _BYTES_PER_SECOND
        return self.seconds

    def _ask(self, task: str, arguments: tuple[object, ...], name: str, seconds: float) -> Any:
        about = f"{name}: " if name else ""
        with self._lock:
            try:
                line = self._connected()
                line.send((task, arguments, os.getcwd(), seconds))
                verdict, answer = self._answer(line, time.monotonic() + seconds)
            except TimeoutError as error:
                self._kill()
                raise BadInput(f"{about}no answer within {seconds:g} s; its reader was ended") from error
            except (EOFError, OSError) as error:
                how = self._kill()
                # no decoder ends in this way: the system or a person did it
                blame = "the machine lacks memory?" if how == "SIGKILL" else "the file is damaged"
                raise BadInput(f"{about}its reader crashed ({how}); {blame}") from error
            except BaseException:  # such as Ctrl-C
                self._kill()  # an answer that still comes must not be taken for that of the next question
                raise
            if verdict == "memory":
                self._kill()  # what it still holds is not known
                raise BadInput(
                    f"{about}to read it takes more than {self.memory / 2**30:.3g} GiB of memory, the limit of its "
                    "reader: scale it down, or ask for fewer frames"
                )
        if verdict == "bad":
            raise BadInput(answer)
        if verdict == "refused":
            raise InvalidArgument(answer)
        if verdict == "odd":
            raise BadInput(f"{about}{answer}")
        return answer

    def _answer(self, line: "Connection[Any, Any]", deadline: float) -> tuple[str, Any]:
        """(verdict, answer). Raises TimeoutError, EOFError, OSError."""
        _wait(line, deadline)
        verdict, answer, shape = line.recv()
        if shape is not None:
            import numpy as np  # the pictures follow as they lie in memory, and are written into this array

            pictures = np.empty(shape, np.uint8)
            left = pictures.reshape(-1).data
            while left:
                _wait(line, deadline)
                got = os.readv(line.fileno(), [left])
                if not got:
                    raise EOFError
                left = left[got:]
            answer = replace(answer, pictures=pictures)
        return verdict, answer

    def _connected(self) -> "Connection[Any, Any]":
        """The line to a worker that is ready. Raises BadInput where none starts."""
        if self._worker is not None and self._worker.poll() is not None:
            self._kill()  # it ended between two questions, which says nothing about the next file
        line = self._line or self._start()
        if not self._ready:
            try:
                _wait(line, time.monotonic() + START_SECONDS)
                line.recv()  # "ready"
            except (EOFError, OSError) as error:
                how = self._kill()
                raise BadInput(f"the process that reads videos does not start ({how}): {error}") from error
            self._ready = True
        return line

    def _start(self, fork: bool = False) -> "Connection[Any, Any]":
        """Start a worker. Raises BadInput."""
        try:
            return self._started(fork)
        except OSError as error:
            self._kill()
            raise BadInput(f"the process that reads videos does not start: {error}") from error

    def _started(self, fork: bool) -> "Connection[Any, Any]":
        self._folder = tempfile.mkdtemp(prefix="vidjacobi-")
        ours, theirs = Pipe()
        self._line, self._ready = ours, False
        if fork:
            with theirs:
                self._worker = _Fork(theirs.fileno(), self.memory, self._folder)
            return ours
        # A new interpreter. Its path is ours, without the current folder, which -c would put first.
        code = (
            "import sys; sys.path[:] = [p for p in sys.path if p]; "
            "from vidjacobi.video.reading_worker import serve; "
            f"serve({theirs.fileno()}, {self.memory}, {self._folder!r})"
        )
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
            # numpy's threads would take memory each, and have nothing to do
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        }
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
        return ours

    def _kill(self, patience: float = 0.2) -> str:
        """End the worker with everything that it started. Returns a text: how it had ended before, if it had.

        After a crash the end of a process may show a moment later than the closed connection, at most ``patience``.
        """
        worker, line, folder = self._worker, self._line, self._folder
        self._worker, self._line, self._folder = None, None, ""
        if line is not None:
            line.close()
        if worker is None or self._owner != os.getpid():  # a forked child does not end its parent's worker
            return "it was not running"
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(patience)
        ended = worker.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # does not follow links
        if ended is None:
            return "it had to be ended"
        return signal.Signals(-ended).name if ended < 0 else f"exit status {ended}"


class _Fork:
    """A worker that is a fork of this process, with two methods of ``subprocess.Popen``."""

    def __init__(self, number: int, memory: int, folder: str) -> None:
        # What both processes need is loaded once. OpenBLAS ends numpy's threads before a fork.
        import av, jaxtyping, numpy  # noqa: E401, F401, I001

        self._ended: int | None = None
        self.pid = os.fork()
        os.setpgid(self.pid, self.pid)  # both do it, the child with 0: whoever is first, the group is there
        if not self.pid:
            try:
                from vidjacobi.video.reading_worker import serve_forked

                serve_forked(number, memory, folder)
            finally:
                os._exit(1)

    def poll(self) -> int | None:
        if self._ended is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self._ended = os.waitstatus_to_exitcode(status) if found else None
        return self._ended

    def wait(self, patience: float = math.inf) -> None:
        deadline = time.monotonic() + patience
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)


def _wait(line: "Connection[Any, Any]", deadline: float) -> None:
    """Wait until something can be read. Raises TimeoutError."""
    if not line.poll(max(0.0, deadline - time.monotonic())):
        raise TimeoutError("no answer in time")


@cache
def shared() -> TimedReader:
    """The reader of this process's commands, with one worker for all that is read."""
    reader = TimedReader()
    atexit.register(reader.close)
    os.register_at_fork(after_in_child=shared.cache_clear)  # a child must not talk to its parent's worker
    return reader


def open_clip(path: str | Path) -> "ClipInfo":
    """``clips.open_clip`` for files from others, in another process. Raises BadInput."""
    return shared().open_clip(path)


def read_frames(
    path: str | Path,
    start: int,
    count: int,
    from_end: bool = False,
    stride: int = 1,
    reader: str | None = None,
) -> "ReadClip":
    """``clips.read_frames`` for files from others, in another process. Raises BadInput and InvalidArgument."""
    return shared().read_frames(path, start, count, from_end, stride, reader)
