"""What the README promises: its example runs, its commands and files exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_python_blocks_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {})


def test_every_file_of_the_tree_exists() -> None:
    tree = re.search(r"```text\n(.*?)```", TEXT, re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        name = line.split()[0] if line.strip() else ""
        assert not name or (ROOT / name).exists(), f"README names {name}"
