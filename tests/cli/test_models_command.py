"""``vidjacobi models``, as a user runs it."""

import json
import subprocess
import sys

import pytest

from vidjacobi.cli.main import main
from vidjacobi.config.model_facts import model_names


def test_lists_all_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    listed = json.loads(out.splitlines()[-1])["models"]
    assert list(listed) == model_names()
    for name, facts in listed.items():
        assert f"{name:10} {facts['title']}: {facts['makes']}" in out
        for word in ("sizes", "published", "licence", "needs", "pixels"):
            assert facts[word]
            assert facts[word] in out
    assert listed["janus"]["presets"]["image"]["guidance"] == 5.0
    assert "image: temperature 1, top-p 1, top-k 2,048, guidance 3" in out


def test_some_of_them_as_json_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "llamagen", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert list(json.loads(line)["models"]) == ["llamagen"]


def test_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "lamagen"]) == 2
    assert "did you mean 'llamagen'" in capsys.readouterr().err


def test_loads_no_torch() -> None:
    code = (
        "import sys\nfrom vidjacobi.cli.main import main\n"
        "assert main(['models', '--json']) == 0\n"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
