"""The process behind ``timed_reader``: it reads for its parent, with limited memory, and does nothing else.

It must start fast and be small, so nothing here imports torch.
"""

import contextlib
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video.clips import open_clip, read_frames
from vidjacobi.video.records import ReadClip

# task -> what is done with the arguments of the question
TASKS: dict[str, Callable[..., Any]] = {
    "open_clip": open_clip,
    "read_frames": read_frames,
    "count": lambda frames: frames.count(),
    "read": lambda frames, start, count, stride: frames.read(start, count, stride),
}


def serve(number: int, memory: int, folder: str) -> None:
    """Answer questions on connection ``number`` until its other end is closed. Temporary files lie in ``folder``."""
    limit(memory)
    tempfile.tempdir = folder  # a worker that is killed cannot remove its own: the reader removes the folder
    try:
        answer_all(number)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # where the reader itself was killed


def serve_forked(number: int, memory: int, folder: str) -> None:
    """``serve`` in a fork of its parent, made like a new process first, and the end of it."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent's handlers are no use here
        signal.signal(stop, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    for other in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, number}:
        with contextlib.suppress(OSError):
            os.close(other)
    serve(number, memory, folder)
    os._exit(0)  # what the parent does at its end is not for the worker


def answer_all(number: int) -> None:
    """The loop of the worker."""
    line: Connection[Any, Any] = Connection(number)
    line.send("ready")
    while True:
        try:
            task, arguments, here, seconds = line.recv()
        except (EOFError, ConnectionError):
            return
        except MemoryError:
            line.send(("memory", "", None))
            continue
        except Exception as error:  # a source that cannot be unpickled here
            line.send(("odd", f"its source cannot be sent to another process: {error!r}", None))
            continue
        with contextlib.suppress(OSError):
            os.chdir(here)  # which relative paths start from
        # If the parent is gone, nobody kills a worker that hangs. The default action of SIGALRM then ends it, even
        # while it is inside a library that holds the interpreter's lock.
        signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds + 10))
        verdict, answer = answer_of(task, arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            send(line, verdict, answer)
        except OSError:
            return


def limit(memory: int) -> None:
    """Let this process and those that it starts take ``memory`` bytes, and leave no dump where they crash."""
    # RLIMIT_DATA counts memory that can be written to, unlike RLIMIT_AS, which would count all that is only reserved.
    for kind, wanted in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, most))


def answer_of(task: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """(verdict, answer): "good" or "memory", or with a message "bad", "refused" or "odd".

    The message of what is odd does not name the file.
    """
    try:
        return "good", TASKS[task](*arguments)
    except BadInput as error:
        return "bad", str(error)
    except InvalidArgument as error:
        return "refused", str(error)
    except MemoryError:
        return "memory", ""
    except Exception as error:  # libraries raise anything; only this file is lost, not the run
        return "odd", f"cannot be read: {error!r}"


def send(line: "Connection[Any, Any]", verdict: str, answer: Any) -> None:
    """Send an answer. Pictures follow as bare bytes: as a part of the message they would be copied twice."""
    if not isinstance(answer, ReadClip):
        line.send((verdict, answer, None))
        return
    pictures = answer.pictures if answer.pictures.flags.c_contiguous else answer.pictures.copy()
    line.send((verdict, replace(answer, pictures=pictures[:0]), pictures.shape))
    left = pictures.reshape(-1).data
    while left:
        left = left[os.write(line.fileno(), left) :]
