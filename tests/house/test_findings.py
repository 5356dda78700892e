"""Scripts of findings/ stand alone: pinned packages in a folder that is removed again, none of ours, and an end."""

import os
import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def test_there_are_findings_and_nothing_else() -> None:
    assert len(SCRIPTS) >= 5
    assert sorted(path for path in FOLDER.iterdir() if path.name != "README.md") == SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
class TestAFinding:
    def test_is_a_program_of_bash(self, script: Path) -> None:
        assert os.access(script, os.X_OK)
        assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_stops_at_the_first_failure_and_leaves_nothing(self, script: Path) -> None:
        text = script.read_text(encoding="utf-8")
        assert "set -euo pipefail" in text
        assert "mktemp -d" in text
        assert re.search(r"trap 'rm -rf \"\$\w+\"' EXIT", text)

    def test_pins_everything_that_it_installs(self, script: Path) -> None:
        text = script.read_text(encoding="utf-8").replace("\\\n", " ")
        installs = " ".join(re.findall(r'pip" install (.*)', text))
        packages = [word for word in installs.split() if not word.startswith("-")]
        assert packages
        assert all(re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", package) for package in packages), packages

    def test_says_first_what_it_is_about_and_last_whether_it_holds(self, script: Path) -> None:
        text = script.read_text(encoding="utf-8")
        about = re.match(r"#!.*\n((?:#.*\n)+)", text)
        assert about, "a comment below the first line"
        assert re.search(r"\d+\.\d+", about[1]), "the version that it is of"
        assert "Exit status" in about[1]
        assert re.search(r"assert|sys\.exit|exit 1", text), "it must be able to fail"

    def test_runs_nothing_of_ours(self, script: Path) -> None:
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"vidjacobi|cosmos_adapter|PYTHONPATH", text)
        body = text.removeprefix("#!/usr/bin/env bash")
        assert not re.search(r"""(?:^|[\s"'=(:])/\w+/""", body), "a path of one machine"
