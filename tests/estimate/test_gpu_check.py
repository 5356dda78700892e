"""The check of a GPU: its stages, their time boxes, and its report. On a CPU, where its seconds mean nothing."""

import json
import sys
from pathlib import Path

import pytest

from scripts.gpu_check import Outcome, main, report, run_stage


@pytest.mark.parametrize(
    ("ends", "seconds", "failure"),
    [
        ("", 60.0, ""),
        ("import time; time.sleep(60)", 0.3, "ended after its 0 s"),
        ("raise ValueError('no such kernel')", 60.0, "ValueError: no such kernel (exit status 1)"),
        ("import os; os.abort()", 60.0, "(SIGABRT)"),
    ],
)
def test_what_a_stage_found_until_its_end_is_kept(
    tmp_path: Path, ends: str, seconds: float, failure: str
) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text('{"a": 1}\n{"a": 2}\n{"a')  # the last one was being written
    outcome = run_stage([sys.executable, "-S", "-c", ends or "pass"], records, seconds, {})
    assert outcome.records == [{"a": 1}, {"a": 2}]
    assert outcome.failure == failure or (failure and outcome.failure.strip().endswith(failure))


def test_a_report_of_stages_that_failed() -> None:
    """What is not there leaves a gap, and why it is not there is said."""
    probe = Outcome([{"what": "head 4096 to 64000", "how": "as is", "holds": False}], 3.0)
    passes = [
        {"window": 64, "prefix": 5120, "mode": "off", "ms": 12.0, "predicted_ms": 10.0, "sheet": "h100",
         "peak": 9e9, "predicted_peak": 8e9},
        {"window": 64, "prefix": 5120, "mode": "default", "ms": 9.0, "sheet": "h100", "peak": 9e9},
    ]  # fmt: skip
    broken = {"model": "micro", "dtype": "float32", "mode": "default", "window": 64, "tokens": 960,
              "error": "InvalidArgument: no compiler"}  # fmt: skip
    outcomes = {
        "about": Outcome([{"device": "a GPU"}], 1.0),
        "probe": probe,
        "probe, split-K off": Outcome([], 60.0, "ended after its 60 s"),
        "identical": Outcome([broken], 9.0),
        "passes": Outcome(passes, 220.0, "TimeoutError: 40 s left"),
    }
    lines = report(outcomes)
    assert "| head 4096 to 64000 | as is | **no** | - |" in lines
    assert "| micro, float32 | default | 64 | failed | - |" in lines
    assert "| 64 | 5120 | 12.00 / 10.00 | 9.00 | - | 9.00 / 8.00 |" in lines
    assert "identical: 9 s; InvalidArgument: no compiler" in lines
    assert "passes: 220 s; TimeoutError: 40 s left" in lines


@pytest.mark.slow
def test_the_whole_check_runs_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--device", "cpu", "--small", "--out", str(tmp_path)]) == 0
    stages = json.loads((tmp_path / "gpu_check.json").read_text())
    assert list(stages) == ["about", "probe", "probe, split-K off", "identical", "passes"]
    assert len(stages["identical"]["records"]) == 2
    assert {(one["window"], one["prefix"]) for one in stages["passes"]["records"]} == {
        (window, prefix) for window in (1, 16, 64, 128, 256) for prefix in (192, 224)
    }
    assert (tmp_path / "gpu_check.md").read_text() in capsys.readouterr().out


def test_a_device_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_device(*_: object) -> Outcome:
        return Outcome([], 1.0, "sees no CUDA device here (exit status 1)")

    monkeypatch.setattr("scripts.gpu_check.run_stage", no_device)
    assert main(["--out", str(tmp_path)]) == 1
    assert list(json.loads((tmp_path / "gpu_check.json").read_text())) == ["about"]
    assert "sees no CUDA device here" in (tmp_path / "gpu_check.md").read_text()
