"""``vidjacobi curve``: a file that the adaptive decoder reads."""

import json
from pathlib import Path

import pytest
from tiny_pair import write_pair

from vidjacobi.cli.main import main
from vidjacobi.config.yaml_files import read_config


def test_a_curve_is_written_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_pair(tmp_path / "model") / "transformer"
    codec = tmp_path / "model" / "tokenizer"
    options = ["--model", str(model), "--tokenizer", str(codec), "--frames", "8"]
    clip = Path(__file__).parents[2] / "vidjacobi" / "assets" / "sample.mp4"
    out = tmp_path / "new" / "curve.yaml"
    assert main(["curve", str(clip), *options, "--windows", "4", "8", "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    curve = read_config("curve", str(out))
    assert result["sizes"] == curve["sizes"] == [4, 8]
    assert curve["decoder"] == "pathwise"
    assert {"model", "dtype", "device", "torch"} <= set(curve)
    settings = ["--decoder", "adaptive", f"decoder.lanes.curve={out}", "--out", str(tmp_path / "rolled")]
    assert main(["rollout", str(clip), *options, *settings]) == 0
    record = json.loads((tmp_path / "rolled" / "sample" / "rollout.json").read_text())
    assert record["decoder"]["lanes"]["curve"] == str(out)
    assert record["decoder"]["lanes"]["seconds"] == result["seconds"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "curve.txt"], "should end in .yaml"),
        (["--decoder", "pathwize"], "did you mean 'pathwise'"),
    ],
)
def test_bad_requests(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", *words]) == 2
    assert message in capsys.readouterr().err
