"""The package that makes nano: its stages, the direction of its imports, its names."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from scripts.nano.__main__ import STAGES, main

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scripts" / "nano"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    "render",
    "train",
    "judge",
    "pusht",
)  # a module imports from its own folder and from those before it


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    """pusht -> judge -> train -> render -> vidjacobi, by whole names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative imports hide the layer; write the whole name"
            parts = (node.module or "").split(".")
            if parts[:2] == ["scripts", "nano"]:
                allowed = LAYERS[: LAYERS.index(path.parent.name) + 1]
                assert parts[2] in allowed, f"{path.name} imports {node.module}, which is above it"


def test_files_stay_short_and_are_named_once() -> None:
    names = [path.stem for path in (ROOT / "scripts").rglob("*.py") if not path.stem.startswith("__")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, f"{path.name}: split it by what it is about"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_parses_its_own_options(stage: str) -> None:
    module = import_module(f"scripts.nano.{STAGES[stage][0]}")
    assert f"python scripts/nano {stage}" in module.__doc__
    assert vars(module.parser().parse_args([]))
    assert module.run.__doc__


def test_the_stages_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {stage} " in shown for stage in STAGES)
    assert main(["train-tokeniser"]) == 2
    assert "did you mean 'train-tokenizer'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["scripts/nano"], ["-m", "scripts.nano"]])
def test_it_runs_by_path_and_as_a_module(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    options = ["preview", "--kind", "plain_room", "--seeds", "1", "--frames", "1", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, *command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "seed 0: plain_room" in done.stdout
    assert out.stat().st_size > 1000


def test_a_missing_input_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", "--runs", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "train first" in capsys.readouterr().err
