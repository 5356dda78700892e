"""What a run records beside its settings, and what keeps another from resuming it."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from vidjacobi.batch.future_files import open_out
from vidjacobi.batch.manifest import ManifestRow, new_log
from vidjacobi.batch.settings import load_plan
from vidjacobi.errors import BadCheckpoint, BadOutput
from vidjacobi.provenance import changes, fingerprint, provenance, weights_files
from vidjacobi.runtime import choose


@pytest.fixture
def model(tiny_pair: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be changed."""
    copy = tmp_path / "model"
    for path in sorted(tiny_pair.rglob("*")):
        if path.is_file():
            (copy / path.relative_to(tiny_pair)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(tiny_pair)).write_bytes(path.read_bytes())
    return copy


def weights_of(model: Path) -> Path:
    return next(path for path in weights_files(str(model)).values() if path.suffix in (".safetensors", ".pt"))


def spoil(path: Path) -> None:
    """One bit of the content, and nothing else that a listing shows."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_other_weights_of_the_same_name_are_seen(model: Path) -> None:
    before = provenance(str(model), None, torch.float32)
    assert changes(provenance(str(model), None, torch.float32, before), before) == []
    spoil(weights_of(model))
    after = provenance(str(model), None, torch.float32, before)
    assert changes(after, before)[0].startswith("other weights: ")
    assert fingerprint(after) != fingerprint(before)


def test_files_that_are_as_recorded_are_not_read_again(model: Path) -> None:
    before = provenance(str(model), None, torch.float32)
    name = next(name for name, path in weights_files(str(model)).items() if path == weights_of(model))
    marked = deepcopy(before)
    marked["weights"][name]["sha256"] = "0" * 64
    assert provenance(str(model), None, torch.float32, marked)["weights"][name]["sha256"] == "0" * 64
    marked["weights"][name]["sha256"] = None
    assert provenance(str(model), None, torch.float32, marked) == before


@pytest.mark.parametrize("record", [None, [], {}, {"weights": 1}, {"weights": {"a": 1}}, {"weights": {}}])
def test_any_record_is_compared(model: Path, record: Any) -> None:
    assert changes(provenance(str(model), None, torch.float32, record), record)


def test_dtype_and_versions_count(model: Path) -> None:
    before = provenance(str(model), None, torch.float32)
    now = {**before, "versions": {**before["versions"], "torch": "9"}}
    assert changes(now, before)[0].endswith("9 here: --other-versions mixes the results of both")
    assert changes(now, before, other_versions=True) == []
    assert changes(provenance(str(model), None, torch.bfloat16), before) == [
        "dtype: float32 there, bfloat16 here"
    ]


def test_bundled_models_have_files() -> None:
    assert any(name.endswith(".safetensors") for name in weights_files("nano"))
    assert set(weights_files("nano")) <= {*provenance("nano", None, torch.float32)["weights"]}


def test_a_model_of_ones_own_is_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = Path("module_of_ones_own.py")
    source.write_text("def load(runtime): ...")
    name = "module_of_ones_own:load"
    before = provenance(name, None, torch.float32)
    assert list(before["weights"]) == ["module_of_ones_own.py"]
    source.write_text("def load(runtime): return 1")
    after = provenance(name, None, torch.float32, before)
    assert changes(after, before) == ["other weights: module_of_ones_own.py"]


def test_a_model_of_ones_own_is_its_package_and_the_files_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("package_of_ones_own/nets").mkdir(parents=True)
    load = "def load(runtime): ...\nload.files = ['weights.bin']"
    texts = {"__init__.py": "", "nets/__init__.py": "", "nets/deep.py": load, "layers.py": "", "w.txt": ""}
    for name, text in texts.items():
        Path("package_of_ones_own", name).write_text(text)
    Path("weights.bin").write_bytes(b"one")
    name = "package_of_ones_own.nets.deep:load"
    before = provenance(name, None, torch.float32)
    assert len(before["weights"]) == 5
    for changed in ("weights.bin", "package_of_ones_own/layers.py"):
        Path(changed).write_bytes(b"# other")
        after = provenance(name, None, torch.float32, before)
        assert changes(after, before) == [f"other weights: {changed}"]
        before = after
    Path("codec").mkdir()
    Path("codec/encoder.jit").write_bytes(b"one")
    assert "tokenizer: encoder.jit" in provenance(name, "codec", torch.float32)["weights"]
    Path("weights.bin").unlink()
    with pytest.raises(BadCheckpoint, match=r"weights\.bin: cannot be read"):
        provenance(name, None, torch.float32)


def test_a_batch_resumes_only_with_its_weights_and_dtype(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def plan(**flags: Any) -> Any:
        return load_plan("default", {"data": "clips", "model": str(model), **flags})

    first = open_out(out, plan())
    log = new_log(out)
    log.append(ManifestRow("a"))
    log.close()
    meant = str(choose().dtype).removeprefix("torch.")  # by auto
    assert open_out(out, plan(dtype=meant)) == first
    with pytest.raises(BadOutput, match=f"dtype: {meant} there, float64 here"):
        open_out(out, plan(dtype="float64"))
    spoil(weights_of(model))
    with pytest.raises(BadOutput, match="other weights: "):
        open_out(out, plan())
