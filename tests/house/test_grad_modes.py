"""No generator is left waiting inside of a grad mode: where it is dropped, it would end the mode of somebody else."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODES = {"no_grad", "inference_mode", "enable_grad", "set_grad_enabled"}


def waiting_in_a_mode(source: str) -> list[int]:
    """Lines of ``with torch.no_grad():`` and the like that have a ``yield`` in them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.With):
            continue
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        names = {getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls}
        if names & MODES and any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("folder", ["vidjacobi", "cosmos_adapter", "eval", "scripts", "tests"])
def test_no_generator_waits_in_a_grad_mode(folder: str) -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := waiting_in_a_mode(path.read_text("utf-8")))
    }
    assert found == {}


def test_it_would_be_seen() -> None:
    source = "def f():\n    with torch.no_grad():\n        for x in y:\n            yield x\n"
    assert waiting_in_a_mode(source) == [2]
    assert waiting_in_a_mode(source.replace("torch.no_grad", "open")) == []
