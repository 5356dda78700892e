"""SIGKILL at random moments of an evaluation: nothing is lost, doubled or different."""

import csv
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from noise_clips import write_clip
from programs import Detector, Fixed, right_logits, save_script

from vidjacobi.eval.quality import QUALITIES

KILLS = 4
CLOCK = ("seconds", "faster")  # how columns begin that a clock measured


def start(words: list[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-W", "ignore", "-m", "vidjacobi", *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith(CLOCK)} for row in csv.DictReader(file)]


def tokens(out: Path) -> dict[str, bytes]:
    return {path.name: np.load(path).tobytes() for path in (out / "decodes" / "tokens").iterdir()}


def decoded(out: Path) -> int:
    path = out / "decodes" / "bench.csv"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 8 starts of the command
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_kills_change_nothing(tiny_pair: Path, tmp_path: Path) -> None:
    data, weights = tmp_path / "data", save_script(Detector(Fixed(right_logits())), tmp_path / "weights.pt")
    for index in range(6):
        write_clip(data, f"{index:016x}", 25, index)

    def words(out: Path) -> list[str]:
        given = f"eval realestate10k --data {data} --model {tiny_pair} --out {out} --frames 8 --clips 6 --videos 0"
        given += f" --draws 20 --decoders pathwise,gs_sjd --windows 4,6 --device cpu --weights {weights}"
        return [*given.split(), "--fvd-frames", "all"]

    calm, out, moment = tmp_path / "calm", tmp_path / "out", random.Random(17)
    told = start(words(calm)).communicate(timeout=600)
    kills = 0
    while kills < KILLS:
        process, before, wait = start(words(out)), decoded(out), moment.randint(0, 3)
        while decoded(out) < before + wait and process.poll() is None and not (out / "results.csv").exists():
            time.sleep(0.01)
        # One that decodes is killed soon after: else a fast machine would be through before the last kill.
        time.sleep(moment.uniform(0, 0.05 if wait else 0.5))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
    assert kills >= KILLS - 2, told
    process = start(words(out))
    told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    assert results(out) == results(calm)
    assert tokens(out) == tokens(calm)
    rows = list(csv.DictReader((out / "decodes" / "bench.csv").open()))
    keys = [(row["decoder"], row["window"], row["clip"]) for row in rows]
    assert len(set(keys)) == len(tokens(calm)) == 30
    assert len(keys) - len(set(keys)) <= kills  # a decode whose tokens were there before its row
    found = [row.key for row in QUALITIES.read(out / "quality.jsonl")]
    assert set(found) == {row.key for row in QUALITIES.read(calm / "quality.jsonl")}
