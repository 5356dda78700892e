"""The bench command on a tiny random model."""

import csv
import io
import json
import re
from contextlib import redirect_stderr
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from PIL import Image

from vidjacobi.bench.bench_folder import folder_of, open_folder, write_results
from vidjacobi.bench.material import Source
from vidjacobi.bench.running import Bench, check, run
from vidjacobi.bench.settings import load_bench
from vidjacobi.cli.bench import parser
from vidjacobi.cli.main import main
from vidjacobi.decoding.api import decode
from vidjacobi.runtime import choose
from vidjacobi.video.clips import write_video

pytestmark = pytest.mark.unchecked

BARS = """
seeds: [0, 1]
frames: 8
windows: [4, 9]
decoders: [gs_sjd, pathwise, pjd_temporal]
bars:
  - {name: fewer_passes, decoder: pathwise, most: {4: 0.5, 7: 0.5}}
  - {name: lanes, decoder: pjd_temporal, passes: 0.7, nll: 0.02}
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three videos of noise."""
    found = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (9, 32, 48, 3), generator=generator, dtype=torch.uint8)
        found.append(tmp_path_factory.mktemp("clips") / f"{seed}.mp4")
        write_video(found[-1], frames, 10)
    return found


def words(clips: list[Path], pair: Path, out: Path, *more: object) -> list[str]:
    return [
        *map(str, ["bench", *clips, "--config", "quick", "--models", pair, "--out", out]),
        *("--device", "cpu", "--windows", "4", "9", "--decoders", "gs_sjd", "pathwise"),
        *map(str, more),
    ]


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "bench.csv").open()))


