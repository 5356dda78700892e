"""Models of the user's own by name: package.module:load and entry points; and models without a tokenizer."""

import sys
from pathlib import Path

import own_model
import pytest
import torch
from torch import nn

import vidjacobi
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.loading import outline, outline_to_load
from vidjacobi.loading import own_model as found_own
from vidjacobi.models.own import OwnModel
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked  # some of what is handed over here is no model
NAME = "own_model:load"


def test_a_function_of_a_module() -> None:
    model, tokenizer = vidjacobi.load(NAME, dtype="float64")
    assert isinstance(model, TinyVideoModel)
    assert model.dtype == torch.float64
    assert isinstance(tokenizer, own_model.BlockTokenizer)
    assert vidjacobi.load_model(NAME, dtype="float32").dtype == torch.float32


def test_a_module_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed command does not look there by itself; what is there hides no installed module."""
    (tmp_path / "my_world.py").write_text("from own_model import load\n")
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(InvalidArgument, match="json has no function 'nothing'"):
        vidjacobi.load("json:nothing")
    assert isinstance(vidjacobi.load("my_world:load")[0], TinyVideoModel)
    assert sys.path[-1] == str(tmp_path)


def test_an_entry_point_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name in (("one", "gridworld"), ("two", "shared"), ("three", "shared")):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        target = "own_model:load" if package != "three" else "own_model:load_with_outline"
        (info / "entry_points.txt").write_text(f"[vidjacobi.models]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(vidjacobi.load("gridworld")[0], TinyVideoModel)
    with pytest.raises(InvalidArgument, match=r"several installed packages.*own_model:load"):
        vidjacobi.load("shared")
    with pytest.raises(InvalidArgument, match=r"did you mean 'gridworld'.*package\.module:load"):
        vidjacobi.load("gridwrld")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nowhere_at_all:load", InvalidArgument, "there is no module 'nowhere_at_all'"),
        ("own_model:lod", InvalidArgument, "own_model has no function 'lod'"),
        ("own_model:not_a_function", InvalidArgument, "has no function 'not_a_function'"),
        ("own_model:load_half", InvalidArgument, r"must return \(model, tokenizer\).*TinyVideoModel"),
        (
            "own_model:load_strange",
            InvalidArgument,
            r"the model of own_model:load_strange \(str\) lacks device, dtype",
        ),
        (
            "own_model:load_that_fails",
            BadCheckpoint,
            r"FileNotFoundError: weights.pt \(own_model.py, line \d+\)",
        ),
        ("own_model:load_without_tokenizer", InvalidArgument, "brings no video tokenizer.*--tokenizer"),
    ],
)
def test_what_is_wrong_is_named(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        vidjacobi.load(name)


def test_a_module_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_world.py").write_text("import torch\n\nraise ValueError('half written')\n")
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadCheckpoint, match=r"ValueError: half written \(broken_world.py, line 3\)"):
        vidjacobi.load("broken_world:load")
    with pytest.raises(BadCheckpoint, match="a_package_that_is_not_here"):
        vidjacobi.load("needs_more:load")


def test_a_folder_goes_before_a_name(
    tiny_pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).symlink_to(tiny_pair)
    assert found_own(NAME) is None
    assert vidjacobi.load(NAME, device="cpu")[0].vocab_size == 64


def test_its_tokenizer_is_its_own(tiny_pair: Path) -> None:
    with pytest.raises(InvalidArgument, match="brings a video tokenizer of its own"):
        vidjacobi.load(NAME, tokenizer=tiny_pair / "tokenizer")
    with pytest.raises(InvalidArgument, match="micro brings a video tokenizer of its own"):
        vidjacobi.load("micro", tokenizer=tiny_pair / "tokenizer")
    _, tokenizer = vidjacobi.load(
        "own_model:load_without_tokenizer", "cpu", tokenizer=tiny_pair / "tokenizer"
    )
    assert tokenizer.frame_size == (32, 48)


def test_a_model_is_loaded_without_a_tokenizer(tiny_pair: Path) -> None:
    """Tokens need none, so none is looked for."""
    model = vidjacobi.load_model(tiny_pair / "transformer", "cpu", "float32")
    context = torch.arange(30)[None]
    whole, _ = vidjacobi.load(tiny_pair, "cpu", "float32")
    found, wanted = (vidjacobi.decode(one, context, 12, window=8).tokens for one in (model, whole))
    assert found.equal(wanted)
    assert vidjacobi.load_model("nano", "cpu", "float32").vocab_size == 8064
    assert vidjacobi.load_model("own_model:load_without_tokenizer").vocab_size == own_model.VOCAB


def test_offloading_needs_the_modules() -> None:
    def load(runtime: object) -> None: ...

    own, pair = OwnModel("mine", load), (nn.Linear(1, 1), nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"set load\.modules"):
        own.modules(*pair)  # type: ignore[arg-type]
    load.modules = lambda model, tokenizer: (model, tokenizer)  # type: ignore[attr-defined]
    assert own.modules(*pair) == pair  # type: ignore[arg-type]


def test_its_outline_is_its_own_or_measured() -> None:
    for find in (outline, lambda name, dtype: outline_to_load(name, None, dtype)):
        assert find("own_model:load_with_outline", torch.float32).name == "from its own function"
        found = find(NAME, torch.float64)
        assert (found.name, found.model.dtype, found.max_frames) == (NAME, torch.float64, own_model.GRID.t)
