"""``vidjacobi bench pictures``, and the stage of scripts/nano that is made of it, on random checkpoints."""

import json
from pathlib import Path

import pytest
import tiny_nano_image
import tiny_pictures as tiny

from scripts.nano.__main__ import main as nano
from vidjacobi.cli.main import main


def test_decoders_beside_ar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same pictures, windows in columns of their own; a draft behind a plus takes the place of the decoder's."""
    words = ["bench", "pictures", "--model", tiny.write_imagegpt(tmp_path / "weights"), "--samples", "3"]
    words += [
        "--decoders",
        "pathwise",
        "mc_sjd+left",
        "--windows",
        "3,8",
        "--rows",
        "2",
        "--dtype",
        "float32",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "bench.json").read_text())
    found = {(one["decoder"], one["window"]): one for one in record["summary"]}
    assert list(found) == [("ar", 1), *((name, n) for name in ("pathwise", "mc_sjd+left") for n in (3, 8))]
    assert record["pictures"] == 3
    assert [one["picture"] for one in record["decodes"] if one["decoder"] == "ar"] == [0, 1, 2]
    assert (found["ar", 1]["nfe"], found["pathwise", 8]["ar_agreement"]) == (16, 1.0)
    assert found["mc_sjd+left", 8]["guarantee"] == "lossless"
    assert all(one["nfe"] < 16 for one in list(found.values())[1:])
    assert "| `mc_sjd+left` | 8 | lossless |" in (tmp_path / "out" / "bench.md").read_text()
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words[:-6], "--decoders", "mc_sjd+lefft", "--out", str(tmp_path / "other")]) == 2
    assert "did you mean 'left'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_table_of_nano_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer pictures than classes; what is there is not run again."""
    model = f"nano-image:{tiny_nano_image.write_checkpoint(tmp_path / 'weights')}"
    words = ["image-decoders", "--model", model, "--pictures", "2", "--windows", "96", "--dtype", "float32"]
    words += ["--decoders", "pjd", "--out", str(tmp_path / "out")]
    assert nano(words) == 0
    (line,) = (tmp_path / "out" / "decoders.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["decoder"], row["window"], row["guarantee"]) == ("pjd", 96, "lossy")
    assert len(row["nfe"]) == len(row["nats"]) == 2
    assert all(1 < one < 320 for one in row["nfe"])
    assert nano(words) == 0
    assert (tmp_path / "out" / "decoders.jsonl").read_text() == f"{line}\n"
    assert "| decoder | guarantee | NFE, window 96 | nats a token |" in capsys.readouterr().out
