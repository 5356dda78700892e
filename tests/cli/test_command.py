"""The command itself: entry point, help, listing, conversion."""

import json
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

from vidjacobi.cli.main import main
from vidjacobi.config.decoder import GUARANTEES
from vidjacobi.config.yaml_files import config_names


def test_the_console_script_exists() -> None:
    (script,) = entry_points(group="console_scripts", name="vidjacobi")
    assert script.load() is main


@pytest.mark.parametrize(
    "words", [["--help"], ["rollout", "--help"], ["bench", "--help"], ["convert", "--help"]]
)
def test_help_needs_no_torch(words: list[str]) -> None:
    code = (
        f"import sys\nfrom vidjacobi.cli.main import main\n"
        f"try: main({words!r})\nfinally: print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage" in said
    assert said.splitlines()[-1] == "False"


def test_lists_every_decoder_with_its_law(capsys: pytest.CaptureFixture) -> None:
    assert main(["decoders"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = json.loads(lines[-1])["decoders"]
    assert sorted(listed) == config_names("decoder")
    assert set(listed.values()) <= set(GUARANTEES)


def test_unknown_command(capsys: pytest.CaptureFixture) -> None:
    assert main(["rolout"]) == 2
    assert "did you mean 'rollout'" in capsys.readouterr().err


def test_convert_writes_what_from_pretrained_reads(
    capsys: pytest.CaptureFixture, tiny_pair: Path, tmp_path: Path
) -> None:
    from cosmos_adapter.transformer.hf import CosmosARForCausalLM
    from cosmos_adapter.transformer.weights import load_model

    assert main(["convert", str(tiny_pair / "transformer"), str(tmp_path / "hf")]) == 0
    converted = CosmosARForCausalLM.from_pretrained(tmp_path / "hf", dtype="auto")
    original = load_model(tiny_pair / "transformer").network.state_dict()
    found = {name.removeprefix("model."): tensor for name, tensor in converted.state_dict().items()}
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in original.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in original.items())
    assert main(["convert", str(tiny_pair / "transformer"), str(tmp_path / "hf")]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """Under pipefail; ``true`` has left long before anything is written."""
    command = shlex.join([sys.executable, "-m", "vidjacobi", "decoders"])
    script = f"set -o pipefail; {command} | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
