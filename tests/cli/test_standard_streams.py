"""Standard streams that are closed, whose reader leaves or whose disk is full: no traceback, and nothing is lost."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = shlex.join([sys.executable, "-m", "vidjacobi", "decoders"])
# A command that prints more than a pipe holds, and writes files between: its own output, and by a child's words.
WORKS_ON = """
import os, subprocess, sys
from vidjacobi.cli import main as command
def run(words):
    with open(words[0], "w") as file:
        for number in range(3000):
            print(number, "." * 60)
        print("told", file=sys.stderr)
        subprocess.run(["echo", "a child's words"], check=False)
        file.write("whole")
    print("{}", flush=True)
    return int(words[1])
command.run = run
command.main()
"""


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("streams", "status"),
    [
        (">&-", 0),
        (">&- 2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>&-", 0),
        ("> /dev/full", 2),
        ("> /dev/full 2>&1", 2),
    ],
)
def test_a_listing_without_a_reader(streams: str, status: int) -> None:
    done = shell(f"{COMMAND} {streams}")
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    if streams == "> /dev/full":
        assert done.stderr == (
            "vidjacobi: error: standard output: No space left on device; what the command writes to files is not "
            "concerned\n"
        )
    elif streams == "2>&-":
        assert json.loads(done.stdout.splitlines()[-1])["decoders"]
    else:
        assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize(
    "streams", [">&-", "2>&-", ">&- 2>&-", "| head -1", "unbuffered | head -1", "2>&1 | true", "> /dev/full"]
)
def test_the_work_goes_on(tmp_path: Path, streams: str, status: int) -> None:
    """Its files hold what was written to them and nothing else, and the status is the command's own."""
    made = tmp_path / "made"
    flags, streams = (["-u"], streams[11:]) if streams.startswith("unbuffered ") else ([], streams)
    words = shlex.join([sys.executable, *flags, "-c", WORKS_ON, str(made), str(status)])
    done = shell(f"{words} {streams}; exit ${{PIPESTATUS[0]}}")
    assert made.read_text() == "whole"
    assert done.returncode == (status or 2 if streams == "> /dev/full" else status)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if streams == "| head -1":
        assert done.stdout.startswith("0 ...")
        assert done.stderr == "told\n"


@pytest.mark.slow
def test_a_whole_rollout_without_a_reader(tmp_path: Path) -> None:
    words = f"rollout --model micro --frames 1 --device cpu --samples 2 --out {tmp_path}"
    done = shell(f"{shlex.join([sys.executable, '-m', 'vidjacobi'])} {words} >&- 2>&-")
    assert done.returncode == 0
    assert len([*tmp_path.glob("sample/sample-*/rollout.mp4")]) == 2


def test_json_for_a_caller_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidjacobi.cli.main import json_line

    monkeypatch.setattr(sys, "stdout", None)
    assert json.loads(json_line({"path": os.fsdecode(b"\xff")})) == {"path": "\udcff"}
