"""What is refused before anything is loaded, and the flags that make it fit."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vidjacobi
from cosmos_adapter.tokenizer.stream_state import StreamState
from vidjacobi.cli.main import main
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.estimate import memory
from vidjacobi.estimate.doctor import data_sheet_device
from vidjacobi.estimate.memory import (
    Memory,
    MemoryQuestion,
    TargetDevice,
    check_memory,
    memory_of,
    require_fit,
)
from vidjacobi.estimate.scenario import RolloutShape, Scenario
from vidjacobi.loading import is_shipped, outline, outline_to_load
from vidjacobi.models.outline import Outline


def question(rows: int = 8, window: int = 32, name: str = "nano", **options: Any) -> MemoryQuestion:
    shape = RolloutShape(with_window(load_decoder("jacobi"), window), rows, 1)
    return MemoryQuestion(lambda dtype: outline(name, dtype), shape, **options)


def device(room: int, may_offload: bool = True, dtype: torch.dtype = torch.float32) -> TargetDevice:
    return TargetDevice("a device", dtype, "asked for", room, "free now", may_offload)


def needed(asked: MemoryQuestion, dtype: torch.dtype = torch.float32) -> int:
    return memory_of(asked.scenario(dtype)).peak


@pytest.mark.slow
def test_what_fits_is_admitted() -> None:
    asked = question()
    needs = memory_of(asked.scenario(torch.float32))
    require_fit(asked, device(needs.peak), needs)
    with pytest.raises(InvalidArgument, match=r"this rollout would not fit: .* free now on a device"):
        require_fit(asked, device(needs.peak - 1), needs)


def made_up(scenario: Scenario) -> Memory:
    """80 for the models, 60 where they take turns, half of it in bfloat16, 1 for each row and window position."""
    models = (60 if scenario.offload else 80) // (4 // scenario.outline.model.dtype.itemsize)
    return Memory({}, {"pass": 2**30 + models + scenario.shape.rows * scenario.shape.window})


@pytest.mark.parametrize(
    ("options", "may_offload", "spare", "flags"),
    [
        ({}, True, 60 + 256, "--offload"),
        ({}, False, 40 + 256, "--dtype bfloat16"),
        ({}, True, 30 + 64, "--offload --dtype bfloat16 --samples 2"),
        ({"in_batch": True}, True, 80 + 128, "--rows 4"),
        ({"in_batch": True, "rows_flag": "--batch"}, True, 80 + 64, "--batch 2"),
        ({"in_batch": True}, False, 40 + 16, "--dtype bfloat16 --rows 1 --window 16"),
        ({}, True, 10, "use a larger device or a smaller model"),
    ],
)
def test_adjustments(options: Any, may_offload: bool, spare: int, flags: str) -> None:
    asked = question(**options, predict=made_up)
    needs = made_up(asked.scenario(torch.float32))
    with pytest.raises(InvalidArgument) as caught:
        require_fit(asked, device(2**30 + spare, may_offload), needs)
    assert str(caught.value).endswith(flags)


def test_small_models_are_not_simulated() -> None:
    asked = question(predict=lambda scenario: pytest.fail("it takes seconds"))
    least = asked.scenario(torch.float32).least
    assert needed(asked) < least / memory.SURELY
    check_memory(asked, device(int(least / memory.SURELY) + 1))
    with pytest.raises(pytest.fail.Exception):
        check_memory(asked, device(int(least / memory.SURELY) - 1))


@pytest.mark.parametrize("in_batch", [False, True])
def test_what_is_far_too_large_is_not_simulated(in_batch: bool) -> None:
    """A million rows took minutes to be refused; now only what could fit is looked at closely."""
    looked_at: list[int] = []

    def predict(scenario: Scenario) -> Memory:
        looked_at.append(scenario.shape.rows)
        return Memory({}, {"pass": scenario.least + 1})

    asked = question(10**6, in_batch=in_batch, predict=predict)
    with pytest.raises(
        InvalidArgument, match=r"GiB for its weights and cache alone.*It would with"
    ) as caught:
        check_memory(asked, device(2**30))
    flag, rows = str(caught.value).split()[-2:]
    assert flag == ("--rows" if in_batch else "--samples")
    assert looked_at == [int(rows)]
    assert int(rows) < 200


@pytest.mark.slow
def test_a_batch_does_everything_at_once() -> None:
    """Rows share weights, a context waits, frames are encoded and made during the decoding."""
    alone, batch, turns = (
        memory_of(one.scenario(torch.float32))
        for one in (question(1), question(3, in_batch=True), question(3, in_batch=True, offload=True))
    )
    coding = batch.parts["tokenizer encode"] + batch.parts["tokenizer to_frames"]
    assert batch.peak > alone.phases["pass"] + 2 * alone.parts["KV cache"] + coding
    assert batch.parts["KV cache"] == 3 * alone.parts["KV cache"]
    assert batch.parts["transformer weights"] == alone.parts["transformer weights"]
    assert set(turns.phases) == {"decoding (its turn)", "encode (its turn)", "to_frames (its turn)"}
    assert batch.peak - turns.phases["decoding (its turn)"] == batch.parts["tokenizer weights"] + coding


@pytest.mark.slow
def test_a_stream_keeps_its_past() -> None:
    """Of each future, as long as there are passes; the real stream's is as large."""
    plain, stream = (
        memory_of(question(2, stream=stream).scenario(torch.float32)) for stream in (False, True)
    )
    past = stream.parts["tokenizer streams"]
    assert {name: n - plain.phases[name] for name, n in stream.phases.items()} == {
        "encode": 0,
        **dict.fromkeys(("prefill", "pass", "to_frames"), past),
    }
    _, tokenizer = vidjacobi.load("nano", "cpu", "float32")
    real = tokenizer.frame_stream()
    real.add(torch.zeros(1, 2, 16, 20, dtype=torch.long))
    assert past == 2 * next(part.nbytes for part in vars(real).values() if isinstance(part, StreamState))


