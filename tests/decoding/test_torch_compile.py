"""The compiler itself, in processes of its own: the shape checks of the other tests cannot be compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUNS = Path(__file__).parents[1] / "compiled_runs.py"


def run(*words: object) -> dict[str, Any]:
    """Facts that ``compiled_runs.py`` prints."""
    done = subprocess.run(
        [sys.executable, str(RUNS), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("decoder", "backend", "clips", "window"),
    [
        ("pathwise", "inductor", 2, 16),
        ("fast", "aot_eager", 1, 16),
        ("sjd", "eager", 2, 16),
        ("pathwise", "eager", 1, 64),  # with a draft tree
    ],
)
def test_a_rollout_compiles_once(decoder: str, backend: str, clips: int, window: int) -> None:
    """Full graphs, nothing compiled again after the first rollout, in float64 the tokens of the eager passes."""
    facts = run(decoder, backend, "float64", clips, window)
    assert facts["prefixes"] > 2  # whose lengths differ
    assert facts["graphs"] == 1
    assert facts["graphs_of_the_second"] == 0
    assert facts["equal"] == [True, True]
    assert facts["nfe"][0] == facts["nfe"][1]
    assert facts["furthest_logits"] < 1e-9


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_one_by_one_decoding_compiles_its_forward_call_once() -> None:
    facts = run("ar", "eager", "float64", 1)
    assert (facts["graphs"], facts["graphs_of_the_second"]) == (1, 0)
    assert facts["equal"] == [True, True]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_in_float32_logits_are_close() -> None:
    """Kernels that are fused round elsewhere. Rows are compared as far as the tokens are the same."""
    facts = run("pathwise", "inductor", "float32", 2)
    assert facts["compared"] > 50
    assert facts["furthest_logits"] < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_model_that_cannot_be_compiled_says_so() -> None:
    assert "passes of DataDependent cannot be compiled" in run("refused", "eager", "float64", 2)["error"]
