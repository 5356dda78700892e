"""``vidjacobi eval realestate10k`` from end to end on a tiny random model."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from clip_files import encode, moving
from headless import BROWSER, Browser
from noise_clips import write_clip
from programs import Detector, Fixed, right_logits, save_script
from tiny_features import make_extractor

from vidjacobi.cli.eval import parser
from vidjacobi.cli.main import main
from vidjacobi.errors import BadInput, BadOutput, InvalidArgument, VidjacobiError
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.results import Line
from vidjacobi.eval.run import Tell, clips_of, evaluate
from vidjacobi.eval.settings import EvalConfig, load_eval

pytestmark = pytest.mark.unchecked  # tests of the parts check shapes

CLIPS = 3


def short_extractor() -> Extractor:
    """A feature network that takes clips of 8 frames."""
    found = make_extractor()
    return replace(found, protocol={**found.protocol, "least_frames": 8})


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


def silent(line: str) -> None:
    """What a run tells where nobody listens."""


def run(request: list[str], tell: Tell = silent) -> list[Line]:
    """The evaluation that the command runs for these words, with features that cost nothing."""
    flags = parser().parse_intermixed_args(request[1:])
    return evaluate(load_eval(flags.config, vars(flags)), Path(flags.out), tell, short_extractor())


@pytest.fixture(scope="module")
def finished(
    data: Path, tiny_pair: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Line]]:
    """An evaluation that was not interrupted, and what it found."""
    out = tmp_path_factory.mktemp("whole")
    return out, run(words(data, tiny_pair, out))


def lines(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    rows = csv.DictReader((out / "results.csv").open())
    return {(row["decoder"], row["window"]): row for row in rows}


def settled(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Results without the values that a clock measured."""
    clock = ("seconds", "faster")
    return {key: {k: v for k, v in row.items() if not k.startswith(clock)} for key, row in lines(out).items()}


def test_tables_and_report(finished: tuple[Path, list[Line]]) -> None:
    out, told = finished
    assert [line["decoder"] for line in told] == ["frozen", "tokenizer", "ar", "pathwise", "gs_sjd"]
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
    assert any("1 clip" in text for text in record["warnings"])
    chosen = json.loads((out / "clips.json").read_text())
    assert len(chosen["clips"]) == CLIPS
    assert chosen["skipped"][0]["id"] == "test/" + "f" * 16
    assert "5 frames, but 17 are needed" in chosen["skipped"][0]["reason"]
    page = (out / "report.html").read_text()
    assert page.count("data:video/mp4") == 4  # one clip with the ground truth, ar and two decoders
    assert "FVD-tiny" in (out / "results.md").read_text()
    table = (out / "results.tex").read_text()
    assert r"\toprule" in table
    assert "3 clips, 9 frames given, 8 predicted" in table
    assert {path.suffix for path in (out / "figures").iterdir()} == {".svg", ".pdf"}
    assert "whole map" in record["metrics"]["ssim"]
    assert record["facts"]["floor"] == "none below 4 clips"
    assert all(row["passes_low"] <= row["passes"] <= row["passes_high"] for row in record["results"][2:])
    assert (out / "decodes" / "bench.md").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_the_command(capsys: pytest.CaptureFixture, data: Path, tiny_pair: Path, tmp_path: Path) -> None:
    """With a program as the feature network that answers as FVD's does, and says the same of every clip."""
    out, weights = tmp_path / "e", save_script(Detector(Fixed(right_logits())), tmp_path / "weights.pt")
    more = ("--fvd-frames", "all", "--clips", 2, "--videos", 0, "--weights", weights)
    assert main(words(data, tiny_pair, out, *more)) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out.strip().splitlines()[-1])
    assert [row["decoder"] for row in told["results"]] == ["frozen", "tokenizer", "ar", "pathwise", "gs_sjd"]
    assert (out / "results.md").read_text() in printed.out
    assert f"{out / 'report.html'}: open it in a browser" in printed.out
    assert json.loads((out / "results.json").read_text())["label"] == "FVD"
    assert printed.err.count(" passes, ") == 3 * 2
    guess, first = printed.err.index("this evaluation will take "), printed.err.index(" passes, ")
    assert guess < first  # told before anything is decoded
    assert "6 decodes to make" in printed.err
    for line in ("1 of 2 batches of clips, ", "2 of 2 clips, measured", "20 bootstrap draws for each of 5"):
        assert line in printed.err
    assert main(words(data, tiny_pair, out, *more, "--seed", 5)) == 2
    assert "seed: 0 there, 5 here" in capsys.readouterr().err


def test_what_a_folder_leaves_out_is_told(tiny_pair: Path, tmp_path: Path) -> None:
    for index in range(2):
        write_clip(tmp_path / "set", str(index), 20, index)
    folder = tmp_path / "set" / "frames"
    (folder / "extra.braw").touch()
    config = load_eval("quick", {"data": str(folder), "dataset": "folder", "frames": 8, "clips": 2})
    chosen = clips_of(config)
    said = f"left out of {folder}: 1 other file or folder (extra.braw)"
    assert (len(chosen.clips), chosen.left_out, chosen.record()["left_out"]) == (2, said, said)
    told: list[str] = []
    with pytest.raises(InvalidArgument, match="does not fit the video tokenizer"):
        evaluate(
            replace(config, model=str(tiny_pair), context=2),
            tmp_path / "e",
            told.append,
            short_extractor(),
        )
    assert told[-1] == said


