"""The stages of `make nano`, one after the other on a few clips: stopped, resumed, exported, loaded, judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vidjacobi
from scripts.nano.render.plain_room import render_plain_room
from scripts.nano.train.model_sizes import TOKENIZERS
from scripts.nano.train.training_clips import to_pixels

ROOT = Path(__file__).parents[2]

KINDS = {"plain_room": 1.0}


def write_clips(folder: Path, seeds: range) -> None:
    folder.mkdir(parents=True)
    (folder / "kinds.json").write_text(json.dumps({"mixture": KINDS, "softness": 1.0}))
    clips = [render_plain_room(seed, 33).frames.numpy() for seed in seeds]
    np.save(folder / f"{seeds.start:08d}.npy", np.stack(clips))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    "VIDJACOBI_NANO_CHAIN" not in os.environ,
    reason="minutes, and the packages of .[nano]: set VIDJACOBI_NANO_CHAIN=1",
)
def test_the_stages_fit_together(tmp_path: Path) -> None:
    def run(stage: str, *options: str) -> str:
        command = [sys.executable, str(ROOT / "scripts" / "nano"), stage, *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    write_clips(tmp_path / "runs" / "nano" / "data" / "train", range(4))
    write_clips(tmp_path / "runs" / "nano" / "data" / "heldout", range(1_000_000, 1_000_002))
    run("train-tokenizer", "--steps", "1", "--workers", "1", "--out", "runs/nano/start")
    start = ("train-tokenizer", "--start", "runs/nano/start/last.pt")
    assert "resumed" not in run(*start, "--steps", "1", "--workers", "1")
    assert "resumed at step 1" in run(*start, "--steps", "2", "--workers", "2")
    run("sharpen-tokenizer", "--steps", "1", "--workers", "1")
    assert "resumed at step 1" in run("sharpen-tokenizer", "--steps", "2", "--workers", "2")
    assert "plain_01000000.npy: 2 clips" in run("encode-clips", "--variants", "plain", "--workers", "1")
    run("train-transformer", "--steps", "1", "--workers", "1", "--batch", "1", "--variants", "plain")
    assert "resumed at step 1" in run(
        "train-transformer", "--steps", "2", "--workers", "1", "--batch", "1", "--variants", "plain"
    )
    run("export")
    out = tmp_path / "out" / "nano"
    _, tokenizer = vidjacobi.load(out / "transformer", "cpu", "float32", out / "tokenizer")
    contexts = np.load(out / "held_out_contexts.npy")
    assert contexts.shape == (2, 2, 16, 20)
    clip = render_plain_room(1_000_000, 9).frames
    pixels = to_pixels(clip[None])
    assert torch.equal(tokenizer.encode(pixels)[0], torch.from_numpy(contexts[0].astype(np.int64)))
    assert int(contexts.max()) < TOKENIZERS["nano"].vocab_size
    run("judge-tokenizer", "--tokenizer", "runs/nano/sharp/last.pt", "--fvd", "0", "--clips", "2")
    judged = json.loads((tmp_path / "runs" / "judged" / "judged.json").read_text())
    assert judged["plain_room"]["psnr"] > 15
    assert "2 held-out clips, entropy" in run("judge-transformer", "--model", "micro")