@pytest.mark.slow
def test_the_goals_of_memory() -> None:
    """A 4B rollout in 12 GB and a batch of 8 in 24 GB of device memory, what no tensor gets taken off."""
    whole = data_sheet_device("4090", "auto")
    four = question(1, 128, "4b")
    assert needed(four, torch.bfloat16) < 12e9 - 800 * 2**20
    assert needed(question(1, 128, "4b", offload=True), torch.bfloat16) < needed(four, torch.bfloat16)
    assert needed(question(8, 128, "4b", in_batch=True), torch.bfloat16) < 24e9 - 800 * 2**20 < whole.room


@pytest.mark.parametrize("name", ["nvidia/Cosmos-1.0-Autoregressive-4B", "nvidia/Cosmos-Predict1-4B"])
def test_a_release_is_known_by_its_repository(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidjacobi.models.hub.fetch", lambda *_: pytest.fail("nothing is fetched"))
    found, known = outline_to_load(name, None, torch.bfloat16), outline("4b", torch.bfloat16)
    assert isinstance(found, Outline)
    assert (found.name, found.resident, found.frame_size) == (name, known.resident, known.frame_size)
    assert outline(name, torch.bfloat16).resident == known.resident


def test_what_is_loaded_is_what_is_measured(tiny_pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, with the tokenizer that is named; another repository is fetched first."""
    here = outline_to_load(str(tiny_pair), None, torch.float32)
    assert here.frame_size == (32, 48)
    assert is_shipped("nano")
    assert outline_to_load("nano", None, torch.float32).frame_size == (128, 160)
    with pytest.raises(BadCheckpoint, match="no video tokenizer"):
        outline_to_load(str(tiny_pair / "transformer"), None, torch.float32)
    fetched = {"my/model": tiny_pair / "transformer", "my/tokenizer": tiny_pair / "tokenizer"}
    monkeypatch.setattr("vidjacobi.models.hub.fetch", lambda name, files: fetched[name])
    there = outline_to_load("my/model", "my/tokenizer", torch.float32)
    assert there.resident == here.resident


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with hardly any memory, and a model that must not be loaded."""
    monkeypatch.setattr(memory, "free_memory", lambda device: 20 * 2**20)
    for load in ("cli.rollout_clips.load", "batch.workers.load_acted"):
        monkeypatch.setattr(f"vidjacobi.{load}", lambda *_: pytest.fail("it is refused before it is loaded"))


@pytest.mark.usefixtures("little")
@pytest.mark.slow
def test_rollouts_and_batches_are_refused(tiny_pair: Path, tmp_path: Path, capsys: Any) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mp4").touch()  # listed, not read
    words = ["--model", str(tiny_pair), "--out", str(tmp_path / "out"), "--dtype", "bfloat16"]
    assert main(["rollout", *words, "--device", "cpu", "--samples", "256"]) == 2
    assert "this rollout would not fit" in (said := capsys.readouterr().err)
    assert "It would with --samples" in said
    assert main(["batch", str(clips), *words, "--devices", "cpu,cpu", "--rows", "256"]) == 2
    assert "this batch would not fit" in (said := capsys.readouterr().err)
    assert "It would with --rows" in said
    assert "10.0 MiB free now for each of 2 workers" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("little")
def test_the_check_can_be_left_out(tiny_pair: Path, tmp_path: Path) -> None:
    words = ["rollout", "--model", str(tiny_pair), "--out", str(tmp_path / "out"), "--samples", "64"]
    with pytest.raises(pytest.fail.Exception, match="before it is loaded"):
        main([*words, "--no-memory-check"])


def test_offload_asks_for_a_gpu(tiny_pair: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--model", str(tiny_pair), "--out", str(tmp_path / "out"), "--offload"]
    assert main(["rollout", *words, "--device", "cpu"]) == 2
    assert main(["doctor", "--model", str(tiny_pair), "--device", "cpu", "--offload"]) == 2
    assert capsys.readouterr().err.count("on a CPU leave it out") == 2
    assert not (tmp_path / "out").exists()
