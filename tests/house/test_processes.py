"""Signals become exceptions once, and a worker ends with its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidjacobi.processes import Stopped, available_cores, end_with_parent, stoppable

PARENT = """
import multiprocessing, time
from vidjacobi.processes import end_with_parent

def work():
    end_with_parent()
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(60)
"""


def terminate_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)  # interrupted


def test_the_first_signal_is_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM") as stopped, stoppable(signal.SIGTERM):
        terminate_this_process()
    assert stopped.value.status == 143
    assert signal.getsignal(signal.SIGTERM) is before


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_worker_ends_with_its_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    end = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(worker)


def test_a_process_without_a_parent_says_so() -> None:
    with pytest.raises(RuntimeError, match="multiprocessing"):
        end_with_parent()


def test_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
