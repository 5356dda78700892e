"""FVD on the bundled model: it sees no difference for a lossless decoder, and sees a broken one at once."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from vidjacobi.cli.main import main

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).with_name("broken.yaml")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("i3d_file")
def test_fvd_tells_a_broken_decoder_from_lossless_ones(tmp_path: Path) -> None:
    script, rooms, out = ROOT / "scripts" / "make_realestate10k.py", tmp_path / "rooms", tmp_path / "e"
    subprocess.run([sys.executable, script, "--out", rooms, "--clips", "6", "--frames", "25"], check=True)
    request = f"eval realestate10k --data {rooms} --out {out} --clips 6 --frames 16 --videos 0 --draws 200"
    decoders = f"pathwise,fast,{BROKEN}"
    assert main([*request.split(), "--decoders", decoders, "--windows", "64", "--device", "cpu"]) == 0
    with (out / "results.csv").open() as file:
        lines = {line["decoder"]: line for line in csv.DictReader(file)}
    assert lines["pathwise"]["fvd"] == lines["ar"]["fvd"]
    assert float(lines["pathwise"]["ar_agreement"]) == 1
    assert float(lines["fast"]["ar_agreement"]) < 1
    assert float(lines["fast"]["fvd_above_ar_low"]) < 0 < float(lines["fast"]["fvd_above_ar_high"])
    # another sample of the same distribution changes little, compared with a broken decoder
    fast, broken = (float(lines[name]["fvd"]) - float(lines["ar"]["fvd"]) for name in ("fast", "broken"))
    assert abs(fast) < 0.25 * broken
    assert float(lines["broken"]["fvd_above_ar_low"]) > 0
    assert float(lines["broken"]["psnr"]) < float(lines["ar"]["psnr"]) - 3
