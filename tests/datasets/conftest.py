"""Small RealEstate10k datasets, written by the script that users run, and helpers that make clips."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # clip_files

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_realestate10k.py"
CLIPS, FRAMES = 2, 13


@pytest.fixture(scope="session")
def rooms_script() -> ModuleType:
    """scripts/make_realestate10k.py as a module."""
    spec = importlib.util.spec_from_file_location("make_realestate10k", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.fixture(scope="session")
def rooms_sets(rooms_script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders images, mp4 and chunks: the same two rooms in three layouts."""
    out = tmp_path_factory.mktemp("rooms")
    for layout in ("images", "mp4", "chunks"):
        arguments = ["", "--out", str(out / layout), "--layout", layout]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [*arguments, "--clips", str(CLIPS), "--frames", str(FRAMES)])
            rooms_script.main()
    return out
