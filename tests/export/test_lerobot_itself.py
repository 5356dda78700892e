"""The real lerobot loads, merges, streams and trains on futures and their source.

It pins another torch, so it has an environment of its own: VIDJACOBI_LEROBOT names its Python.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from finished_batches import write_batch

from vidjacobi.cli import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "lerobot_check.py"


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has lerobot."""
    if importlib.util.find_spec("lerobot"):
        return sys.executable
    named = os.environ.get("VIDJACOBI_LEROBOT")
    if not named:
        pytest.skip("lerobot is not installed here, and VIDJACOBI_LEROBOT names no Python that has it")
    return named


@pytest.mark.slow
def test_futures_train_with_their_source(python: str, shared: Path, tmp_path: Path) -> None:
    source = shutil.copytree(shared / "data" / "lerobot_v3_bridge_tiny", tmp_path / "my_set")
    out = write_batch(tmp_path / "futures", source, (0, 12))
    assert main.main(["export", str(out), str(tmp_path / "marked")]) == 0
    assert main.main(["export", str(out), str(tmp_path / "to_merge"), "--same-features"]) == 0
    words = [python, str(SCRIPT), *(str(tmp_path / name) for name in ("my_set", "marked", "to_merge"))]
    # its own packages only, not those of this environment
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run(words, check=False, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-3000:]
    found = json.loads(told.stdout.splitlines()[-1])
    assert (found["episodes"], found["frames"]) == (16, 16 * 8)
    assert found["of_both_in_a_batch"] == [0, 1]
    assert found["merged"] == {"episodes": 4 + 16, "frames": 102 + 16 * 8}
    assert found["streamed"] == {"futures": 16 * 8, "together": 102 + 16 * 8}
