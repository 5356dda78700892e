"""The outline of a model that brings none agrees with the one that is written by hand."""

from pathlib import Path
from typing import Any

import own_model
import pytest
import torch
from torch import Tensor

import vidjacobi
from vidjacobi.cli.main import main
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.measured_outline import outline_of
from vidjacobi.estimate.memory import memory_of
from vidjacobi.estimate.scenario import RolloutShape, Scenario
from vidjacobi.estimate.simulate import decoding
from vidjacobi.loading import outline_to_load
from vidjacobi.models.contents import tensors_in

pytestmark = (
    pytest.mark.unchecked
)  # the protocols' shapes are checked elsewhere; fake tensors are slow under the hook


@pytest.mark.slow
def test_it_is_that_of_the_adapter(tiny_pair: Path) -> None:
    """Of a Cosmos model, whose outline is made of its networks on the meta device."""
    measured = outline_of("tiny", *vidjacobi.load(tiny_pair, "cpu", "float32"))
    written = outline_to_load(str(tiny_pair), None, torch.float32)
    for name in ("matrix_parameters", "matrix_bytes", "kv_bytes", "attention_flops"):
        assert getattr(measured.arithmetic, name) == getattr(written.arithmetic, name) > 0
    for name in ("frame_size", "stride_t", "max_frames", "tokenizer_bytes"):
        assert getattr(measured, name) == getattr(written, name)
    assert measured.resident["weights"] == written.resident["weights"]
    assert measured.stream_bytes() == pytest.approx(written.stream_bytes(), rel=0.01)
    shape = RolloutShape(with_window(load_decoder("jacobi"), 16), rows=2)
    a, b = (memory_of(Scenario(outline, shape)) for outline in (measured, written))
    for name in (
        "KV cache",
        "decoder state",
        "prefill activations",
        "tokenizer encode",
        "tokenizer to_frames",
    ):
        assert a.parts[name] == pytest.approx(b.parts[name], rel=0.05), name
    kernels = [decoding(outline, shape).forward.kernels for outline in (measured, written)]
    assert kernels[0] == pytest.approx(kernels[1], rel=0.25)


def test_tensors_are_found_once_wherever_they_are() -> None:
    shared = torch.zeros(10)

    class Holder:
        def __init__(self) -> None:
            self.table, self.again = shared, shared[:5]
            self.more = {"a": [torch.zeros(3), (torch.nn.Linear(2, 3),)], "self": self}

    assert sorted(tensor.numel() for tensor in tensors_in(Holder())) == [3, 3, 6, 10]


def test_code_that_cannot_run_without_numbers_is_refused() -> None:
    class Stubborn(own_model.BlockTokenizer):
        def encode(self, pixels: Tensor) -> Tensor:
            return torch.from_numpy(pixels.numpy()).mean(1).long()

    class Careful(own_model.BlockTokenizer):
        """Asks about its tensors, as loaded ones do."""

        def encode(self, pixels: Tensor) -> Tensor:
            tokens = super().encode(pixels)
            if not pixels.isfinite().all() or (tokens < 0).any():
                raise ValueError("bad pixels")
            return tokens

    from vidjacobi.runtime import choose

    model = own_model.load(choose("cpu", "float32"))[0]
    shape = RolloutShape(with_window(load_decoder("jacobi"), 4), context_frames=1, new_frames=2)
    assert memory_of(Scenario(outline_of("careful", model, Careful()), shape)).peak > 0
    with pytest.raises(InvalidArgument, match=r"its video tokenizer does not run.*attribute\s+outline"):
        memory_of(Scenario(outline_of("stubborn", model, Stubborn()), shape))


def test_the_memory_check_looks_at_such_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = tmp_path / "small.yaml"
    gpu.write_text(
        "name: small\nmemory_mib: 1.05\nreserved_mib: 1\nbandwidth_gb_s: 9\ntflops: {bfloat16: 1}\nsource: none\n"
    )
    words = ["doctor", "--model", "own_model:load", "--context", "2", "--frames", "3", "--gpu", str(gpu)]
    assert main([*words, "--dtype", "float32"]) == 2
    error = capsys.readouterr().err
    assert "this rollout would not fit" in error


@pytest.mark.parametrize(
    "words",
    [
        ["rollout", "--context", "2", "--frames", "2", "--out", "{out}", "{clip}"],
        ["doctor", "--context", "2", "--frames", "3", "--device", "cpu"],
        ["plan", "--context", "2", "--frames", "3", "--gpu", "h100", "--window", "16"],
        [
            "curve",
            "--context",
            "2",
            "--frames",
            "2",
            "--windows",
            "4",
            "8",
            "--out",
            "{out}/c.yaml",
            "{clip}",
        ],
        ["batch", "{data}", "--context", "2", "--frames", "3", "--output", "tokens", "--out", "{out}"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_takes_such_a_model(words: list[str], tmp_path: Path, capsys: Any) -> None:
    import shutil

    clip = Path(vidjacobi.__file__).parent / "assets" / "sample.mp4"
    (tmp_path / "data").mkdir()
    shutil.copy(clip, tmp_path / "data")
    places = {"out": str(tmp_path / "out"), "clip": str(clip), "data": str(tmp_path / "data")}
    (tmp_path / "out").mkdir(exist_ok=words[0] == "curve")
    filled = [word.format(**places) for word in words]
    assert main([filled[0], "--model", "own_model:load", *filled[1:]]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_a_bench_takes_such_a_model(tmp_path: Path) -> None:
    clip = Path(vidjacobi.__file__).parent / "assets" / "sample.mp4"
    words = [
        "bench",
        "--models",
        "own_model:load",
        "--context",
        "2",
        "--frames",
        "2",
        "--decoders",
        "pathwise",
    ]
    assert main([*words, "--windows", "4", "--seeds", "0", "--out", str(tmp_path / "out"), str(clip)]) == 0
    assert "own_model:load" in (tmp_path / "out" / "bench.md").read_text()
