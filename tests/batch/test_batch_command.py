"""The command, as it is used: exit status, messages, signals, several processes, kills."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from batches import COMMAND, environment, hashes, log_lines, rows_of, words_of, write_clips

from vidjacobi.cli import main

MANY = int(os.environ.get("VIDJACOBI_EPISODES", "200"))  # 2000: ten minutes
Flags = dict[str, Any]
Start = Callable[[list[str]], subprocess.Popen[str]]


def last(text: str) -> dict[str, Any]:
    """The machine's line."""
    return json.loads(text.strip().splitlines()[-1])


def test_a_run_and_its_report(flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    mine = {**flags, "output": "videos", "starts": "first", "limit": 2, "devices": "cpu"}
    assert main.main(words_of(mine, out)) == 0
    assert last(capsys.readouterr().out) == {"out": str(out), "new": {"done": 4}, "all": {"done": 4}}
    assert pq.read_table(out / "manifest.parquet").num_rows == 4
    assert main.main(["report", str(out), "--clips", "2"]) == 0
    page = (out / "report.html").read_text()
    assert "4 futures of 2 episodes." in page
    assert page.count("<video") == 4
    assert "<h2" in page
    damage_one_video_and_tokens(out, words_of(mine, out), capsys)
    capsys.readouterr()
    assert main.main(words_of(mine, out)) == 0
    told = capsys.readouterr()
    assert f"{out}: everything was done before: 4 futures" in told.out
    assert f"{out}: resumes: 4 futures done" in told.err
    log = min((out / "log").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    place = next(k for k, row in enumerate(rows) if (row["episode"], row["sample"]) == ("a", 1))
    rows[place]["video"] = None
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main.main(words_of(mine, out)) == 0  # the files are whole, and get a line again
    told = capsys.readouterr()
    assert f"{log}: line {place + 1}: no row of a batch" in told.err
    assert last(told.out) == {"out": str(out), "new": {"done": 1}, "all": {"done": 4}}
    assert main.main(words_of({**mine, "frames": 5}, out)) == 2
    assert "frames: 7 there, 5 here" in capsys.readouterr().err


def damage_one_video_and_tokens(out: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The report goes on without the one, names both, and says so by its status; they are made again."""
    video, tokens = out / "items" / "a" / "000000-0.mp4", out / "items" / "b" / "000000-0.npz"
    content = video.read_bytes()
    middle = len(content) // 2
    video.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    tokens.write_bytes(tokens.read_bytes()[:60])
    capsys.readouterr()
    assert main.main(["report", str(out)]) == 1
    told = capsys.readouterr()
    page = (out / "report.html").read_text()
    for text in (told.err, page):
        assert f"{video} is damaged" in text
        assert f"{tokens} is damaged" in text
    assert len(last(told.out)["damaged"]) == 2
    assert page.count("<video") == 3
    assert main.main(words) == 0
    told = capsys.readouterr()
    for path in (video, tokens):
        assert f"{path} is damaged" in told.err
    assert f"gone or damaged ({video.name}) and are made again" in told.err
    assert last(told.out)["new"] == {"done": 2}
    assert main.main(["report", str(out)]) == 0


def test_failures_are_told_and_change_the_status(
    flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_clips(tmp_path / "clips", (20, 9))
    (data / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    words = [*words_of({**flags, "data": str(data)}, out), "--devices", "cpu"]
    assert main.main(words) == 1
    told = capsys.readouterr().out
    assert "1 failed: " in told
    assert str(out / "failures.csv") in told
    assert "broken" in (out / "failures.csv").read_text()
    assert last(told)["all"] == {"done": 2, "skipped": 1, "failed": 1}
    assert main.main([*words, "--fail-fast"]) == 1
    assert "stopped at the first failure: broken" in capsys.readouterr().err
    assert main.main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "too short: 9 frames, but 16 are needed" in page
    assert "1 failed" in page


def test_a_report_of_nothing(tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["report", str(tmp_path)]) == 2
    assert "no batch lies here" in capsys.readouterr().err
    data = write_clips(tmp_path / "clips", (9,))
    assert main.main(words_of({**flags, "data": str(data)}, tmp_path / "out")) == 1
    told = capsys.readouterr()
    assert "1 skipped: too short: 9 frames, but 16 are needed: without --need-truth the 9" in told.out
    assert "nothing was predicted" in told.err
    assert main.main(["report", str(tmp_path / "out")]) == 0
    assert "0 futures of 0 episodes, 1 skipped." in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["batch", "nowhere"], "nowhere: no such file or folder"),
        (["batch", ".", "--starts", "evry:3"], "did you mean 'every'"),
        (["batch", ".", "windo=3"], "did you mean 'window'"),
        (["batch", ".", "--context", "10"], "a context of 10 frames"),
    ],
)
def test_bad_requests(
    words: list[str], message: str, tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", flags["model"], "--devices", "cpu", "--out", str(tmp_path / "out")]
    data = [flags["data"] if word == "." else word for word in words]
    assert main.main([*data, *given]) == 2
    assert message in capsys.readouterr().err


def test_a_second_run_in_the_same_folder_is_refused(
    flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vidjacobi.output.locks import locked

    with locked(tmp_path / "out" / "log" / ".run-0-of-1", wait=False):
        assert main.main(words_of(flags, tmp_path / "out")) == 2
    assert "another run is at work" in capsys.readouterr().err


def test_names_of_any_bytes_survive(flags: Flags, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Through the log, the record, the manifest, the failures, the report and the command's last line."""
    strange = os.fsdecode(b"caf\xe9")
    data = write_clips(tmp_path / strange, (9,))
    (data / "a.mp4").rename(data / f"{strange}.mp4")
    (data / "=broken.mp4").write_bytes(b"no video")
    out = tmp_path / f"out {strange}"
    words = words_of({**flags, "data": str(data), "samples": 1, "need_truth": False, "devices": "cpu"}, out)
    words.remove("False")
    words.remove("--need-truth")
    for _ in range(2):  # the second run reads what the first one wrote
        assert main.main(words) == 1
        assert last(capfd.readouterr().out)["out"] == str(out)
    done = next(row for row in rows_of(out).values() if row.status == "done")
    assert done.source == f"{data}/{strange}.mp4"
    with np.load(out / str(done.tokens)) as content:
        assert json.loads(str(content["record"]))["source"] == done.source
    table = pq.read_table(io.BytesIO((out / "manifest.parquet").read_bytes()))
    sources = table.column("source").to_pylist()
    assert done.source.encode("utf-8", "backslashreplace").decode() in sources
    cells = next(csv.reader((out / "failures.csv").read_text().splitlines()[1:]))
    assert cells[0] == "'=broken"
    assert main.main(["report", str(out)]) == 0


def test_damaged_logs_are_named_and_the_batch_goes_on(
    flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mine = tmp_path / "out", {**flags, "starts": "first", "limit": 1, "devices": "cpu"}
    assert main.main(words_of(mine, out)) == 0
    log = next((out / "log").glob("*.jsonl"))
    first, second = log.read_text().splitlines()
    wrong = [
        {"sample": "0"},
        {"status": "fine"},
        {"finished": "now"},
        {"episode": 5},
        {"tokens": "/etc/passwd"},
    ]
    lines = [json.dumps({**json.loads(first), **part}) for part in wrong]
    log.write_text("\n".join([*lines, second, "[" * 9000]) + "\n")
    next(out.glob("items/*/000000-0.npz")).write_bytes(b"PK\3\4 cut")
    capsys.readouterr()
    assert main.main(words_of(mine, out)) == 0
    told = capsys.readouterr()
    assert f"{log}: line 1, 2, 3, 4, 5 ...: no row of a batch" in told.err
    assert "000000-0.npz is damaged" in told.err
    assert last(told.out) == {"out": str(out), "new": {"done": 1}, "all": {"done": 2}}
    assert main.main(["report", str(out)]) == 0
    (out / "settings.json").write_text("[1]")
    assert main.main(words_of(mine, out)) == 2
    assert f"{out / 'settings.json'} is damaged" in (told := capsys.readouterr().err)
    assert "give another --out, or --overwrite" in told
    assert main.main(["report", str(out)]) == 2
    assert "settings.json" in capsys.readouterr().err


def test_settings_with_values_of_other_types(
    flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mine = tmp_path / "out", {**flags, "starts": "first", "limit": 1, "devices": "cpu"}
    assert main.main(words_of(mine, out)) == 0
    path = out / "settings.json"
    good = json.loads(path.read_text())
    (out / "log" / "0-of-1-folder.jsonl").mkdir()  # no log
    path.write_text(json.dumps({**good, "earlier": 5}))
    assert main.main(words_of(mine, out)) == 0
    assert json.loads(path.read_text()) == good
    for name, value in (("data", 7), ("stride", "2"), ("camera", 3), ("context", None)):
        path.write_text(json.dumps({**good, "settings": {**good["settings"], name: value}}))
        capsys.readouterr()
        assert main.main(["report", str(out)]) == main.main(["export", str(out), str(tmp_path / "set")]) == 2
        told = capsys.readouterr().err
        assert told.count(f"{path} is damaged (TypeError") == told.count(f"{name}: ") == 2
        assert "put it back, or begin anew" in told


def wait_for_lines(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    while len(log_lines(out)) < count and process.poll() is None:
        time.sleep(0.02)


def many(flags: Flags, tmp_path: Path, clips: int = 10) -> Flags:
    """60 futures, six of each clip: long enough to be interrupted."""
    return {**flags, "data": str(write_clips(tmp_path / "clips", (34,) * clips)), "rows": 2}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_cleanly(
    flags: Flags, tmp_path: Path, started: Start, number: signal.Signals, workers: int
) -> None:
    out, mine = tmp_path / "out", many(flags, tmp_path)
    words = words_of({**mine, "workers": workers, "devices": "cpu"}, out)
    process = started(words)
    wait_for_lines(out, 5, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    told = process.communicate(timeout=120)
    assert process.returncode == 128 + number, told
    assert f"stopped by {number.name}" in told[1]
    done = last(told[0])["all"]["done"]
    assert 5 <= done < 60
    assert pq.read_table(out / "manifest.parquet").num_rows == done
    assert not list(out.glob("items/*/.*"))
    again = subprocess.run([*COMMAND, *words], env=environment(), capture_output=True, text=True, check=True)
    assert last(again.stdout)["new"]["done"] == 60 - done


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "wanted"), [(1, 8), (2, 4)])
def test_kills_lose_nothing(flags: Flags, tmp_path: Path, started: Start, workers: int, wanted: int) -> None:
    """SIGKILL at random moments, several times: the same as an undisturbed run."""
    mine = many(flags, tmp_path, clips=18)  # so many that a quick machine is not done before the last kill
    calm = tmp_path / "calm"
    subprocess.run([*COMMAND, *words_of(mine, calm)], env=environment(), capture_output=True, check=True)
    out, random_moment = tmp_path / "out", random.Random(workers)
    words = words_of({**mine, "workers": workers, "devices": "cpu", "output": "tokens"}, out)
    kills = 0
    for _ in range(wanted + 1):
        process = started(words)
        wait_for_lines(out, len(log_lines(out)) + random_moment.randint(0, 4), process)
        time.sleep(random_moment.uniform(0, 0.3))
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= wanted
    told = subprocess.run([*COMMAND, *words], env=environment(), capture_output=True, text=True, check=True)
    assert last(told.stdout)["all"] == {"done": 108}
    assert hashes(rows_of(out)) == hashes(rows_of(calm))
    files = {path.relative_to(out) for path in out.glob("items/*/*")}
    assert files == {path.relative_to(calm) for path in calm.glob("items/*/*")}
    assert not list(out.glob("items/*/.*"))
    seen = [(line["episode"], line["start"], line["sample"]) for line in log_lines(out)]
    assert len(seen) - len(set(seen)) <= kills * workers  # at most the record of what a kill cut short


@pytest.mark.slow
def test_a_killed_worker_is_started_again(flags: Flags, tmp_path: Path, started: Start) -> None:
    out, mine = tmp_path / "out", many(flags, tmp_path)
    process = started(words_of({**mine, "workers": 2, "devices": "cpu"}, out))
    wait_for_lines(out, 6, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "it is started again" in told[1]
    assert last(told[0])["all"] == {"done": 60}


@pytest.mark.slow
def test_compiled_passes_find_the_same(flags: Flags, tmp_path: Path) -> None:
    mine = {
        **flags,
        "dtype": "float64",
        "devices": "cpu",
        "rows": 4,
    }  # 6 futures: a full batch, and half of one
    for mode in ("off", "default"):
        words = [*COMMAND, *words_of({**mine, "compile": mode}, tmp_path / mode)]
        told = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        assert last(told.stdout)["all"]["done"] == 6
    assert hashes(rows_of(tmp_path / "default")) == hashes(rows_of(tmp_path / "off"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"compile": "fast"}, "unknown compile mode 'fast'"),
        ({"compile": "reduce-overhead"}, "on a CPU use compile mode 'default'"),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_anything_is_loaded(
    flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: Flags, message: str
) -> None:
    assert main.main(words_of({**flags, "devices": "cpu", **more}, tmp_path / "out")) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_memory_does_not_grow_with_the_dataset(flags: Flags, tmp_path: Path) -> None:
    """Many episodes in the memory of 20: peaks of the process itself, its reader aside."""
    one = write_clips(tmp_path / "one", (16,)) / "a.mp4"
    peaks = {}
    for count in (20, MANY):
        data = tmp_path / str(count)
        data.mkdir()
        for index in range(count):
            os.link(one, data / f"{index}.mp4")
        mine = {**flags, "data": str(data), "starts": "first", "samples": 1, "frames": 1, "decoder": "fast"}
        code = (
            "import resource, sys, torch; torch.set_num_threads(1); from vidjacobi.cli import main; "
            "status = main.main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); sys.exit(status)"
        )
        words = [sys.executable, "-c", code, *words_of(mine, tmp_path / f"out{count}")]
        told = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        *_, line, peak = told.stdout.strip().splitlines()
        assert json.loads(line)["all"] == {"done": count}
        peaks[count] = float(peak)
    assert peaks[MANY] < peaks[20] + 60, peaks


def test_what_a_folder_leaves_out_is_told_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_clips(tmp_path / "clips", (3,)), tmp_path / "out"
    for name in ("x.braw", "notes.txt"):
        (data / name).touch()
    out.mkdir()
    (out / "thesis.txt").touch()
    words = ["batch", str(data), "--out", str(out), "--no-memory-check"]
    said = f"left out of {data}: 2 other files or folders (notes.txt, x.braw)\n"
    assert main.main(words) == 2  # ``out`` is refused, so that nothing is loaded
    assert said in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("a\n")
    assert main.main([*words, "--clip-list", str(tmp_path / "list.txt")]) == 2
    assert said not in capsys.readouterr().err
