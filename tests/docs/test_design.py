"""The pass that docs/design.md draws is the pass that the code makes."""

from pathlib import Path

import pytest

from scripts import show_pass

ROOT = Path(__file__).parents[2]


def test_the_drawn_pass_is_the_real_one(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["show_pass.py"])
    show_pass.main()
    assert capsys.readouterr().out in (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