class Decodes:
    """Counts the decodes that a run tells of, and presses Ctrl-C after ``last`` of them."""

    def __init__(self, last: int | None = None) -> None:
        self.count, self._last = 0, last

    def __call__(self, line: str) -> None:
        self.count += " passes, " in line
        if self.count == self._last:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_resumes_where_it_stopped(
    finished: tuple[Path, list[Line]], data: Path, tiny_pair: Path, tmp_path: Path
) -> None:
    whole, parts = finished[0], tmp_path / "parts"
    first, rest, again = Decodes(4), Decodes(), Decodes()
    with pytest.raises(KeyboardInterrupt):
        run(words(data, tiny_pair, parts), first)
    assert not (parts / "results.csv").exists()
    run(words(data, tiny_pair, parts), rest)
    assert (first.count, first.count + rest.count) == (4, 3 * CLIPS)
    assert settled(parts) == settled(whole)
    quality = (parts / "quality.jsonl").read_text()
    run(words(data, tiny_pair, parts), again)
    # nothing is done again
    assert (again.count, (parts / "quality.jsonl").read_text()) == (0, quality)
    assert settled(parts) == settled(whole)


@pytest.mark.slow
def test_takes_more_but_no_other_evaluation(
    finished: tuple[Path, list[Line]], data: Path, tiny_pair: Path, tmp_path: Path
) -> None:
    few, many = tmp_path / "few", finished[0]
    run(words(data, tiny_pair, few, "--clips", 2))
    run(words(data, tiny_pair, few, "--clips", 3))
    assert settled(few) == settled(many)
    with pytest.raises(BadOutput, match="seed: 0 there, 5 here"):
        run(words(data, tiny_pair, few, "--seed", 5))
    listed = tmp_path / "list.txt"
    listed.write_text(f"{2:016x}\n{1:016x}\n{0:016x}\n")
    run(words(data, tiny_pair, tmp_path / "listed", "--clip-list", listed))
    chosen = json.loads((tmp_path / "listed" / "clips.json").read_text())["clips"]
    assert [clip["id"][-1] for clip in chosen] == ["2", "1", "0"]
    run(words(data, tiny_pair, few, "--fvd-frames", "all"))
    assert lines(few)["ar", "1"]["fvd"] != lines(many)["ar", "1"]["fvd"]


def test_the_reader_is_chosen_by_name(tmp_path: Path) -> None:
    for name in ("a.ts", "b.ts"):
        encode(tmp_path / name, moving(12))  # a container that decord does not read rightly
    config = EvalConfig("folder", str(tmp_path), context=1, frames=8, reader="decord")
    with pytest.raises(BadInput, match="its container is mpegts; take --reader pyav"):
        clips_of(config).clips[0].frames.read(0, 2)
    assert clips_of(replace(config, reader="pyav")).clips[0].frames.read(0, 2).reader == "pyav"
    assert parser().parse_intermixed_args(["realestate10k", "--reader", "decord"]).reader == "decord"
    with pytest.raises(InvalidArgument, match="unknown reader 'decored'"):
        clips_of(replace(config, reader="decored"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "nowhere"], "no such file or folder"),
        (["--decoders", "pathwize"], "did you mean 'pathwise'"),
        (["--windows", "0"], "at least 1"),
        (["--clips", "1"], "at least 2 clips"),
        (["--frames", "25"], "takes 33 at once"),
        (["--context", "8"], "use 1, 9, 17, 25"),
        (["--frames", "17"], "have 26 readable frames"),
        (["--split", "train"], "split"),
        (["--frames", "7"], "at least 8 frames, and 7 are predicted"),
        (["--config", "papers"], "did you mean 'paper'"),
    ],
)
def test_refuses_bad_requests(
    data: Path, tiny_pair: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    if more == ["--frames", "25"]:
        data = tmp_path / "long"
        for index in range(2):
            write_clip(data, f"{index:016x}", 34, index)
    with pytest.raises(VidjacobiError, match=re.escape(message)):
        run(words(data, tiny_pair, tmp_path / "e", *more))
    assert not (tmp_path / "e").exists()  # nothing is claimed for a request that cannot be run


def test_subcommands(capsys: pytest.CaptureFixture) -> None:
    assert main(["eval"]) == 2
    assert (
        "eval needs a dataset, or `setup`, `fvd`, `actions`, `pictures` or `policies`"
        in capsys.readouterr().err
    )
    assert main(["eval", "realestate"]) == 2
    assert "did you mean 'realestate10k'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_the_report_in_a_browser(finished: tuple[Path, list[Line]], tmp_path: Path) -> None:
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
