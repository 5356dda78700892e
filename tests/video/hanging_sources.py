"""Frame sources that behave as badly as damaged videos, in a module that the worker process can import."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from vidjacobi.video.records import ReadClip


@dataclass(frozen=True)
class Bad:
    """A source whose ``read`` and ``count`` do what ``how`` says; see the branches."""

    how: str
    note: str = ""

    def count(self) -> int:
        if self.how == "sleep":
            time.sleep(1000)
        if self.how == "files":  # as a video that is copied out of an archive to be read
            with tempfile.NamedTemporaryFile() as file:
                with open(self.note, "w") as note:
                    note.write(file.name)
                time.sleep(1000)
        if self.how == "child":  # as a video library may do in a process of its own
            child = subprocess.Popen(["sleep", "1000"])
            with open(self.note, "w") as file:
                file.write(str(child.pid))
            child.wait()
        if self.how == "lock":  # hangs for ever and holds the interpreter's lock
            re.match("(a+)+$", "a" * 64 + "b")
        if self.how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "exit":
            os._exit(3)
        if self.how == "modules":
            return len(sys.modules.keys() & {"torch", "vidjacobi.shapes"})
        if self.how == "odd":
            raise ZeroDivisionError("odd")
        return 7

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        raise MemoryError("as much as there is")
