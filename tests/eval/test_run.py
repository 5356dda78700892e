"""``vidjacobi eval realestate10k`` from end to end on a tiny random model."""

import csv
import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from headless import BROWSER, Browser
from noise_clips import write_clip
from tiny_features import make_extractor

from vidjacobi.bench import running
from vidjacobi.cli.main import main
from vidjacobi.eval.features import Extractor

CLIPS = 3


def short_extractor() -> Extractor:
    """A feature network that takes clips of 8 frames."""
    found = make_extractor()
    return replace(found, protocol={**found.protocol, "least_frames": 8})


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidjacobi.eval.run.load_extractor", lambda *_: short_extractor())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("re10k")
    for index in range(CLIPS):
        write_clip(root, f"{index:016x}", 25, index)
    write_clip(root, "f" * 16, 5, 9)
    return root


def words(data: Path, pair: Path, out: Path, *more: object) -> list[str]:
    given = f"eval realestate10k --data {data} --model {pair} --out {out} --frames 8 --clips 3 --videos 1 --draws 20"
    return [
        *given.split(),
        "--decoders",
        "pathwise,gs_sjd",
        "--windows",
        "6",
        "--device",
        "cpu",
        *map(str, more),
    ]


@pytest.fixture(scope="module")
def finished(data: Path, tiny_pair: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An evaluation that was not interrupted, and what it printed."""
    out, printed = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr("vidjacobi.eval.run.load_extractor", lambda *_: short_extractor())
        assert main(words(data, tiny_pair, out)) == 0
    return out, printed.getvalue()


def lines(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    rows = csv.DictReader((out / "results.csv").open())
    return {(row["decoder"], row["window"]): row for row in rows}


def settled(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Results without the values that a clock measured."""
    clock = ("seconds", "faster", "faster_low", "faster_high")
    return {key: {k: v for k, v in row.items() if k not in clock} for key, row in lines(out).items()}


def test_tables_and_report(finished: tuple[Path, str]) -> None:
    out, printed = finished
    told = json.loads(printed.strip().splitlines()[-1])
    assert [row["decoder"] for row in told["results"]] == ["frozen", "tokenizer", "ar", "pathwise", "gs_sjd"]
    found = lines(out)
    ar, pathwise = found["ar", "1"], found["pathwise", "6"]
    assert ar["passes"] == "24.0"
    assert 1 < float(pathwise["passes"]) < 24
    assert float(pathwise["ar_agreement"]) == 1
    assert (pathwise["fvd"], pathwise["psnr"], pathwise["ssim"]) == (ar["fvd"], ar["psnr"], ar["ssim"])
    assert float(pathwise["fvd_above_ar_high"]) == 0
    assert found["frozen", ""]["passes"] == ""
    assert found["gs_sjd", "6"]["fvd"] != ar["fvd"]
    record = json.loads((out / "results.json").read_text())
    assert len(record["results"][0]["psnr_by_frame"]) == 8
    assert record["label"] == "FVD-tiny"
    assert any("1 clips were skipped" in text for text in record["warnings"])
    chosen = json.loads((out / "clips.json").read_text())
    assert len(chosen["clips"]) == CLIPS
    assert chosen["skipped"][0]["id"] == "test/" + "f" * 16
    assert "5 frames, but 17 are needed" in chosen["skipped"][0]["reason"]
    page = (out / "report.html").read_text()
    assert page.count("data:video/mp4") == 4  # one clip with the ground truth, ar and two decoders
    assert "FVD-tiny" in (out / "results.md").read_text()
    assert (out / "decodes" / "bench.md").is_file()


@pytest.mark.slow
def test_resumes_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch, finished: tuple[Path, str], data: Path, tiny_pair: Path, tmp_path: Path
) -> None:
    whole, parts = finished[0], tmp_path / "parts"
    decoded: list[Any] = []
    run_case = running.run_case

    def stopping(*arguments: Any) -> Any:
        if len(decoded) == 4:
            raise KeyboardInterrupt
        decoded.append(arguments[2].key)
        return run_case(*arguments)

    monkeypatch.setattr(running, "run_case", stopping)
    assert main(words(data, tiny_pair, parts)) == 130
    assert not (parts / "results.csv").exists()
    monkeypatch.setattr(running, "run_case", lambda *a: decoded.append(a[2].key) or run_case(*a))
    assert main(words(data, tiny_pair, parts)) == 0
    assert len(decoded) == 3 * CLIPS
    assert settled(parts) == settled(whole)
    quality = (parts / "quality.jsonl").read_text()
    assert main(words(data, tiny_pair, parts)) == 0
    # nothing is done again
    assert (len(decoded), (parts / "quality.jsonl").read_text()) == (3 * CLIPS, quality)
    assert settled(parts) == settled(whole)


