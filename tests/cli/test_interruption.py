"""Ctrl-C ends a command with a line and status 130, whatever it is at."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# As torch's C++ code does: an exception that is thrown through it aborts the process.
TORCH = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for number in range(1000):
        pass
except BaseException:
    os.abort()
"""


@pytest.mark.parametrize("module", ["torch", "yaml"])
def test_ctrl_c_in_an_import(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(
        TORCH if module == "torch" else TORCH.replace("os.abort()", "raise")
    )
    done = _command(tmp_path, signal.SIG_DFL)
    assert (done.returncode, done.stderr) == (130, "vidjacobi: interrupted; what was finished is kept\n")
    assert not (tmp_path / "out").exists()


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(f"{TORCH}\nprint('it went on', flush=True)\nos._exit(7)")
    done = _command(tmp_path, signal.SIG_IGN)
    assert (done.returncode, done.stdout) == (7, "it went on\n")


def _command(folder: Path, handler: signal.Handlers) -> "subprocess.CompletedProcess[str]":
    """``vidjacobi rollout`` with the modules in ``folder`` in place of those that are installed."""
    return subprocess.run(
        [sys.executable, "-m", "vidjacobi", "rollout", "--out", folder / "out"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
