"""A wheel outside the checkout: package data is in it, and the command works from it."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vidjacobi", "cosmos_adapter"}
    assert "vidjacobi/configs/decoder/pathwise.yaml" in names
    assert "vidjacobi/eval/__init__.py" in names
    assert {"vidjacobi/py.typed", "cosmos_adapter/py.typed"} <= set(
        names
    )  # type checkers read our annotations
    assert {f"vidjacobi/html_report/{name}" for name in ("template.html", "style.css", "script.js")} <= set(
        names
    )
    for part in ("micro/transformer", "nano_pusht/transformer", "nano_pusht/tokenizer"):
        assert f"vidjacobi/assets/{part}/model.safetensors" in names
    assert wheel.stat().st_size < 70e6
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    # the dependencies of this environment, without its own (editable) vidjacobi: .pth files are not read there
    (libraries,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (libraries / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    command = [python.parent / "vidjacobi", "rollout", "--frames", "8", "--out", tmp_path / "out"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    said = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    (output,) = json.loads(said.stdout.splitlines()[-1])["outputs"]
    assert (Path(output["folder"]) / "rollout.mp4").stat().st_size > 1000
    where = [python, "-c", "import vidjacobi; print(vidjacobi.__file__)"]
    assert (
        str(tmp_path)
        in subprocess.run(where, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    )
