"""An evaluation's folder: what damaged it is named, what can be made again is, and nothing else resumes in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from vidjacobi.datasets.contract import Episode
from vidjacobi.errors import BadOutput
from vidjacobi.eval.clip_choice import Chosen, keep
from vidjacobi.eval.eval_folder import encode_contexts, folder_of, open_out
from vidjacobi.eval.results import write_csv
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.runtime import choose
from vidjacobi.video.clips import ReadClip


@dataclass(frozen=True)
class Grey:
    """Frames of one grey."""

    value: int

    def count(self) -> int:
        return 17

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        frames = np.full((count, 32, 48, 3), self.value, np.uint8)
        return ReadClip(frames, fps=10.0, start=start, source="grey", reader="none")


CHOSEN = Chosen(tuple(Episode(f"clip{n}", Grey(90 * n), 10.0, f"clip{n}.mp4") for n in range(2)), ())


@pytest.fixture
def config(tiny_pair: Path, tmp_path: Path) -> EvalConfig:
    pair = copytree(tiny_pair, tmp_path / "pair")
    return EvalConfig(data="d", model=str(pair), device="cpu", frames=8, decoders=["sjd"], windows=[4])


def cut(content: bytes) -> bytes:
    return content[:-4]


@pytest.mark.parametrize("damage", [cut, lambda content: b"", lambda content: b"\x93NUMPY" * 3])
def test_damaged_contexts_are_made_again(
    config: EvalConfig, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    told: list[str] = []
    whole = encode_contexts(config, tmp_path, CHOSEN, told.append)
    file = tmp_path / "contexts.npy"
    assert encode_contexts(config, tmp_path, CHOSEN, told.append).equal(whole)
    assert not any(str(file) in line for line in told)
    file.write_bytes(damage(file.read_bytes()))
    assert encode_contexts(config, tmp_path, CHOSEN, told.append).equal(whole)
    line = next(line for line in told if str(file) in line)
    assert "now it is made again" in line


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"clips": 3}', '{"clips": [1]}', '{"clips": {"a": 1}}', "[" * 9000]
)
def test_damaged_clips_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "clips.json").write_text(content)
    with pytest.raises(BadOutput, match=r"clips.json is damaged \(.+\): give another --out"):
        keep(tmp_path, CHOSEN)
    assert (tmp_path / "clips.json").read_text() == content


def test_only_the_same_evaluation_resumes(config: EvalConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    open_out(config, out, CHOSEN)
    meant = str(choose().dtype).removeprefix("torch.")  # by auto
    open_out(EvalConfig(**{**vars(config), "dtype": meant}), out, CHOSEN)
    with pytest.raises(BadOutput, match=f"dtype: {meant} there, float64 here"):
        open_out(EvalConfig(**{**vars(config), "dtype": "float64"}), out, CHOSEN)
    record = json.loads((out / "settings.json").read_text())
    record["made_with"]["versions"]["torch"] = "1.0"
    (out / "settings.json").write_text(json.dumps(record))
    with pytest.raises(BadOutput, match=r"torch 1.0 there, .* here: --other-versions mixes"):
        open_out(config, out, CHOSEN)
    open_out(EvalConfig(**{**vars(config), "other_versions": True}), out, CHOSEN)
    weights = next(path for path in Path(config.model).rglob("*") if path.suffix in (".safetensors", ".pt"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BadOutput, match="other weights: "):
        open_out(config, out, CHOSEN)
    (out / "settings.json").write_text("[]")
    with pytest.raises(BadOutput, match=r"settings\.json is damaged"):
        open_out(config, out, CHOSEN)


def test_two_evaluations_do_not_mix(tmp_path: Path) -> None:
    again = pytest.raises(BadOutput, match="another run is at work here")
    with folder_of(tmp_path).locked(), again, folder_of(tmp_path).locked():
        pass


def test_no_cell_of_the_table_is_a_formula(tmp_path: Path) -> None:
    write_csv(tmp_path / "results.csv", [{"decoder": "=1+1", "psnr": -1.5}])
    assert (tmp_path / "results.csv").read_text() == "decoder,psnr\n'=1+1,-1.5\n"
