"""``vidjacobi plan`` of steps: sizes of MineWorld as they are named, what a step takes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidjacobi.cli.main import main
from vidjacobi.config.yaml_files import config_names
from vidjacobi.estimate.pass_seconds import Machine, fit_published, load_gpu
from vidjacobi.estimate.predictions import Acceptance
from vidjacobi.estimate.world_plan import KIND, load_world, predicted_steps

NAMES = {"mineworld-300m": 3.0e8, "mineworld-700m": 7.0e8, "mineworld-1200m": 1.2e9}


def test_sizes_are_those_that_the_names_say() -> None:
    assert sorted(NAMES) == config_names(KIND)
    for name, count in NAMES.items():
        world = load_world(name)
        assert world.step_tokens == 14 * 24
        assert world.sizes.arithmetic.matrix_parameters == pytest.approx(count, rel=0.05)
        assert world.sizes.shape(1).slots == 16 * 347 // 2 + 1  # the middle of the clip


def test_a_step_is_its_passes() -> None:
    world, gpu, fit = load_world("mineworld-300m"), load_gpu("a100"), fit_published()
    machine = Machine(gpu, fit.speed.captured(), "bfloat16")
    acceptance = Acceptance("a bench", "mineworld", {("pathwise", 64): 8.0})
    one, more = predicted_steps(world, machine, fit, acceptance)
    assert (one.decoder, one.passes, more.passes) == ("ar", 336, 42)
    for step in (one, more):
        assert step.eager == pytest.approx(step.graph + step.passes * fit.speed.launch)
    # no pass is faster than reading the weights at the data sheet's speed
    assert one.graph > 336 * world.sizes.arithmetic.matrix_bytes / gpu.bandwidth


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    line = {"model": "mineworld", "decoder": "fast", "window": 32, "tokens_per_pass": 6.0}
    bench.write_text(json.dumps({"summary": [line]}))
    words = ["plan", "--model", "MineWorld-700M", "--gpu", "a100", "--bench", str(bench)]
    assert main(words) == 0
    out = capsys.readouterr().out
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert [(step["decoder"], step["window"]) for step in found["steps"]] == [("ar", 1), ("fast", 32)]
    assert "4 to 7 frames a second by diagonal decoding (lossy)" in out
    assert "nothing was measured on this GPU" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", "4"], "--batch is about clips of Cosmos"),
        (["--weights", "int8"], "leave --weights out"),
        (["--window", "7"], "has no window [7]: it has [16, 32, 64, 128]"),
    ],
)
def test_what_a_step_has_not(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "mineworld-300m", "--gpu", "a100", *more]) == 2
    assert message in capsys.readouterr().err