@pytest.mark.slow
def test_takes_more_but_no_other_evaluation(
    capsys: pytest.CaptureFixture, finished: tuple[Path, str], data: Path, tiny_pair: Path, tmp_path: Path
) -> None:
    few, many = tmp_path / "few", finished[0]
    assert main(words(data, tiny_pair, few, "--clips", 2)) == 0
    assert main(words(data, tiny_pair, few, "--clips", 3)) == 0
    assert settled(few) == settled(many)
    assert main(words(data, tiny_pair, few, "--seed", 5)) == 2
    assert "seed: 0 there, 5 here" in capsys.readouterr().err
    listed = tmp_path / "list.txt"
    listed.write_text(f"{2:016x}\n{1:016x}\n{0:016x}\n")
    assert main(words(data, tiny_pair, tmp_path / "listed", "--clip-list", listed)) == 0
    chosen = json.loads((tmp_path / "listed" / "clips.json").read_text())["clips"]
    assert [clip["id"][-1] for clip in chosen] == ["2", "1", "0"]
    assert main(words(data, tiny_pair, few, "--fvd-frames", "all")) == 0
    assert lines(few)["ar", "1"]["fvd"] != lines(many)["ar", "1"]["fvd"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "nowhere"], "no such file or folder"),
        (["--decoders", "pathwize"], "did you mean 'pathwise'"),
        (["--windows", "0"], "at least 1"),
        (["--clips", "1"], "at least 2 clips"),
        (["--frames", "25"], "takes 33 at once"),
        (["--context", "8"], "1 + 8 k"),
        (["--frames", "17"], "have 26 readable frames"),
        (["--split", "train"], "split"),
        (["--frames", "7"], "at least 8 frames, and 7 are predicted"),
        (["--config", "papers"], "did you mean 'paper'"),
    ],
)
def test_refuses_bad_requests(
    capsys: pytest.CaptureFixture, data: Path, tiny_pair: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    if more == ["--frames", "25"]:
        data = tmp_path / "long"
        for index in range(2):
            write_clip(data, f"{index:016x}", 34, index)
    assert main(words(data, tiny_pair, tmp_path / "e", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "e").exists()  # nothing is claimed for a request that cannot be run


def test_subcommands(capsys: pytest.CaptureFixture) -> None:
    assert main(["eval"]) == 0
    assert "vidjacobi eval fvd" in capsys.readouterr().out
    assert main(["eval", "realestate"]) == 2
    assert "did you mean 'realestate10k'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_the_report_in_a_browser(finished: tuple[Path, str], tmp_path: Path) -> None:
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[3].textContent.trim())"
    with Browser(tmp_path) as browser:
        browser.open(finished[0] / "report.html", width=375)
        assert browser.run("document.scrollingElement.scrollWidth <= innerWidth")
        assert browser.run("document.querySelectorAll('video').length") == 4
        browser.click("document.querySelectorAll('th button')[3]")
        passes = [float(cell) for cell in browser.run(column)[:3]]
        assert passes == sorted(passes)
        assert passes[2] == 24
        browser.run("""window.ended = 0, document.querySelectorAll('video').forEach(
            video => video.addEventListener('ended', () => ended++)), 1""")
        browser.click("document.querySelector('.clip button')")
        browser.wait_for("ended >= 4")
        assert browser.complaints == []