def test_compares_decoders_with_ar(
    capsys: pytest.CaptureFixture, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    config = tmp_path / "bars.yaml"
    config.write_text(BARS)
    out = tmp_path / "b"
    request = [
        "bench",
        *clips[:2],
        "--config",
        config,
        "--models",
        tiny_pair,
        "--out",
        out,
        "--device",
        "cpu",
    ]
    assert main(list(map(str, request))) == 0
    printed = capsys.readouterr()
    lines = json.loads(printed.out.splitlines()[-1])["summary"]
    assert [(line["decoder"], line["window"]) for line in lines] == [
        ("ar", 1),
        *(("gs_sjd", 4), ("gs_sjd", 9), ("pathwise", 4), ("pathwise", 9)),
        ("pjd_temporal", 256),
    ]
    for line in lines:
        assert (line["clips"], line["decodes"]) == (2, 4)
        assert line["passes"] <= 24
        if line["decoder"] in {"ar", "pathwise"}:
            assert line["ar_agreement"] == 1
        assert (line["kl"] is None) == (line["guarantee"] != "lossy")
    text = (out / "bench.md").read_text()
    assert text.strip() in printed.out
    assert re.search(r"\| pathwise \| identical (\(bitwise\)|up to rounding) \| 9 \|", text)
    assert "pathwise / gs_sjd, passes at window 7: at most 0.50 |  |  | not measured |" in text
    assert "pjd_temporal (window 256), nll above ar's" in text
    record = json.loads((out / "bench.json").read_text())
    assert record["config"]["seeds"] == [0, 1]
    assert record["finished"]
    assert (record["device"], record["dtype"]) == ("cpu", str(choose().dtype).removeprefix("torch."))
    assert record["versions"]["torch"]
    assert record["decoders"]["pathwise"]["draft"]["name"] == "previous_frame_probs"
    for picture in ("nfe", "map_pathwise", "map_pjd_temporal"):
        assert Image.open(out / f"{picture}.png").size[0] > 500
    assert "pathwise 9: " in printed.err
    # how long it will take is told before anything else
    assert printed.err.startswith("24 decodes to make, ")
    assert "1 of 4 batches of clips, " in printed.err
    assert (out / "nfe.pdf").is_file()


@pytest.mark.slow
def test_compiled_passes_find_the_same(
    monkeypatch: pytest.MonkeyPatch, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    """The compiler itself left out; see tests/unit/test_torch_compile.py."""
    decodes: list[str] = []

    def counted(*words: Any, **more: Any) -> Any:
        decodes.append(type(words[0]).__name__)
        return decode(*words, **more)

    monkeypatch.setattr("vidjacobi.decoding.compiled.compile_whole", lambda function, backend: function)
    for mode in ("off", "default"):
        flags = parser().parse_intermixed_args(
            words(clips[:1], tiny_pair, tmp_path / mode, "--compile", mode)[1:]
        )
        config = load_bench(flags.config, vars(flags))
        job = Bench(config, tmp_path / mode, Source((clips[0],)), decode_with=counted)
        check(job)
        open_folder(config, job.out, job.source, overwrite=False, again=(), tell=print)
        for left in run(job, lambda line: None):
            write_results(config, job.out, job.count(), finished=not left)
    off, default = ([row["nfe"] for row in rows_of(tmp_path / mode)] for mode in ("off", "default"))
    assert off == default
    assert decodes == len(off) * ["CosmosModel"] + 2 * len(off) * ["CompiledModel"]  # once to warm up
    assert json.loads((tmp_path / "default" / "bench.json").read_text())["config"]["compile"] == "default"


class InterruptedTerminal(io.StringIO):
    """Where progress lines are printed; the user presses Ctrl-C at line ``last`` of them."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self._last = last

    def write(self, text: str) -> int:
        written = super().write(text)
        if decodes_told(self.getvalue()) == self._last:
            self._last = 0
            raise KeyboardInterrupt
        return written


def decodes_told(printed: str) -> int:
    """How many decodes of a batch of clips the command has reported."""
    return printed.count(" passes, ")


def test_resumes_where_it_stopped(
    capsys: pytest.CaptureFixture, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(words(clips, tiny_pair, whole, "--batch", 2)) == 0
    assert decodes_told(capsys.readouterr().err) == 10
    with redirect_stderr(InterruptedTerminal(3)):
        assert main(words(clips, tiny_pair, parts, "--batch", 2)) == 130
    assert len(rows_of(parts)) == 6
    with (parts / "bench.csv").open("a") as file:
        file.write("cut off,")
    assert main(words(clips, tiny_pair, parts, "--batch", 2)) == 0
    assert decodes_told(capsys.readouterr().err) == 7

    def told(out: Path) -> list[list[str]]:
        skip = ("seconds", "forward_seconds")
        return sorted([value for key, value in row.items() if key not in skip] for row in rows_of(out))

    assert len(told(whole)) == 15
    assert told(parts) == told(whole)
    kept = sorted(file.name for file in (parts / "tokens").iterdir())
    assert len(kept) == 15
    (parts / "tokens" / kept[-1]).unlink()  # a decode whose tokens are gone is made again, and no other
    assert main(words(clips, tiny_pair, parts, "--batch", 2)) == 0
    assert decodes_told(capsys.readouterr().err) == 1
    assert sorted(file.name for file in (parts / "tokens").iterdir()) == kept
    for name, damage in zip(
        kept[:3], (b"\x93NUMPY", (parts / "tokens" / kept[0]).read_bytes()[:-4], b""), strict=True
    ):
        (parts / "tokens" / name).write_bytes(damage)
    assert main(words(clips, tiny_pair, parts, "--batch", 2)) == 0
    repaired = capsys.readouterr().err
    assert [f"{parts / 'tokens' / name} is damaged" in repaired for name in kept[:3]] == [True] * 3
    assert told(parts) == told(whole)


def test_resumes_with_no_other_weights_and_beside_no_other_run(
    capsys: pytest.CaptureFixture, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    pair, out = tmp_path / "pair", tmp_path / "out"
    copytree(tiny_pair, pair)
    assert main(words(clips[:1], pair, out)) == 0
    with folder_of(out).locked():
        assert main(words(clips[:1], pair, out)) == 2
    assert "another run is at work here" in capsys.readouterr().err
    weights = next(path for path in pair.rglob("*") if path.suffix in (".safetensors", ".pt"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main(words(clips[:1], pair, out)) == 2
    assert "other weights: " in capsys.readouterr().err
    (out / "bench.json").write_text("[1, 2]")
    assert main(words(clips[:1], pair, out)) == 2
    assert "bench.json is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_takes_more_but_no_other_bench(
    capsys: pytest.CaptureFixture, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    assert main(words(clips[:1], tiny_pair, tmp_path)) == 0
    before = rows_of(tmp_path)
    assert main(words(clips[:1], tiny_pair, tmp_path, "--seeds", 0, 5)) == 0
    assert rows_of(tmp_path)[: len(before)] == before
    assert len(rows_of(tmp_path)) == 2 * len(before)
    for more, message in (
        (["--seeds", 0, 5, "--frames", 16], "frames: 8 there, 16 here"),
        (["--seeds", 0, 5, "--again", "sjd"], "this bench has only ar, gs_sjd, pathwise"),
    ):
        assert main(words(clips[:1], tiny_pair, tmp_path, *more)) == 2
        assert message in capsys.readouterr().err
    assert main(words(clips[:1], tiny_pair, tmp_path, "--seeds", 5)) == 0  # less is shown, all is kept
    assert len(rows_of(tmp_path)) == 2 * len(before)
    assert main(words(clips[1:2], tiny_pair, tmp_path, "--seeds", 0, 5)) == 2
    assert "other clips" in capsys.readouterr().err
    assert main(words(clips[:1], tiny_pair, tmp_path, "--seeds", 0, 5, "--again", "gs_sjd")) == 0
    assert [row["decoder"] for row in rows_of(tmp_path)[-4:]] == ["gs_sjd"] * 4
    assert main(words(clips[:1], tiny_pair, tmp_path, "--frames", 16, "--overwrite")) == 0
    assert len(rows_of(tmp_path)) == len(before)


@pytest.mark.slow
def test_notices_a_decoder_that_has_changed(
    capsys: pytest.CaptureFixture, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    text = "guarantee: lossless\npaper: mine\nsummary: mine\nmethod: jacobi\ndraft: {name: uniform}\n"
    text += "coupling: {name: COUPLING}\nverifier: {name: rejection_sampling}\n"
    mine.write_text(text.replace("COUPLING", "maximal"))
    request = [*words(clips[:1], tiny_pair, tmp_path / "b")[:-2], str(mine)]
    assert main(request) == 0
    mine.write_text(text.replace("COUPLING", "gumbel"))
    assert main(request) == 2
    assert "decoder mine has changed" in capsys.readouterr().err
    assert main([*request, "--again", "mine"]) == 0


def test_leaves_other_folders_alone(
    capsys: pytest.CaptureFixture, clips: list[Path], tiny_pair: Path, tmp_path: Path
) -> None:
    (tmp_path / "bench.csv").write_text("a,b\n1,2\n")
    assert main(words(clips[:1], tiny_pair, tmp_path)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "bench.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.slow
def test_several_processes_find_the_same(clips: list[Path], tiny_pair: Path, tmp_path: Path) -> None:
    assert main(words(clips, tiny_pair, tmp_path / "one")) == 0
    assert main(words(clips, tiny_pair, tmp_path / "two", "--workers", 2)) == 0

    def passes(out: Path) -> dict[tuple[str, ...], str]:
        return {(r["decoder"], r["window"], r["clip"]): r["nfe"] for r in rows_of(out)}

    assert passes(tmp_path / "two") == passes(tmp_path / "one")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config", "nanoo"], "did you mean 'nano'"),
        (["--decoders", "sdj"], "did you mean 'sjd'"),
        (["--windows", "0"], "at least 1"),
        (["--clips", "0"], "at least one model, one seed, one clip"),
        (["--clips", "129"], "there are 128: held-out contexts ship with nano"),
        (["--windows", "3", "--decoders", "sjd_pac"], "no room for siblings"),
        (["--models", "nanoo"], "did you mean 'nano'"),
    ],
)
def test_refuses_bad_requests(
    capsys: pytest.CaptureFixture, tmp_path: Path, more: list[str], message: str
) -> None:
    assert main(["bench", "--out", str(tmp_path / "b"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bars: [{name: fewer, decoder: sjd}]", "unknown bar 'fewer'"),
        (
            "bars: [{name: fewer_passes, decoders: sjd}]",
            "bar 'fewer_passes': FewerPasses.__init__() got an unexpected keyword argument 'decoders'",
        ),
        ("decoders: [{name: sjd, windw: 3}]", "a name or {name, window or windows}"),
        ("decoder: [sjd]", "did you mean 'decoders'"),
    ],
)
def test_refuses_bad_files(capsys: pytest.CaptureFixture, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"windows: [4]\n{line}\n" + ("" if "decoder" in line[:9] else "decoders: [sjd]\n"))
    assert main(["bench", "--config", str(path), "--out", str(tmp_path / "b")]) == 2
    assert message in capsys.readouterr().err
