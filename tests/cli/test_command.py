"""The command itself: entry point, help, listing, conversion."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import torch

from vidjacobi.cli.main import COMMANDS, main
from vidjacobi.config.decoder import GUARANTEES
from vidjacobi.config.yaml_files import config_names

PROJECT = ("vidjacobi", "cosmos_adapter")
MODULES = 85  # of the project that a rollout imports, packages counted


def test_the_console_script_exists() -> None:
    (script,) = entry_points(group="console_scripts", name="vidjacobi")
    assert script.load() is main


def test_the_program_ends_after_its_exit_handlers_and_takes_nothing_apart() -> None:
    """What was printed is there, what wants to end well does, and the status is the command's."""
    code = (
        "import atexit, os, sys\n"
        "from vidjacobi.cli import main as command\n"
        "class Torn:\n    def __del__(self): print('torn')\n"
        "def run(words):\n"
        "    atexit.register(print, 'handled')\n"
        "    print(os.environ['OMP_WAIT_POLICY'], end=' ')\n"
        "    return 2\n"
        "command.torn, command.run = Torn(), run\n"
        "sys.argv[1:] = ['decoders']\n"
        "command.main()"
    )
    for asked, policy in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        bare = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=bare | asked)
        assert (done.returncode, done.stdout, done.stderr) == (2, f"{policy} handled\n", "")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_quick(name: str) -> None:
    """It loads neither torch nor numpy, nor any other part of the project than the command's words."""
    loaded = modules_after([*name.split(), "--help"])
    assert not loaded & {"torch", "numpy"}
    ours = {module for module in loaded if module.split(".")[0] in PROJECT}
    assert {module for module in ours if not module.startswith("vidjacobi.cli")} <= {
        *("vidjacobi", "vidjacobi.errors", "vidjacobi.registry")
    }


def test_a_rollout_imports_what_it_needs(tmp_path: Path) -> None:
    """Nothing of other commands, and no compiler, which costs a second and 160 MB."""
    loaded = modules_after(
        ["rollout", "--model", "micro", "--frames", "1", "--device", "cpu", "--out", str(tmp_path)]
    )
    assert (tmp_path / "sample" / "rollout.mp4").is_file()
    ours = {module for module in loaded if module.split(".")[0] in PROJECT}
    assert len(ours) <= MODULES
    for other in ("batch", "bench", "datasets", "eval", "html_report"):
        assert f"vidjacobi.{other}" not in ours
    assert "vidjacobi.video.timed_reader" in ours
    assert "vidjacobi.video.reader" not in ours  # clips are read in another process
    assert not loaded & {"torch._dynamo", "torch._inductor"}


def modules_after(words: list[str]) -> set[str]:
    """The modules that are loaded in a fresh interpreter when the command has ended, which it must do well."""
    code = (
        "import sys\n"
        "from vidjacobi.cli.main import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as end: status = end.code\n"
        "assert not status, status\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    # beside other tests the threads of one process wait for each other for a long time
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, env=alone
    )
    return set(done.stderr.splitlines()[-1].split())


def test_every_command_is_in_the_overview(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 0
    overview = capsys.readouterr().out
    for name, (module, summary) in COMMANDS.items():
        assert f"  {name} " in overview
        assert summary in overview
        assert module == f"vidjacobi.cli.{name.replace(' ', '_')}"


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("vidjacobi")


def test_lists_every_decoder_with_its_guarantee(capsys: pytest.CaptureFixture) -> None:
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
