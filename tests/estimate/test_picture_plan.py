"""``vidjacobi plan`` of pictures: what follows from sizes, what is fitted, and how far off the published rows are."""

import json
from typing import Any

import pytest
import torch

from vidjacobi.cli.main import main
from vidjacobi.config.yaml_files import config_names
from vidjacobi.estimate.pass_seconds import PublishedRow
from vidjacobi.estimate.pictures import KIND, LlamaSizes, fitted_overhead, load_plan

# worst error of the fitted seconds beside the papers' rows of windows, as docs/memory_and_speed.md says
WORST = {"janus-pro-7b": 0.056, "lumina-7b": 0.045}


def test_sizes_are_those_of_a_llama() -> None:
    """Matrices counted on the class of ``transformers``, the cache by its own numbers."""
    from transformers import LlamaConfig, LlamaModel

    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    with torch.device("meta"):
        network = LlamaModel(LlamaConfig(**sizes, intermediate_size=48, vocab_size=10))
    matrices = [
        part.numel()
        for name, part in network.named_parameters()
        if part.ndim == 2 and "embed_tokens" not in name
    ]
    found = LlamaSizes(2, 32, 4, 2, 48, head=320, prompt=5, cells=16, given=4, branches=2).arithmetic
    assert found.matrix_parameters == sum(matrices) + 320
    assert found.matrix_bytes == 2 * found.matrix_parameters
    assert found.kv_bytes == 2 * 2 * (2 * 8) * 2  # keys and values, layers, two heads of eight, bytes
    assert (
        found.attention_flops == 2 * 2 * 2 * 32
    )  # products and sums of queries with keys, of shares with values


def test_a_planted_overhead_is_found() -> None:
    """Exactly, where the rows follow it; and no overhead is below 0."""
    rows = [
        (PublishedRow("sjd", 16, passes, work + 0.03 * passes), work)
        for passes, work in ((100.0, 1.0), (40.0, 2.0))
    ]
    assert fitted_overhead(rows) == pytest.approx(0.03)
    assert fitted_overhead([(PublishedRow("sjd", 16, 10.0, 1.0), 2.0)]) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WORST))
def test_the_published_rows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(WORST) == config_names(KIND)
    assert main(["plan", "--model", name.upper(), "--gpu", "a100"]) == 0
    out = capsys.readouterr().out
    line: dict[str, Any] = json.loads(out.splitlines()[-1])
    found = line["pictures"]
    assert len(found) == len(load_plan(name).rows)
    assert found[0]["error"] == pytest.approx(0, abs=1e-6)  # ar's one row is fitted
    assert max(abs(one["error"]) for one in found) == pytest.approx(WORST[name], abs=1e-3)
    for one in found:
        assert one["eager"] == pytest.approx(one["fitted"])  # on the GPU of the table
        assert one["captured"] < one["carried"] < one["published"] or one["decoder"] == "ar"
    assert "PREDICTED: nothing was measured on this GPU" in out
    assert "This project's code was not timed on a GPU" in out
    assert ("is assumed" in out) is (name == "janus-pro-7b")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--window", "48"],
            "MC-SJD, COCO has no window [48] of Lumina-mGPT 7B, 768 pixels: it has [16, 32, 64]",
        ),
        (["--batch", "4"], "--batch is about clips"),
        (["--weights", "int8"], "leave --dtype and --weights out"),
        (["--dtype", "float32"], "leave --dtype and --weights out"),
    ],
)
def test_what_it_does_not_know_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--model", "lumina-7b", "--gpu", "h100", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["rollout", "--device", "cpu"],
        ["curve", "--device", "cpu"],
    ],
    ids=lambda words: words[0],
)
def test_commands_of_clips_refuse_a_family_of_pictures(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for model, what in (("janus:weights", "images of a text"), ("nano-image", "images of a kind of room")):
        assert main([*words, "--model", model]) == 2
        error = capsys.readouterr().err
        assert f"makes {what}" in error
        assert "which this command has no way to give: `vidjacobi image`" in error
    assert list(tmp_path.iterdir()) == []
